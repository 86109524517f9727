"""Reading the CSV files that this project writes, which users may have changed or torn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from livo_bench.errors import BadInput


def read_csv(
    path: Path, columns: Sequence[str], remedy: str, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a file and see that it has the columns it should have, in their order.

    Arguments and errors are those of `parse_csv`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error}. {remedy}") from error
    return parse_csv(data, path, columns, remedy, numbers)


def parse_csv(
    data: bytes, path: Path, columns: Sequence[str], remedy: str, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Parse the bytes of a file and see that it has the columns it should have, in their order.

    Empty cells and `nan` are missing values; whatever else pandas takes for missing is text.

    Args:
        data: What the file holds.
        path: Of the file, for messages.
        columns: All of them.
        remedy: What the messages end with: a sentence on how to make the file again.
        numbers: Those of the columns that hold numbers, some of which may be missing.

    Raises:
        BadInput: It cannot be read, is cut off, or has other columns or texts for numbers.
    """
    try:
        cut = not data.endswith(b"\n")
        rows = pd.read_csv(io.BytesIO(data), keep_default_na=False, na_values=["", "nan"])
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot read {path}: {error}. {remedy}") from error
    if tuple(rows.columns) != tuple(columns):
        raise BadInput(
            f"{path} has the columns {', '.join(rows.columns)}; expected {', '.join(columns)}. "
            f"{remedy}"
        )
    if cut:
        raise BadInput(
            f"{path} ends within a line; expected a line feed, so it was cut off. {remedy}"
        )
    for name in numbers:
        wrong = pd.to_numeric(rows[name], errors="coerce").isna() & rows[name].notna()
        if wrong.any():
            line = int(wrong.to_numpy().argmax())
            raise BadInput(
                f"{path} has {rows[name].iloc[line]!r} for {name} in line {line + 2}; expected a "
                f"number. {remedy}"
            )
    return rows
