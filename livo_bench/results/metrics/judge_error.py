"""Judge error: what a judge that mislabels some images would have read without its mistakes.

How a judge errs is measured on images whose truth is known: a *confusion matrix* M, the rate at
which images of class t are labelled l. Among images of true rates q the judge then gives label l at
the rate `r_l = sum_t q_t M_tl`, that is `r = q M`, whatever q is, as long as it errs on the images
at hand as it did on those that were measured. So `q = r M^-1` wherever M can be inverted, and
because r is unbiased and the map linear, the estimate is unbiased, too. For two classes it is
`(r + specificity - 1) / (sensitivity + specificity - 1)`.

Sources: Rogan and Gladen 1978, American Journal of Epidemiology 107; for more classes, Buonaccorsi
2010, "Measurement Error", chapter 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.csvs import read_csv
from livo_bench.errors import BadInput, NotComparable
from livo_bench.results.metrics.discrepancy import nearest_in_simplex

MATRICES = 400
"""Matrices drawn for an interval."""
COLUMNS = ("scorer", "truth", "label", "images")
"""Columns of a file of confusion matrices."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How one judge labels images whose class is known."""

    scorer: str
    """Id of the judge, with the digest of its weights and texts: it speaks of no other."""
    classes: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    """Images by true class (outer) and label (inner), in the order of the classes. Where images
    were drawn with weights, the rates times what they are worth, see `raters.estimates`."""

    @property
    def rates(self) -> NDArray[np.float64]:
        """M, shape `(N, N)`: row t holds the rate of each label among images of class t."""
        counts = np.array(self.counts, dtype=np.float64)
        return counts / counts.sum(axis=1, keepdims=True)

    def drawn(self) -> NDArray[np.float64]:
        """Matrices that the counts could as well come from, shape `(MATRICES, N, N)`.

        A class that was never mislabelled in m images may still be in about 1 of m. Each row is
        drawn from what is known of it after the count: a Dirichlet distribution, with a prior of
        half an image labelled right and half an image labelled wrong, which is Jeffreys's for the
        question whether a label is right.
        """
        random = np.random.default_rng(0)
        size = len(self.classes)
        prior = np.where(np.eye(size, dtype=bool), 0.5, 0.5 / (size - 1))
        known = np.array(self.counts, dtype=np.float64) + prior
        return np.stack([random.dirichlet(row, MATRICES) for row in known], axis=1)


def unbiased_rates(
    rates: NDArray[np.float64], matrices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The true rates behind labels, `r M^-1`: unbiased, so some may be below 0 or above 1.

    Args:
        rates: Rates of the labels, shape `(P, N)`.
        matrices: M, shape `(N, N)`, or several, `(d, N, N)`.

    Returns:
        Rows that sum to one, shape `(P, N)` or `(d, P, N)`. Noise grows with the judge's error: for
        two classes by the factor `1 / (sensitivity + specificity - 1)`.
    """
    estimates: NDArray[np.float64] = rates @ np.linalg.inv(matrices)
    return estimates


def corrected_rates(
    rates: NDArray[np.float64], matrices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The possible rates nearest to the unbiased ones, see `unbiased_rates`.

    The true rates lie in the simplex, which is convex. Moving an estimate to its nearest point
    there never takes it further from them, but it is no longer unbiased: where a class is all but
    absent it reads a little high. Means over prompts of a single rate need no such step.
    """
    return nearest_in_simplex(unbiased_rates(rates, matrices))


def read_confusions(path: Path) -> dict[str, Confusion]:
    """Read a CSV of confusion matrices, with the columns `COLUMNS`.

    Args:
        path: One row per judge, true class and label; pairs that never occurred may be left out.

    Returns:
        By id of the judge; classes are in the order in which the file names them as truth.

    Raises:
        BadInput: The file is not what it should be, or some class is not labelled right in more
            than half of its images. More than half in each row makes M diagonally dominant, hence
            invertible (Levy-Desplanques); with less a judge can say nothing of the rates.
    """
    rows = read_csv(path, COLUMNS, "Make it with livo-bench mini confusion.", ("images",))
    if wrong := [count for count in rows["images"].astype(float) if not count >= 0]:
        raise BadInput(
            f"{path} has {wrong[0]:g} images; expected numbers from 0 up.",
            "Make it with livo-bench mini confusion.",
        )
    return {str(name): _confusion(str(name), part, path) for name, part in rows.groupby("scorer")}


def _confusion(scorer: str, rows: pd.DataFrame, path: Path) -> Confusion:
    classes = tuple(dict.fromkeys(rows["truth"]))
    strange = sorted(set(rows["label"]) - set(classes))
    if strange:
        raise BadInput(
            f"{path}: judge {scorer} labels images {', '.join(strange)}, of which there is no "
            f"image; expected labels among {', '.join(classes)}."
        )
    if len(classes) < 2:
        raise BadInput(
            f"{path}: judge {scorer} has images of {', '.join(classes)} alone; expected at least "
            "two classes."
        )
    counts = rows.pivot_table("images", "truth", "label", "sum", fill_value=0)
    table = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    for name, row, right in zip(classes, table, np.diag(table), strict=True):
        if 2 * right <= row.sum():
            raise BadInput(
                f"{path}: judge {scorer} labels {right:g} of {row.sum():g} images of {name} right; "
                "expected more than half, or its labels cannot be corrected."
            )
    return Confusion(scorer, classes, tuple(tuple(map(float, row)) for row in table))


def confusion_for(
    confusions: Mapping[str, Confusion], subset: str, scorer: str, classes: Sequence[str]
) -> Confusion | None:
    """The matrix of a subset's judge, None where it was not measured.

    Raises:
        NotComparable: It is another judge's, or has other classes.
    """
    found = confusions.get(subset)
    if found is None:
        return None
    if found.scorer != scorer:
        raise NotComparable(
            f"The confusion matrix for '{subset}' is that of judge {found.scorer}, but {scorer} "
            "labelled the images.",
            "Measure that judge: livo-bench mini confusion",
        )
    if found.classes != tuple(classes):
        raise NotComparable(
            f"The confusion matrix for '{subset}' has the classes {', '.join(found.classes)}; "
            f"expected {', '.join(classes)}, in this order, for which its judge was asked."
        )
    return found
