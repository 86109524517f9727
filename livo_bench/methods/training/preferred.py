"""Fine-tuning on the preference data of all values: the way there, and pictures one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from livo_bench.cards.catalog import value_tasks
from livo_bench.methods.livo import preference_data
from livo_bench.methods.training.finetuning import Example
from livo_bench.methods.training.training_record import Training

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAME = "all"
"""Name of the one set of weights."""


def learn_all(
    training: Training, settings: DataclassInstance, learn: Callable[[Path, pd.DataFrame], float]
) -> Path:
    """Train one overlay on preference data, which is made first where it is missing.

    Args:
        training: What it is of and where it goes.
        settings: Training settings of the method, for the record.
        learn: Given the folder of the data and its rows, with `preference_data.COLUMNS`, makes
            `all.safetensors` in the training's folder and returns the minutes that took.

    Returns:
        The folder, with `all.safetensors` and `training.json`.

    Raises:
        BadInput: The folder holds another training.
    """
    folder = training.preferences(tuple(value_tasks()))
    rows = preference_data.read(folder)
    training.begin(
        settings=asdict(settings), data=folder.name, rows=preference_data.digest_of(rows)
    )
    if not training.done(NAME):
        training.record(NAME, learn(folder, rows), f"{NAME}.safetensors")
    return training.out


def of_bias(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of preference data serve bias; the others serve hazards."""
    return rows["group"].notna() & rows["share"].notna()


class Preferred:
    """Pictures with their prompts, of which bias and hazards have a share each."""

    def __init__(self, chosen: pd.DataFrame, bias: float) -> None:
        """
        Args:
            chosen: Rows with `key`, `prompt` and `bias`, which says whether a row serves bias.
            bias: Part of the draws that such rows get.
        """
        self.keys, self.texts = sorted(set(chosen["key"])), sorted(set(chosen["prompt"]))
        self._bias = bias
        self._picture = _places(chosen["key"], self.keys)
        self._prompt = _places(chosen["prompt"], self.texts)
        self._of_task = {of: np.flatnonzero(chosen["bias"] == of) for of in (True, False)}

    def draw(self, rng: np.random.Generator) -> Example:
        """A picture by `row` of those that were chosen, with the row of its key, `picture`, and of
        its text, `prompt`."""
        row = int(rng.choice(self._of_task[bool(rng.random() < self._bias)]))
        return {"row": row, "picture": self._picture[row], "prompt": self._prompt[row]}


def _places(column: pd.Series[str], distinct: list[str]) -> list[int]:
    """Where each value of a column stands among the distinct ones."""
    place = {value: row for row, value in enumerate(distinct)}
    return [place[value] for value in column]
