"""Rows of plain data in the forms that every command prints: table, markdown, latex, csv, json.

Nothing here imports pandas, so that `livo-bench list` answers at once; nor rich before a table is
printed with it, so that `--help` does.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from livo_bench.escaping import csv_cell, in_json, markdown, one_line

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from livo_bench.report.wide_tables import Wide

Row = Mapping[str, object]
"""Texts and numbers by column; all rows of a table have the same columns."""


def as_rich(rows: Sequence[Row]) -> Wide:
    """A table for a terminal, every row one line; square brackets are text, not markup."""
    from livo_bench.report.wide_tables import Wide

    heads = list(rows[0]) if rows else []
    cells = [[one_line(str(value)) for value in row.values()] for row in rows]
    columns = list(zip(*cells, strict=True))
    numbers = [any(map(_NUMBER.match, column)) for column in columns]
    # What a row is about stands before its numbers.
    leading = numbers.index(True) if True in numbers else 1
    return Wide([("", head) for head in heads], [cells], max(leading, 1))


_NUMBER = re.compile(r"\[?[+-]?\d[^a-z]*$")


def as_markdown(rows: Sequence[Row]) -> str:
    """A Markdown table, every row one line."""
    if not rows:
        return ""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *(map(str, row.values()) for row in rows)]
    return "\n".join(markdown_line(cells) for cells in lines)


def markdown_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table, its texts escaped."""
    return f"| {' | '.join(map(markdown, cells))} |"


def as_latex(rows: Sequence[Row]) -> str:
    """A LaTeX `tabular` with the rules of the package booktabs; all text is escaped."""
    if not rows:
        return ""
    heads = list(rows[0])
    return latex_tabular(
        "l" * len(heads),
        [latex_line(heads)],
        [[latex_line(map(str, row.values())) for row in rows]],
    )


def latex_tabular(columns: str, heads: Sequence[str], parts: Iterable[Sequence[str]]) -> str:
    """Lines of LaTeX between the rules of booktabs.

    Args:
        columns: How they are aligned, a letter each.
        heads: Lines of the header.
        parts: Lines of the body; there is a rule between two parts, and empty ones are left out.
    """
    body = "\n\\midrule\n".join("\n".join(part) for part in (heads, *parts) if part)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}"


def latex_line(cells: Iterable[str]) -> str:
    """One line of a LaTeX table, its texts escaped."""
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_text(text: str) -> str:
    """A text that LaTeX sets as it stands, on one line."""
    escaped = " ".join(one_line(" ".join(text.split())).translate(_LATEX).split())
    # After the end of a line, LaTeX would take a bracket for an option.
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped


_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
    }
)


def as_csv(rows: Sequence[Row]) -> str:
    """CSV with a header; empty where there is no number. No text passes for a formula, see
    `escaping.csv_cell`; numbers are as they are."""
    lines = [_csv_line(rows[0])] if rows else []
    lines += [_csv_line(without_nan(row, "").values()) for row in rows]
    # Half of a surrogate pair, which JSON may hold and UTF-8 may not.
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def _csv_line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    # With these ends of lines, the writer puts cells with either of the two in quotes.
    csv.writer(text, lineterminator="\r\n").writerow(
        csv_cell(cell) if isinstance(cell, str) else cell for cell in cells
    )
    return text.getvalue().removesuffix("\r\n")


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects; null where there is no number."""
    records = [without_nan(row, None) for row in rows]
    return in_json(json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False))


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as plain data by column."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


def without_nan(row: Row, absent: object) -> dict[str, object]:
    """A row with `absent` where there is no number."""
    return {
        name: absent if isinstance(value, float) and value != value else value
        for name, value in row.items()
    }


def points(value: float, form: str = ".1f") -> str:
    """A fraction x100 for people; a dash where there is none."""
    return "-" if value != value else format(100 * value, form)


def with_interval(form: Callable[[float], str], value: float, low: float, high: float) -> str:
    """A number for people with its interval, where it has one."""
    return form(value) if low != low else f"{form(value)} [{form(low)}, {form(high)}]"


def p_value(p: float) -> str:
    """A p value for people."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def spread(counts: Collection[int]) -> str:
    """Counts that may differ: `5`, or `low-high`."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}-{high}"


FORMS: Mapping[str, Callable[[Sequence[Row]], RenderableType]] = {
    "table": as_rich,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": as_json,
}
FOR_PEOPLE = ("table", "markdown", "latex")
"""Forms whose numbers are rounded and x100; the others hold every digit."""
