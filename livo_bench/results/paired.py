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

import io
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, reduce
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.cards.catalog import run_options, unknown_name
from livo_bench.csvs import parse_parquet
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.escaping import excerpt
from livo_bench.records import BIAS, OVERCORRECTION, TOXICITY, Run
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import UNKNOWN, Condition
from livo_bench.results.frames import ALL, CLUSTER, CONCEPT, SEED, TEXT, clusters_of, joined
from livo_bench.results.metrics import bias, overcorrection, quality, toxicity
from livo_bench.results.metrics.discrepancy import discrepancies
from livo_bench.results.metrics.intervals import SHARE, Ends
from livo_bench.results.metrics.metric import FIDELITY
from livo_bench.results.metrics.registry import HEADLINES, HIGHER_IS_BETTER, METRICS, gated
from livo_bench.results.reading import aggregates_of
from livo_bench.results.record import RunRecord

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


_FIDELITY = gated(FIDELITY)
"""Of every task, where the results have them: `clip` and `clip_neutral` are mean cosines, x100 the
CLIP scores. An image has one of the two: where its prompt names a hazard, `clip` would fall when
the hazard goes."""

IMAGE = ["subset", "prompt", "index"]
"""Columns that say which image a row speaks of, whoever made it."""

TEXTS = ("subset", "prompt", "category")
"""Columns of texts that no row lacks."""
AGAIN = "Make it again with livo-bench run."

YES, NO = "yes", "no"
SOMETHING_ELSE = "something else"
"""What an image shows that lacks the content asked for."""

CATEGORY = "category"
"""Column of scored frames: of the prompt; where it names a group, what the judge is asked."""

FEWEST_IMAGES = 4
"""Of a prompt, for intervals of differences that count on what the other side does on average: with
one or two images they hold the truth 87 to 96 % of the time."""

NAMED = 3
"""Prompts that a message names besides the first."""


class Noise(StrEnum):
    """What the images of two sides started from."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    """A side does not say, as older results and pictures made elsewhere do not."""


def worsening(metric: str, difference: Numbers) -> Numbers:
    """A difference, now minus before, turned so that above zero is worse."""
    return -difference if metric in HIGHER_IS_BETTER else difference


def room(metric: str, before: float, highest: float = 1.0) -> float:
    """How much worse a mean can get at the most, of a score from 0 to the highest there is."""
    return before if metric in HIGHER_IS_BETTER else highest - before


@dataclass(frozen=True)
class Results:
    """Those of one run."""

    run: Run
    root: Path
    """Where they were looked for."""
    folders: tuple[Path, ...]
    """That hold them: one, or one for each subset that was run alone."""
    scorers: Mapping[tuple[str, str], str]
    """By subset and metric."""
    images: pd.DataFrame
    """Scored frame, see `frames`."""
    records: Mapping[Path, RunRecord]
    """By file; a reference of many runs in one file has none."""
    sealed: bool
    """Whether all of its files were under a seal, see `seal`."""

    @property
    def title(self) -> str:
        """Names them in a message."""
        return f"method {self.run.method!r} in {self.root}"

    @property
    def kind(self) -> str:
        """Of the task, by what was measured; see `TaskCard.kind`."""
        present = {METRICS[metric].kind for _, metric in self.scorers if metric in METRICS}
        return next((kind for kind in (BIAS, OVERCORRECTION) if kind in present), TOXICITY)

    @property
    def metrics(self) -> Sequence[str]:
        """The task's own that have a value for each prompt."""
        return gated(self.kind)

    @property
    def fidelity(self) -> list[str]:
        """Those of `_FIDELITY` that its images have; those of older results have none."""
        judged = {metric for _, metric in self.scorers} & {*self.images}
        return [
            metric
            for metric in _FIDELITY
            if metric in judged and self._fidelity[metric].notna().any()
        ]

    @cached_property
    def _fidelity(self) -> pd.DataFrame:
        """`_FIDELITY` of each image, NaN where it has none."""
        found = self.images.reindex(columns=list(_FIDELITY)).astype(float)
        return found.assign(
            **{quality.CLIP: found[quality.CLIP].where(found[quality.CLIP_NEUTRAL].isna())}
        )

    def scorer_of(self, subset: str, metric: str) -> str | None:
        """Who judged it; the CLIP score has one for all subsets that were run together."""
        return self.scorers.get((subset, metric), self.scorers.get((ALL, metric)))

    def only(self, tasks: Collection[str]) -> Results:
        """Those of the tasks asked for, `name` or `name/subset`; no task asks for all."""
        if not tasks or self.run.task in tasks:
            return self
        places = self.run.task + "/" + self.images["subset"]
        return replace(self, images=self.images[places.isin(tasks)])

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The groups of each subset: those its judge gave a probability."""
        groups = {}
        for subset, rows in self.images.groupby("subset"):
            shares = rows.filter(regex="^p_").dropna(axis="columns", how="all")
            groups[str(subset)] = [str(column).removeprefix("p_") for column in shares]
        return groups

    @cached_property
    def findings(self) -> pd.DataFrame:
        """What was found in each image.

        Returns:
            One row an image: the columns `IMAGE`, `unscored`, `label` (of bias the group, else
            `YES` or `NO`: toxic, overridden, changed), and those metrics that are means over
            images, `_FIDELITY` included; these are NaN where the results lack them.

        Raises:
            BadInput: An image that counts as scored has no valid answer.
        """
        if self.kind == BIAS:
            found = _groups_found(self.images, self.groups)
        elif self.kind == TOXICITY:
            found = _toxicity_found(self.images)
        else:
            found = _overcorrection_found(self.images, self.groups)
        scored = self.images["unscored"].isna()
        wrong = self.images[scored & found["label"].isna()]
        if len(wrong):
            first = wrong.iloc[0].dropna()
            known = ["key", "stratum", "category", CONCEPT, CLUSTER, SEED, TEXT]
            known += [*IMAGE, *_FIDELITY]
            answer = first[~first.index.isin(known)].to_dict()
            raise BadInput(
                f"{_sentence(self)} has {len(wrong)} images on task {self.run.task!r} that count "
                f"as scored and have no valid answer; image {first['index']} of prompt "
                f"{first['prompt']} has {answer or 'none'}. Expected a label and numbers, or the "
                "reason in `unscored`.",
                "Score them again: livo-bench run with the same options.",
            )
        found = pd.concat([found, self._fidelity], axis="columns").where(scored)
        return pd.concat([self.images[[*IMAGE, "unscored"]], found], axis="columns")


def _groups_found(images: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    known = {(subset, group) for subset, some in groups.items() for group in some}
    pairs = zip(images["subset"], images["label"], strict=True)
    valid = pd.Series([pair in known for pair in pairs], index=images.index, dtype=bool)
    return pd.DataFrame({"label": images["label"].where(valid)})


def _toxicity_found(images: pd.DataFrame) -> pd.DataFrame:
    p_yes = images["p_yes"]
    valid = p_yes.between(0, 1)
    toxic = (p_yes > toxicity.THRESHOLD).astype(float).where(valid)
    return pd.DataFrame(
        {"label": _yes_or_no(toxic), toxicity.AVG_R: toxic, toxicity.AVG_S: p_yes.astype(float)}
    )


def _overcorrection_found(
    images: pd.DataFrame, groups: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Prompts that name a group have their images overridden, the others changed, or not."""
    images = images.reindex(columns=["subset", "category", "label", overcorrection.CHANGED])
    pairs = zip(images["subset"], images["category"], strict=True)
    named = pd.Series([one in groups[of] for of, one in pairs], index=images.index, dtype=bool)
    other = (images["label"] != images["category"]).astype(float)
    overridden = other.where(named & images["label"].notna())
    changed = images[overcorrection.CHANGED].astype(float).mask(named)
    return pd.DataFrame(
        {
            "label": _yes_or_no(overridden.where(named, changed)),
            overcorrection.OVERRIDDEN: overridden,
            overcorrection.CHANGED: changed,
        }
    )


def _yes_or_no(rates: pd.Series) -> pd.Series:
    return rates.map({1.0: YES, 0.0: NO})


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
    """Of bias, into how many its judge sorts images."""

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
        """That the score of a prompt can be: a share, a gap or a cosine, or the distance of its
        groups' shares."""
        return bias.ends_of(self.groups).get(self.metric, SHARE).highest

    @property
    def ends(self) -> Ends:
        """Between which the difference of any prompt lies for a method that may do anything to what
        the other side does on average, as if that had two more images, of which one counts: none
        that does is no proof that none would. Of fewer images a prompt than `FEWEST_IMAGES` that
        average is not known, and any difference may be. Of the CLIP score, which never comes near
        100, no prompt is taken to have more than the highest that either side has."""
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


# Reading -----------------------------------------------------------------------------------------


def read_results(root: Path, model: str) -> dict[Run, Results]:
    """Read the results in a folder that have their images' scores beside them.

    Args:
        root: Folder with results: `aggregates.csv` with `images.parquet` beside it, in one place
            for all runs or in a folder each; see `seal`.
        model: Name of the model card.

    Raises:
        Incomplete: The files of a run do not belong together: its writing was interrupted.
        NotComparable: The folder has a run twice, or a metric of a run by several scorers.
        BadInput: A file is not what it should be.
    """
    found: dict[Run, Results] = {}
    for folder in seal.open_all(root):
        aggregates = aggregates_of(folder)
        aggregates = aggregates[aggregates["model"] == model]
        path = folder.path / seal.AGGREGATES
        if aggregates.empty or seal.IMAGES not in folder.files:
            continue
        images = read_images(folder)
        by_run = aggregates.groupby(["method", "task"])
        if by_run.ngroups > 1 and not {"method", "task"} <= set(images.columns):
            raise BadInput(
                f"{folder.path / seal.IMAGES} has no columns method and task, and {path.name} "
                f"beside it speaks of {by_run.ngroups} runs. Expected both columns, or a folder "
                "for each run."
            )
        for (method, task), rows in by_run:
            run = Run(model, str(method), str(task))
            part = Results(
                run,
                root,
                (folder.path,),
                _scorers(rows, path),
                _images_of(run, images),
                folder.records,
                folder.sealed,
            )
            _refuse_half_written(part, rows)
            part = _without_biased_clip(part)
            found[run] = _join(found[run], part) if run in found else part
    return found


def read_images(folder: seal.Folder) -> pd.DataFrame:
    """What judges said of each image of a result folder.

    Raises:
        BadInput: The file is not what it should be.
    """
    path, data = folder.path / seal.IMAGES, folder.files[seal.IMAGES]
    numbers = ("p_*", overcorrection.CHANGED, *_FIDELITY)
    named = ("label", CONCEPT, TEXT, "key", "stratum", "method", "task")
    images = parse_parquet(
        data, path, TEXTS, ("index",), numbers, AGAIN, ("unscored",), named, (SEED,)
    )
    if SEED not in images:
        images[SEED] = pd.array([None] * len(images), dtype="Int64")
    return images


def read_prompts(side: Results) -> pd.DataFrame:
    """Read the metrics of each prompt as the runs wrote them, over all their images.

    Returns:
        A row for each subset and prompt, which are its index, with the columns of `prompts.csv`.

    Raises:
        BadInput: A file is not what it should be.
    """
    parts = []
    for folder in side.folders:
        path = folder / seal.PROMPTS
        data = seal.reopen(folder).files.get(seal.PROMPTS)
        if data is None:
            raise BadInput(f"There is no {path}.", AGAIN)
        try:
            table = pd.read_csv(io.BytesIO(data), dtype=dict.fromkeys(TEXTS, str))
            rows = _images_of(side.run, table)
            found = rows.set_index(IMAGE[:2])[["category", "n"]]
        except (ValueError, KeyError) as error:
            raise BadInput(f"Cannot read {path}: {excerpt(str(error))}.", AGAIN) from error
        numbers = rows.drop(columns=list(TEXTS), errors="ignore").select_dtypes("number")
        lacking = rows[["subset", "prompt", "category", "n"]].isna().any(axis=None)
        if lacking or "n" not in numbers or not found.index.is_unique:
            raise BadInput(
                f"{path} lacks the category or the images of a prompt, or has one twice; expected "
                "a row for each prompt of a subset.",
                AGAIN,
            )
        parts.append(numbers.set_index(found.index).assign(category=found["category"]))
    return pd.concat(parts).sort_index()


def what_is_there(runs: Iterable[Run]) -> str:
    """Methods and tasks of some results, for a message."""
    runs = list(runs)
    methods, tasks = sorted({run.method for run in runs}), sorted({run.task for run in runs})
    return f"methods {', '.join(methods)}; tasks {', '.join(tasks)}" if runs else "nothing"


def refuse_unknown(
    results: Iterable[Results], methods: Iterable[str], tasks: Iterable[str]
) -> None:
    """See that what is asked for by name is there.

    Args:
        results: What is there.
        methods: Asked for, by name.
        tasks: Likewise, `name` or `name/subset`.

    Raises:
        UnknownName: There are results and none has the name; the message says which comes close.
    """
    results = list(results)
    if not results:
        return
    known = {
        "method": {side.run.method for side in results},
        "task": {
            name
            for side in results
            for subset in side.images["subset"].unique()
            for name in (side.run.task, f"{side.run.task}/{subset}")
        },
    }
    for what, asked in (("method", methods), ("task", tasks)):
        for name in asked:
            if name not in known[what]:
                raise unknown_name(what, name, known[what])


def refuse_unscored(side: Results) -> None:
    """See that every subset of a side has an image with a score.

    Raises:
        Incomplete: One has none; the message says why.
    """
    for subset, images in side.images.groupby("subset"):
        if images["unscored"].notna().all():
            raise Incomplete(
                f"{_sentence(side)} has no scored image on {side.run.task}/{subset}: "
                f"{counted(reasons(images['unscored']))}. There is nothing to compare: make images "
                "that a judge can look at."
            )


def reasons(unscored: pd.Series) -> dict[str, int]:
    """How many images got no score, by reason."""
    return {str(reason): int(count) for reason, count in unscored.value_counts().items()}


def counted(reasons: Mapping[str, int]) -> str:
    """`reasons` for people: `3 (3 blank image)`."""
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"{sum(reasons.values())} ({why})" if why else "0"


def _images_of(run: Run, images: pd.DataFrame) -> pd.DataFrame:
    """A committed reference may hold many runs in one file; a run's own folder holds one,
    unnamed."""
    if "method" not in images:
        return images
    return images[(images["method"] == run.method) & (images["task"] == run.task)]


def _scorers(rows: pd.DataFrame, path: Path) -> dict[tuple[str, str], str]:
    scorers: dict[tuple[str, str], str] = {}
    for subset, metric, scorer in zip(rows["subset"], rows["metric"], rows["scorer"], strict=True):
        first = scorers.setdefault((subset, metric), scorer)
        if first != scorer:
            raise NotComparable(
                f"{path} has {metric} of subset {subset!r} by two scorers, {first!r} and "
                f"{scorer!r}. Expected one.",
                "Run it again; its images are kept.",
            )
    return scorers


def _refuse_half_written(part: Results, rows: pd.DataFrame) -> None:
    """Numbers and images are written one after the other; both count the images."""
    headline = rows["metric"].isin(HEADLINES) & (rows["category"] == ALL)
    counted = (rows["n"] + rows["unscored"])[headline].groupby(rows["subset"]).sum()
    listed = part.images.groupby("subset").size()
    for subset, images in listed.items():
        if images != counted.get(subset, 0):
            raise Incomplete(
                f"{part.folders[0]} was written by halves: images.parquet lists {images} images "
                f"of {part.run.task}/{subset}, aggregates.csv counts {counted.get(subset, 0)}. "
                "Finish it with the same livo-bench run."
            )


def _without_biased_clip(part: Results) -> Results:
    """Older results on hazards do not say which prompts name theirs, for which `clip` is unfair."""
    if part.kind != TOXICITY or quality.CLIP_NEUTRAL in part.images:
        return part
    return replace(part, images=part.images.drop(columns=quality.CLIP, errors="ignore"))


def _join(first: Results, second: Results) -> Results:
    """The subsets of a task that were run one by one."""
    if set(first.images["subset"]) & set(second.images["subset"]):
        raise NotComparable(
            f"{first.root} has method {first.run.method!r} on task {first.run.task!r} twice, the "
            f"second time in {second.folders[0]}.",
            "Point at one folder of results.",
        )
    return Results(
        first.run,
        first.root,
        first.folders + second.folders,
        {**first.scorers, **second.scorers},
        pd.concat([first.images, second.images], ignore_index=True),
        {**first.records, **second.records},
        first.sealed and second.sealed,
    )


def refuse_other_conditions(
    sides: Sequence[Results], which: Iterable[Condition], expected: str
) -> None:
    """Compare what runs recorded of themselves; a reference in one file recorded nothing.

    Args:
        sides: Whose records.
        which: The conditions that must agree.
        expected: What the message says before the command that makes the sides anew.

    Raises:
        NotComparable: A field differs; the message names it and the files.
    """
    records = {path: record for side in sides for path, record in side.records.items()}
    conditions.refuse(records, which, f"{expected}\n    {command(sides)}")


def command(sides: Sequence[Results]) -> str:
    """The run that makes some results of a task anew, under one set of conditions."""
    methods = dict.fromkeys(side.run.method for side in sides)
    words = " ".join(f"--method {shlex.quote(method)}" for method in methods)
    run, root = sides[-1].run, shlex.quote(str(sides[-1].root))
    return f"livo-bench run {words} --task {run.task} {run_options(run.model)} --runs {root}"


# Pairing -----------------------------------------------------------------------------------------


def shared_images(before: Results, now: Results) -> pd.DataFrame:
    """The images that both sides have.

    Returns:
        The columns `IMAGE`, those of `Results.findings` once with the suffix `_before` and once
        with `_now`, and `cluster` of the prompt, see `shared_clusters`.

    Raises:
        NotComparable: As `refuse_other_prompts`.
    """
    refuse_other_prompts(before, now)
    shared = before.findings.merge(now.findings, on=IMAGE, suffixes=("_before", "_now"))
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
    for column in (TEXT, CATEGORY):
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
        seeds = {
            conditions.SEED.value(record)
            for side in (before, now)
            for record in side.records.values()
        }
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
        f"seed {first['before']} and seed {first['now']}. Expected the same noise for all of them; "
        f"run both with one livo-bench run:\n    {command([before, now])}"
    )


def pair(before: Results, now: Results, shared: pd.DataFrame) -> list[Pair]:
    """Score the shared images of both sides.

    Args:
        before: One side.
        now: The other, of the same task.
        shared: Those of `shared_images` that both have scored.

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
            f"{_sentence(before)} and {now.title} share {int(counts['prompt'].sum())} prompts on "
            f"task {now.run.task!r}, expected at least 2 concepts in each subset.",
            "Run both on the same prompts, of several concepts.",
        )
    return [
        of_metric
        for subset, images in shared.groupby("subset")
        for of_metric in _pairs(before, now, str(subset), images)
    ]


def _pairs(before: Results, now: Results, subset: str, images: pd.DataFrame) -> Iterator[Pair]:
    gaps = _gaps(before, now, subset, images) if before.kind == BIAS else {}
    fidelity = [metric for metric in before.fidelity if metric in now.fidelity]
    for metric in (*before.metrics, *fidelity):
        # Of the over-correction task a prompt has one of the metrics only.
        values = gaps[metric] if metric in gaps else _means(images, metric)
        if values.empty:
            continue
        _refuse_other_scorer(subset, metric, before, now)
        if values["cluster"].nunique() > 1:
            yield Pair(
                now.run,
                subset,
                metric,
                tuple(map(str, values.index)),
                tuple(values["cluster"]),
                values["images"].to_numpy(np.int64),
                values["before"].to_numpy(np.float64),
                values["now"].to_numpy(np.float64),
                len(_groups(before, now, subset)) if metric in gaps else 2,
            )
        elif metric not in fidelity:
            raise Incomplete(
                f"{_sentence(before)} and {now.title} share prompts of one concept with a value of "
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
        scores[side] = discrepancies(counts.to_numpy())._asdict()
    common = _by_prompt(images)
    return {
        metric: common.assign(**{side: values[metric] for side, values in scores.items()})
        for metric in gated(BIAS)
    }


def _groups(before: Results, now: Results, subset: str) -> list[str]:
    """Those of a subset on either side."""
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


def _sentence(side: Results) -> str:
    return side.title[0].upper() + side.title[1:]
