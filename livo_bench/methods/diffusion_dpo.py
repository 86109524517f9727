"""Diffusion-DPO: the UNet itself learns from pairs of a preferred and a dispreferred picture.

With L the mean squared error of the noise prediction of the UNet that learns, L_ref that of the
frozen one, w the preferred picture of a pair and l the dispreferred one, all four under the plain
prompt and at the same noise and time::

    loss = -log sigmoid( -beta_dpo / 2 ((L(w) - L_ref(w)) - (L(l) - L_ref(l))) )

The objective `dpo` is another one: it trains LiVO's value encoder by the same formula, and leaves
the UNet as it is.

Source: Wallace et al. 2024, Diffusion Model Alignment Using Direct Preference Optimization,
arXiv:2311.12908, equation 14, with the weight of its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from livo_bench.cards.catalog import value_tasks
from livo_bench.errors import BadInput
from livo_bench.methods.livo import pairs
from livo_bench.methods.livo.loss import Batch, Losses, dpo
from livo_bench.methods.livo.pairs import WEIGHTS, Pairs
from livo_bench.methods.training import finetuning, processes
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.fitting import Step
from livo_bench.methods.training.preferred import NAME, learn_all
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import Share, Weight, one_of


@dataclass(frozen=True, slots=True)
class DiffusionDpoSettings:
    """How the UNet learns from preferences, on one scale of model."""

    beta_dpo: Weight
    """Beta of the authors' code: half of it stands in the sigmoid, which half `loss.dpo` knows as
    beta and alpha."""
    untold: Share
    """Part of the pairs that are seen without their prompt."""
    weight: Annotated[str, one_of(WEIGHTS)]
    """How a preferred picture is drawn, see `pairs.form`."""
    draws: Mapping[str, Weight]
    """How often a pair is of a subset, relative to the others; by subset."""
    tuning: finetuning.Settings
    """Settings of the fine-tuning; their batch is of pairs."""


def read_settings(method: str, scale: str) -> DiffusionDpoSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    table = settings_table(method, scale)
    settings = table.read(DiffusionDpoSettings, tuning=finetuning.tuning_in(table))
    known = [name for task in value_tasks().values() for name in task.subsets]
    if not settings.draws or not {*settings.draws} <= {*known}:
        raise BadInput(
            f"{table.file} draws pairs of {', '.join(settings.draws) or 'no value'}, expected some "
            f"out of: {', '.join(known)}."
        )
    return settings


def loss(predicted: Tensor, reference: Tensor, targets: Tensor, beta_dpo: float) -> Tensor:
    """The scalar that is minimised: log 2 where the UNet says what the frozen one says.

    Args:
        predicted: What the UNet that learns says of n preferred pictures, then of their n
            dispreferred ones, `(2 n, channels, height, width)`.
        reference: What the frozen one says of them, in the same shape.
        targets: What they are to say of them, in the same shape.
        beta_dpo: See `DiffusionDpoSettings`.
    """
    w, l = _errors(predicted, targets)  # noqa: E741, the paper's symbol
    w_ref, l_ref = _errors(reference, targets)
    half, none = torch.full_like(w, beta_dpo / 2), torch.zeros_like(w)
    return dpo(Losses(w, l, w_ref, l_ref), Batch(half, half, none, none)).mean()


def train(training: Training) -> Path:
    """Train as `learn_all` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training, or
            a value has no pairs.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return learn_all(training, settings, partial(_prefer, training, settings))


def _prefer(
    training: Training, settings: DiffusionDpoSettings, folder: Path, rows: pd.DataFrame
) -> float:
    """Train on pairs of preference data; returns the minutes that took."""
    rows = rows[rows["subset"].isin(settings.draws)]
    with processes.first_goes_first():
        formed = pairs.form(training.session, rows, settings.draws, settings.weight, folder)
    tuning = Finetuning(training, settings.tuning, [*formed.prompts, ""])
    return tuning.fit(NAME, _preferring(tuning, formed, settings)).minutes


def _preferring(tuning: Finetuning, formed: Pairs, settings: DiffusionDpoSettings) -> Step:
    """Steps that learn from pairs.

    Args:
        tuning: Tuning whose texts are the pairs' prompts and, behind them, the empty one.
        formed: What pairs are drawn from.
        settings: Training settings of the method.
    """

    def draw(rng: np.random.Generator) -> Example:
        [pair] = formed.draw(1, settings.draws, rng)
        told = rng.random() >= settings.untold
        text = pair.prompt if told else len(formed.prompts)
        return {"w": pair.preferred, "l": pair.dispreferred, "text": text}

    def step(number: int, generator: torch.Generator) -> Tensor:
        examples = tuning.examples(number, draw)
        # Drawn whole by every process, so that how many there are changes no draw.
        pictures = [example[side] for side in ("w", "l") for example in examples]
        clean = tuning.clean(formed.latents, pictures, generator)
        noised = tuning.noised(clean, generator, alike=2)
        mine = Noised(*(torch.cat([h[tuning.part] for h in each.chunk(2)]) for each in noised))
        texts = [example["text"] for example in examples[tuning.part]] * 2
        with tuning.mixed():
            with torch.no_grad():
                reference = tuning.predict(mine, texts, tuning.frozen)
            predicted = tuning.predict(mine, texts)
            return loss(predicted, reference, mine.targets, settings.beta_dpo)

    return step


def _errors(predicted: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Mean squared errors of preferred and of dispreferred pictures, `(n,)` each."""
    return (predicted - targets).square().mean(dim=(1, 2, 3)).chunk(2)
