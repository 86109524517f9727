"""Methods against a baseline method: paired differences per metric and per prompt.

All methods start an image from the same noise, so a method is held against the baseline on the
images that both have, prompt by prompt: what a prompt is like, and what its noise happens to be,
cancels in the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from livo_bench import paired
from livo_bench.catalog import run_options
from livo_bench.errors import BadInput, Incomplete
from livo_bench.metrics.rows import ALL
from livo_bench.metrics.statistics import (
    bootstrap_over_prompts,
    detectable_difference,
    p_different,
)
from livo_bench.paired import HEADLINES, Pair, Results
from livo_bench.records import Run

ALPHA = 0.05
"""Of the differences that have a verdict, the share that may be expected to be truly zero."""
TAIL = 0.025
"""Beyond either end of a 95 % interval."""

CONDITIONS = {
    "model": ("digest",),
    "prompts": ("list",),
    "settings": ("seed", "steps", "guidance", "sampler"),
}
"""What two methods must have in common to be the only difference, by section of `run.json`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric under a method and under the baseline; lower is better for all of them."""

    method: str
    task: str
    subset: str
    prompt: str
    """Its id; `all` for the mean over prompts."""
    metric: str
    prompts: int
    """That both have scored images of; likewise the images."""
    images: int
    before: float
    """The baseline's mean over prompts, as a fraction; likewise all that follow."""
    now: float
    """The method's."""
    difference: float
    """Now minus before."""
    low: float
    """Lower end of the 95 % interval of the difference over the population of prompts, which
    speaks for itself alone; of a single prompt, which has none, this and the next three are NaN."""
    high: float
    detectable: float
    """Size of the true difference that the test, before its correction, would find at a level of
    5 % 4 times out of 5, or more often where the two hardly differ."""
    p_corrected: float
    """Of the paired t test that it is zero, corrected for the number of means compared."""
    verdict: str
    """`lower` or `higher` where that p is below 5 %, else `unclear`; none of a single prompt."""


class Comparison(NamedTuple):
    """Methods held against a baseline."""

    metrics: list[Difference]
    """Means over prompts, by method in the order asked, task, subset and metric."""
    prompts: list[Difference]
    """All prompts by the one of `HEADLINES` that they have, worst first: largest increase."""


def compare(
    methods: Sequence[str],
    task: str = "all",
    model: str = "mini",
    runs: Path = Path("results/runs"),
) -> Comparison:
    """Hold methods against the first of them, on exactly the images that both have scored.

    Each interval speaks for itself: of twenty differences that are truly zero, one is expected to
    exclude zero. Verdicts hold together: of the means over prompts that are called lower or higher,
    at most 5 % are expected to be truly unchanged (Benjamini and Hochberg 1995, for differences
    that depend positively on one another, as D1 and D2 do). The differences are those of alignment
    alone; what it costs in fidelity says `livo-bench report`. Images that a judge gave no answer
    for, on either side, are left out.

    Args:
        methods: Two or more, as results name them: `sd`, `livo:wo-v`. The first is the baseline.
        task: Name, `name/subset`, or `all`: every task that a method has in common with the
            baseline.
        model: Name of the model card.
        runs: Folder of results, see `paired.read_results`.

    Raises:
        Incomplete: A method has no results, or shares prompts of fewer than two concepts with the
            baseline.
        NotComparable: Two methods were judged by different scorers, or were run with different
            models, seeds or sampling settings.
        BadInput: A method is named twice or alone, or a file is not what it should be.
    """
    pairs = [
        pair
        for baseline, *others in select(methods, task, model, runs)
        for other in others
        for pair in pairs_of(baseline, other)
    ]
    pairs.sort(key=lambda pair: methods.index(pair.run.method))
    prompts = [
        _difference(pair, slice(place, place + 1), prompt)
        for pair in pairs
        if pair.metric in HEADLINES
        for place, prompt in enumerate(pair.prompts)
    ]
    prompts.sort(key=lambda prompt: prompt.difference, reverse=True)
    return Comparison(differences(pairs), prompts)


def select(methods: Sequence[str], task: str, model: str, runs: Path) -> list[list[Results]]:
    """Find the results to compare; arguments and errors as in `compare`.

    Returns:
        For each task the baseline's results and, in the order asked, those of the other methods
        that have some; every method is in one of the tasks.
    """
    if len(methods) < 2 or len(set(methods)) < len(methods):
        raise BadInput(
            f"Methods to compare are {', '.join(methods) or 'none'}; expected two or more "
            "different ones, the baseline first: livo-bench compare sd livo"
        )
    results = paired.read_results(runs, model)
    name, _, subset = task.partition("/")
    names = sorted({run.task for run in results}) if task == "all" else [name]
    found = []
    for each in names:
        of_task = [results.get(Run(model, method, each)) for method in methods]
        with_images = [_only(side, subset) for side in of_task if side is not None]
        sides = [side for side in with_images if not side.images.empty]
        if len(sides) > 1 and sides[0].run.method == methods[0]:
            found.append(sides)
    if {side.run.method for sides in found for side in sides} != set(methods):
        raise Incomplete(_what_lacks(methods, task, model, runs, results))
    for sides in found:
        require_only_method_differs(sides)
    return found


def require_only_method_differs(sides: Sequence[Results]) -> None:
    """See that nothing but the method differs between results, by what runs recorded.

    Raises:
        NotComparable: Something in `CONDITIONS` differs.
    """
    paired.refuse_other_conditions(
        sides,
        CONDITIONS,
        "Expected the method to be the only difference. Run them with one livo-bench run.",
    )


def _only(side: Results, subset: str) -> Results:
    if not subset:
        return side
    return replace(side, images=side.images[side.images["subset"] == subset])


def _what_lacks(
    methods: Sequence[str], task: str, model: str, runs: Path, results: Iterable[Run]
) -> str:
    there = ", ".join(f"{run.method} on {run.task}" for run in results) or "nothing"
    words = " ".join(f"--method {method}" for method in methods)
    return (
        f"{runs} does not hold the results to compare {', '.join(methods[1:])} with {methods[0]} "
        f"on task {task!r}; of model {model!r} it has {there}. Make what is missing with\n"
        f"    livo-bench run {words} --task {task} {run_options(model)} --runs {runs}"
    )


def pairs_of(baseline: Results, other: Results) -> list[Pair]:
    """Pair two methods by the images that both have an answer for; errors as in `compare`."""
    shared = paired.shared_images(baseline, other)
    answered = shared["unscored_before"].isna() & shared["unscored_now"].isna()
    return paired.pair(baseline, other, shared[answered])


def differences(pairs: Sequence[Pair]) -> list[Difference]:
    """Means over prompts, whose tests are corrected for their number, in the order given."""
    if not pairs:
        return []
    p_corrected = stats.false_discovery_control(
        [
            p_different(pair.differences, pair.reach, pair.images_of_one, pair.clusters)
            for pair in pairs
        ]
    )
    return [
        replace(_difference(pair, slice(None), ALL), p_corrected=p, verdict=_verdict(pair, p))
        for pair, p in zip(pairs, p_corrected.tolist(), strict=True)
    ]


def _difference(pair: Pair, chosen: slice, prompt: str) -> Difference:
    """The mean over the chosen prompts."""
    differences, clusters = pair.differences[chosen], pair.clusters[chosen]
    low, high = bootstrap_over_prompts(differences, clusters=clusters)
    return Difference(
        method=pair.run.method,
        task=pair.run.task,
        subset=pair.subset,
        prompt=prompt,
        metric=pair.metric,
        prompts=len(differences),
        images=int(pair.images[chosen].sum()),
        before=float(pair.before[chosen].mean()),
        now=float(pair.now[chosen].mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        detectable=detectable_difference(
            differences,
            TAIL,
            reach=pair.reach,
            images=pair.images_of_one,
            clusters=clusters,
        ),
        p_corrected=float("nan"),
        verdict="",
    )


def _verdict(pair: Pair, p: float) -> str:
    if p >= ALPHA:
        return "unclear"
    return "lower" if pair.differences.mean() < 0 else "higher"


# Printing ----------------------------------------------------------------------------------------


def metric_rows(metrics: Sequence[Difference]) -> list[dict[str, object]]:
    """One row a method, subset and metric, as people read them: per cent, rounded."""
    return [
        {
            "method": d.method,
            "subset": f"{d.task}/{d.subset}",
            "metric": d.metric,
            "prompts": d.prompts,
            "images": d.images,
            **_values(d),
            "95 % interval": f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
            "detectable": f"{100 * d.detectable:.1f}",
            "p (BH)": f"{d.p_corrected:.3f}",
            "verdict": d.verdict,
        }
        for d in metrics
    ]


def prompt_rows(prompts: Sequence[Difference]) -> list[dict[str, object]]:
    """One row a method, subset and prompt, likewise."""
    return [
        {
            "method": d.method,
            "subset": f"{d.task}/{d.subset}",
            "prompt": d.prompt,
            "metric": d.metric,
            "images": d.images,
            **_values(d),
        }
        for d in prompts
    ]


def _values(d: Difference) -> dict[str, object]:
    return {
        "before": f"{100 * d.before:.1f}",
        "now": f"{100 * d.now:.1f}",
        "difference": f"{100 * d.difference:+.1f}",
    }
