"""Selective Amnesia: a hazard's prompts learn other pictures, and all else is held where it was.

Continual learning turned to forgetting. Surrogates are the unaligned model's pictures of detoxified
train prompts, learnt under the hazard's; replayed are its pictures of people, under their own
prompts. With theta* the weights at the start, and F their Fisher information::

    L = mse(surrogates) + gamma mse(replayed) + lam sum F (theta - theta*)^2
    F = mean over replayed pictures of (gradient of mse, summed over the diffusion steps)^2

Source: Heng and Soh 2023, Selective Amnesia: A Continual Learning Approach to Forgetting in Deep
Generative Models, arXiv:2305.10120, and the released code, which squares the gradient of the sum.
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
from torch.nn.functional import mse_loss

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cards.wording import detoxified
from livo_bench.errors import BadInput
from livo_bench.methods import by_hazard
from livo_bench.methods.training import finetuning, fisher, own_pictures
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.fitting import Step
from livo_bench.methods.training.own_pictures import OwnPictures
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.records import BIAS, Prompt
from livo_bench.schema import Count, Factor, between


@dataclass(frozen=True, slots=True)
class AmnesiaSettings:
    """How hazards are forgotten on one scale of model."""

    anchors: Count
    """Surrogate pictures of a train prompt."""
    replayed: Count
    """Pictures of each train prompt of people."""
    times: Annotated[int, between(1, 1000)]
    """Diffusion steps, evenly apart, that stand for all of them in F."""
    gamma: Factor
    """Weight of what is replayed."""
    lam: Factor
    """Weight of what holds the parameters, the released code's `lmbda`."""
    tuning: finetuning.Settings


def read_settings(method: str, scale: str) -> AmnesiaSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    table = settings_table(method, scale)
    settings = table.read(AmnesiaSettings, tuning=finetuning.tuning_in(table))
    if settings.tuning.rank is not None:
        raise BadInput(
            f"{table.file}: rank is {settings.tuning.rank}; expected none, for half of a LoRA has "
            "no gradient at the start, so that its Fisher information would hold nothing. Leave "
            "it out, and choose a smaller group of parameters."
        )
    return settings


def loss(forgotten: Tensor, remembered: Tensor, held: Tensor, settings: AmnesiaSettings) -> Tensor:
    """What is learnt by, a scalar.

    Args:
        forgotten: Mean squared error on surrogates.
        remembered: The same on what is replayed.
        held: What the parameters have moved, see `fisher.moved`.
        settings: With the weights.
    """
    return forgotten + settings.gamma * remembered + settings.lam * held


def train(training: Training) -> Path:
    """Train as `by_hazard.learn_each` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return by_hazard.learn_each(training, settings, partial(_forget, training, settings))


def people(scale: str) -> list[Prompt]:
    """Prompts whose pictures are replayed: the train prompts of bias, which name no hazard.

    Args:
        scale: Scale of the model.
    """
    tasks = [task for task in value_tasks().values() if task.kind == BIAS]
    return [prompt for task in tasks for prompt in read_task_prompts(task, scale, "train")]


def _forget(
    training: Training, settings: AmnesiaSettings, hazard: str, prompts: Sequence[Prompt]
) -> float:
    """Train the overlay of a hazard; returns the minutes that took, without the Fisher pass."""
    kept = people(training.session.model.scale)
    harmless = [(prompt, detoxified(prompt.text)) for prompt in prompts]
    surrogates = own_pictures.of(training, harmless, settings.anchors)
    replayed = own_pictures.of(training, [(p, p.text) for p in kept], settings.replayed)
    texts = [prompt.text for prompt in [*kept, *prompts]]
    tuning = Finetuning(training, settings.tuning, texts)
    weights = fisher.of(tuning, replayed, settings.times)
    step = _forgetting(tuning, surrogates, replayed, weights, settings)
    return tuning.fit(hazard, step).minutes


def _forgetting(
    tuning: Finetuning,
    surrogates: OwnPictures,
    replayed: OwnPictures,
    weights: Sequence[Tensor],
    settings: AmnesiaSettings,
) -> Step:
    """Steps that learn from surrogates and remember by what is replayed.

    Args:
        tuning: Tuning whose texts are those of the replayed pictures and then those of the hazard.
        surrogates: Surrogate pictures by prompt of the hazard.
        replayed: Replayed pictures by text.
        weights: F, one tensor a parameter that learns.
        settings: Training settings of the method.
    """
    now = list(tuning.learning.values())
    own = [parameter.detach().clone() for parameter in now]
    kept = len(replayed.rows)

    def draw(rng: np.random.Generator) -> Example:
        prompt, text = int(rng.integers(len(surrogates.rows))), int(rng.integers(kept))
        return {
            "prompt": kept + prompt,
            "surrogate": surrogates.rows[prompt][int(rng.integers(settings.anchors))],
            "text": text,
            "replayed": replayed.rows[text][int(rng.integers(settings.replayed))],
        }

    def step(number: int, generator: torch.Generator) -> Tensor:
        examples = tuning.examples(number, draw)

        def error(pictures: OwnPictures, picture: str, text: str) -> Tensor:
            # Drawn whole by every process, so that how many there are changes no draw.
            drawn = [example[picture] for example in examples]
            whole = tuning.noised(tuning.clean(pictures.moments, drawn, generator), generator)
            noised = Noised(*(each[tuning.part] for each in whole))
            rows = [example[text] for example in examples[tuning.part]]
            return mse_loss(tuning.predict(noised, rows), noised.targets)

        with tuning.mixed():
            forgotten = error(surrogates, "surrogate", "prompt")
            remembered = error(replayed, "replayed", "text")
        return loss(forgotten, remembered, fisher.moved(now, own, weights), settings)

    return step
