"""Reading the CSV files that this project writes, which users may have changed or torn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from livo_bench.errors import BadInput


def read_csv(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a file and see that it has the columns it should have, in their order.

    Empty cells and `nan` are missing values; whatever else pandas takes for missing is text.

    Args:
        path: Of the file.
        columns: All of them.
        remedy: What the messages end with: a sentence on how to make the file again.

    Raises:
        BadInput: It cannot be read, or has other columns.
    """
    try:
        rows = pd.read_csv(path, keep_default_na=False, na_values=["", "nan"])
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot read {path}: {error}. {remedy}") from error
    if tuple(rows.columns) != tuple(columns):
        raise BadInput(
            f"{path} has the columns {', '.join(rows.columns)}; expected {', '.join(columns)}. "
            f"{remedy}"
        )
    return rows
