"""Agreement between raters: Krippendorff's alpha for answers that have no order.

Alpha is 1 where all agree and 0 where they agree as often as answers drawn from all answers at
random would; below 0 they agree less. Any number of raters may have answered any number of items;
an item with one answer says nothing. With `o_ck` the pairs of answers c and k to one item, each
item of m answers weighing m in all, `n_c = sum_k o_ck` and n their sum,
`alpha = 1 - (n - 1) sum_(c != k) o_ck / sum_(c != k) n_c n_k`.

Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", whose examples are tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.results.metrics.intervals import NO_INTERVAL, TAIL, Interval

DRAWS = 2000
"""Resamples of an interval."""


class Agreement(NamedTuple):
    """Alpha of the answers to one question."""

    alpha: float
    """NaN where all answers are one, or no item has two."""
    interval: Interval
    """95 % interval over clusters of prompts, which are drawn with replacement."""
    items: int
    """Items with at least two answers."""


def agreement(answers: pd.DataFrame) -> Agreement:
    """Measure how far raters agree.

    Args:
        answers: A row an answer, with `item`, `rater`, `answer` and `cluster`.
    """
    codes, classes = pd.factorize(answers["answer"], sort=True)
    counts = (
        pd.crosstab(answers["item"], codes).reindex(columns=range(len(classes)), fill_value=0)
        if len(answers)
        else pd.DataFrame()
    )
    counts = counts[counts.sum(axis="columns") > 1]
    if counts.empty:
        return Agreement(float("nan"), NO_INTERVAL, 0)
    pairs = _coincidences(counts.to_numpy(np.float64))
    alpha = float(_alpha(pairs.sum(axis=0)[None])[0])
    cluster_of = answers.drop_duplicates("item").set_index("item")["cluster"]
    return Agreement(alpha, _interval(pairs, list(cluster_of[counts.index])), len(counts))


def _coincidences(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pairs of answers to each item, shape `(items, K, K)`, of counts `(items, K)`."""
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    return pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _alpha(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha of sums of coincidences, shape `(d, K, K)`; NaN where all answers are one."""
    totals = pairs.sum(axis=2)
    number = totals.sum(axis=1)
    observed = number - np.trace(pairs, axis1=1, axis2=2)
    expected = number**2 - (totals**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha: NDArray[np.float64] = 1 - (number - 1) * observed / expected
    return np.where(expected > 0, alpha, np.nan)


def _interval(pairs: NDArray[np.float64], clusters: Sequence[str]) -> Interval:
    codes, names = pd.factorize(np.asarray(clusters))
    if len(names) < 2:
        return NO_INTERVAL
    by_cluster = np.zeros((len(names), *pairs.shape[1:]))
    np.add.at(by_cluster, codes, pairs)
    equal = np.full(len(names), 1 / len(names))
    weights = np.random.default_rng(0).multinomial(len(names), equal, DRAWS)
    drawn = _alpha(np.tensordot(weights.astype(np.float64), by_cluster, 1))
    known = drawn[~np.isnan(drawn)]
    if not known.size or known.min() == known.max():
        return NO_INTERVAL
    return Interval(*np.quantile(known, [TAIL, 1 - TAIL]).tolist())
