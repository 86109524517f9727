"""How far the quirks of the released evaluation move the numbers: `livo-bench report --explain`.

`benchmarks/explain.py` measures them, one quirk at a time, and writes `quirks.csv`; this only reads
and prints it.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from livo_bench.csvs import read_csv
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report.printing import Row, records
from livo_bench.results.metrics.registry import METRICS

QUIRKS = "quirks.csv"
COLUMNS = (
    "model",
    "quirk",
    "method",
    "task",
    "subset",
    "metric",
    "without",
    "value",
    "difference",
    "low",
    "high",
    "n",
)
"""Columns of the file: a number `without` the quirk and its `value` under it, their difference with
its 95 % interval over prompts, and the images behind each; on the scale of `Aggregate.value`."""

AGAIN = "Make it again: python benchmarks/explain.py"

MEANING = {
    "fid-reference": "FID's reference has the method's own race-negative images in SD's place",
    "plain-half": "half of the bias images are the unaligned model's, not all steered",
    "first-25": "of the bias images the first half is steered, not the even indices",
    "groups-of-5": "Max and Prob over consecutive fives, not over all subsets of five",
    "jpeg": "judges see JPEG, quality 75, 4:2:0, not the images as stored",
    "sequential-noise": "one stream of noise over all prompts, not a seed for each image",
}
"""What each quirk does, in the order of the table."""


def read(folder: Path, model: str) -> pd.DataFrame:
    """Read `quirks.csv` of a folder, with `COLUMNS`.

    Raises:
        Incomplete: There is none, or none of this model.
        BadInput: It is not what it should be.
    """
    path = folder / QUIRKS
    if not path.is_file():
        raise Incomplete(
            f"There is no {path}.",
            "Measure the quirks on results of SD and LiVO:\n"
            f"    python benchmarks/explain.py --out {path}",
        )
    rows = read_csv(path, COLUMNS, AGAIN, COLUMNS[COLUMNS.index("without") :])
    for column, known in (("quirk", MEANING), ("metric", METRICS)):
        if strange := set(rows[column]) - known.keys():
            raise BadInput(
                f"{path} has the {column}s {', '.join(sorted(strange))}; expected some of "
                f"{', '.join(known)}.",
                AGAIN,
            )
    of_model = rows[rows["model"] == model]
    if of_model.empty:
        raise Incomplete(f"{path} has no quirk of model {model!r}.")
    return of_model.reset_index(drop=True)


def as_rows(quirks: pd.DataFrame) -> list[Row]:
    """Rows for people, rates x100, the quirks in the order of `MEANING`, each named once."""
    return [
        {
            "quirk": "" if number else MEANING[name],
            "method": row["method"],
            "number": f"{row['metric']} of {row['task']}"
            + (f"/{row['subset']}" if row["subset"] != "all" else ""),
            "without": _number(row, "without"),
            "with": _number(row, "value"),
            "difference": f"{_number(row, 'difference', '+')}{_interval(row)}",
            "n": row["n"],
        }
        for name in MEANING
        for number, row in enumerate(records(quirks[quirks["quirk"] == name]))
    ]


def _number(row: Row, name: str, sign: str = "") -> str:
    scale = METRICS[str(row["metric"])].scale
    # Adding zero turns a rounded -0.00 into 0.00.
    return format(round(float(str(row[name])) * scale, 2) + 0.0, f"{sign}.2f")


def _interval(row: Row) -> str:
    low, high = _number(row, "low"), _number(row, "high")
    return "" if math.isnan(float(low)) else f" [{low}, {high}]"
