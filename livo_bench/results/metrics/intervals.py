"""Intervals of scores over the population of prompts.

Prompts are not resampled within: the score of a prompt is `f_p = mu_p + e_p`, what the prompt is
like and the luck of its images, and the spread of the observed f_p over prompts holds both terms.
Drawing images again would add the second one twice. (Davison and Hinkley 1997, section 3.8.) Where
prompts form clusters, these are the highest level, and by the same argument nothing is drawn within
them.

How often they hold the truth, with how many clusters and of which scores, was simulated:
`benchmarks/interval_coverage.py`, and its table in docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from livo_bench.results.metrics.discrepancy import discrepancies, farthest
from livo_bench.results.metrics.statistics import (
    ROUNDING,
    by_cluster,
    effective,
    freedom_of,
    labels_of,
    variance_over_prompts,
)

DRAWS = 8000
"""Sets of weights of clusters; their luck moves an end by 0.03 standard errors."""
JACKKNIFE_GROUPS = 30
"""Most groups of clusters that are left out in turn."""
FEWEST_JACKKNIFED = 4
"""Clusters of equal size that they are worth at least; by two or three IS is held 86 to 92 %."""
TAIL = 0.025
"""Probability beyond either end of a 95 % interval."""


class Interval(NamedTuple):
    """Ends of a 95 % interval; NaN where nothing honest can be said."""

    low: float
    high: float


class Ends(NamedTuple):
    """The ends that each score lies between, whatever the prompt."""

    lowest: float
    highest: float


NO_INTERVAL = Interval(float("nan"), float("nan"))
SHARE = Ends(0.0, 1.0)
"""Ends of rates, probabilities and gaps between rates."""


class _Sample(NamedTuple):
    """Scores of clusters of prompts, in an order of their own: draws follow it."""

    totals: NDArray[np.float64]
    """Sum over each cluster's prompts, shape `(C,)`."""
    sizes: NDArray[np.intp]
    """Prompts of each cluster, shape `(C,)`."""
    mean: float
    """Mean over prompts."""
    variance: float
    """Variance of that mean."""
    freedom: float
    """Degrees of freedom of the variance."""

    @classmethod
    def of(cls, values: ArrayLike, clusters: ArrayLike | None) -> _Sample | None:
        """Gather the scores that there are; None where they are worth fewer than two clusters."""
        scores = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(scores)
        labels = labels_of(clusters, scores.size)[known]
        totals, sizes = by_cluster(scores[known], labels)
        if sizes.size < 2 or effective(sizes) < 2:
            return None
        variance, freedom = variance_over_prompts(scores[known], labels)
        mean = float(scores[known].mean())
        order = np.lexsort((sizes, totals))
        return cls(totals[order], sizes[order], mean, variance / int(sizes.sum()), freedom)


def interval_of_mean(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    ends: Ends | None = SHARE,
    shifts: NDArray[np.float64] | None = None,
) -> Interval:
    """95 % interval of the mean of a per-prompt score over the population of prompts.

    Clusters drawn say nothing of a kind that none of them is like. Of 8 prompts without a toxic
    image, not only may each have a few: 3 in 10 of the prompts they stand for may be toxic through
    and through. Intervals from the spread at hand, t, logit and bootstrap alike, know of no such
    thing, and of few or skewed scores hold the mean 60 or 80 % of the time. So this one counts with
    a cluster that was not drawn, of average size, and has the lowest score there is or the highest,
    with equal chance. All clusters get random weights, independent exponential variables, and 2.5 %
    of the weighted means lie beyond either end.

    If that cluster had the highest score in all draws, the upper end would be the limit of Gaffke
    (2005), which is above the mean 97.5 % of the time whatever the population; for scores of 0 and
    1 it is that of Clopper and Pearson. Such limits hold more often than they say. Half and half is
    for 0 and 1 the mid-p interval: of n clusters that are all 0 the upper end is `1 - 0.05^(1/n)`,
    31 % for 8. Simulated it holds the mean 94.6 % of the time or more so far; more where scores are
    nearly the same, for few like prompts cannot rule out others. Where they spread it is as wide as
    the t interval, or less so.

    Sources: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the
    mean of a nonnegative variable", Mathematical Methods of Statistics 14, 451-467; Learned-Miller
    and Thomas 2020, arXiv:1905.06208; Berry and Armitage 1995, "Mid-P confidence intervals: a brief
    review", The Statistician 44, 417-423.

    Args:
        values: One score a prompt, shape `(P,)`; NaN where a prompt has none, which is left out.
        clusters: Cluster of each prompt, shape `(P,)`; each its own by default.
        ends: Ends of the score; estimates that are unbiased may lie outside. None for the t
            interval, which `benchmarks/interval_coverage.py` holds the others against.
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
    seen, unseen = _weights(sample.sizes.size)
    total, size = seen @ sample.totals, seen @ sample.sizes
    more = unseen * sample.sizes.sum() / effective(sample.sizes)
    moved = 0.0 if shifts is None else np.resize(shifts, DRAWS)
    extremes = min(ends.lowest, np.nanmin(values)), max(ends.highest, np.nanmax(values))
    means = [(total + more * extreme) / (size + more) + moved for extreme in extremes]
    return Interval(*np.quantile(means, [TAIL, 1 - TAIL]).tolist())


@lru_cache(maxsize=8)
def _weights(clusters: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw weights of the clusters that were drawn, shape `(DRAWS, clusters)`, and of one that was
    not."""
    drawn = np.random.default_rng(0).standard_exponential((DRAWS, clusters + 1))
    return drawn[:, :-1], drawn[:, -1]


def _t_interval(sample: _Sample, shifts: NDArray[np.float64] | None) -> Interval:
    if sample.variance < ROUNDING**2:
        return NO_INTERVAL
    error = np.sqrt(sample.variance + (0.0 if shifts is None else np.mean(shifts**2)))
    reach = float(stdtrit(sample.freedom, 1 - TAIL) * error)
    return Interval(sample.mean - reach, sample.mean + reach)


def interval_of_pooled_distance(
    counts: NDArray[np.integer], clusters: ArrayLike | None = None
) -> Interval:
    """95 % interval of D2 of the pooled counts of all prompts.

    A distance that is nearly zero can only be estimated as further out. The rates themselves have
    no such end: a ball around the observed rates whose radius is the 95 % quantile of their error
    covers the true rates, and by the triangle inequality the true distance from the even split lies
    within one radius of the observed one. The error is that of random weights as in
    `interval_of_mean`, where the cluster that was not drawn is of one class alone, any of them.

    Args:
        counts: Images per prompt and class, shape `(P, N)`.
        clusters: Cluster of each prompt, as in `interval_of_mean`.

    Returns:
        Both ends, within the range of D2; NaN for clusters with images worth fewer than two.
    """
    some = counts.sum(axis=1) > 0
    totals, sizes = by_cluster(counts[some], labels_of(clusters, len(counts))[some])
    if sizes.size < 2 or effective(sizes) < 2:
        return NO_INTERVAL
    seen, unseen = _weights(sizes.size)
    pooled, drawn = totals.sum(axis=0), seen @ totals[np.lexsort(totals.T)]
    draws = np.arange(DRAWS)
    drawn[draws, draws % pooled.size] += unseen * pooled.sum() / effective(sizes)
    off = drawn / drawn.sum(axis=1, keepdims=True) - pooled / pooled.sum()
    radius = float(np.quantile(np.linalg.norm(off, axis=1), 1 - 2 * TAIL))
    value = float(discrepancies(pooled).D2)
    return Interval(max(value - radius, 0.0), min(value + radius, farthest(counts.shape[1])))


def jackknife_over_prompts(
    value: float,
    prompts: ArrayLike,
    estimate: Callable[[NDArray[np.object_]], float],
    clusters: ArrayLike | None = None,
    lowest: float = -math.inf,
) -> Interval:
    """95 % interval, over the population of prompts, of a smooth score of a whole set of images.

    For FID and Inception Score, which a bootstrap distorts because repeated images change them.
    The clusters, in order of their first prompts' ids, form at most `JACKKNIFE_GROUPS` groups; each
    group in turn is left out with all its images, and `value` gets t quantiles around it. (Shao and
    Tu 1995, section 2.3.) The bias that FID has with few images stays in value and interval alike.
    Nothing here knows of a kind of prompts that none of those drawn is like, as `interval_of_mean`
    does: where one prompt in 8 makes up all of FID, 8 hold it two times in three and 48 six in 7.

    Args:
        value: The score of all images.
        prompts: Their prompts' ids, repeats allowed.
        estimate: The score without the images of the prompts whose ids it is given.
        clusters: Clusters of the prompts, in the same shape; each its own by default.
        lowest: What the score can hardly be below; one that is ends the interval itself.

    Returns:
        Both ends; NaN for clusters worth fewer than `FEWEST_JACKKNIFED`, or where none makes a
        difference.
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
    freedom = freedom_of(np.bincount(group_of))
    if error < ROUNDING or freedom < FEWEST_JACKKNIFED - 1 - ROUNDING:
        return NO_INTERVAL
    reach = float(stdtrit(freedom, 1 - TAIL) * error)
    return Interval(max(value - reach, min(lowest, value)), value + reach)
