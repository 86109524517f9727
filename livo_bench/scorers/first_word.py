"""Which word an image-text-to-text model begins its answer with, by the logits there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from livo_bench.cards.weights import Weights, find_weights, loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import files_of
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import sha256
from livo_bench.interfaces import Pixels
from livo_bench.scorers import Lazy, trial

if TYPE_CHECKING:
    from livo_bench.scorers.vlm import Kind

SHIELD_GEMMA = "shieldgemma2"
"""A type of models whose own processor asks its own questions and whose own class holds the one
that answers."""


class FirstWord:
    """An image-text-to-text model, shared by the questions that it is asked."""

    def __init__(self, kind: Kind, device: str) -> None:
        """Look the weights up; they are loaded when first needed.

        Raises:
            BadInput: There is no such model.
        """
        found = find_weights(kind.weights, "config.json")
        self.kind = kind
        says = f" {kind.answer} {kind.template_ends}" if kind.answer or kind.template_ends else ""
        self.digest = kind.digest_with(found.digest() + says)
        self.loaded = Lazy(lambda: _load(kind, found, device))

    def asked(self, question: str) -> Asked:
        """The model before one question."""
        return Asked(self, question)


class Asked:
    """A model that answers one question about each image: see `LabelNetwork`."""

    def __init__(self, model: FirstWord, question: str) -> None:
        self._model, self._question = model, question
        self._words = tuple(sorted(model.kind.labels))
        self.digest = sha256(f"{model.digest} {question}")

    def load(self) -> None:
        """Load the weights now, and see that the words can be told apart.

        Raises:
            BadInput: They do not load, or the chat template or the words do not do.
        """
        self._model.loaded()
        with loading("vlm", self._model.kind.weights):
            self.shares(trial())

    @torch.inference_mode()
    def shares(self, pixels: Pixels) -> Mapping[str, NDArray]:
        """Probability of each word among the named ones, at the first position of the answer.

        One prefill and no decoding. All texts and images have one size, so nothing is padded.
        """
        loaded = self._model.loaded()
        text = loaded.conversation(self._question)
        ids = loaded.first_tokens(text, self._words)
        inputs = loaded.processor(
            images=[[image] for image in pixels], text=[text] * len(pixels), return_tensors="pt"
        )
        network = loaded.network
        given = {
            name: value.to(network.device, network.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }
        last = "logits_to_keep" in inspect.signature(network.forward).parameters
        logits = network(**given, use_cache=False, **({"logits_to_keep": 1} if last else {})).logits
        every = logits[:, -1, ids].float().softmax(dim=1).cpu().numpy()
        return {word: every[:, column] for column, word in enumerate(self._words)}


@dataclass(frozen=True, eq=False)
class _Loaded:
    network: Any
    processor: Any
    kind: Kind

    @property
    def place(self) -> str:
        """Place of the model, for messages."""
        return self.kind.weights

    def conversation(self, question: str) -> str:
        """The question by the model's chat template, up to where its answer begins."""
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        with loading("chat template", self.place):
            plain, begun = (
                self.processor.apply_chat_template([turn], add_generation_prompt=begins)
                for begins in (False, True)
            )
        ends = self.kind.template_ends
        begins = begun.endswith(ends) if ends else begun != plain and begun.startswith(plain)
        if question not in begun or not begins:
            raise BadInput(
                f"The chat template of {self.place} makes {excerpt(begun)!r} of a question; "
                "expected the question, and the beginning of an answer behind it.",
                "Take the template that the model was published with (chat_template.jinja, "
                "with add_generation_prompt).",
            )
        return f"{begun}{self.kind.answer}"

    def first_tokens(self, text: str, words: Sequence[str]) -> list[int]:
        """Ids of the tokens that begin each word where it stands, after the text."""
        tokenizer = self.processor.tokenizer
        asked = tokenizer(text).input_ids
        gap = "" if text[-1].isspace() or self.kind.answer else " "
        begun = [tokenizer(f"{text}{gap}{word}").input_ids for word in words]
        ids = [one[len(asked)] for one in begun if len(one) > len(asked)]
        unknown = tokenizer.unk_token_id
        whole = all(one[: len(asked)] == asked for one in begun)
        if not whole or len(set(ids)) < len(words) or (unknown is not None and unknown in ids):
            raise BadInput(
                f"The tokenizer of {self.place} cannot tell the words {', '.join(words)} apart by "
                f"the first token after {excerpt(text[-40:])!r}.",
                "Name other words in [labels] of its judge.toml, and ask for them in its question.",
            )
        return ids


def _load(kind: Kind, found: Weights, device: str) -> _Loaded:
    import transformers

    shields = found.config.get("model_type") == SHIELD_GEMMA
    files = files_of("vlm", Path(found.source))
    with loading("vlm", found.source):
        library = transformers.Gemma3Processor if shields else transformers.AutoProcessor
        processor = library.from_pretrained(
            found.source, trust_remote_code=False, local_files_only=True
        )
    if not getattr(processor, "chat_template", None):
        raise BadInput(
            f"{found.source} has no chat template, by which a question is asked.",
            "Add the one that it was published with: chat_template.jinja",
        )
    of_images = transformers.AutoModelForImageTextToText
    model = transformers.ShieldGemma2ForImageClassification if shields else of_images
    network = networks.of_any_kind(model, files, getattr(torch, kind.dtype), device)
    return _Loaded(network.model if shields else network, processor, kind)
