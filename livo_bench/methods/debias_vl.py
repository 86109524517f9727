"""DebiasVL: text states projected so that prompts with one attribute and another come together.

With z_i and z_j the normalised states at the end of texts that differ in their attribute alone::

    P = (I + lam M)^-1        M = mean over pairs of (z_i - z_j) (z_i - z_j)^T

All states of a prompt are multiplied by P; those of the unconditional branch stay. That takes the
attribute's direction out, and does not ask for balance.

Source: Chuang et al. 2023, Debiasing Vision-Language Models via Biased Prompts, arXiv:2302.00070,
section 4 and the released code for generative models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.prompts import read_task_prompts, with_attributes
from livo_bench.engines import projection
from livo_bench.engines.diffusion import Diffusion
from livo_bench.interfaces import MethodContext
from livo_bench.methods import by_value
from livo_bench.methods.by_value import ByValue
from livo_bench.methods.concept_edit import States
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.records import BIAS, Prompt
from livo_bench.schema import Factor


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """How a projection is solved for on one scale of model."""

    lam: Factor
    """Weight of the pairs beside the states as they are."""


def read_settings(method: str, scale: str) -> ProjectionSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    return settings_table(method, scale).read(ProjectionSettings)


def train(training: Training) -> Path:
    """Solve for the projection of each value of the bias tasks.

    Returns:
        The folder, with `<subset>.safetensors` and `training.json`.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    session, out = training.session, training.out
    settings = read_settings(training.method, session.model.scale)
    training.begin(settings=asdict(settings))
    for task in value_tasks().values():
        if task.kind != BIAS:
            continue
        prompts = read_task_prompts(task, session.model.scale, split="train")
        for subset in task.subsets.values():
            if training.done(subset.name):
                continue
            started = time.monotonic()
            apart = differences(session.engine, prompts, subset.attributes)
            p = torch.from_numpy(solve(apart, settings.lam))
            projection.save(p, session.digest, out / f"{subset.name}.safetensors")
            minutes = round((time.monotonic() - started) / 60, 2)
            training.record(subset.name, minutes, f"{subset.name}.safetensors")
    return out


def differences(engine: Diffusion, prompts: Sequence[Prompt], groups: Sequence[str]) -> States:
    """Subtract states, z_i - z_j, of each prompt and pair of groups, `(prompts x pairs, d)`."""
    ends = np.stack(
        [[_end(engine, with_attributes(prompt, [group])) for group in groups] for prompt in prompts]
    )
    pairs = [ends[:, i] - ends[:, j] for i, j in combinations(range(len(groups)), 2)]
    return np.concatenate(pairs)


def solve(apart: States, lam: float) -> States:
    """Solve for the projection P of differences `(n, d)`: symmetric, `(d, d)`, float64."""
    m = apart.T @ apart / len(apart)
    return np.linalg.inv(np.eye(len(m)) + lam * m).astype(np.float64, copy=False)


def _end(engine: Diffusion, text: str) -> States:
    """The normalised state at the end of a text, `(d,)`."""
    last = len(engine.tokenizer(text, truncation=True).input_ids) - 1
    state: States = engine.embed(text)[last].cpu().double().numpy()
    return state / np.linalg.norm(state)


def load(context: MethodContext) -> ByValue:
    """Make the method that a card's settings describe, see `by_value.find`."""
    return by_value.find(context, "projection", "projections", projection.require_fit)
