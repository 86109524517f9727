"""Clusters of prompts and tests over them, and exact tests of the images of one prompt.

The prompts of a task are a sample of the prompts people type; the images of a prompt are nested
in it. Every interval and every test therefore speaks of the mean over the population of prompts.

Prompts that are alike, such as the forms of one scene, are a *cluster*. What was sampled
independently is then the cluster, with all of its prompts, so it is drawn, left out and tested as a
whole, and degrees of freedom count clusters. The mean stays that over prompts. Clusters are labels,
one a prompt; without them each prompt stands alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import betaincinv, nctdtrinc, stdtr, stdtrit

POWER = 0.8
"""Chance that a test finds a `detectable_difference`."""
ROUNDING = 1e-12
"""Differences below it are those of floating-point arithmetic."""


def labels_of(clusters: ArrayLike | None, prompts: int) -> NDArray:
    """The cluster of each prompt, shape `(prompts,)`."""
    return np.arange(prompts) if clusters is None else np.asarray(clusters)


def by_cluster(values: NDArray, labels: NDArray) -> tuple[NDArray, NDArray[np.intp]]:
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


def effective(sizes: NDArray[np.intp]) -> float:
    """How many clusters of equal size are worth as much as these: no more than there are.

    If the prompts of a cluster were all the same, the mean would be one over clusters that weigh as
    much as they have prompts, and vary like that of `n^2 / sum_c n_c^2` equal ones. (Kish 1965,
    "Survey Sampling".)
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def freedom_of(sizes: NDArray[np.intp]) -> float:
    """Degrees of freedom of a squared error that is taken from clusters of so many prompts.

    One less than clusters of equal size; of others fewer, since the large ones decide alone. With K
    the covariance of what the clusters add to the mean, if the prompts of each were all the same,
    they are `tr(K)^2 / tr(K^2)`: Satterthwaite's for cluster-robust errors (Bell and McCaffrey
    2002, Survey Methodology 28, 169-181). 12 clusters of one prompt and four of six give, counted
    as 16, twice the false alarms that a level of 5 % allows; counted so, 0.8 times as many.
    """
    h = sizes / sizes.sum()
    s2, s3, s4, s5 = ((h**power).sum() for power in (2, 3, 4, 5))
    trace = s2 - 2 * s3 + s2**2
    squares = s4 * (1 + 2 * s2) - 4 * s5 + s2**4 + 2 * s2 * s4 - 4 * s2**2 * s3 + 2 * s3**2
    return float(min(trace**2 / squares, effective(sizes) - 1)) if sizes.size > 1 else 0.0


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
    four find next to nothing. That all of N images moved is no proof that each would: as in
    `Pair.ends`, at most N + 1 of N + 2 are taken to, or two single images that went the same way,
    which unchanged ones do once in 16, would leave no error at all.

    What differs between two methods is much the same in all prompts of a cluster, so that n prompts
    say less of the mean than their spread promises. The squared error is therefore taken from what
    each of C clusters adds to the mean as a whole,
    `C / (C - 1) sum_c (sum_(i in c) (d_i - mean))^2 / n^2`, and t has C - 1 degrees of freedom:
    the cluster-robust error of a regression on a constant. With one prompt a cluster it is that of
    the textbooks; for clusters of unequal size see `effective` and `freedom_of`.
    (Cameron and Miller 2015, Journal of Human Resources 50, 317-372.)

    Args:
        differences: Now minus before, one a prompt, shape `(n,)`, of at least 2 clusters.
        margin: The mean that is tested against.
        reach: How far a prompt moves when all of its images do; 0 for the spread at hand alone.
        images: Images per prompt.
        clusters: Cluster of each prompt, shape `(n,)`; each its own by default.

    Returns:
        p; where the differences have no error, as those of any size without a reach, there is
        nothing to doubt, and p is 0 or 1.
    """
    n = len(differences)
    mean = float(differences.mean())
    by_images = max(mean * max(reach - mean, reach / (images * n + 2)), 0.0) / images
    at_hand, freedom = variance_over_prompts(differences, clusters)
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


def variance_over_prompts(
    differences: NDArray[np.float64], clusters: ArrayLike | None
) -> tuple[float, float]:
    """n times the squared error of the mean, see `p_above`, and its degrees of freedom."""
    n = len(differences)
    totals, sizes = by_cluster(differences - differences.mean(), labels_of(clusters, n))
    if sizes.size < 2:
        return float("nan"), 0.0
    number = effective(sizes)
    variance = float((totals * totals).sum() / (number - 1) * (number / n))
    return variance, freedom_of(sizes)


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
    `c = k^2 / (images n)`, the larger root of `(1 + c) mu^2 - (2 margin + c reach) mu + margin^2`;
    and where that is nearer to the reach than `reach / (images n + 2)`, of
    `mu^2 - (2 margin + c reach / (images n + 2)) mu + margin^2`.

    A two-sided test, or whether a 95 % interval excludes zero, has alpha in each tail: 0.025.

    Args:
        differences: One a prompt, shape `(n,)`.
        alpha: Level of the test, in (0, 1).
        margin: The mean that is tested against, as in `p_above`.
        reach: How far a prompt moves when all of its images do, as in `p_above`.
        images: Images per prompt, as in `p_above`.
        clusters: Cluster of each prompt, as in `p_above`.

    Returns:
        Its size, at least the margin, and NaN for clusters that are worth fewer than two of equal
        size; `reach` or more, where that is given, says that even the largest difference may be
        missed.
    """
    n = len(differences)
    variance, freedom = variance_over_prompts(differences, clusters)
    if freedom < 1:
        return float("nan")
    k = float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - alpha)))
    at_hand = margin + k * np.sqrt(variance) / np.sqrt(n)
    if not reach:
        return float(at_hand)
    number = images * n
    c, rest = k**2 / number, reach / (number + 2)
    by_images = _larger_root(1 + c, margin + c * reach / 2, margin)
    if by_images > reach - rest:
        by_images = _larger_root(1.0, margin + c * rest / 2, margin)
    return float(max(at_hand, by_images))


def p_same_noise(gained: NDArray[np.int64], lost: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exact one-sided test that images of the same noise gain an answer as often as they lose it.

    If nothing changed, or last bits only, before and now are exchangeable: each of the images whose
    answer differs gained or lost it with probability 1/2. So `gained` of `gained + lost` is
    binomial, given their sum. The images that agree say nothing. (McNemar 1947, in its exact form.)

    Args:
        gained: Images that show the answer now only, shape `(..., n)` for n prompts.
        lost: Images that showed it before only, of the same shape.

    Returns:
        Chance of at least `gained`, shape `(..., n)`.
    """
    return np.asarray(stats.binom.sf(gained - 1, gained + lost, 0.5))


def p_other_noise(
    before: NDArray[np.int64], now: NDArray[np.int64], images: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Exact one-sided test that independent images show an answer as often as before.

    If nothing changed, which of the `2 * images` images are from now is irrelevant. So, given how
    many of all show the answer, those among now's are hypergeometric. (Fisher's exact test.) Where
    a prompt's images come from several distributions, as when every second one is steered, counts
    scatter less than the test expects (Hoeffding 1956), and it errs on the side of passing;
    so it does where images have, after all, the same noise.

    Args:
        before: Images that showed it, shape `(..., n)` for n prompts.
        now: Images that show it, of the same shape.
        images: Number of images of each side, shape `(n,)`.

    Returns:
        Chance of at least `now`, shape `(..., n)`.
    """
    return np.asarray(stats.hypergeom.sf(now - 1, 2 * images, before + now, images))


@lru_cache(maxsize=1024)
def detectable_share(images: int, alpha: float, margin: float, same_noise: bool) -> float:
    """The share of a prompt's images that, from none before, is found with probability `POWER`.

    The test finds k images or more, k being the smallest count that has p below alpha and is above
    the margin. Of n images that show the answer with probability q, at least k do with probability
    `I_q(k, n - k + 1)`, the regularised incomplete beta function, which is inverted.

    Args:
        images: Number of images of each side, n.
        alpha: Level of the test.
        margin: Share of the prompt's images that may change without failing.
        same_noise: Which test.

    Returns:
        q; NaN where not even all n are found.
    """
    k = np.arange(1, images + 1)
    none = np.zeros_like(k)
    p = p_same_noise(k, none) if same_noise else p_other_noise(none, k, np.full_like(k, images))
    found = k[(p < alpha) & (k / images > margin + ROUNDING)]
    if not found.size:
        return float("nan")
    return float(betaincinv(found[0], images - found[0] + 1, POWER))


def _larger_root(square: float, half: float, margin: float) -> float:
    """Solve `square mu^2 - 2 half mu + margin^2 = 0` for the larger root."""
    return float((half + np.sqrt(half**2 - square * margin**2)) / square)
