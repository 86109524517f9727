"""The numbers of result folders, read back, each with what its run says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

import pandas as pd

from livo_bench.cards.catalog import RUNS, run_options
from livo_bench.cards.fields import place
from livo_bench.csvs import parse_csv, parse_parquet
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.records import AGGREGATE_COLUMNS, REJUDGED
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import AGREE, CLUSTERS, PROMPTS, SAID, UNKNOWN, Condition
from livo_bench.results.frames import ALL, SEED, TEXT
from livo_bench.results.record import RunRecord

AGAIN = "Make it again with livo-bench run."
OF_SUBSET = "prompts of the subset"
"""The condition that a record has for each subset."""
MEASURED = ("value", "low", "high", "floor")
COUNTED = ("n", "n_distinct", "unscored")
"""Columns of `aggregates.csv` that hold numbers: those that may be missing, and counts."""
ABOUT = ("title", "told", "files")
"""What else a run says of its method; `files` as JSON."""
JUDGE = "judge"
"""Column: which judge's folder under `REJUDGED` the numbers are from; empty for the model card's
judges."""


def read_aggregates(folder: Path = RUNS, model: str = "mini") -> pd.DataFrame:
    """Read the numbers of every result folder under a folder, for one model.

    Args:
        folder: Of runs, or of committed results.
        model: Name of the model card.

    Returns:
        A frame with `AGGREGATE_COLUMNS`; `prompts`, the list of one's own that the numbers are of,
        empty for the task's; `JUDGE`; and, as texts, `ABOUT` and the `conditions` that a table
        looks at.

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


load_results = read_aggregates
"""What the public door calls it."""


def _with_conditions(rows: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """Aggregates with what their run says of itself: how they were made, and what of."""
    said = {condition.name: condition.value(record) for condition in looked_at()}
    said |= {name: conditions.as_text(getattr(record.method, name)) for name in ABOUT}
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
