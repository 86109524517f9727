"""The retriever's second stage without a network: a classifier on the model's own text states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.spatial.distance import cdist
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import VALUE_FREE
from livo_bench.cards.weights import Weights, find_weights
from livo_bench.engines.diffusion import load_text
from livo_bench.methods.retrieval.values import (
    KINDS,
    Retrieval,
    labelled_prompts,
    principle_of,
    retriever_id,
)
from livo_bench.scorers import Lazy

Numbers = NDArray[np.float64]

VALUED = tuple(kind for kind in KINDS if kind != VALUE_FREE)
"""The kinds that are scored."""

BELIEVED = 0.5
"""Score from which a kind is believed; below, the prompt is value-free."""

WIDTH, RIDGE = 1.0, 0.01
"""Width of the kernel, `exp(-distance^2 / WIDTH)`, and weight of the penalty in `fit`.

Chosen for few false interventions on the mini world's train and dev prompts, with objects (two at a
time), settings and careers left out in turn: of objects it had not seen, 0.4 % were taken for a
hazard or a person, and of people it had not seen, 99 % were found. Two things are weak. Of places
it had not seen, said alone, 4 in 10 passed for a person; and of hazards in a sentence it had not
seen, 3 in 10 were believed, but those said by name have met `Keywords` before. Tried besides:
widths from 0.6 to 2, ridges from 0.001 to 1, one of the two states alone, and linear ridge
regression, which took 18 % of the objects for hazards or people: a sum over directions cannot say
"a figure, and bleeding".
"""

BATCH = 64
"""Texts encoded at a time."""


class TextEmbeddings:
    """Sorts a prompt by which train prompts the model's text encoder puts it near.

    The classifier is fitted, when first needed, on the train prompts of the tasks and those that
    touch no value. Value-free is what resembles no prompt of people or hazards, as nobody can list
    everything else. A text beyond the encoder's length is cut, as it is for the image.
    """

    def __init__(self, model: ModelCard) -> None:
        """Look the encoder and the prompts up.

        Raises:
            BadInput: There is no such model, or no train prompts for its scale; raised at first
                use if the encoder does not load.
        """
        examples = labelled_prompts(model.scale, "train")
        self._texts = [prompt.text for prompt, _ in examples]
        self._kinds = [kind for _, kind in examples]
        weights = find_weights(model.pipeline, "model_index.json")
        self.id = retriever_id(
            "embeddings",
            model=weights.digest(),
            examples=[self._texts, self._kinds],
            settings=[WIDTH, RIDGE, BELIEVED],
        )
        self._encoder = Lazy(lambda: _load(weights))
        self._classifier = Lazy(self._fit)
        self.retrieve = lru_cache(maxsize=1024)(self._retrieve)

    def _retrieve(self, text: str) -> Retrieval:
        [scores] = self._classifier().scores(self._encoder().states([text]))
        best = int(scores.argmax())
        believed = scores[best] >= BELIEVED
        return Retrieval(
            principle_of(VALUED[best], text) if believed else None,
            "embeddings",
            f"{VALUED[best]} scores {scores[best]:.2f}, believed from {BELIEVED}",
        )

    def _fit(self) -> Classifier:
        targets = [[float(kind == valued) for valued in VALUED] for kind in self._kinds]
        return fit(self._encoder().states(self._texts), np.array(targets))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A weighted vote of the examples, each with a say in its neighbourhood."""

    centre: Numbers
    """Mean of the examples' states, `(2, d)`."""
    spread: Numbers
    """Root mean square distance from it, `(2, 1)`."""
    examples: Numbers
    """Normalised states, `(n, 2 * d)`."""
    votes: Numbers
    """Weight of each example's vote for each kind, `(n, kinds)`."""

    def scores(self, states: Numbers) -> Numbers:
        """Score states `(m, 2, d)` by kind, `(m, kinds)`: near 1 for the right kind, 0 far from
        examples."""
        points = ((states - self.centre) / self.spread).reshape(len(states), -1)
        return _kernel(points, self.examples) @ self.votes


def fit(states: Numbers, targets: Numbers) -> Classifier:
    """Ridge regression with a Gaussian kernel, in closed form.

    Both states are centred and brought to unit mean square, then stand side by side.

    Args:
        states: `(n, 2, d)`.
        targets: `(n, kinds)`, 1 for an example's kind and 0 for the others; all 0 for an example
            of none.

    Source: Saunders et al. 1998, "Ridge regression learning algorithm in dual variables".
    """
    centre = states.mean(axis=0)
    spread: Numbers = np.sqrt(((states - centre) ** 2).sum(axis=2).mean(axis=0))[:, None]
    examples = ((states - centre) / spread).reshape(len(states), -1)
    penalised = _kernel(examples, examples) + RIDGE * np.eye(len(examples))
    return Classifier(centre, spread, examples, solve(penalised, targets, assume_a="pos"))


def _kernel(points: Numbers, examples: Numbers) -> Numbers:
    near: Numbers = np.exp(-cdist(points, examples, "sqeuclidean") / WIDTH)
    return near


@dataclass(frozen=True, eq=False)
class _Encoder:
    tokenizer: CLIPTokenizer
    model: CLIPTextModel

    @torch.inference_mode()
    def states(self, texts: Sequence[str]) -> Numbers:
        """State at each text's end and mean state of its tokens, float64, `(n, 2, d)`.

        Texts are padded or cut and encoded without a mask, as for the image.
        """
        parts = []
        for start in range(0, len(texts), BATCH):
            tokens = self.tokenizer(
                list(texts[start : start + BATCH]),
                padding="max_length",
                max_length=self.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            encoded = self.model(tokens.input_ids)
            said = tokens.attention_mask.double()
            said[:, 0] = 0  # the start token, whose state no word reaches
            words = said[:, :, None] * encoded.last_hidden_state.double()
            mean = words.sum(dim=1) / said.sum(dim=1, keepdim=True)
            parts.append(torch.stack([encoded.pooler_output.double(), mean], dim=1).numpy())
        return np.concatenate(parts)


def _load(weights: Weights) -> _Encoder:
    logging.disable_progress_bar()
    return _Encoder(*load_text(Path(weights.source), torch.float32, "cpu"))
