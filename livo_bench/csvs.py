"""Reading the tables that this project writes, which users may have changed or torn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt

LARGEST = 1e100
"""Size of the largest number that is taken for one: sums of squares of it are finite."""


def read_csv(
    path: Path, columns: Sequence[str], remedy: str, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a file; arguments and errors are those of `parse_csv`."""
    return parse_csv(_bytes(path, remedy), path, columns, remedy, numbers)


def _bytes(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot read {path}: {excerpt(str(error))}.", remedy) from error


def parse_csv(
    data: bytes, path: Path, columns: Sequence[str], remedy: str, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Parse the bytes of a file and see that it has the columns it should have, in their order.

    Empty cells and `nan` are missing numbers; whatever else pandas takes for missing is text.

    Args:
        data: What the file holds.
        path: Path of the file, for messages.
        columns: All columns of the file.
        remedy: What the messages end with: a sentence on how to make the file again.
        numbers: Columns that hold numbers, some of which may be missing. The others hold texts, and
            none is missing.

    Raises:
        BadInput: It cannot be read, is cut off, has other columns, texts for numbers, or no text.
    """
    texts = {name: str for name in columns if name not in numbers}
    try:
        cut = not data.endswith(b"\n")
        rows = pd.read_csv(
            io.BytesIO(data), keep_default_na=False, na_values=["", "nan"], dtype=texts
        )
    except ValueError as error:
        raise BadInput(f"Cannot read {path}: {excerpt(str(error))}.", remedy) from error
    if tuple(rows.columns) != tuple(columns):
        raise BadInput(
            f"{path} has the columns {', '.join(map(str, rows.columns))}; expected "
            f"{', '.join(columns)}.",
            remedy,
        )
    if cut:
        raise BadInput(
            f"{path} ends within a line; expected a line feed, so it was cut off.", remedy
        )
    for name in texts:
        _refuse(path, rows[name].isna(), rows[name], name, "a text", remedy)
    for name in numbers:
        found = pd.to_numeric(rows[name], errors="coerce").astype(float)
        wrong = (found.isna() & rows[name].notna()) | (found.abs() > LARGEST)
        if pd.api.types.is_bool_dtype(rows[name]):
            wrong |= True
        _refuse(path, wrong, rows[name], name, "a number", remedy)
        if not pd.api.types.is_numeric_dtype(rows[name]):  # Python's integers of over 64 bits
            rows[name] = found
    return rows


def parse_parquet(
    data: bytes,
    path: Path,
    texts: Sequence[str],
    whole: Sequence[str],
    numbers: Sequence[str],
    remedy: str,
    holed: Sequence[str] = (),
    optional: Sequence[str] = (),
    sparse: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Parse the bytes of a Parquet file and see that its columns hold what they should.

    Args:
        data: What the file holds.
        path: Path of the file, for messages.
        texts: Columns it has to have, of texts; none is missing.
        whole: Columns it has to have, of whole numbers; none is missing.
        numbers: Columns that hold numbers, some of which may be missing, where the file has them;
            `p_*` stands for all whose names begin so.
        remedy: What the messages end with: a sentence on how to make the file again.
        holed: Columns it has to have, of texts, some of which may be missing.
        optional: Columns of texts, some of which may be missing, where the file has them.
        sparse: Columns of whole numbers, some of which may be missing, where the file has them;
            they are `Int64`, for a float has no room for 63 bits.
        only: Columns to read of those that are there; all by default.

    Raises:
        BadInput: It cannot be read, lacks a column, or a column holds something else.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        there = file.schema_arrow.names
        table = file.read(None if only is None else [name for name in only if name in there])
        table.validate(full=True)  # or bytes that are no UTF-8 are found when they are used
        rows = table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BadInput(f"Cannot read {path}: {excerpt(str(error))}.", remedy) from error
    if not rows.columns.is_unique or (lacking := {*texts, *whole, *holed} - {*rows.columns}):
        said = f"no {', '.join(sorted(lacking))}" if rows.columns.is_unique else "one name twice"
        raise BadInput(f"{path} has, of columns, {said}; expected each once.", remedy)
    for name, column in rows.items():
        title = str(name)
        if title in (*texts, *holed, *optional):
            is_text = _are_texts(column)
            wrong = ~is_text if title in texts else ~is_text & column.notna()
            _refuse(path, wrong, column, title, "a text", remedy)
        elif title in whole:
            wrong = pd.Series(not pd.api.types.is_integer_dtype(column), index=rows.index)
            _refuse(path, wrong, column, title, "a whole number", remedy)
        elif title in sparse:
            exact = table[title].type in (pa.int64(), pa.null())
            _refuse(path, column.notna() & (not exact), column, title, "a whole number", remedy)
            rows[name] = pd.array(table[title].to_pylist(), dtype="Int64")
        elif title in numbers or (title.startswith("p_") and "p_*" in numbers):
            _refuse(path, ~_are_numbers(column), column, title, "a number", remedy)
            rows[name] = column.astype(float)
            _refuse(path, rows[name].abs() > LARGEST, column, title, "a number", remedy)
    return rows


def _are_texts(column: pd.Series) -> pd.Series:
    """Which values are texts; none that is missing is one."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.notna()
    return column.map(lambda value: isinstance(value, str)).astype(bool)  # of no values, too


def _are_numbers(column: pd.Series) -> pd.Series:
    """Which values are numbers or missing; a truth is no number."""
    if column.dtype.kind in "iuf":
        return pd.Series(True, index=column.index)
    numbers = column.map(lambda v: isinstance(v, int | float) and not isinstance(v, bool))
    return numbers.astype(bool) | column.isna()


def _refuse(
    path: Path, wrong: pd.Series, values: pd.Series, name: str, expected: str, remedy: str
) -> None:
    """Name the first of the values that are wrong, if one is."""
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        value = values.iloc[row]
        value = value.item() if isinstance(value, np.generic) else value
        found = "nothing" if pd.api.types.is_scalar(value) and pd.isna(value) else f"{value!r:.100}"
        raise BadInput(
            f"{path} has {found} for {name} in line {row + 2}; expected {expected}.", remedy
        )
