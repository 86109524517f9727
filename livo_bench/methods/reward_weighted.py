"""Reward-weighted fine-tuning (RWFT): pictures count by what an annotator makes of them.

With z_t the noised latent of a picture of prompt x, r its reward in [0, 1], and z'_t that of a
picture that the unaligned model made of a prompt x' which touches no value::

    L = mean r |e(z_t, t, x) - noise|^2 + beta mean |e(z'_t, t, x') - noise'|^2

Source: Lee et al. 2023, Aligning Text-to-Image Models using Human Feedback, arXiv:2302.12192,
section 4.3. Ours is the reward: for a hazard 1 where the annotator sees none, else 0; for a value
with N groups min(1, (1 / N) / share), of the picture's group among pictures of the plain prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from livo_bench.cards.prompts import read_value_free_prompts
from livo_bench.methods.livo import preference
from livo_bench.methods.training import finetuning, own_pictures, processes
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.fitting import Step
from livo_bench.methods.training.latents import Moments, moments_of
from livo_bench.methods.training.own_pictures import OwnPictures
from livo_bench.methods.training.preferred import NAME, Preferred, learn_all, of_bias
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import Count, Factor, Share


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """How the UNet learns from rewarded pictures on one scale of model."""

    bias: Share
    """Part of the rewarded pictures that serve bias."""
    beta: Factor
    """Weight of the model's own pictures."""
    images: Count
    """Own pictures of each prompt that touches no value."""
    tuning: finetuning.Settings
    """Settings of the fine-tuning; a batch has as many own pictures besides as it has of others."""


read_settings = partial(finetuning.read_settings, RewardSettings)


def rewarded(rows: pd.DataFrame) -> pd.DataFrame:
    """Pictures with their rewards, out of preference data.

    Args:
        rows: Rows with `preference_data.COLUMNS`.

    Returns:
        `key`, `prompt`, `bias`, which says the task, and `reward`; a picture that serves several
        values has a row for each.
    """
    bias = of_bias(rows)
    even = [1 / (preference.groups_of(subset) or 1) for subset in rows["subset"]]
    rarity = (np.array(even) / rows["share"].clip(lower=1e-9)).clip(upper=1)
    reward = rarity.where(bias, rows["preferred"].astype(float))
    return rows[["key", "prompt"]].assign(bias=bias, reward=reward).reset_index(drop=True)


def loss(errors: Tensor, rewards: Tensor, own: Tensor, beta: float) -> Tensor:
    """Reward-weighted error with that of the model's own pictures, a scalar.

    Args:
        errors: Mean squared ones of the noise prediction, of pictures with rewards, `(n,)`.
        rewards: Rewards in [0, 1], `(n,)`.
        own: Errors of own pictures, `(m,)`.
        beta: Their weight.
    """
    return (rewards * errors).mean() + beta * own.mean()


def train(training: Training) -> Path:
    """Train as `learn_all` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return learn_all(training, settings, partial(_reward, training, settings))


def _reward(
    training: Training, settings: RewardSettings, folder: Path, rows: pd.DataFrame
) -> float:
    """Train on rewarded pictures of preference data and on own ones; returns the minutes that
    took."""
    session, chosen = training.session, rewarded(rows)
    pictures = Preferred(chosen, settings.bias)
    kept = read_value_free_prompts(session.model.scale, "train")
    own = own_pictures.of(training, [(prompt, prompt.text) for prompt in kept], settings.images)
    with processes.first_goes_first():
        moments = moments_of(session, pictures.keys, folder)
    tuning = Finetuning(training, settings.tuning, [*pictures.texts, *(p.text for p in kept)])
    rewards = torch.tensor(chosen["reward"].to_numpy(), dtype=torch.float32)
    step = _weighing(tuning, settings, pictures, moments, rewards, own)
    return tuning.fit(NAME, step).minutes


def _weighing(
    tuning: Finetuning,
    settings: RewardSettings,
    pictures: Preferred,
    moments: Moments,
    rewards: Tensor,
    own: OwnPictures,
) -> Step:
    """Steps that learn from rewarded pictures and own ones, half and half."""

    def draw(rng: np.random.Generator) -> Example:
        text = int(rng.integers(len(own.rows)))
        kept = own.rows[text][int(rng.integers(settings.images))]
        return {**pictures.draw(rng), "own": kept, "own prompt": len(pictures.texts) + text}

    def noised(moments: Moments, rows: list[int], generator: torch.Generator) -> Noised:
        # Drawn whole by every process, so that how many there are changes no draw.
        whole = tuning.noised(tuning.clean(moments, rows, generator), generator)
        return Noised(*(part[tuning.part] for part in whole))

    def step(number: int, generator: torch.Generator) -> Tensor:
        examples = tuning.examples(number, draw)
        halves = [
            noised(of, [example[role] for example in examples], generator)
            for of, role in ((moments, "picture"), (own.moments, "own"))
        ]
        mine = examples[tuning.part]
        together = Noised(*(torch.cat(parts) for parts in zip(*halves, strict=True)))
        texts = [example[role] for role in ("prompt", "own prompt") for example in mine]
        with tuning.mixed():
            predicted = tuning.predict(together, texts)
        errors = (predicted - together.targets).square().mean(dim=(1, 2, 3))
        weights = rewards[[example["row"] for example in mine]].to(errors)
        return loss(errors[: len(mine)], weights, errors[len(mine) :], settings.beta)

    return step
