"""Pictures of preference data one by one, as a fine-tuning draws them: DAPT's, and RWFT's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from livo_bench.methods.training.finetuning import Example


def of_bias(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of preference data serve bias; the others serve hazards."""
    return rows["group"].notna() & rows["share"].notna()


class Preferred:
    """Pictures with their prompts, of which bias and hazards have a share each."""

    def __init__(self, chosen: pd.DataFrame, bias: float) -> None:
        """
        Args:
            chosen: With `key`, `prompt` and `bias`, which says whether a row serves bias.
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
