"""Two sets of results on exactly the images that both have, prompt by prompt.

What `check` and `compare` rest on. Both sides' metrics are computed again from the scored images
they share, so a small run can be held against a large one, and both draw the same noise: of the
luck of the images, only what the two sides do not have in common is left in a difference. IS, FID
and CLIP score have no value of their own for a prompt and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.metrics import bias, overcorrection, toxicity
from livo_bench.records import Run
from livo_bench.report.tables import find_aggregates, read_aggregates_file

BIAS_METRICS = (bias.D1, bias.D2)
TOXICITY_METRICS = (toxicity.AVG_R, toxicity.AVG_S)
OVERCORRECTION_METRICS = (overcorrection.OVERRIDDEN, overcorrection.CHANGED)
"""Lower is better for all of them. `moved` is none of them: its unit is the spread of all images of
a run."""

IMAGE = ["subset", "prompt", "index"]
"""Columns that say which image a row speaks of, whoever made it."""


@dataclass(frozen=True)
class Results:
    """Those of one run."""

    run: Run
    root: Path
    """Where they were looked for."""
    folders: tuple[Path, ...]
    """That hold them: one, or one for each subset that was run alone."""
    scorers: dict[tuple[str, str], str]
    """By subset and metric."""
    images: pd.DataFrame
    """Scored frame, see `metrics.rows`."""

    @property
    def title(self) -> str:
        """Names them in a message."""
        return f"method {self.run.method!r} in {self.root}"

    @property
    def metrics(self) -> Sequence[str]:
        """Those that have a value for each prompt."""
        present = {metric for _, metric in self.scorers}
        if bias.D1 in present:
            return BIAS_METRICS
        return OVERCORRECTION_METRICS if present & {*OVERCORRECTION_METRICS} else TOXICITY_METRICS


@dataclass(frozen=True)
class Pair:
    """One metric of one subset on both sides, prompt by prompt."""

    run: Run
    """Whose values are those of `now`."""
    subset: str
    metric: str
    prompts: tuple[str, ...]
    """Ids of the n prompts, in alphabetical order."""
    images: NDArray[np.int64]
    """Shared images of each prompt, shape `(n,)`."""
    before: NDArray[np.float64]
    """Shape `(n,)`, fractions."""
    now: NDArray[np.float64]

    @property
    def differences(self) -> NDArray[np.float64]:
        """Now minus before, shape `(n,)`; above zero is worse."""
        return self.now - self.before


def read_results(root: Path, model: str) -> dict[Run, Results]:
    """Read the results in a folder that have their images' scores beside them.

    Args:
        root: Folder with results: `aggregates.csv` with `images.parquet` beside it, in one place
            for all runs or in a folder each.
        model: Name of the model card.

    Raises:
        NotComparable: The folder has a run twice.
        BadInput: A file is not what it should be.
    """
    found: dict[Run, Results] = {}
    for path in find_aggregates(root):
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
            places = zip(rows["subset"], rows["metric"], strict=True)
            scorers = dict(zip(places, rows["scorer"], strict=True))
            part = Results(run, root, (path.parent,), scorers, _images_of(run, images))
            found[run] = _join(found[run], part) if run in found else part
    return found


def _read_images(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"Cannot read {path}: {error}. Make it again with livo-bench run."
        ) from error


def read_prompts(side: Results) -> pd.DataFrame:
    """Read the metrics of each prompt as the runs wrote them, over all their images.

    Returns:
        A row for each subset and prompt, which are its index, with the columns of `prompts.csv`.

    Raises:
        BadInput: A file is not what it should be.
    """
    parts = []
    for path in (folder / "prompts.csv" for folder in side.folders):
        try:
            rows = pd.read_csv(path, dtype={"prompt": str})
            parts.append(_images_of(side.run, rows).set_index(IMAGE[:2]))
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(
                f"Cannot read {path}: {error}. Make it again with livo-bench run."
            ) from error
    return pd.concat(parts).sort_index()


def _images_of(run: Run, images: pd.DataFrame) -> pd.DataFrame:
    """A committed reference holds many runs in one file; a run's own folder one, unnamed."""
    if "method" not in images:
        return images
    return images[(images["method"] == run.method) & (images["task"] == run.task)]


def _join(first: Results, second: Results) -> Results:
    """The subsets of a task that were run one by one."""
    if set(first.images["subset"]) & set(second.images["subset"]):
        raise NotComparable(
            f"{first.root} has method {first.run.method!r} on task {first.run.task!r} twice, the "
            f"second time in {second.folders[0]}. Point at one folder of results."
        )
    return Results(
        first.run,
        first.root,
        first.folders + second.folders,
        first.scorers | second.scorers,
        pd.concat([first.images, second.images], ignore_index=True),
    )


def shared_images(before: Results, now: Results) -> pd.DataFrame:
    """The images that both sides have.

    Returns:
        The columns `IMAGE`, and `unscored_before` and `unscored_now`: why a side's judge gave no
        answer, missing where it gave one.
    """
    fields = [*IMAGE, "unscored"]
    return before.images[fields].merge(now.images[fields], on=IMAGE, suffixes=("_before", "_now"))


def pair(before: Results, now: Results, shared: pd.DataFrame) -> list[Pair]:
    """Score the shared images of both sides.

    Args:
        before: One side.
        now: The other, of the same task.
        shared: Images that both have scored, with the columns `IMAGE`.

    Returns:
        A pair for each subset and metric.

    Raises:
        Incomplete: A subset has fewer than two prompts, or none has any.
        NotComparable: The two sides were judged by different scorers.
    """
    prompts = shared.groupby("subset")["prompt"].nunique()
    if prompts.empty or prompts.min() < 2:
        raise Incomplete(
            f"{_sentence(before)} and {now.title} share {int(prompts.sum())} prompts on task "
            f"{now.run.task!r}, expected at least 2 in each subset. Run both on the same prompts."
        )
    old, new = (_score_prompts(side, shared, before.metrics) for side in (before, now))
    pairs = []
    for subset, images in shared.groupby("subset"):
        counts = images.groupby("prompt").size()
        for metric in before.metrics:
            _refuse_other_scorer(str(subset), metric, before, now)
            # Of the over-correction task a prompt has one of the metrics only.
            values = pd.DataFrame({"old": old[metric], "new": new[metric]}).loc[subset].dropna()
            if len(values) == 1:
                raise Incomplete(
                    f"{_sentence(before)} and {now.title} share one prompt with a value of "
                    f"{metric} on {now.run.task}/{subset}, expected at least 2. Run both on the "
                    "same prompts."
                )
            if len(values):
                pairs.append(
                    Pair(
                        now.run,
                        str(subset),
                        metric,
                        tuple(map(str, values.index)),
                        np.asarray(counts[values.index], np.int64),
                        *values.to_numpy(np.float64).T,
                    )
                )
    return pairs


def _score_prompts(side: Results, shared: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Metrics per prompt over the shared images, indexed by subset and prompt, sorted."""
    images = side.images.merge(shared[IMAGE], on=IMAGE)
    names = {subset: "" for subset in shared["subset"]}
    if metrics == BIAS_METRICS:
        prompts = bias.summarise(images, side.run, _groups(images), names).prompts
    elif metrics == OVERCORRECTION_METRICS:
        prompts = overcorrection.summarise(images, side.run, _groups(images), names, "").prompts
    else:
        prompts = toxicity.summarise(images, side.run, names).prompts
    return prompts.set_index(["subset", "prompt"]).sort_index()


def _groups(images: pd.DataFrame) -> dict[str, list[str]]:
    """The groups of each subset: those its judge gave a probability."""
    groups = {}
    for subset, rows in images.groupby("subset"):
        shares = rows.filter(regex="^p_").dropna(axis="columns", how="all")
        groups[str(subset)] = [str(column).removeprefix("p_") for column in shares]
    return groups


def _refuse_other_scorer(subset: str, metric: str, before: Results, now: Results) -> None:
    old, new = (side.scorers.get((subset, metric)) for side in (before, now))
    if old != new:
        raise NotComparable(
            f"{metric} of {now.run.task}/{subset} has scorer {old!r} for {before.title} and "
            f"scorer {new!r} for {now.title}. Run the older one again; its images are kept."
        )


def _sentence(side: Results) -> str:
    return side.title[0].upper() + side.title[1:]
