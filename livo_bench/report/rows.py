"""Rows of plain data in the four forms that every command prints: table, markdown, csv, json.

Nothing here imports pandas, so that `livo-bench list` answers at once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

Row = Mapping[str, object]
"""Texts and numbers by column; all rows of a table have the same columns."""


def as_rich(rows: Sequence[Row]) -> Table:
    """A table for a terminal; square brackets are text, not markup."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    """A Markdown table, every row one line."""
    if not rows:
        return ""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *(map(str, row.values()) for row in rows)]
    return "\n".join(markdown_line(cells) for cells in lines)


def markdown_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def as_csv(rows: Sequence[Row]) -> str:
    """CSV with a header; empty where there is no number."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(without_nan(row, "") for row in rows)
    return text.getvalue().rstrip("\n")


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects; null where there is no number."""
    records = [without_nan(row, None) for row in rows]
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)


def without_nan(row: Row, absent: object) -> dict[str, object]:
    """A row with `absent` where there is no number."""
    return {
        name: absent if isinstance(value, float) and value != value else value
        for name, value in row.items()
    }
