"""The numbers of result folders, read back, each with what its run says of itself."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from livo_bench.cards.catalog import RUNS, run_options
from livo_bench.cards.fields import place
from livo_bench.csvs import parse_csv
from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import AGGREGATE_COLUMNS, REJUDGED
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import AGREE, PROMPTS, SAID, UNKNOWN, Condition
from livo_bench.results.frames import ALL
from livo_bench.results.record import RunRecord

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


def load_results(folder: Path = RUNS, model: str = "mini") -> pd.DataFrame:
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
    """
    if not place(folder).is_dir():
        raise Incomplete(
            f"There is no folder {folder}, so there are no results yet.",
            "Make some with\n    livo-bench run --method sd --task bias",
        )
    opened = seal.open_all(folder)
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


def _with_conditions(rows: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """Aggregates with what their run says of itself: how they were made, and what of."""
    said = {condition.name: condition.value(record) for condition in looked_at()}
    said |= {name: conditions.as_text(getattr(record.method, name)) for name in ABOUT}
    said["prompts"] = record.prompts.list or ""
    # Only a run of all subsets has numbers over them, and asks for what another such run does.
    if ALL not in set(rows["subset"]):
        said[PROMPTS.name] = UNKNOWN
    of_subsets = [record.prompts.subsets.get(name, UNKNOWN) for name in rows["subset"]]
    # One frame put beside the other: adding columns one by one takes most of reading.
    beside = pd.DataFrame(said, rows.index).assign(**{OF_SUBSET: of_subsets})
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
    again = "Make it again with livo-bench run."
    path, data = folder.path / seal.AGGREGATES, folder.files[seal.AGGREGATES]
    rows = parse_csv(data, path, AGGREGATE_COLUMNS, again, (*MEASURED, *COUNTED))
    for name in COUNTED:
        wrong = rows[name].isna() | (rows[name] < 0) | (rows[name] % 1 != 0)
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            found = "no" if pd.isna(rows[name].iloc[row]) else f"{rows[name].iloc[row]:g} for"
            raise BadInput(f"{path} has {found} {name} in line {row + 2}; expected a count.", again)
    folder.refuse_others(rows)
    return rows
