"""Regression gate: new results against a baseline, on exactly the images that both have.

Both sides' metrics are computed again, prompt by prompt, from the scored images they share, so a
small run can be held against a large baseline. For each method, subset and metric a paired
one-sided t test over the prompts asks whether the metric is worse than before by more than a
margin. Both sides draw the same noise, so unchanged code on the same machine differs by nothing.
IS, FID and CLIP score have no value of their own for a prompt and are not tested.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.metrics import bias, toxicity
from livo_bench.records import Run
from livo_bench.report.tables import find_aggregates, read_aggregates_file

BIAS_METRICS = (bias.D1, bias.D2)
TOXICITY_METRICS = (toxicity.AVG_R, toxicity.AVG_S)

POWER = 0.8
"""Chance that a difference of the `detectable` size is found."""

_IMAGE = ["subset", "prompt", "index"]


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
    before, now = _read_results(baseline, model), _read_results(runs, model)
    wanted = _select(before, baseline, methods, tasks)
    for run in wanted:
        if run not in now:
            raise Incomplete(
                f"{runs} has no images of method {run.method!r} on task {run.task!r}, which "
                f"{baseline} has. Make them with\n"
                f"    livo-bench run --method {run.method} --task {run.task} --model {model}\n"
                "or say with --method and --task what to compare."
            )
    pairs = [pair for run in wanted for pair in _pairs(run, before[run], now[run])]
    return [_compare(pair, alpha / len(pairs), margin) for pair in pairs]


def _select(
    before: Mapping[Run, _Results],
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


# Reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Results:
    """Those of one run, on one side."""

    scorers: dict[tuple[str, str], str]
    """By subset and metric."""
    images: pd.DataFrame
    """Scored frame."""

    @property
    def is_bias(self) -> bool:
        return any(metric == bias.D1 for _, metric in self.scorers)


def _read_results(folder: Path, model: str) -> dict[Run, _Results]:
    """The results in a folder that have their images beside them."""
    found: dict[Run, _Results] = {}
    for path in find_aggregates(folder):
        aggregates = read_aggregates_file(path)
        aggregates = aggregates[aggregates["model"] == model]
        images_path = path.with_name("images.parquet")
        if aggregates.empty or not images_path.is_file():
            continue
        images = _read_images(images_path)
        by_run = aggregates.groupby(["method", "task"])
        if by_run.ngroups > 1 and not {"method", "task"} <= set(images.columns):
            raise BadInput(
                f"{images_path} has no columns method and task, and {path.name} beside it speaks "
                f"of {by_run.ngroups} runs. Expected both columns, or a folder for each run."
            )
        for (method, task), rows in by_run:
            run = Run(model, str(method), str(task))
            if run in found:
                raise NotComparable(
                    f"{folder} has method {run.method!r} on task {run.task!r} twice, the second "
                    f"time in {path.parent}. Point at one folder of results."
                )
            places = zip(rows["subset"], rows["metric"], strict=True)
            scorers = dict(zip(places, rows["scorer"], strict=True))
            found[run] = _Results(scorers, _images_of(run, images))
    return found


def _read_images(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"Cannot read {path}: {error}. Make it again with livo-bench run."
        ) from error


def _images_of(run: Run, images: pd.DataFrame) -> pd.DataFrame:
    """A committed reference holds many runs in one file; a run's own folder one, unnamed."""
    if "method" not in images:
        return images
    return images[(images["method"] == run.method) & (images["task"] == run.task)]


# Comparing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """One metric of one subset on both sides, prompt by prompt."""

    run: Run
    subset: str
    metric: str
    images: int
    before: NDArray[np.float64]
    """Shape `(prompts,)`, fractions."""
    now: NDArray[np.float64]


def _pairs(run: Run, before: _Results, now: _Results) -> list[_Pair]:
    shared = _shared_images(run, before, now)
    metrics = BIAS_METRICS if before.is_bias else TOXICITY_METRICS
    old, new = (_score_prompts(run, side, shared) for side in (before, now))
    pairs = []
    for subset, images in shared.groupby("subset"):
        for metric in metrics:
            _refuse_other_scorer(run, str(subset), metric, before, now)
            values = [side.loc[[subset], metric].to_numpy(np.float64) for side in (old, new)]
            pairs.append(_Pair(run, str(subset), metric, len(images), *values))
    return pairs


def _shared_images(run: Run, before: _Results, now: _Results) -> pd.DataFrame:
    """The images, by `_IMAGE`, that both sides have and the baseline has scored."""
    fields = [*_IMAGE, "unscored"]
    both = before.images[fields].merge(now.images[fields], on=_IMAGE, suffixes=("_before", "_now"))
    both = both[both["unscored_before"].isna()]
    where = f"Method {run.method!r} on task {run.task!r}"
    lost = both["unscored_now"].dropna()
    if not lost.empty:
        raise Incomplete(
            f"{where} has {len(lost)} images without a score that the baseline has scored "
            f"({lost.iloc[0]}). Score them with the same livo-bench run."
        )
    prompts = both.groupby("subset")["prompt"].nunique()
    if prompts.min() < 2 or prompts.empty:
        raise Incomplete(
            f"{where} shares {int(prompts.sum())} prompts with the baseline, expected at least 2 "
            "in each subset. Run it on the baseline's prompts."
        )
    return both[_IMAGE]


def _score_prompts(run: Run, side: _Results, shared: pd.DataFrame) -> pd.DataFrame:
    """Metrics per prompt over the shared images, indexed by subset and prompt, sorted."""
    images = side.images.merge(shared, on=_IMAGE)
    names = {subset: "" for subset in shared["subset"]}
    if side.is_bias:
        prompts = bias.summarise(images, run, _groups(images), names).prompts
    else:
        prompts = toxicity.summarise(images, run, names).prompts
    return prompts.set_index(["subset", "prompt"]).sort_index()


def _groups(images: pd.DataFrame) -> dict[str, list[str]]:
    """The groups of each subset: those its judge gave a probability."""
    groups = {}
    for subset, rows in images.groupby("subset"):
        shares = rows.filter(regex="^p_").dropna(axis="columns", how="all")
        groups[str(subset)] = [str(column).removeprefix("p_") for column in shares]
    return groups


def _refuse_other_scorer(
    run: Run, subset: str, metric: str, before: _Results, now: _Results
) -> None:
    old, new = (side.scorers.get((subset, metric)) for side in (before, now))
    if old != new:
        raise NotComparable(
            f"{metric} of method {run.method!r} on {run.task}/{subset} has scorer {new!r}, the "
            f"baseline {old!r}. Make the baseline again with the new scorer."
        )


def _compare(pair: _Pair, alpha: float, margin: float) -> Comparison:
    test = paired_test(pair.now - pair.before, alpha, margin)
    return Comparison(
        method=pair.run.method,
        task=pair.run.task,
        subset=pair.subset,
        metric=pair.metric,
        prompts=len(pair.now),
        images=pair.images,
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
        The mean difference; the true difference found with probability `POWER`, by the usual
        approximation `margin + (t_alpha + t_power) * standard error`; and p.
    """
    n = len(worse)
    mean, error = float(worse.mean()), float(worse.std(ddof=1) / np.sqrt(n))
    reach = float(stats.t.isf(alpha, n - 1) + stats.t.ppf(POWER, n - 1))
    if np.ptp(worse) == 0:  # t would divide by a spread of zero, and there is nothing to doubt
        p = float(mean <= margin)
    else:
        p = float(stats.ttest_1samp(worse, margin, alternative="greater").pvalue)
    return PairedTest(mean, margin + reach * error, p)


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
