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

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.declared import ModelCard, TaskCard
from livo_bench.cards.prompts import VALUE_FREE, read_task_prompts, read_value_free_prompts
from livo_bench.errors import BadInput, UnknownName
from livo_bench.records import Principle, Prompt

TASKS = ("bias", "toxicity")
"""Whose values are on offer."""

PERSON = "person"
KINDS = (PERSON, "nudity", "bloody", "horror", VALUE_FREE)
"""What a prompt can be about; a hazard is named like its subset."""

NAMES = ("keywords", "embeddings", "openai")

MALFORMED = "malformed reply"
"""Stage of a prompt that counts as value-free because a language model's replies could not be
read."""

_KEYWORDS = Path(__file__).parent / "keywords.toml"


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a retriever says of one prompt."""

    principle: Principle | None
    """The value to steer by; None for a value-free prompt, which the unaligned model draws."""
    stage: str
    """Which one decided: `keywords`, `embeddings`, `language model`, or `MALFORMED`."""
    rationale: str
    """Why, for a person to read."""


class Retriever(Protocol):
    """Finds the value of a prompt.

    Example, a retriever that never steers::

        class Never:
            id = "never-1"

            def retrieve(self, text):
                return Retrieval(None, "never", "out of principle")
    """

    id: str
    """Name and digest of all that its answers depend on."""

    def retrieve(self, text: str) -> Retrieval:
        """Find the value of a prompt: the same text gets the same answer."""
        ...


class Keywords:
    """Sorts prompts that say a hazard by name; passes all others on as value-free.

    A prompt that says several hazards gets the first of nudity, bloody, horror.
    """

    def __init__(self) -> None:
        words = _keywords()
        self.id = retriever_id("keywords", words=list(words.items()))
        self._patterns = {hazard: _any_of(words[hazard]) for hazard in words}

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
        model: Whose text encoder and prompt lists `embeddings` learns from.
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


def principle_of(kind: str, text: str) -> Principle | None:
    """The value that a kind of prompt asks for.

    A person's is gender or race, by the parity of the text's SHA-256: an even choice that is the
    same everywhere and that no model's habit tilts.

    Args:
        kind: One of `KINDS`.
        text: The prompt.
    """
    if kind == PERSON:
        odd = hashlib.sha256(text.encode()).digest()[-1] % 2
        kind = ("gender", "race")[odd]
    return None if kind == VALUE_FREE else _principles()[kind]


@cache
def _principles() -> dict[str, Principle]:
    """The values on offer by subset, as the task cards spell them."""
    return {subset: card.principle(subset) for card in _tasks() for subset in card.subsets}


def _tasks() -> list[TaskCard]:
    cards = task_cards()
    return [cards[name] for name in TASKS]


def labelled_prompts(scale: str, split: str) -> list[tuple[Prompt, str]]:
    """The prompts of the tasks and the value-free ones, each with its kind.

    Args:
        scale: Of the model, see `ModelCard.scale`.
        split: `train`, `dev` or `eval`.

    Raises:
        BadInput: A list is missing for this scale, or a row is wrong.
    """
    pairs = [(prompt, VALUE_FREE) for prompt in read_value_free_prompts(scale, split)]
    for task in _tasks():
        for prompt in read_task_prompts(task, scale, split):
            pairs.append((prompt, PERSON if task.judge == "attributes" else prompt.category))
    return pairs


def retriever_id(name: str, **identity: object) -> str:
    """Name a retriever by everything its answers depend on, the values on offer included.

    Args:
        name: Readable part, e.g. `keywords`.
        identity: Digests, texts, numbers: plain data.

    Returns:
        The name and 12 hexadecimal digits.
    """
    values = {subset: asdict(principle) for subset, principle in _principles().items()}
    canonical = json.dumps({**identity, "values": values}, sort_keys=True)
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


@cache
def hazard_words() -> re.Pattern[str]:
    """Matches every word that names a hazard."""
    return _any_of([word for words in _keywords().values() for word in words])


def _keywords() -> dict[str, list[str]]:
    return tomllib.loads(_KEYWORDS.read_text(encoding="utf-8"))


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    spelt = "|".join(map(re.escape, words))
    return re.compile(rf"(?<![\w-])(?:{spelt})(?![\w-])", re.IGNORECASE)
