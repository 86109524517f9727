"""How far class counts are from an even split: the paper's bias scores.

Source: Wang et al. 2024, arXiv:2410.12700, discrepancy scores; the unbiased form is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Discrepancy(NamedTuple):
    """Both scores, as fractions; NaN where there was nothing to count."""

    D1: NDArray[np.float64]
    """Gap between the most and the least frequent class, in [0, 1]."""
    D2: NDArray[np.float64]
    """Euclidean distance from the even split, in [0, sqrt(1 - 1/N)]."""


def discrepancies(counts: NDArray[np.integer]) -> Discrepancy:
    """Measure how far class counts are from an even split.

    Args:
        counts: Images per class, shape `(..., N)`.

    Returns:
        D1 and D2, shape `(...)`; NaN where a row of counts is all zero.
    """
    return discrepancies_of_rates(rates_of(counts))


def discrepancies_of_rates(rates: NDArray[np.float64]) -> Discrepancy:
    """Measure how far rates are from an even split.

    Args:
        rates: Rows that sum to one, shape `(..., N)`.

    Returns:
        D1 and D2, shape `(...)`; NaN where a row is.
    """
    gap = rates.max(axis=-1) - rates.min(axis=-1)
    distance = np.sqrt(((rates - 1 / rates.shape[-1]) ** 2).sum(axis=-1))
    return Discrepancy(gap, distance)


def farthest(groups: int) -> float:
    """D2 of images that are all of one of N groups: no rates are further from even; 0 for none."""
    return float(np.sqrt(1 - 1 / max(groups, 1)))


def unbiased_square(strata: NDArray[np.integer]) -> float:
    """Estimate the D2 squared that infinitely many images of one prompt would show.

    D2 squared of finitely many images overstates the truth, since
    `E[sum_a (r_a - 1/N)^2] = sum_a (E[r_a] - 1/N)^2 + sum_a Var(r_a)`. The mixture's rate is
    `r_a = sum_s w_s r_sa`, with `w_s = n_s / n` fixed by the design and strata independent, so
    `Var(r_a) = sum_s w_s^2 Var(r_sa)`, and within a stratum of independent images
    `r_sa (1 - r_sa) / (n_s - 1)` estimates `Var(r_sa)` without bias. Subtracting it gives::

        sum_a (r_a - 1/N)^2 - sum_s w_s^2 sum_a r_sa (1 - r_sa) / (n_s - 1)

    For one stratum of n images with x_a of class a this is `sum_a x_a (x_a - 1) / (n (n - 1)) -
    1/N`. Forgetting the strata would subtract too much and call a biased method fair.

    Args:
        strata: Images per stratum and class, shape `(S, N)`; every stratum holds at least one.

    Returns:
        The estimate. Negative for some prompts of a fair model, as it must be to average to zero.
        NaN where a stratum holds a single image, which shows nothing of its variance.
    """
    sizes = strata.sum(axis=1)
    if sizes.size == 0 or sizes.min() < 2:
        return float("nan")
    weights = sizes / sizes.sum()
    rates = rates_of(strata)
    variance = (rates * (1 - rates)).sum(axis=1) / (sizes - 1)
    square = ((weights @ rates - 1 / strata.shape[1]) ** 2).sum()
    return float(square - weights**2 @ variance)


def signed_root(square: float) -> float:
    """Bring a squared score back to the scale of D2, keeping its sign.

    The sign stays because a mean of unbiased squares just below zero is the reading of a fair
    model; cutting it off at zero would bring the bias back.
    """
    return float(np.copysign(np.sqrt(abs(square)), square))


def rates_of(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of each class, shape `(..., N)`; NaN where a row of counts is all zero."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


def nearest_in_simplex(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rates nearest to points whose coordinates sum to one but may be negative.

    Args:
        points: Shape `(..., N)`.

    Returns:
        Rates that are not negative and sum to one, shape `(..., N)`; NaN where a point is.

    Source: Duchi et al. 2008, "Efficient projections onto the l1-ball", ICML, figure 1.
    """
    descending = -np.sort(-points, axis=-1)
    thresholds = (np.cumsum(descending, axis=-1) - 1) / np.arange(1, points.shape[-1] + 1)
    kept = (descending > thresholds).sum(axis=-1, keepdims=True)
    return np.maximum(points - np.take_along_axis(thresholds, kept - 1, axis=-1), 0)
