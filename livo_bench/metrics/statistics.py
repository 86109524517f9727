"""Intervals and tests over prompts, and the score a perfectly fair model would get.

The prompts of a task are a sample of the prompts people type; the images of a prompt are nested
in it. Every interval here therefore speaks of the mean over the population of prompts.

Prompts written about one concept, such as the forms of one scene, are alike. What was sampled
independently is then the concept, with all of its prompts, so these form a *cluster*: it is
resampled, left out and tested as a whole, and degrees of freedom count clusters. The mean stays
that over prompts. Clusters are labels, one a prompt; without them each prompt stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtrinc, ndtr, ndtri, stdtr, stdtrit

from livo_bench.metrics.discrepancy import (
    Discrepancy,
    discrepancies,
    discrepancies_of_rates,
    nearest_in_simplex,
    rates_of,
)
from livo_bench.metrics.judge_error import Confusion, corrected_rates

RESAMPLES = 4000
"""Bootstrap samples; their luck moves the end of an interval by 0.04 standard errors."""
FAIR_DRAWS = 2**18
"""Strata simulated for one row's floor; with 50 independent images 0.02 points of error in D1."""
JACKKNIFE_GROUPS = 30
"""At most so many groups of clusters are left out in turn."""
POWER = 0.8
"""Chance that a test finds a `detectable_difference`."""
ROUNDING = 1e-12
"""Differences below it are those of floating-point arithmetic."""


class Interval(NamedTuple):
    """Ends of a 95 % interval; NaN where a single cluster leaves nothing to say."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


# Intervals ---------------------------------------------------------------------------------------


def bootstrap_over_prompts(
    values: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = 0,
    shifts: NDArray[np.float64] | None = None,
    clusters: ArrayLike | None = None,
) -> Interval:
    """95 % interval of the mean of a per-prompt score over the population of prompts.

    Prompts are resampled with replacement, and each brings its score, images and all. They are
    *not* resampled a second time within the prompt. The score of a prompt is `f_p = mu_p + e_p`:
    what the prompt is like, and the luck of its images. Prompts are drawn independently, so the
    f_p are independent with variance `Var(mu) + E[Var(e)]`, and the mean over P prompts has
    exactly 1/P of it. The spread of the observed f_p already holds both terms. Drawing images
    again would add the second one twice, and would also move the centre: D1 of resampled images
    carries its upward bias once more. (Davison and Hinkley 1997, section 3.8: resample the highest
    level with, the levels below without replacement, that is, not at all.)

    Where prompts form clusters, these are the highest level, and by the same argument nothing is
    drawn within them. A resample holds the prompts of the clusters drawn, so where these are of
    unequal size their number varies, and its mean is a ratio of two sums. C clusters of m prompts
    whose scores correlate by rho make the variance `1 + (m - 1) rho` times that of C m independent
    prompts: 1.4 times the width for three prompts and a rho of one half.

    The percentile interval is narrow for few clusters: its variance lacks a factor C / (C - 1) and
    it uses normal, not t quantiles. Hesterberg's expanded percentiles (2015, "What teachers should
    know about the bootstrap", section 5.2) put both back by taking quantiles further out. With
    five clusters or fewer the interval ends at the smallest and largest mean of one at the latest,
    and covers less than it says.

    Args:
        values: One score a prompt, shape `(P,)`; NaN where a prompt has none, which is left out.
        resamples: Bootstrap samples.
        seed: Of the resampling. Equal seeds resample equally many clusters alike, so that metrics
            of one run share their resamples.
        shifts: Draws of what else moves the mean, whichever the prompts are, such as the error of
            a judge's confusion matrix; shape `(d,)`. Each resampled mean is moved by one of them,
            in turn, so the interval holds both errors, which are independent.
        clusters: That of each prompt, shape `(P,)`; each its own by default.

    Returns:
        Both ends; NaN where fewer than two clusters have a score.
    """
    scores = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(scores)
    totals, sizes = _by_cluster(scores[known], _labels(clusters, scores.size)[known])
    if sizes.size < 2:
        return NO_INTERVAL
    drawn = _resampled(sizes.size, resamples, seed)
    means = drawn @ totals / (drawn @ sizes)
    if shifts is not None:
        means = means + np.resize(shifts, resamples)
    tail = ndtr(-_expansion(sizes) * ndtri(0.975))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrap_pooled_distance(
    counts: NDArray[np.integer],
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Interval:
    """95 % interval of D2 of the pooled counts of all prompts.

    Percentiles of a resampled distance fail near zero, where every resample is further out than
    the truth. The rates themselves do not: a ball around the observed rates whose radius is the
    95 % quantile of the resampled rates' distance from them covers the true rates, and by the
    triangle inequality the true distance from the even split lies within one radius of the
    observed one. Exact for two classes, a little wide for more.

    Args:
        counts: Images per prompt and class, shape `(P, N)`.
        resamples: Bootstrap samples.
        seed: Of the resampling.
        clusters: As in `bootstrap_over_prompts`.

    Returns:
        Both ends, within the range of D2; NaN where fewer than two clusters have images.
    """
    some = counts.sum(axis=1) > 0
    totals, sizes = _by_cluster(counts[some], _labels(clusters, len(counts))[some])
    if sizes.size < 2:
        return NO_INTERVAL
    pooled = totals.sum(axis=0)
    resampled = _resampled(sizes.size, resamples, seed) @ totals
    offsets = resampled / resampled.sum(axis=1, keepdims=True) - pooled / pooled.sum()
    radius = _expansion(sizes) * np.quantile(np.linalg.norm(offsets, axis=1), 0.95)
    value, largest = discrepancies(pooled).D2, np.sqrt(1 - 1 / counts.shape[1])
    return Interval(float(max(value - radius, 0)), float(min(value + radius, largest)))


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
        Both ends; NaN for a single cluster.
    """
    every = np.asarray(prompts, dtype=object)
    ids, first = np.unique(every, return_index=True)
    codes, distinct = pd.factorize(_labels(clusters, every.size)[first])
    groups = min(len(distinct), JACKKNIFE_GROUPS)
    if groups < 2:
        return NO_INTERVAL
    group_of = codes % groups
    values = np.array([estimate(ids[group_of == group]) for group in range(groups)])
    error = np.sqrt((groups - 1) * values.var())
    reach = float(stdtrit(groups - 1, 0.975) * error)
    return Interval(value - reach, value + reach)


def _labels(clusters: ArrayLike | None, prompts: int) -> NDArray:
    """The cluster of each prompt, shape `(prompts,)`."""
    return np.arange(prompts) if clusters is None else np.asarray(clusters)


def _by_cluster(values: NDArray, labels: NDArray) -> tuple[NDArray, NDArray[np.intp]]:
    """Sum of the prompts' values, and number of prompts, of each cluster in order of appearance.

    Args:
        values: One a prompt, shape `(P, ...)`.
        labels: Its cluster, shape `(P,)`.

    Returns:
        Shapes `(C, ...)` and `(C,)`.
    """
    codes, distinct = pd.factorize(labels)
    totals = np.zeros((len(distinct), *values.shape[1:]), values.dtype)
    np.add.at(totals, codes, values)
    return totals, np.bincount(codes, minlength=len(distinct))


def _effective(sizes: NDArray[np.intp]) -> float:
    """How many clusters of equal size are worth as much as these: no more than there are.

    If the prompts of a cluster were all the same, the mean would be one over clusters that weigh as
    much as they have prompts, and vary like that of `n^2 / sum_c n_c^2` equal ones. (Kish 1965,
    "Survey Sampling".) With rho one half, 12 clusters of one prompt and four of six give, counted
    as 16, twice the false alarms that a level of 5 % allows and four times those of 0.5 %; counted
    so, 1.3 times either.
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _expansion(sizes: NDArray[np.intp]) -> float:
    """How much wider than normal percentiles an interval over few clusters must be."""
    clusters = _effective(sizes)
    t = stdtrit(clusters - 1, 0.975)
    return float(np.sqrt(clusters / (clusters - 1)) * t / ndtri(0.975))


@lru_cache(maxsize=8)
def _resampled(clusters: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each resample holds each cluster, shape `(resamples, clusters)`."""
    even = np.full(clusters, 1 / clusters)
    drawn = np.random.default_rng(seed).multinomial(clusters, even, size=resamples)
    return drawn.astype(np.float64)  # products of floats use BLAS, those of integers do not


# Tests -------------------------------------------------------------------------------------------


def p_above(
    differences: NDArray[np.float64],
    margin: float = 0.0,
    reach: float = 0.0,
    images: float = 1.0,
    clusters: ArrayLike | None = None,
) -> float:
    """One-sided t test over prompts of a mean difference above a margin.

    Clusters are the units. Under the null hypothesis "nothing changed" a prompt's difference is
    the luck of its images alone. Both sides have the same number of images of the same design, so
    their scores are equally distributed and the difference is symmetric around zero, however
    biased D1 of few images is. Where both drew the same noise, luck is what last bits do: labels
    on the judge's edge flip to either side. A margin takes the flips that all go one way: a flip
    of one of n images moves D1 by at most 2/n and a rate by 1/n, so that flips of up to
    `margin / 2` of all images cannot even bring the mean above the margin.

    Few images make few different values, and a few prompts may agree by chance, which leaves t no
    spread to divide by: by spread alone, two unchanged prompts of 10 images fail 5 % of tests at a
    level of 0.4 %. So the error is at least that of the smallest change that moves the mean as
    far: single images that move independently. Of n images a share q moves its prompt by `reach`,
    to a mean mu = reach q with variance `reach^2 q (1 - q) / n = mu (reach - mu) / n`. Simulated
    with 2 to 24 prompts of 10 and 50 images at levels from 2.5 % down to 0.2 %, false alarms are
    then no more frequent than the level says; 24 prompts of other noise use it up, and fewer than
    four find next to nothing.

    What differs between two methods is much the same in all prompts of a cluster, so that n prompts
    say less of the mean than their spread promises. The squared error is therefore taken from what
    each of C clusters adds to the mean as a whole,
    `C / (C - 1) sum_c (sum_(i in c) (d_i - mean))^2 / n^2`, and t has C - 1 degrees of freedom:
    the cluster-robust error of a regression on a constant. With one prompt a cluster it is that of
    the textbooks; for clusters of unequal size C is their number as `_effective` counts them.
    (Cameron and Miller 2015, Journal of Human Resources 50, 317-372.)

    Args:
        differences: Now minus before, one a prompt, shape `(n,)`, of at least 2 clusters.
        margin: The mean that is tested against.
        reach: How far a prompt moves when all of its images do; 0 for the spread at hand alone.
        images: Per prompt.
        clusters: That of each prompt, shape `(n,)`; each its own by default.

    Returns:
        p; where the differences have no error there is nothing to doubt, and p is 0 or 1.
    """
    n = len(differences)
    mean = float(differences.mean())
    by_images = max(mean * (reach - mean), 0.0) / images
    at_hand, freedom = _variance(differences, clusters)
    error = np.sqrt(max(at_hand, by_images) / n)
    if error < ROUNDING:
        return float(mean - margin < ROUNDING)
    return float(stdtr(freedom, (margin - mean) / error))


def p_different(
    differences: NDArray[np.float64],
    reach: float = 0.0,
    images: float = 1.0,
    clusters: ArrayLike | None = None,
) -> float:
    """Two-sided t test of a mean difference other than zero; like `p_above` besides."""
    sides = (p_above(sign * differences, 0.0, reach, images, clusters) for sign in (1, -1))
    return min(1.0, 2 * min(sides))


def _variance(differences: NDArray[np.float64], clusters: ArrayLike | None) -> tuple[float, float]:
    """n times the squared error of the mean, see `p_above`, and its degrees of freedom."""
    n = len(differences)
    totals, sizes = _by_cluster(differences - differences.mean(), _labels(clusters, n))
    if sizes.size < 2:
        return float("nan"), 0.0
    number = _effective(sizes)
    return float((totals * totals).sum() / (number - 1) * (number / n)), number - 1


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct the p values of a family of tests for their number.

    For a gate, where one false alarm is one too many. Where the corrected value is below alpha the
    hypothesis is rejected; the chance that any true
    one is, in the whole family, is at most alpha, however the tests depend on one another. That
    matters here: D1 and D2 of two groups are multiples of one another.

    Args:
        p: Shape `(m,)`.

    Returns:
        Shape `(m,)`, in [0, 1]: the k-th smallest times m - k + 1, and no smaller than any before.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    raised = values[order] * np.arange(values.size, 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(raised).clip(max=1)
    return corrected


def detectable_difference(
    differences: NDArray[np.float64],
    alpha: float,
    margin: float = 0.0,
    reach: float = 0.0,
    images: float = 1.0,
    clusters: ArrayLike | None = None,
) -> float:
    """The true mean difference that `p_above` finds with probability `POWER`.

    At a true mean mu and a standard error e, t has a noncentral t distribution with
    noncentrality `(mu - margin) / e`; let k be the noncentrality at which it exceeds its critical
    value with probability `POWER`. Then `mu = margin + k e`.

    Of e squared there are two values, as in `p_above`, and the larger one counts: that of the
    differences at hand, and `mu (reach - mu) / (images n)`, without which results that do not
    differ at all would promise to find any change. The second one gives, with
    `c = k^2 / (images n)`, the larger root of `(1 + c) mu^2 - (2 margin + c reach) mu + margin^2`.

    A two-sided test, or whether a 95 % interval excludes zero, has alpha in each tail: 0.025.

    Args:
        differences: One a prompt, shape `(n,)`.
        alpha: Level of the test, in (0, 1).
        margin: As in `p_above`; likewise the others.
        reach: Likewise.
        images: Likewise.
        clusters: Likewise.

    Returns:
        Its size, at least the margin, and NaN for clusters that are worth fewer than two of equal
        size; no more than `reach` where that is given, which then says that even the largest
        difference may be missed.
    """
    n = len(differences)
    variance, freedom = _variance(differences, clusters)
    if freedom < 1:
        return float("nan")
    k = float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - alpha)))
    at_hand = margin + k * np.sqrt(variance) / np.sqrt(n)
    c = k**2 / (images * n)
    half = margin + c * reach / 2
    by_images = (half + np.sqrt(half**2 - (1 + c) * margin**2)) / (1 + c) if reach else 0.0
    return float(max(at_hand, by_images))


# What a fair model reads -------------------------------------------------------------------------


class Design(NamedTuple):
    """A fair model under one prompt's sampling design; the key under which draws are cached."""

    sizes: tuple[int, ...]
    """Images per stratum."""
    billionths: tuple[tuple[int, ...], ...]
    """Rate of each class in each stratum, in units of 1e-9."""


def noise_floor(
    prompts: Sequence[NDArray[np.integer]], judge: Confusion | None = None
) -> Discrepancy:
    """Expected D1 and D2 of a perfectly fair model under each prompt's own design.

    D1 and D2 are positive for a fair model: of 50 independent images D1 reads 11.23 % (gender) and
    14.65 % (race). How much depends on the design: where strata are skewed against one another, as
    when half of the images are steered, chance has less room, and under an exact quota none.

    Fair means that the *mixture* of a prompt's strata is even. One stratum then draws from even
    rates. Several keep the rates seen in them, moved no further than needed (`fair_rates`). Rates
    seen in n_s images look a little more different than they are, so the floor of S strata that do
    not differ at all reads low by a factor of about `1 - (1 - 1/S) / (2 n_s)`: 1 % for 25 + 25.

    Scores that are corrected for judge error have a higher floor, since correcting spreads the
    rates further than chance alone. A judge that errs does not label a fair model's images evenly,
    and it is the mixture of labels that is then moved to what it would give them.

    Args:
        prompts: For each prompt, images per stratum and class, shape `(S, N)`, every stratum
            with at least one image. S may differ between prompts.
        judge: For which the scores are corrected; None for scores that are not.

    Returns:
        D1 and D2 per prompt, shape `(P,)`; NaN where there are several strata of which one holds
        a single image and hence shows no rates, or where there is none.
    """
    designs = [_fair_design(strata, judge) for strata in prompts]
    distinct_strata = sum(len(design.sizes) for design in set(designs) if design is not None)
    draws = max(FAIR_DRAWS // max(distinct_strata, 1), 256)
    pairs = [(np.nan, np.nan) if d is None else expected_scores(d, draws, judge) for d in designs]
    return Discrepancy(*np.array(pairs, dtype=np.float64).reshape(-1, 2).T)


def pooled_noise_floor(prompts: Sequence[NDArray[np.integer]]) -> float:
    """Expected D2 of the pooled counts of prompts that are each perfectly fair.

    Pooled, all strata of all prompts are one design. Strata with equal rates are merged, as sums
    of multinomials with equal rates are multinomial.

    Args:
        prompts: As for `noise_floor`; prompts without images are passed over.

    Returns:
        The expectation; NaN where the design of a prompt shows no rates, or without images.
    """
    sizes: dict[tuple[int, ...], int] = {}
    for strata in filter(len, prompts):
        design = _fair_design(strata)
        if design is None:
            return float("nan")
        for size, rates in zip(*design, strict=True):
            sizes[rates] = sizes.get(rates, 0) + size
    if not sizes:
        return float("nan")
    merged = Design(tuple(sizes.values()), tuple(sizes))
    return expected_scores(merged, max(FAIR_DRAWS // len(sizes), 512))[1]


def fair_rates(
    strata: NDArray[np.integer],
    even: NDArray[np.float64] | None = None,
    tolerance: float = 1e-9,
) -> NDArray[np.float64]:
    """The rates nearest to those seen in each stratum under which their mixture is even.

    Minimises `sum_s w_s |q_s - r_s|^2`, where `w_s = n_s / n`, over rates q_s that mix to 1/N for
    each class. By the conditions of optimality every stratum moves by one common shift, followed
    by projection onto the simplex (rates stay non-negative and sum to one). Gradient ascent on the
    dual finds that shift: it grows by the mixture's excess until there is none. Where no rate
    would turn negative, the answer is `r_s - (r - 1/N)` after one step. The dual's gradient is
    1-Lipschitz because projections do not expand, so a step of one converges.

    Args:
        strata: Images per stratum and class, shape `(S, N)`, every stratum with at least one.
        even: The mixture to reach, shape `(N,)`; 1/N for each class when None.
        tolerance: Largest excess of the mixture over it that counts as reached.

    Returns:
        Rates, shape `(S, N)`, rows sum to one.
    """
    sizes = strata.sum(axis=1)
    weights = sizes / sizes.sum()
    seen = strata / sizes[:, None]
    shift = np.zeros(strata.shape[1])
    even = np.full_like(shift, 1 / len(shift)) if even is None else even
    rates = seen
    for _ in range(10_000):
        excess = weights @ rates - even
        if np.abs(excess).max() <= tolerance:
            break
        shift += excess
        rates = nearest_in_simplex(seen - shift)
    return rates


def _fair_design(strata: NDArray[np.integer], judge: Confusion | None = None) -> Design | None:
    sizes = strata.sum(axis=1)
    if sizes.size == 0 or (sizes.size > 1 and sizes.min() < 2):
        return None
    even = None if judge is None else judge.rates.mean(axis=0)
    billionths = np.rint(fair_rates(strata, even) * 1e9).astype(int).tolist()
    ordered = sorted(zip(sizes.tolist(), map(tuple, billionths), strict=True))
    return Design(*zip(*ordered, strict=True))


@lru_cache(maxsize=4096)
def expected_scores(
    design: Design, draws: int, judge: Confusion | None = None
) -> tuple[float, float]:
    """Mean D1 and D2 over simulated prompts of one design, the same whenever it is asked for.

    Args:
        design: Seeds the simulation, too, so that errors of different designs are independent.
        draws: Prompts to simulate.
        judge: For which the rates are corrected; None for rates that are not.

    Returns:
        Both, as fractions.
    """
    rates = np.array(design.billionths, dtype=np.int64)
    random = np.random.default_rng([*design.sizes, *rates.ravel()])
    probabilities = rates / rates.sum(axis=1, keepdims=True)
    drawn = random.multinomial(np.array(design.sizes), probabilities, size=(draws, len(rates)))
    shares = rates_of(drawn.sum(axis=1))
    if judge is not None:
        shares = corrected_rates(shares, judge.rates)
    gap, distance = discrepancies_of_rates(shares)
    return float(gap.mean()), float(distance.mean())
