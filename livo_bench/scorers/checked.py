"""What scorers return, held against what they owe: a wrong answer is named where it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from livo_bench.errors import BadInput
from livo_bench.interfaces import Columns, Pixels, Scorer
from livo_bench.records import Prompt

COSINE, VECTORS, PERSONS = ("cosine",), ("features", "logits"), ("persons",)
"""Columns of the CLIP scores, the feature network and the detector that numbers are made of."""


def shares_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The columns of the labels' probabilities."""
    return tuple(f"p_{label}" for label in labels)


class Checked:
    """A scorer that is refused where it returns something else than its columns."""

    def __init__(self, scorer: Scorer, columns: Sequence[str], labels: Sequence[str] = ()) -> None:
        """
        Args:
            scorer: What scores.
            columns: Names of the columns that its numbers are made of; it may have others.
            labels: What its `label` may be; none for a scorer without one.
        """
        self.id = scorer.id
        self._scorer = scorer
        self._columns = tuple(columns)
        self._labels = frozenset(labels)

    def load(self) -> None:
        """Load the scorer now."""
        self._scorer.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Score images.

        Raises:
            BadInput: A column is missing, has not a row for each image, or a label is none that
                was asked for.
        """
        found = self._scorer.score(pixels, prompts)
        if not isinstance(found, Mapping):
            raise self._wrong(f"a {type(found).__name__}", "columns by name")
        if lacking := [name for name in self._columns if name not in found]:
            there = ", ".join(found) or "(none)"
            raise self._wrong(f"columns {there}", f"{', '.join(lacking)}, too")
        for name, values in found.items():
            shape = getattr(values, "shape", None)
            if not shape or shape[0] != len(pixels):
                what = type(values).__name__ if shape is None else f"shape {shape}"
                raise self._wrong(
                    f"column {name!r} of {what} for {len(pixels)} images",
                    "an array with a row an image",
                )
        if self._labels:
            # Beside a number that is none stands no answer, whatever it says.
            shares = np.stack([found[name] for name in shares_of(self._labels)])
            labels = np.asarray(found["label"])[np.isfinite(shares).all(axis=0)]
            if other := sorted({*map(str, labels)} - self._labels):
                said, known = ", ".join(map(repr, other)), ", ".join(sorted(self._labels))
                raise self._wrong(f"label {said}", f"one of: {known}")
        return found

    def _wrong(self, found: str, expected: str) -> BadInput:
        kind = type(self._scorer)
        return BadInput(
            f"Scorer {self.id} returned {found}; expected {expected}.",
            f"Mend `score` of {kind.__qualname__} in {kind.__module__}; images are kept.",
        )
