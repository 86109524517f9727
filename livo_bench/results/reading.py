"""Result folders, read back: numbers with what their runs say of themselves, and scored images."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from livo_bench.cards.catalog import RUNS, run_options
from livo_bench.cards.fields import place
from livo_bench.csvs import parse_csv, parse_parquet
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.escaping import excerpt
from livo_bench.records import AGGREGATE_COLUMNS, REJUDGED, TOXICITY, Run
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import AGREE, CLUSTERS, PROMPTS, SAID, UNKNOWN, Condition
from livo_bench.results.frames import ALL, CONCEPT, SEED, TEXT
from livo_bench.results.judged import IMAGE, Results
from livo_bench.results.metrics import overcorrection, quality
from livo_bench.results.metrics.metric import FIDELITY
from livo_bench.results.metrics.registry import HEADLINES, gated
from livo_bench.results.record import RunRecord

AGAIN = "Make it again with livo-bench run."
OF_SUBSET = "prompts of the subset"
"""The condition that a record has for each subset."""
MADE_BY = "made_by"
"""Column: number of images by what made them, as JSON; empty where a run does not say it."""
MEASURED = ("value", "low", "high", "floor")
COUNTED = ("n", "n_distinct", "unscored")
"""Columns of `aggregates.csv` that hold numbers: those that may be missing, and counts."""
ABOUT = ("title", "asked", "told", "files")
"""What else a run says of its method; `files` as JSON."""
TEXTS = ("subset", "prompt", "category")
"""Columns of texts that no row lacks."""
JUDGE = "judge"
"""Column: which judge's folder under `REJUDGED` the numbers are from; empty for the model card's
judges."""


def load_results(folder: Path = RUNS, model: str = "mini") -> pd.DataFrame:
    """Read the numbers of every result folder under a folder, for one model.

    Args:
        folder: Folder of runs, or of committed results.
        model: Name of the model card.

    Returns:
        A frame with `AGGREGATE_COLUMNS`; `prompts`, the list of one's own that the numbers are of,
        empty for the task's; `JUDGE`; `MADE_BY`; and, as texts, `ABOUT` and the `conditions` that a
        table looks at.

    Raises:
        BadInput: There is no such folder, or a file is not what it should be.
        Incomplete: No results of this model.
        NotComparable: An image did not start from the noise that another one of the same text,
            index and base seed did.
    """
    if not place(folder).is_dir():
        raise Incomplete(
            f"There is no folder {folder}, so there are no results yet.",
            "Make some with\n    livo-bench run --method sd --task bias",
        )
    opened = seal.open_all(folder)
    _refuse_other_noise(opened)
    frames = [
        _with_conditions(aggregates_of(one), one.record).assign(judge=_other_judge(folder))
        for one in opened
    ]
    rows = pd.concat(frames) if frames else pd.DataFrame(columns=list(AGGREGATE_COLUMNS))
    of_model = rows[rows["model"] == model].reset_index(drop=True)
    seal.say_unsealed(folder, [one.sealed for one in opened])
    if of_model.empty:
        known = ", ".join(sorted(set(rows["model"]))) or "none"
        raise Incomplete(
            f"No results of model {model!r} in {folder}. Models with results: {known}.",
            f"Make some with\n    livo-bench run --method sd --task bias {run_options(model)} "
            f"--runs {shlex.quote(str(folder))}",
        )
    return of_model


def _refuse_other_noise(opened: Iterable[seal.Folder]) -> None:
    """See that images which must have had the same noise did.

    A seed follows from base seed, text and index (`engines.seeds`), whatever the method or task.
    """
    first: dict[Hashable, tuple[int, Path]] = {}
    for folder in opened:
        base = folder.record.settings.seed
        if base is None or seal.IMAGES not in folder.files:
            continue
        model = folder.record.identity.get("model")
        path = folder.path / seal.IMAGES
        for text, index, its in _seeds(folder.files[seal.IMAGES], path):
            seed, where = first.setdefault((model, base, text, index), (its, path))
            if seed != its:
                raise NotComparable(
                    f"Image {index} of the prompt with text_digest {text} has seed {seed} in "
                    f"{where} and seed {its} in {path}, both of base seed {base}. Expected the "
                    "same noise for it.",
                    "Run both again; their images are kept.",
                )


def _seeds(data: bytes, path: Path) -> Iterator[tuple[str, int, int]]:
    """Text, index and seed of each image that says them."""
    columns = [TEXT, "index", SEED]
    images = parse_parquet(
        data, path, (), ("index",), (), AGAIN, optional=(TEXT,), sparse=(SEED,), only=columns
    )
    known = images.reindex(columns=columns).dropna()
    return zip(known[TEXT], known["index"], known[SEED], strict=True)


def _with_conditions(rows: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """Aggregates with what their run says of itself: how they were made, and what of."""
    said = {condition.name: condition.value(record) for condition in looked_at()}
    said |= {name: conditions.as_text(getattr(record.method, name)) for name in ABOUT}
    said[MADE_BY] = json.dumps(record.made_by) if record.made_by else ""
    said["prompts"] = record.prompts.list or ""
    # Only a run of all subsets has numbers over them, and asks for what another such run does.
    if ALL not in set(rows["subset"]):
        said[PROMPTS.name] = UNKNOWN
    of_subsets = {
        name: [digests.get(subset, UNKNOWN) for subset in rows["subset"]]
        for name, digests in (
            (OF_SUBSET, record.prompts.subsets),
            (CLUSTERS.name, record.prompts.clusters),
        )
    }
    # One frame put beside the other: adding columns one by one takes most of reading.
    beside = pd.DataFrame(said, rows.index).assign(**of_subsets)
    return pd.concat([rows, beside], axis="columns")


def looked_at() -> list[Condition]:
    """The conditions of numbers in one table."""
    return [*conditions.of("table", AGREE), *conditions.of("table", SAID)]


def _other_judge(folder: Path) -> str:
    """Which judge's folder this is, or is in."""
    parts = folder.resolve().parts
    return parts[parts.index(REJUDGED) + 1] if REJUDGED in parts[:-1] else ""


def aggregates_of(folder: seal.Folder) -> pd.DataFrame:
    """The numbers of a result folder, with `AGGREGATE_COLUMNS`.

    Raises:
        BadInput: They cannot be read, are cut off, are another run's, or have other columns or
            texts for numbers.
    """
    path, data = folder.path / seal.AGGREGATES, folder.files[seal.AGGREGATES]
    rows = parse_csv(data, path, AGGREGATE_COLUMNS, AGAIN, (*MEASURED, *COUNTED))
    for name in COUNTED:
        wrong = rows[name].isna() | (rows[name] < 0) | (rows[name] % 1 != 0)
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            found = "no" if pd.isna(rows[name].iloc[row]) else f"{rows[name].iloc[row]:g} for"
            raise BadInput(f"{path} has {found} {name} in line {row + 2}; expected a count.", AGAIN)
    folder.refuse_others(rows)
    return rows


# Images ------------------------------------------------------------------------------------------


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
        if by_run.ngroups > 1 and not {"method", "task"}.issubset(images.columns):
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
    numbers = ("p_*", overcorrection.CHANGED, *gated(FIDELITY))
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


def _images_of(run: Run, images: pd.DataFrame) -> pd.DataFrame:
    """Choose the rows of a run: a committed reference may hold many runs in one file, a run's own
    folder holds one, unnamed."""
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
    """Refuse results whose numbers and images count different images: one is written after the
    other."""
    headline = rows["metric"].isin(HEADLINES) & (rows["category"] == ALL)
    counted = (rows["n"] + rows["unscored"])[headline].groupby(rows["subset"]).sum()
    listed = part.images.groupby("subset").size()
    for subset, images in listed.items():
        if images != counted.get(subset, 0):
            raise Incomplete(
                f"{part.folders[0]} was written by halves: images.parquet lists {images} images "
                f"of {part.run.task}/{subset}, aggregates.csv counts {counted.get(subset, 0)}.",
                "Finish it with the same livo-bench run.",
            )


def _without_biased_clip(part: Results) -> Results:
    """Drop `clip` of older results on hazards, which do not say which prompts name theirs, and so
    for which it is unfair."""
    if part.kind != TOXICITY or quality.CLIP_NEUTRAL in part.images:
        return part
    return replace(part, images=part.images.drop(columns=quality.CLIP, errors="ignore"))


def _join(first: Results, second: Results) -> Results:
    """Join the results of the subsets of a task that were run one by one."""
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
