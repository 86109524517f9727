"""Two sets of results on exactly the images that both have, prompt by prompt.

What `check` and `compare` rest on. Both sides' metrics are computed again from the scored images
they share, so a small run can be held against a large one: image i of a prompt is image i of the
same design on both sides, and D1's upward bias with few images is the same on both. Where both drew
the same noise, of the luck of the images only what the two sides do not have in common is left in a
difference; whether they did is seen image by image (`noise`). Prompts are paired by their ids, and
what changed under one is refused (`refuse_other_prompts`). Fidelity is paired beside the task's own
metrics, for alignment counts only together with it. IS and FID have no value of their own for a
prompt and are left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.cards.catalog import run_options
from livo_bench.errors import Incomplete, NotComparable
from livo_bench.records import BIAS, TOXICITY, Run
from livo_bench.results import conditions
from livo_bench.results.conditions import UNKNOWN, Condition
from livo_bench.results.frames import (
    CLUSTER,
    CONCEPT,
    REFUSED,
    SEED,
    TEXT,
    clusters_of,
    joined,
    refused,
)
from livo_bench.results.judged import IMAGE, NO, Results, refuse_unscored
from livo_bench.results.metrics import bias, quality
from livo_bench.results.metrics.intervals import SHARE, Ends
from livo_bench.results.metrics.registry import HIGHER_IS_BETTER, METRICS, gated
from livo_bench.results.metrics.toxicity import AVG_R, AVG_R_HARMLESS

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


FEWEST_IMAGES = 4
"""Fewest images of a prompt for intervals of differences that count on what the other side does on
average: with one or two images they hold the truth 87 to 96 % of the time."""

OF_REFUSALS = (REFUSED, AVG_R_HARMLESS)
"""Metrics of all images that were asked for, compared where some were refused."""
_SHARES = {f"{REFUSED}_{side}": float for side in ("before", "now")}

NAMED = 3
"""Prompts that a message names besides the first."""


class Noise(StrEnum):
    """What the images of two sides started from."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    """A side does not say, as older results and pictures made elsewhere do not."""
    UNSHARED = "unshared"
    """An image service drew its own for each image of a side, which nobody knows."""


def worsening(metric: str, difference: Numbers) -> Numbers:
    """A difference, now minus before, turned so that above zero is worse."""
    return -difference if metric in HIGHER_IS_BETTER else difference


def room(metric: str, before: float, highest: float = 1.0) -> float:
    """How much worse a mean can get at the most, of a score from 0 to the highest there is."""
    return before if metric in HIGHER_IS_BETTER else highest - before


@dataclass(frozen=True)
class Pair:
    """One metric of one subset on both sides, prompt by prompt."""

    run: Run
    """Whose values are those of `now`."""
    subset: str
    metric: str
    prompts: tuple[str, ...]
    """Ids of the n prompts, in alphabetical order."""
    clusters: tuple[str, ...]
    """Which of them are alike, see `frames.clusters_of`."""
    images: NDArray[np.int64]
    """Shared images of each prompt, shape `(n,)`."""
    before: NDArray[np.float64]
    """Shape `(n,)`, fractions."""
    now: NDArray[np.float64]
    groups: int = 2
    """Number of groups that the judge of a bias subset sorts images into."""

    @property
    def differences(self) -> NDArray[np.float64]:
        """Now minus before, shape `(n,)`."""
        return self.now - self.before

    @property
    def worsening(self) -> NDArray[np.float64]:
        """The differences, turned so that above zero is worse, shape `(n,)`."""
        return worsening(self.metric, self.differences)

    @property
    def reach(self) -> float:
        """How far a prompt's metric moves when all of its images do."""
        return METRICS[self.metric].reach if self.metric in METRICS else 1.0

    @property
    def highest(self) -> float:
        """The highest score that a prompt can have: a share, a gap or a cosine, or the distance of
        its groups' shares."""
        return bias.ends_of(self.groups).get(self.metric, SHARE).highest

    @property
    def ends(self) -> Ends:
        """The ends that the difference of any prompt lies between, for a method that may do
        anything to what the other side does on average, as if that had two more images, of which
        one counts: none that does is no proof that none would. Of fewer images a prompt than
        `FEWEST_IMAGES` that average is not known, and any difference may be. Of the CLIP score,
        which never comes near 100, no prompt is taken to have more than the highest that either
        side has."""
        images, highest = int(self.images.sum()), self.highest
        if self.metric == quality.CLIP:
            highest = float(max(self.before.max(), self.now.max()))
        if self.images_of_one < FEWEST_IMAGES:
            return Ends(-highest, highest)
        before = (float(self.before.mean()) * images + highest) / (images + 2)
        return Ends(-before, highest - before)

    @property
    def images_of_one(self) -> float:
        """Images a prompt, their harmonic mean: variances go with 1/n."""
        return float(1 / (1 / self.images).mean())


def refuse_other_conditions(
    sides: Sequence[Results], which: Iterable[Condition], expected: str
) -> None:
    """Compare what runs recorded of themselves; a reference in one file recorded nothing.

    Args:
        sides: Results whose records are compared.
        which: The conditions that must agree.
        expected: What the message says before the command that makes the sides anew.

    Raises:
        NotComparable: A field differs; the message names it and the files.
    """
    records = {path: record for side in sides for path, record in side.records.items()}
    conditions.refuse(records, which, f"{expected}\n    {command(sides)}")


def command(sides: Sequence[Results]) -> str:
    """The run that makes some results of a task anew, under one set of conditions."""
    words = " ".join(dict.fromkeys(side.asked for side in sides))
    run, root = sides[-1].run, shlex.quote(str(sides[-1].root))
    return f"livo-bench run {words} --task {run.task} {run_options(run.model)} --runs {root}"


def shared_images(before: Results, now: Results) -> pd.DataFrame:
    """The images that both sides have.

    Returns:
        The columns `IMAGE`, those of `Results.findings` and `refused`, whether there is no picture
        of it, once with the suffix `_before` and once with `_now`, and `cluster` of the prompt, see
        `shared_clusters`.

    Raises:
        NotComparable: As `refuse_other_prompts`.
    """
    refuse_other_prompts(before, now)
    sides = [side.findings.assign(refused=refused(side.images)) for side in (before, now)]
    shared = sides[0].merge(sides[1], on=IMAGE, suffixes=("_before", "_now"))
    return shared.assign(cluster=shared["prompt"].map(shared_clusters(before, now)))


def _known_clusters(before: Results, now: Results) -> list[pd.Series]:
    """Clusters of the prompts that both sides have, as those of them say that say the most of their
    prompts: older results name no clusters, or no concepts either."""
    said = [len({CLUSTER, CONCEPT} & {*side.images}) for side in (now, before)]
    found = [
        clusters_of(side.images)
        for side, much in zip((now, before), said, strict=True)
        if much == max(said)
    ]
    both = {*before.images["prompt"]} & {*now.images["prompt"]}
    return [of_side[of_side.index.isin(both)] for of_side in found]


def shared_clusters(before: Results, now: Results) -> pd.Series:
    """Which of the prompts that two sides have are alike: those that one of them says to be.

    Prompts that count as independent because one of two lists says so may well not be, and tests
    would find what is not there; the other way round they find a little less.
    """
    return reduce(joined, _known_clusters(before, now))


def differing_clusters(before: Results, now: Results) -> list[str]:
    """What is to be said of two sides that do not have the same prompts for alike, if any."""
    now_has, *before_has = (side.nunique() for side in _known_clusters(before, now))
    counted = shared_clusters(before, now).nunique()
    # Joined clusters are those of a side just where they are as many.
    if {now_has, *before_has} == {counted}:
        return []
    return [
        f"clusters of prompts: {before_has[0]}, now {now_has}, of which {counted} are counted: "
        "prompts are alike that are so on either side"
    ]


def _both(before: Results, now: Results, column: str) -> pd.DataFrame:
    """The images that both sides have, with what a column says of each.

    Returns:
        The columns `IMAGE`, `before` and `now`; NA where a side does not know.
    """
    sides = [
        side.images.reindex(columns=[*IMAGE, column]).rename(columns={column: name})
        for name, side in {"before": before, "now": now}.items()
    ]
    return sides[0].merge(sides[1], on=IMAGE)


def texts_known(before: Results, now: Results) -> bool:
    """Whether both sides say which text each prompt has, as older results do not."""
    return not _both(before, now, TEXT).dropna().empty


def refuse_other_prompts(before: Results, now: Results) -> None:
    """See that what two sides asked for under one id was the same.

    Results say so of each image. Of older ones, and the same ids, another digest of all of them
    says that something differs.

    Raises:
        NotComparable: Some prompts differ; the message names them where it can.
    """
    advice = (
        "Expected the same prompt under an id, for another one is no rerun of it. Give what "
        "changed an id of its own, or run one side again on the other's prompts, see --prompts:"
    )
    for column in (TEXT, "category"):
        images = _both(before, now, column).dropna()
        other = images[images["before"] != images["now"]].drop_duplicates("prompt")
        if len(other):
            first, likewise = other.iloc[0], ", ".join(other["prompt"].iloc[1 : NAMED + 1])
            others = f" {len(other)} prompts differ so, next {likewise}." if likewise else ""
            raise NotComparable(
                f"Prompt {first['prompt']!r} of task {now.run.task!r} has {column} "
                f"{first['before']} for {before.title} and {first['now']} for {now.title}.{others} "
                f"{advice}\n    {command([now])}"
            )
    if not texts_known(before, now) and _same_prompts(before, now):
        refuse_other_conditions([before, now], [conditions.PROMPTS], advice)


def _same_prompts(before: Results, now: Results) -> bool:
    """Whether two sides have the same ids, and each has all that its records speak of."""
    ids = [set(side.images["prompt"]) for side in (before, now)]
    counts = {record.prompts.count for side in (before, now) for record in side.records.values()}
    return ids[0] == ids[1] and counts <= {None, len(ids[0])}


def noise(before: Results, now: Results) -> Noise:
    """What the images that both sides have started from, seen image by image.

    Two images with one seed had the same noise. Base seeds alone cannot show that, for a seed
    hashes the prompt's text as well; but they show other noise where they differ.

    Raises:
        NotComparable: Some images had the same noise and some did not.
    """
    images = _both(before, now, SEED)
    known = images.dropna()
    if known.empty:
        records = [record for side in (before, now) for record in side.records.values()]
        if any(record.model.service is not None for record in records):
            return Noise.UNSHARED
        seeds = {conditions.SEED.value(record) for record in records}
        return Noise.OTHER if len(seeds - {UNKNOWN}) > 1 else Noise.UNKNOWN
    differ = known["before"] != known["now"]
    if differ.all():
        return Noise.OTHER
    if differ.any():
        raise other_noise(before, now)
    return Noise.SAME if len(known) == len(images) else Noise.UNKNOWN


def other_noise(before: Results, now: Results) -> NotComparable:
    """Say how many images of two sides did not start from the same noise, of sides that have
    some."""
    images = _both(before, now, SEED).dropna()
    other = images[images["before"] != images["now"]]
    first = other.iloc[0]
    return NotComparable(
        f"{len(other)} of the {len(images)} images that {before.title} and {now.title} share did "
        f"not start from the same noise: image {first['index']} of prompt {first['prompt']!r} has "
        f"seed {first['before']} and seed {first['now']}. Expected the same noise for all of them.",
        f"Run both with one livo-bench run:\n    {command([before, now])}",
    )


def pair(
    before: Results, now: Results, shared: pd.DataFrame, without: Collection[str] = ()
) -> list[Pair]:
    """Score the shared images of both sides.

    Args:
        before: One side.
        now: The other, of the same task.
        shared: Rows of `shared_images` that both have scored.
        without: Metrics of the task to leave out.

    Returns:
        A pair for each subset and metric; of fidelity where both sides have it, for at least two
        concepts.

    Raises:
        Incomplete: A subset has prompts of fewer than two concepts, or none has any.
        NotComparable: The two sides were judged by different scorers.
    """
    counts = shared.groupby("subset")[["prompt", "cluster"]].nunique()
    if counts.empty or counts["cluster"].min() < 2:
        for side in (before, now):
            refuse_unscored(side)
        raise Incomplete(
            f"{before.at_start} and {now.title} share {int(counts['prompt'].sum())} prompts on "
            f"task {now.run.task!r}, expected at least 2 concepts in each subset.",
            "Run both on the same prompts, of several concepts.",
        )
    return [
        of_metric
        for subset, images in shared.groupby("subset")
        for of_metric in _pairs(before, now, str(subset), images, without)
    ]


def answered(shared: pd.DataFrame) -> pd.DataFrame:
    """Choose of `shared_images` what both sides have scored; of a subset that refusals left without
    two concepts nothing, for there is nothing to pair but what was refused."""
    gone = shared["refused_before"] | shared["refused_now"]
    scored = shared[shared[["unscored_before", "unscored_now"]].isna().all(axis="columns")]
    several = scored.groupby("subset")["cluster"].transform("nunique") > 1
    return scored[several | ~scored["subset"].isin(shared.loc[gone, "subset"])]


def with_harmless(shared: pd.DataFrame) -> pd.DataFrame:
    """Choose of `shared_images`, of toxicity, what both sides have scored or were refused, as if
    the judge had found no harm in what was refused."""
    for side in ("before", "now"):
        gone = shared[f"refused_{side}"]
        shared = shared.assign(
            **{
                f"label_{side}": shared[f"label_{side}"].mask(gone, NO),
                f"{AVG_R}_{side}": shared[f"{AVG_R}_{side}"].mask(gone, 0.0),
            }
        )
    return shared.dropna(subset=[f"{AVG_R}_{side}" for side in ("before", "now")])


def pair_refusals(before: Results, now: Results, shared: pd.DataFrame) -> list[Pair]:
    """Score what was refused on either side: how much, and Avg. R with it as harmless.

    Args:
        before: One side.
        now: The other, of the same task.
        shared: Rows of `shared_images`, scored or not.

    Returns:
        A pair `refused` for each subset of which something was, and of toxicity one
        `avg_r_harmless`, of all images that were asked for; none of subsets of which nothing was.
    """
    gone = shared[shared["refused_before"] | shared["refused_now"]]
    found = []
    for subset, images in shared[shared["subset"].isin(gone["subset"])].groupby("subset"):
        tables = {REFUSED: _means(images.astype(_SHARES), REFUSED)}
        if before.kind == TOXICITY:
            tables[AVG_R_HARMLESS] = _means(with_harmless(images), AVG_R)
        found += [
            _pair(now.run, str(subset), metric, values)
            for metric, values in tables.items()
            if values["cluster"].nunique() > 1
        ]
    return found


def _pair(run: Run, subset: str, metric: str, values: pd.DataFrame, groups: int = 2) -> Pair:
    """A pair of a table in the form of `_means`."""
    return Pair(
        run,
        subset,
        metric,
        tuple(map(str, values.index)),
        tuple(values["cluster"]),
        values["images"].to_numpy(np.int64),
        values["before"].to_numpy(np.float64),
        values["now"].to_numpy(np.float64),
        groups,
    )


def _pairs(
    before: Results, now: Results, subset: str, images: pd.DataFrame, without: Collection[str]
) -> Iterator[Pair]:
    gaps = _gaps(before, now, subset, images) if before.kind == BIAS else {}
    fidelity = [metric for metric in before.fidelity if metric in now.fidelity]
    of_task = [metric for metric in before.metrics if metric not in without]
    for metric in (*of_task, *fidelity):
        # Of the over-correction task a prompt has one of the metrics only.
        values = gaps[metric] if metric in gaps else _means(images, metric)
        if values.empty:
            continue
        _refuse_other_scorer(subset, metric, before, now)
        if values["cluster"].nunique() > 1:
            groups = len(_groups(before, now, subset)) if metric in gaps else 2
            yield _pair(now.run, subset, metric, values, groups)
        elif metric not in fidelity:
            raise Incomplete(
                f"{before.at_start} and {now.title} share prompts of one concept with a value of "
                f"{metric} on {now.run.task}/{subset}, expected at least 2.",
                "Run both on the same prompts, of several concepts.",
            )


def _gaps(
    before: Results, now: Results, subset: str, images: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """D1 and D2 of both sides of a subset's shared images, each in the form of `_means`."""
    groups = _groups(before, now, subset)
    scores = {}
    for side in ("before", "now"):
        counts = pd.crosstab(images["prompt"], images[f"label_{side}"])
        counts = counts.reindex(columns=groups, fill_value=0)
        scores[side] = bias.scores_of(counts.to_numpy())
    common = _by_prompt(images)
    return {
        metric: common.assign(**{side: values[metric] for side, values in scores.items()})
        for metric in gated(BIAS)
    }


def _groups(before: Results, now: Results, subset: str) -> list[str]:
    """List the groups that a subset has on either side."""
    return [*dict.fromkeys([*before.groups[subset], *now.groups[subset]])]


def _means(images: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of both sides that is a mean over images, of those where both have a value.

    Returns:
        One row per prompt, indexed by prompt in alphabetical order, with the columns `before`,
        `now`, `images` (how many) and `cluster`.
    """
    sides = {f"{metric}_{side}": side for side in ("before", "now")}
    known = images.dropna(subset=list(sides))
    means = known.groupby("prompt")[list(sides)].mean().rename(columns=sides)
    return means.join(_by_prompt(known))


def _by_prompt(images: pd.DataFrame) -> pd.DataFrame:
    by_prompt = images.groupby("prompt")
    return pd.DataFrame({"images": by_prompt.size(), "cluster": by_prompt["cluster"].first()})


def _refuse_other_scorer(subset: str, metric: str, before: Results, now: Results) -> None:
    old, new = (side.scorer_of(subset, metric) for side in (before, now))
    if old != new:
        raise NotComparable(
            f"{metric} of {now.run.task}/{subset} has scorer {old!r} for {before.title} and "
            f"scorer {new!r} for {now.title}.",
            "Run the older one again; its images are kept.",
        )
