"""The value retriever: which value, if any, an image of a prompt should be steered by.

Source: Wang et al. 2024, arXiv:2410.12700, section 3.5: `v* = argmax_v p(v | x)` over a small set
of values (Eq. 5), the unaligned model for a prompt that touches none. As there, keywords come
first, and a second stage sorts what they pass on. Departures from the released code:

- Keywords match whole words. The released ones match anywhere, so "deadline" is a hazard.
- The second stage says that a person is there; gender or race follows from the text by a fixed
  rule. The released language model picks one of them, and its habit becomes the choice.
- What no stage can sort is value-free. The released code steers by the words "retrieve failure".
- Value strings are those of the task cards, so training, retrieval and evaluation agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.wording import any_of, keywords
from livo_bench.errors import BadInput, UnknownName
from livo_bench.methods.retrieval.values import Retrieval, Retriever, principle_of, retriever_id

NAMES = ("keywords", "embeddings", "openai")


class Keywords:
    """Sorts prompts that say a hazard by name; passes all others on as value-free.

    A prompt that says several hazards gets the first of nudity, bloody, horror.
    """

    def __init__(self) -> None:
        words = keywords()
        self.id = retriever_id("keywords", words=list(words.items()))
        self._patterns = {hazard: any_of(words[hazard]) for hazard in words}

    def retrieve(self, text: str) -> Retrieval:
        """The first hazard that the text names."""
        for hazard, pattern in self._patterns.items():
            if said := pattern.search(text):
                return Retrieval(principle_of(hazard, text), "keywords", f"says {said.group()!r}")
        return Retrieval(None, "keywords", "says no keyword")


class FirstOf:
    """Asks one retriever after the other until one finds a value."""

    def __init__(self, stages: Sequence[Retriever]) -> None:
        self.id = "+".join(stage.id for stage in stages)
        self._stages = tuple(stages)

    def retrieve(self, text: str) -> Retrieval:
        """The first answer with a value, or else the last answer."""
        for stage in self._stages:
            retrieval = stage.retrieve(text)
            if retrieval.principle is not None:
                break
        return retrieval


def build(
    name: str,
    model: ModelCard,
    cache_folder: Path | None = None,
    language_model: str | None = None,
) -> Retriever:
    """Make a retriever by name; what it needs is loaded when it is first asked.

    Args:
        name: `keywords` alone, or followed by a second stage: `embeddings` of the model's own text
            encoder, which need no network, or a language model behind an `openai` endpoint.
        model: Model whose text encoder and prompt lists `embeddings` learns from.
        cache_folder: Where a language model's answers are kept; for `openai` alone.
        language_model: What the endpoint calls the model; for `openai` alone.

    Raises:
        UnknownName: No retriever has this name.
        BadInput: `openai` without a language model, or no prompts to learn from for this model.
    """
    # Imported late: one stage needs torch, and keywords need neither.
    if name == "keywords":
        return Keywords()
    if name == "embeddings":
        from livo_bench.methods.retrieval.embeddings import TextEmbeddings

        return FirstOf([Keywords(), TextEmbeddings(model)])
    if name == "openai":
        from livo_bench.methods.retrieval.endpoint import LanguageModel

        if not language_model or cache_folder is None:
            raise BadInput(
                "The retriever 'openai' has no language model to ask, expected the name that the "
                "endpoint knows it by. Pass --language-model NAME"
            )
        return FirstOf([Keywords(), LanguageModel(language_model, cache_folder)])
    raise UnknownName(f"Unknown retriever {name!r}. Known: {', '.join(NAMES)}.")
