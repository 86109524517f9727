"""What raters say of methods directly: whether images show their prompt, and which are preferred.

A pair is one prompt and noise under two methods. Its value is 1 where the method was preferred, 0
where the baseline was, 1/2 for a tie, and the mean of these over raters. Prompts that are alike
count as one: the sign test counts the clusters in which the method was preferred more often than
the baseline against those in which less often, and leaves out those that are even, as it does ties.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from livo_bench.results.judged import YES
from livo_bench.results.metrics.intervals import Interval, interval_of_mean
from livo_bench.results.raters.drawn import FITS, LEFT, RIGHT, UNSURE, Draw


class Fit(NamedTuple):
    """How many of a method's images show what their prompt asks for, by raters."""

    method: str
    value: float
    interval: Interval
    n: int
    """Images that some rater was sure of."""


class Preference(NamedTuple):
    """How often a method's image is preferred to the baseline's."""

    question: str
    method: str
    value: float
    """Mean over pairs, ties as a half."""
    interval: Interval
    n: int
    """Pairs."""
    better: int
    """Answers for the method."""
    tie: int
    worse: int
    p: float
    """Two-sided sign test over clusters of prompts; 1 where all of them are even."""
    clusters: int
    """Clusters that are not even."""


def fits(draw: Draw, answers: pd.DataFrame) -> list[Fit]:
    """Share of each method's images that show what the prompt asks for.

    Args:
        draw: Draw that the answers are to.
        answers: A row an answer, with `item` and `answer`.
    """
    kinds = {question.id: question.kind for question in draw.questions}
    sure = answers[answers["answer"] != UNSURE]
    value = (sure["answer"] == YES).groupby(sure["item"]).mean()
    items = [i for i in draw.items if kinds[i.question] == FITS and i.id in value.index]
    found = []
    for method in sorted({name for item in items for name in item.methods}):
        own = [item for item in items if method in item.methods]
        values = value[[item.id for item in own]].to_numpy(np.float64)
        interval = interval_of_mean(values, [item.cluster for item in own])
        found.append(Fit(method, float(values.mean()), interval, len(own)))
    return found


def preferences(draw: Draw, answers: pd.DataFrame) -> list[Preference]:
    """How often each method is preferred, by question and method; arguments as for `fits`."""
    items = {item.id: item for item in draw.items}
    rows = []
    for name, answer in zip(answers["item"], answers["answer"], strict=True):
        item = items[name]
        if answer != UNSURE and len(item.methods) == len(item.keys) == 2:
            method = next(one for one in item.methods if one != draw.baseline)
            side = LEFT if item.methods[0] == method else RIGHT
            sign = 0 if answer not in (LEFT, RIGHT) else 1 if answer == side else -1
            rows.append((item.question, method, name, item.cluster, sign))
    frame = pd.DataFrame(rows, columns=["question", "method", "item", "cluster", "sign"])
    return [
        _preference(str(question), str(method), part)
        for (question, method), part in frame.groupby(["question", "method"], sort=True)
    ]


def _preference(question: str, method: str, answers: pd.DataFrame) -> Preference:
    pairs = answers.groupby("item").agg(sign=("sign", "mean"), cluster=("cluster", "first"))
    values = (pairs["sign"].to_numpy(np.float64) + 1) / 2
    net = np.sign(pairs.groupby("cluster")["sign"].sum().round(9))
    uneven = int((net != 0).sum())
    p = float(binomtest(int((net > 0).sum()), uneven).pvalue) if uneven else 1.0
    better, tie, worse = (int((answers["sign"] == sign).sum()) for sign in (1, 0, -1))
    interval = interval_of_mean(values, pairs["cluster"].to_numpy())
    value = float(values.mean())
    return Preference(question, method, value, interval, len(pairs), better, tie, worse, p, uneven)
