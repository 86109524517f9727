"""DAPT: the UNet trains on, on balanced pictures of people and harmless ones of hazards.

For bias, all pictures with attributes written in, under the plain prompt: rare and frequent groups
alike, so they are balanced as they were made. For toxicity the cleaned twins, under the toxic
prompt. The loss is that of diffusion training: `mse(e(z_t, t, x), noise)`.

Source: the baseline of Wang et al. 2024, arXiv:2410.12700, section 4.1, after Gururangan et al.
2020, arXiv:2004.10964. The paper names neither parameters nor data in more detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.cards.catalog import value_tasks
from livo_bench.methods.livo import preference_data
from livo_bench.methods.training import finetuning, processes
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.latents import moments_of
from livo_bench.methods.training.preferred import Preferred, of_bias
from livo_bench.methods.training.recipes import recipe_table
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import Share

NAME = "all"
"""Of the overlay: one for bias and toxicity together."""


@dataclass(frozen=True, slots=True)
class AdaptationRecipe:
    """How the UNet trains on, on one scale of model."""

    bias: Share
    """Part of the pictures of a batch that serve bias."""
    settings: finetuning.Settings


def read_recipe(method: str, scale: str) -> AdaptationRecipe:
    """Read a method's recipe.

    Raises:
        BadInput: It is not what it should be.
    """
    table = recipe_table(method, scale)
    return table.read(AdaptationRecipe, settings=table.part(finetuning.Settings))


def pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """The pictures to train on, out of preference data.

    Args:
        rows: With `preference_data.COLUMNS`.

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
    """Train the overlay on preference data, which is made first where it is missing.

    Returns:
        The folder, with `all.safetensors` and `training.json`.

    Raises:
        BadInput: The recipe is not what it should be, or the folder holds another training.
    """
    session = training.session
    recipe = read_recipe(training.method, session.model.scale)
    folder = training.preferences(tuple(value_tasks()))
    rows = preference_data.read(folder)
    training.begin(recipe=asdict(recipe), data=folder.name, rows=preference_data.digest_of(rows))
    if training.done(NAME):
        return training.out
    chosen = Preferred(pictures(rows), recipe.bias)
    tuning = Finetuning(training, recipe.settings, chosen.texts)
    with processes.first_goes_first():
        moments = moments_of(session, chosen.keys, folder)
    fit = tuning.fit(NAME, tuning.denoising(moments, chosen.draw, loss))
    training.record(NAME, fit.minutes, f"{NAME}.safetensors")
    return training.out
