"""Methods against a baseline method: paired differences per metric and per prompt.

All methods of a run start an image from the same noise, so a method is held against the baseline on
the images that both have, prompt by prompt: what a prompt is like, and what its noise happens to
be, cancels in the difference. Images that are known to have started from other noise are refused;
where it is not known, as of pictures made elsewhere, the tests hold and find less, and it is said.
"""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from livo_bench.cards.catalog import (
    HANDED,
    RUNS,
    method_labels,
    method_name,
    run_options,
    task_cards,
)
from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import Run
from livo_bench.results import conditions, judged, paired
from livo_bench.results.frames import ALL, refused
from livo_bench.results.judged import Results
from livo_bench.results.metrics.intervals import interval_of_mean
from livo_bench.results.metrics.registry import BY_PROMPT
from livo_bench.results.metrics.statistics import ROUNDING, detectable_difference, p_different
from livo_bench.results.paired import Noise, Pair
from livo_bench.results.reading import read_results
from livo_bench.results.seal import differing_files, say_unsealed

log = logging.getLogger(__name__)

ALPHA = 0.05
"""Share of the differences with a verdict that may be expected to be truly zero."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric under a method and under the baseline."""

    method: str
    task: str
    subset: str
    prompt: str
    """Id of the prompt; `all` for the mean over prompts."""
    metric: str
    prompts: int
    """Number of prompts that both sides have scored images of."""
    images: int
    """Number of images that both sides have scored."""
    before: float
    """The baseline's mean over prompts, a fraction, as all numbers are that follow."""
    now: float
    """The method's mean over prompts."""
    difference: float
    """Now minus before."""
    low: float
    """Lower end of the 95 % interval of the difference over the population of prompts, which
    speaks for itself alone; of a single prompt, which has none, this and the next three are NaN."""
    high: float
    detectable: float
    """Size of the true difference that the test finds 4 times out of 5, or more often where the two
    hardly differ, at the level that the correction leaves it beside the other rows (`levels`); NaN
    where the metric cannot differ so much."""
    p_corrected: float
    """p of the paired t test that the difference is zero, corrected for the number of means
    compared."""
    verdict: str
    """Where that p is not below 5 % `unclear`. Where it is, something changed: `lower` or `higher`
    if the interval says so of the mean, `undecided` if it does not or there is none, for prompts
    are too few to rule out that others, which none of them is like, turn the mean round. None of a
    single prompt. Lower is better but where `Metric.higher_is_better`."""

    @property
    def worsening(self) -> float:
        """The difference, turned so that above zero is worse."""
        return paired.worsening(self.metric, self.difference)


UNPAIRED = {
    Noise.UNKNOWN: "cannot be shown, for one of them does not say its seeds",
    Noise.UNSHARED: "there is not, for an image service draws its own for each image",
}
"""What is said of noise that is not the same, or may not be."""


class Comparison(NamedTuple):
    """Methods held against a baseline."""

    metrics: list[Difference]
    """Means over prompts, by method in the order asked, task, subset and metric."""
    prompts: list[Difference]
    """All prompts by each of `BY_PROMPT` that they have, what got worse most first."""
    said: list[str]
    """What else differs that may, see `conditions`, a line each."""


def compare(
    methods: Sequence[str],
    task: str = "all",
    model: str = "mini",
    runs: Path = RUNS,
) -> Comparison:
    """Hold methods against the first of them, on exactly the images that both have scored.

    Each interval speaks for itself: of twenty differences that are truly zero, one is expected to
    exclude zero. Verdicts hold together: of the means over prompts that are called lower or higher,
    at most 5 % are expected to be truly unchanged (Benjamini and Hochberg 1995, for differences
    that depend positively on one another, as D1 and D2 do). Fidelity is held against the baseline
    like alignment, of results that have it for each image; FID, which has no value for a prompt,
    says `livo-bench report`. Images that a judge gave no answer for, on either side, are left out.
    Where some were refused, how many is compared, too, and Avg. R also of all images that were
    asked for, with refused ones as harmless.

    Args:
        methods: Two or more, as results name them: `sd`, `livo:wo-v`, or a folder, `./my-method`.
            The first is the baseline.
        task: Name, `name/subset`, or `all`: every task that a method has in common with the
            baseline.
        model: Name of the model card.
        runs: Folder of results, see `reading.read_results`.

    Raises:
        UnknownName: No results and no method or task of this package have a name.
        Incomplete: A method has no results, none with a score in a subset, or shares prompts of
            fewer than two concepts with the baseline.
        NotComparable: Two methods were judged by different scorers, or run under different
            `conditions`, on other texts or from other noise.
        BadInput: A method is named twice or alone, or a file is not what it should be.
    """
    tasks = select(methods, task, model, runs)
    for sides in tasks:
        for side in sides:
            judged.refuse_unscored(side)
    pairs = [
        pair
        for baseline, *others in tasks
        for other in others
        for pair in pairs_of(baseline, other)
    ]
    paired_sides = [(baseline, other) for baseline, *others in tasks for other in others]
    say_unsealed(runs, [side.sealed for sides in tasks for side in sides])
    for note in dict.fromkeys(_file_notes(paired_sides)):
        log.warning(note)
    order = list(map(method_name, methods))
    pairs.sort(key=lambda pair: order.index(pair.run.method))
    prompts = [
        _difference(pair, slice(place, place + 1), prompt)
        for pair in pairs
        if pair.metric in (*BY_PROMPT, *paired.OF_REFUSALS)
        for place, prompt in enumerate(pair.prompts)
    ]
    prompts.sort(key=lambda prompt: prompt.worsening, reverse=True)
    said = dict.fromkeys(note for sides in tasks for note in notes(sides))
    return Comparison(differences(pairs), prompts, list(said))


def select(methods: Sequence[str], task: str, model: str, runs: Path) -> list[list[Results]]:
    """Find the results to compare; arguments and errors as in `compare`.

    Returns:
        For each task the baseline's results and, in the order asked, those of the other methods
        that have some; every method is in one of the tasks.
    """
    names = list(map(method_name, methods))
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadInput(
            f"Methods to compare are {', '.join(methods) or 'none'}; expected two or more "
            "different ones, the baseline first.",
            "Pass e.g. livo-bench compare sd livo",
        )
    results = read_results(runs, model)
    tasks = [] if task == "all" else [task]
    # What is known and was not run is not unknown, but missing.
    own = {f"{card.name}/{subset}" for card in task_cards().values() for subset in card.subsets}
    folders = {name for name, spec in zip(names, methods, strict=True) if name != spec}
    judged.refuse_unknown(
        results.values(),
        [name for name in names if name not in method_labels().keys() | folders],
        [place for place in tasks if place not in task_cards().keys() | own],
    )
    found = []
    for each in sorted({run.task for run in results}):
        of_task = [results.get(Run(model, name, each)) for name in names]
        asked = [side.only(tasks) for side in of_task if side is not None]
        sides = [side for side in asked if not side.images.empty]
        if len(sides) > 1 and sides[0].run.method == names[0]:
            found.append(sides)
    if {side.run.method for sides in found for side in sides} != set(names):
        raise _lacking(methods, task, model, runs, results)
    for sides in found:
        require_only_method_differs(sides)
    return found


def require_only_method_differs(sides: Sequence[Results]) -> None:
    """See that nothing but the method differs between results, by what runs recorded.

    Raises:
        NotComparable: Something differs of which `conditions` say that it must agree.
    """
    paired.refuse_other_conditions(
        sides,
        conditions.of("compare", conditions.AGREE),
        "Expected the method to be the only difference. Run them with one livo-bench run:",
    )


def notes(sides: Sequence[Results]) -> list[str]:
    """What is to be said of results that are compared with the first of them, a line each."""
    said = conditions.notes(
        (record for side in sides for record in side.records.values()), "compare"
    )
    for side in sides:
        if (gone := refused(side.images)).any():
            why = judged.counted(judged.reasons(side.images.loc[gone, "unscored"]))
            said.append(
                f"{side.run.method} on {side.run.task}: refused {why}; pairs are of images that "
                f"both have, but of {' and '.join(paired.OF_REFUSALS)}, which are of all"
            )
    baseline, *others = sides
    for other in others:
        said += [
            f"{other.run.method} on {other.run.task}, beside {baseline.run.method}: {differing}"
            for differing in paired.differing_clusters(baseline, other)
        ]
        noise = paired.noise(baseline, other)
        if noise in UNPAIRED:
            said.append(
                f"{other.run.method} on {other.run.task}: same noise as {baseline.run.method} "
                f"{UNPAIRED[noise]}"
            )
    return said


def _lacking(
    methods: Sequence[str], task: str, model: str, runs: Path, results: Mapping[Run, Results]
) -> Incomplete:
    asked = {HANDED: f"--method {HANDED} --weights FILE"}
    asked |= {side.run.method: side.asked for side in results.values()}
    handed = f"Results of {HANDED!r} are named after their file: compare by that name. "
    words = " ".join(asked.get(method, f"--method {method}") for method in methods)
    return Incomplete(
        f"{runs} does not hold the results to compare {', '.join(methods[1:])} with {methods[0]} "
        f"on task {task!r}; of model {model!r} it has {judged.what_is_there(results)}.",
        f"{handed if HANDED in methods else ''}Make what is missing with\n"
        f"    livo-bench run {words} --task {task} {run_options(model)} "
        f"--runs {shlex.quote(str(runs))}",
    )


def _file_notes(pairs: Sequence[tuple[Results, Results]]) -> Iterator[str]:
    """Which files behind methods differ: those that both have; of one method's folders, all.

    Methods of different folders have a card and an adapter each, of which that says nothing.
    """
    for before, now in pairs:
        files = differing_files(before.records.values(), now.records.values())
        variants = before.run.method.partition(":")[0] == now.run.method.partition(":")[0]
        told = [
            f"{name} {digests}"
            for name, digests in files.items()
            if "none" not in digests and (variants or name not in ("adapter.py", "card.toml"))
        ]
        if told:
            yield f"{before.run.method} and {now.run.method}: method files differ: " + ", ".join(
                told
            )
    of_method: dict[str, Results] = {}
    for side in (side for pair in pairs for side in pair):
        first = of_method.setdefault(side.run.method, side)
        files = differing_files(first.records.values(), side.records.values())
        if files:
            told = [f"{name} {digests}" for name, digests in files.items()]
            yield (
                f"{side.run.method} on {first.run.task} and on {side.run.task}: method files "
                f"differ: {', '.join(told)}"
            )


def pairs_of(baseline: Results, other: Results) -> list[Pair]:
    """Pair two methods by the images that both have an answer for; errors as in `compare`."""
    shared = paired.shared_images(baseline, other)
    if paired.noise(baseline, other) is Noise.OTHER:
        raise paired.other_noise(baseline, other)
    answered = paired.answered(shared)
    refusals = paired.pair_refusals(baseline, other, shared)
    if answered.empty and refusals:
        return refusals
    return [*paired.pair(baseline, other, answered), *refusals]


def differences(pairs: Sequence[Pair]) -> list[Difference]:
    """Means over prompts, whose tests are corrected for their number, in the order given."""
    if not pairs:
        return []
    p = [
        p_different(pair.differences, pair.reach, pair.images_of_one, pair.clusters)
        for pair in pairs
    ]
    corrected = stats.false_discovery_control(p)
    means = [_difference(pair, slice(None), ALL) for pair in pairs]
    rows = zip(pairs, means, corrected.tolist(), levels(p, ALPHA).tolist(), strict=True)
    return [
        replace(
            mean,
            detectable=_detectable(pair, level),
            p_corrected=p_of_row,
            verdict=_verdict(mean, p_of_row),
        )
        for pair, mean, p_of_row, level in rows
    ]


def levels(p: Sequence[float], alpha: float) -> NDArray[np.float64]:
    """Compute at which level each test of a family is made by Benjamini and Hochberg's correction.

    The correction rejects the k smallest of m values, k being the largest number of them that are
    at most `alpha k / m`. Let K be that number if a test's own value were 0. It is rejected just
    where its value is at most `alpha K / m`: a value that is changes no more than the order of
    those below, so k is K; and one that is not leaves fewer, each within its smaller part. K
    depends on the other values alone, so this is the level of the test, whatever its own value; a
    test that is alone in finding something is made at `alpha / m`.

    Args:
        p: m values, not corrected.
        alpha: Level of the family.

    Returns:
        Shape `(m,)`, between `alpha / m` and `alpha`.
    """
    values = np.asarray(p, dtype=np.float64)
    m = len(values)
    steps = alpha * np.arange(1, m + 1) / m
    found = []
    for place in range(m):
        others = np.sort(np.append(np.delete(values, place), 0.0))
        found.append(steps[np.flatnonzero(others <= steps)[-1]])
    return np.array(found)


def _detectable(pair: Pair, level: float) -> float:
    """What a two-sided test at a level finds; NaN where the metric cannot differ so much."""
    found = detectable_difference(
        pair.differences, level / 2, 0.0, pair.reach, pair.images_of_one, pair.clusters
    )
    before = float(pair.before.mean())
    possible = max(before, pair.highest - before) + ROUNDING
    return found if found <= possible else math.nan


def _difference(pair: Pair, chosen: slice, prompt: str) -> Difference:
    """The mean over the chosen prompts, without what rests on a test."""
    differences, clusters = pair.differences[chosen], pair.clusters[chosen]
    low, high = interval_of_mean(differences, clusters, pair.ends)
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
        detectable=float("nan"),
        p_corrected=float("nan"),
        verdict="",
    )


def _verdict(mean: Difference, p: float) -> str:
    if p >= ALPHA:
        return "unclear"
    # Without an interval, as of clusters that are worth fewer than two, it says nothing.
    if not (mean.low > 0 or mean.high < 0):
        return "undecided"
    return "lower" if mean.difference < 0 else "higher"
