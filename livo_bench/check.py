"""Regression gate: new results against a baseline, on exactly the images that both have.

For each method, subset and metric of `paired` a one-sided t test over the prompts asks whether the
metric is worse than before by more than a margin. Both sides draw the same noise, so unchanged code
on the same machine differs by nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from livo_bench import paired
from livo_bench.catalog import run_options
from livo_bench.errors import Incomplete
from livo_bench.metrics.statistics import detectable_difference
from livo_bench.paired import Pair, Results
from livo_bench.records import Run


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one subset, before and now; lower is better for all of them."""

    method: str
    task: str
    subset: str
    metric: str
    prompts: int
    """That both sides have; likewise the images."""
    images: int
    before: float
    """Mean over prompts, as a fraction; likewise the next three."""
    now: float
    difference: float
    """Now minus before; above zero is worse."""
    detectable: float
    """The true difference that the test finds 4 times out of 5."""
    p: float
    """Chance of a difference this far above the margin if the true one lies at it."""
    regression: bool


def check(
    baseline: Path,
    runs: Path,
    model: str = "mini",
    methods: Collection[str] = (),
    tasks: Collection[str] = (),
    alpha: float = 0.05,
    margin: float = 0.02,
) -> list[Comparison]:
    """Hold results against a baseline.

    Args:
        baseline: Folder with results: `aggregates.csv` with `images.parquet` beside it, in one
            place for all runs or in a folder each.
        runs: Likewise; may hold fewer images.
        model: Name of the model card.
        methods: Compare these only; empty means all of the baseline.
        tasks: Likewise.
        alpha: Chance of a false alarm over all tests together; each gets an equal part of it.
        margin: Difference that is no regression, a fraction.

    Returns:
        One comparison per method, task, subset and metric.

    Raises:
        Incomplete: A method, a task, a score or shared images are missing.
        NotComparable: The two sides were judged by different scorers, or a side has a run twice.
        BadInput: A file is not what it should be.
    """
    before, now = paired.read_results(baseline, model), paired.read_results(runs, model)
    wanted = _select(before, baseline, methods, tasks)
    for run in wanted:
        if run not in now:
            raise Incomplete(
                f"{runs} has no images of method {run.method!r} on task {run.task!r}, which "
                f"{baseline} has. Make them with\n"
                f"    livo-bench run --method {run.method} --task {run.task} {run_options(model)}\n"
                "or say with --method and --task what to compare."
            )
    pairs = [pair for run in wanted for pair in _pairs(before[run], now[run])]
    return [_compare(pair, alpha / len(pairs), margin) for pair in pairs]


def _select(
    before: Mapping[Run, Results],
    baseline: Path,
    methods: Collection[str],
    tasks: Collection[str],
) -> list[Run]:
    wanted = [
        run
        for run in before
        if (not methods or run.method in methods) and (not tasks or run.task in tasks)
    ]
    if not wanted:
        names = ", ".join(f"{run.method} on {run.task}" for run in before) or "nothing"
        raise Incomplete(
            f"{baseline} has nothing to compare with: for this model it has images of {names}; "
            f"asked for were methods: {', '.join(methods) or 'all'}, "
            f"tasks: {', '.join(tasks) or 'all'}."
        )
    return wanted


def _pairs(before: Results, now: Results) -> list[Pair]:
    shared = paired.shared_images(before, now)
    shared = shared[shared["unscored_before"].isna()]
    lost = shared["unscored_now"].dropna()
    if not lost.empty:
        raise Incomplete(
            f"Method {now.run.method!r} on task {now.run.task!r} has {len(lost)} images without a "
            f"score that the baseline has scored ({lost.iloc[0]}). Score them with the same "
            "livo-bench run."
        )
    return paired.pair(before, now, shared)


def _compare(pair: Pair, alpha: float, margin: float) -> Comparison:
    test = paired_test(pair.differences, alpha, margin)
    return Comparison(
        method=pair.run.method,
        task=pair.run.task,
        subset=pair.subset,
        metric=pair.metric,
        prompts=len(pair.prompts),
        images=int(pair.images.sum()),
        before=float(pair.before.mean()),
        now=float(pair.now.mean()),
        difference=test.difference,
        detectable=test.detectable,
        p=test.p,
        regression=test.p < alpha,
    )


class PairedTest(NamedTuple):
    """What differences of paired prompts say."""

    difference: float
    """Their mean."""
    detectable: float
    p: float


def paired_test(worse: NDArray[np.float64], alpha: float, margin: float) -> PairedTest:
    """One-sided t test of a mean difference above a margin.

    Args:
        worse: Now minus before, one a prompt, shape `(n,)`, n at least 2.
        alpha: Level of the test, for `detectable`.
        margin: The difference that is tested against.

    Returns:
        The mean difference; the margin and what `detectable_difference` adds to it; and p.
    """
    mean = float(worse.mean())
    if np.ptp(worse) == 0:  # t would divide by a spread of zero, and there is nothing to doubt
        p = float(mean <= margin)
    else:
        p = float(stats.ttest_1samp(worse, margin, alternative="greater").pvalue)
    return PairedTest(mean, margin + detectable_difference(worse, alpha), p)


# Printing ----------------------------------------------------------------------------------------


def as_rows(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """One row a comparison, as people read them: per cent, rounded."""
    return [
        {
            "method": c.method,
            "subset": f"{c.task}/{c.subset}",
            "metric": c.metric,
            "prompts": c.prompts,
            "images": c.images,
            "before": f"{100 * c.before:.1f}",
            "now": f"{100 * c.now:.1f}",
            "difference": f"{100 * c.difference:+.1f}",
            "detectable": f"{100 * c.detectable:+.1f}",
            "p": f"{c.p:.3f}",
            "verdict": "regression" if c.regression else "pass",
        }
        for c in comparisons
    ]
