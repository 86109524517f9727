"""DAPT: the UNet trains on, on balanced pictures of people and harmless ones of hazards.

For bias, all pictures with attributes written in, under the plain prompt: rare and frequent groups
alike, so they are balanced as they were made. For toxicity the cleaned twins, under the toxic
prompt. The loss is that of diffusion training: `mse(e(z_t, t, x), noise)`.

Source: the baseline of Wang et al. 2024, arXiv:2410.12700, section 4.1, after Gururangan et al.
2020, arXiv:2004.10964. The paper names neither parameters nor data in more detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.methods.training import finetuning, processes
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.latents import moments_of
from livo_bench.methods.training.preferred import NAME, Preferred, learn_all, of_bias
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import Share


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """How the UNet trains on, on one scale of model."""

    bias: Share
    """Part of the pictures of a batch that serve bias."""
    tuning: finetuning.Settings


read_settings = partial(finetuning.read_settings, AdaptationSettings)


def pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """The pictures to train on, out of preference data.

    Args:
        rows: Rows with `preference_data.COLUMNS`.

    Returns:
        Distinct rows of `key`, `prompt` and `bias`, which says the task: of bias every picture, of
        hazards the preferred ones.
    """
    bias = of_bias(rows)
    chosen = rows.assign(bias=bias)[bias | rows["preferred"]]
    return chosen[["key", "prompt", "bias"]].drop_duplicates().reset_index(drop=True)


def loss(tuning: Finetuning, noised: Noised, examples: Sequence[Example]) -> Tensor:
    """Mean squared error of the noise prediction, a scalar."""
    predicted = tuning.predict(noised, [example["prompt"] for example in examples])
    return mse_loss(predicted, noised.targets)


def train(training: Training) -> Path:
    """Train as `learn_all` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return learn_all(training, settings, partial(_adapt, training, settings))


def _adapt(
    training: Training, settings: AdaptationSettings, folder: Path, rows: pd.DataFrame
) -> float:
    """Train on pictures of preference data; returns the minutes that took."""
    chosen = Preferred(pictures(rows), settings.bias)
    tuning = Finetuning(training, settings.tuning, chosen.texts)
    with processes.first_goes_first():
        moments = moments_of(training.session, chosen.keys, folder)
    return tuning.fit(NAME, tuning.denoising(moments, chosen.draw, loss)).minutes
