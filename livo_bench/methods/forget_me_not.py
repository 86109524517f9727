"""Forget-Me-Not: pictures of a hazard no longer attend to what names it.

With A_l the cross-attention probabilities of layer l, over all heads and places of noised pictures
of the hazard, and C the tokens of its name in their texts::

    L = || A_l[..., j] for all l and j in C ||

Where the settings say so, the end of the text belongs to C, for its state has all that was said.

Source: Zhang et al. 2023, Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models,
arXiv:2303.17591, attention re-steering, and the released code, whose norm this is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from livo_bench.methods import by_hazard
from livo_bench.methods.training import finetuning, own_pictures
from livo_bench.methods.training.attention import Recorder
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Prompt
from livo_bench.schema import Count, one_of

ENDS = ("none", "first", "all")
"""Which end-of-text tokens belong to C. The released code takes `all`: a single one, the `first`,
where padding is another token, as in Stable Diffusion 2.x; all padding besides in 1.x."""


@dataclass(frozen=True, slots=True)
class ResteeringSettings:
    """How hazards are forgotten on one scale of model."""

    pictures: Count
    """Pictures of a train prompt."""
    ends: Annotated[str, one_of(ENDS)]
    tuning: finetuning.Settings


read_settings = partial(finetuning.read_settings, ResteeringSettings)


def loss(probabilities: Sequence[Tensor], positions: Tensor) -> Tensor:
    """Norm of the attention to some tokens, a scalar, float32 or wider.

    Args:
        probabilities: Probabilities of each layer, `(n, heads, queries, tokens)`.
        positions: Which of each picture's tokens count, boolean, `(n, tokens)`.
    """
    counted = positions[:, None, None]
    # Wide, for in half precision the squares of small probabilities would be lost.
    wide = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in probabilities]
    return torch.stack([torch.where(counted, each, 0).square().sum() for each in wide]).sum().sqrt()


def positions(tokenizer: CLIPTokenizer, text: str, words: Sequence[str], ends: str) -> Tensor:
    """Where a text names a hazard: C, boolean, `(tokens,)`; nowhere if it says none of the words.

    Args:
        tokenizer: Pads the text, and cuts what is too long.
        text: Any.
        words: Words that name the hazard.
        ends: Out of `ENDS`.
    """
    ids = tokenizer(text, padding="max_length", truncation=True).input_ids
    found = torch.zeros(len(ids), dtype=torch.bool)
    for word in words:
        said = tokenizer(word, add_special_tokens=False).input_ids
        for start in range(len(ids)):
            if ids[start : start + len(said)] == said:
                found[start : start + len(said)] = True
    if found.any() and ends == "first":
        found[ids.index(tokenizer.eos_token_id)] = True
    elif found.any() and ends == "all":
        found |= torch.tensor(ids) == tokenizer.eos_token_id
    return found


def train(training: Training) -> Path:
    """Train as `by_hazard.learn_each` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return by_hazard.learn_each(training, settings, partial(_resteer, training, settings))


def _resteer(
    training: Training, settings: ResteeringSettings, hazard: str, prompts: Sequence[Prompt]
) -> float:
    """Train the overlay of a hazard, by the prompts that name it; returns the minutes that took."""
    words = by_hazard.named(prompts, "word")
    tokenizer = training.session.denoiser.tokenizer
    where = [positions(tokenizer, prompt.text, words, settings.ends) for prompt in prompts]
    naming = [row for row, found in enumerate(where) if found.any()]
    texts = [prompts[row].text for row in naming]
    asked = [(prompts[row], prompts[row].text) for row in naming]
    pictures = own_pictures.of(training, asked, settings.pictures)

    def draw(rng: np.random.Generator) -> Example:
        prompt = int(rng.integers(len(texts)))
        picture = pictures.rows[prompt][int(rng.integers(settings.pictures))]
        return {"picture": picture, "prompt": prompt}

    tuning = Finetuning(training, settings.tuning, texts)
    counted = torch.stack([where[row] for row in naming]).to(tuning.unet.device)
    attended = partial(_attention, Recorder(tuning.unet), counted)
    return tuning.fit(hazard, tuning.denoising(pictures.moments, draw, attended)).minutes


def _attention(
    recorder: Recorder,
    counted: Tensor,
    tuning: Finetuning,
    noised: Noised,
    examples: Sequence[Example],
) -> Tensor:
    """The loss of a batch; what the UNet predicts is of no use."""
    rows = [example["prompt"] for example in examples]
    with recorder.recording() as probabilities:
        tuning.predict(noised, rows)
    return loss(probabilities, counted[rows])
