"""Intervals of scores over the population of prompts.

Prompts are not resampled within: the score of a prompt is `f_p = mu_p + e_p`, what the prompt is
like and the luck of its images, and the spread of the observed f_p over prompts holds both terms.
Drawing images again would add the second one twice. (Davison and Hinkley 1997, section 3.8.) Where
prompts form clusters, these are the highest level, and by the same argument nothing is drawn within
them.

Which method covers what it says, with how many clusters and of which scores, was simulated:
`benchmarks/coverage.py`, and its table in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri, stdtrit

from livo_bench.metrics.discrepancy import discrepancies, farthest
from livo_bench.metrics.statistics import (
    ROUNDING,
    by_cluster,
    effective,
    labels_of,
    variance_over_prompts,
)

RESAMPLES = 4000
"""Draws of weights or errors; their luck moves an end by 0.04 standard errors."""
JACKKNIFE_GROUPS = 30
"""At most so many groups of clusters are left out in turn."""
FEWEST_POOLED = 5
"""Clusters behind an interval of a pooled distance; by four it covers less than 93 %."""
TAIL = 0.025
"""Beyond either end of a 95 % interval."""


class Interval(NamedTuple):
    """Ends of a 95 % interval; NaN where nothing honest can be said."""

    low: float
    high: float


class Ends(NamedTuple):
    """Between which each score lies, whatever the prompt."""

    lowest: float
    highest: float


NO_INTERVAL = Interval(float("nan"), float("nan"))
SHARE = Ends(0.0, 1.0)
"""Of rates, probabilities and gaps between rates."""


class _Sample(NamedTuple):
    """Scores of clusters of prompts."""

    totals: NDArray[np.float64]
    """Sum over each cluster's prompts, shape `(C,)`."""
    sizes: NDArray[np.intp]
    """Prompts of each cluster, shape `(C,)`."""
    mean: float
    """Over prompts."""
    variance: float
    """Of that mean."""
    freedom: float
    """Of the variance; one less than `clusters`."""

    @classmethod
    def of(cls, values: ArrayLike, clusters: ArrayLike | None) -> _Sample | None:
        """Those that have a score; None where they are worth fewer than two clusters."""
        scores = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(scores)
        labels = labels_of(clusters, scores.size)[known]
        totals, sizes = by_cluster(scores[known], labels)
        if sizes.size < 2 or effective(sizes) < 2:
            return None
        variance, freedom = variance_over_prompts(scores[known], labels)
        mean = float(scores[known].mean())
        return cls(totals, sizes, mean, variance / int(sizes.sum()), freedom)

    @property
    def clusters(self) -> float:
        """Their number, see `effective`."""
        return self.freedom + 1


def interval_of_mean(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    ends: Ends | None = SHARE,
    shifts: NDArray[np.float64] | None = None,
) -> Interval:
    """95 % interval of the mean of a per-prompt score over the population of prompts.

    A t interval on the scale of the logit, on which it is not cut off where scores end, from the
    squared error of a mean of clusters, see `statistics.p_above`: with m the mean as a share of the
    way from one end to the other and e its error, `logit(m) +- t e / (m (1 - m))`.

    Near an end there is too little to take a spread from. Of 8 prompts without a toxic image, not
    only may some have a few, but 3 of 10 prompts like them may be toxic through and through, and
    none was drawn; and one toxic image among them says hardly more. So where the scores of all
    clusters together are less than one whole cluster's, from either end, the interval is that of
    `bound`, which holds 95 % or more whatever the population.

    Args:
        values: One score a prompt, shape `(P,)`; NaN where a prompt has none, which is left out.
        clusters: That of each prompt, shape `(P,)`; each its own by default.
        ends: Of the score; estimates that are unbiased may lie outside. None for a score without,
            whose interval is the t interval.
        shifts: Draws of what else moves the mean, whichever the prompts are, such as the error of
            a judge's confusion matrix; shape `(d,)`. The interval holds both errors, which are
            independent.

    Returns:
        Both ends; NaN where the clusters that have a score are worth fewer than two, or where all
        scores without ends are the same.
    """
    sample = _Sample.of(values, clusters)
    if sample is None:
        return NO_INTERVAL
    if ends is None:
        return _t_interval(sample, shifts)
    lowest, highest = _widened(ends, values)
    share = (sample.mean - lowest) / (highest - lowest)
    room = min(share, 1 - share)
    if sample.clusters * room < 1 - ROUNDING or sample.variance < ROUNDING**2:
        return bound(values, clusters, ends, shifts)
    error = _error(sample, shifts) / (highest - lowest)
    reach = _quantile(sample) * error / (share * (1 - share))
    low, high = expit(logit(share) + np.array([-reach, reach]))
    return Interval(*(lowest + (highest - lowest) * np.array([low, high])).tolist())


def interval_of_difference(
    differences: ArrayLike, clusters: ArrayLike | None = None, ends: Ends | None = None
) -> Interval:
    """95 % interval of a mean difference over the population of prompts.

    The t interval, where it can be relied on. An effect that most prompts share may be turned round
    in few others: if one prompt in 8 gains 70 points and the others lose 10, nothing changes on
    average, and of 8 prompts drawn a third of the times all lose 10. So where the t interval
    excludes zero and `bound` does not, or where the differences of all clusters together are less
    than one whole cluster's, the interval is the latter's.

    Args:
        differences: One a prompt, shape `(P,)`.
        clusters: As in `interval_of_mean`.
        ends: Of a difference, as for a method that may do anything to what the baseline does on
            average; None for a score without, which has the t interval alone.

    Returns:
        Both ends; NaN as in `interval_of_mean`.
    """
    sample = _Sample.of(differences, clusters)
    if sample is None:
        return NO_INTERVAL
    plain = _t_interval(sample)
    if ends is None:
        return plain
    wide = bound(differences, clusters, ends)
    small = sample.clusters * np.abs(differences).mean() < 1
    undecided = not _holds_zero(plain) and _holds_zero(wide)
    return wide if small or undecided else plain


def _holds_zero(interval: Interval) -> bool:
    return not (interval.low > 0 or interval.high < 0)


def bound(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    ends: Ends = SHARE,
    shifts: NDArray[np.float64] | None = None,
) -> Interval:
    """Interval of a mean that holds 95 % or more, whatever the population between the ends.

    The clusters are weighted at random, by independent exponential variables, together with one
    more of average size that was not drawn and has the highest score there is; 2.5 % of such means
    are above the upper end. The lower end is found likewise. For scores of 0 and 1 these are the
    limits of Clopper and Pearson: `1 - 0.025^(1/n)` where n clusters are all 0, 37 % for 8.

    Source: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean
    of a nonnegative variable", Mathematical Methods of Statistics 14; that it covers is proven for
    two-valued scores and conjectured for others, where no counterexample is known (Learned-Miller
    and Thomas 2020, arXiv:1905.06208).

    Args:
        values: As in `interval_of_mean`; likewise the others.
        clusters: Likewise.
        ends: Likewise.
        shifts: Likewise.

    Returns:
        Both ends; NaN as in `interval_of_mean`.
    """
    sample = _Sample.of(values, clusters)
    if sample is None:
        return NO_INTERVAL
    lowest, highest = _widened(ends, values)
    drawn = _weights(sample.sizes.size)
    total, size = drawn @ sample.totals, drawn @ sample.sizes
    average = float(sample.sizes.sum()) / sample.clusters
    moved = np.zeros(1) if shifts is None else np.resize(shifts, RESAMPLES)
    high = _upper_end(total, size, average, highest, moved)
    return Interval(-_upper_end(-total, size, average, -lowest, -moved), high)


def _upper_end(
    total: NDArray[np.float64],
    size: NDArray[np.float64],
    average: float,
    highest: float,
    moved: NDArray[np.float64],
) -> float:
    """The mean that 2.5 % of the weighted means, each moved by so much, are above.

    With w the weight of the cluster that was not drawn, a mean is `(total + w average highest) /
    (size + w average)`, and above m where `w > (m size - total) / (average (highest - m))`; the
    chance of that is known, so that w need not be drawn.
    """

    def too_many(mean: float) -> float:
        m = mean - moved
        least = np.maximum(m * size - total, 0) / (average * np.maximum(highest - m, ROUNDING))
        return float(np.where(m < highest, np.exp(-least), 0.0).mean()) - TAIL

    bottom, top = float((total / size + moved).min()), highest + float(moved.max())
    mean = brentq(too_many, bottom - ROUNDING, top + ROUNDING, xtol=1e-7)
    return float(np.clip(mean, bottom, top))


def _widened(ends: Ends, values: ArrayLike) -> Ends:
    """With room for estimates that lie outside."""
    return Ends(min(ends.lowest, np.nanmin(values)), max(ends.highest, np.nanmax(values)))


@lru_cache(maxsize=8)
def _weights(clusters: int) -> NDArray[np.float64]:
    """Those of clusters, shape `(RESAMPLES, clusters)`."""
    return np.random.default_rng(0).standard_exponential((RESAMPLES, clusters))


def _t_interval(sample: _Sample, shifts: NDArray[np.float64] | None = None) -> Interval:
    if sample.variance < ROUNDING**2:
        return NO_INTERVAL
    reach = _quantile(sample) * _error(sample, shifts)
    return Interval(sample.mean - reach, sample.mean + reach)


def _error(sample: _Sample, shifts: NDArray[np.float64] | None) -> float:
    """Of the mean, with that of what else moves it."""
    return float(np.sqrt(sample.variance + (0.0 if shifts is None else np.mean(shifts**2))))


def _quantile(sample: _Sample) -> float:
    return float(stdtrit(sample.freedom, 1 - TAIL))


def interval_of_pooled_distance(
    counts: NDArray[np.integer], clusters: ArrayLike | None = None
) -> Interval:
    """95 % interval of D2 of the pooled counts of all prompts.

    A distance that is nearly zero can only be estimated as further out. The rates themselves have
    no such end: a ball around the observed rates whose radius is the 95 % quantile of their error
    covers the true rates, and by the triangle inequality the true distance from the even split lies
    within one radius of the observed one. The error is taken for normal, with the covariance of a
    mean of clusters, and as much wider as t quantiles are than normal ones. For two classes that is
    the t interval, for more it is a little wide.

    Args:
        counts: Images per prompt and class, shape `(P, N)`.
        clusters: As in `interval_of_mean`.

    Returns:
        Both ends, within the range of D2; NaN where the clusters that have images are worth fewer
        than `FEWEST_POOLED`, or where all have the same rates.
    """
    some = counts.sum(axis=1) > 0
    totals, sizes = by_cluster(counts[some], labels_of(clusters, len(counts))[some])
    if sizes.size < 2 or effective(sizes) < FEWEST_POOLED:
        return NO_INTERVAL
    number, pooled, images = effective(sizes), totals.sum(axis=0), int(totals.sum())
    off = (totals - totals.sum(axis=1, keepdims=True) * (pooled / images)) / images
    offsets = _normal(sizes.size) @ off * np.sqrt(number / (number - 1))
    wider = float(stdtrit(number - 1, 1 - TAIL)) / ndtri(1 - TAIL)
    radius = wider * float(np.quantile(np.linalg.norm(offsets, axis=1), 1 - 2 * TAIL))
    if radius < ROUNDING:
        return NO_INTERVAL
    value = float(discrepancies(pooled).D2)
    return Interval(max(value - radius, 0.0), min(value + radius, farthest(counts.shape[1])))


@lru_cache(maxsize=8)
def _normal(clusters: int) -> NDArray[np.float64]:
    """Standard normal draws, shape `(RESAMPLES, clusters)`."""
    return np.random.default_rng(0).standard_normal((RESAMPLES, clusters))


def jackknife_over_prompts(
    value: float,
    prompts: ArrayLike,
    estimate: Callable[[NDArray[np.object_]], float],
    clusters: ArrayLike | None = None,
) -> Interval:
    """95 % interval, over the population of prompts, of a smooth score of a whole set of images.

    For FID and Inception Score, which a bootstrap distorts because repeated images change them.
    The clusters, in order of their first prompts' ids, form at most `JACKKNIFE_GROUPS` groups; each
    group in turn is left out with all its images, and `value` gets t quantiles around it. (Shao and
    Tu 1995, section 2.3.) The bias that FID has with few images stays in value and interval alike.

    Args:
        value: The score of all images.
        prompts: Their prompts' ids, repeats allowed.
        estimate: The score without the images of the prompts whose ids it is given.
        clusters: Those of the prompts, in the same shape; each its own by default.

    Returns:
        Both ends; NaN for clusters worth fewer than two, or where none makes a difference.
    """
    every = np.asarray(prompts, dtype=object)
    ids, first = np.unique(every, return_index=True)
    codes, distinct = pd.factorize(labels_of(clusters, every.size)[first])
    groups = min(len(distinct), JACKKNIFE_GROUPS)
    if groups < 2:
        return NO_INTERVAL
    group_of = codes % groups
    values = np.array([estimate(ids[group_of == group]) for group in range(groups)])
    error = np.sqrt((groups - 1) * values.var())
    freedom = effective(np.bincount(group_of)) - 1
    if error < ROUNDING or freedom < 1:
        return NO_INTERVAL
    reach = float(stdtrit(freedom, 1 - TAIL) * error)
    return Interval(value - reach, value + reach)
