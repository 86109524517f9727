"""The tables of methods in the forms that people read: terminal, Markdown, LaTeX.

Each says of a number the same, its interval, floor, n and the paper's own, and escapes what comes
from data. Rows of plain data are printed by `printing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType

from livo_bench.escaping import markdown, one_line
from livo_bench.report.columns import headings
from livo_bench.report.printing import latex_line, latex_tabular, latex_text, markdown_line
from livo_bench.report.tables import ABSENT, Cell, Row, Table
from livo_bench.report.wide_tables import Wide


def as_rich(tables: Sequence[Table]) -> RenderableType:
    """Tables for a terminal: under each number its interval and its floor."""
    return Group(*(_rich(table) for table in tables))


def _rich(table: Table) -> Wide:
    return Wide(
        heads=[
            ("", "Method"),
            ("", "Told"),
            *((column.group, column.title) for column in table.columns),
        ],
        sections=[[_rich_row(row) for row in rows] for rows in table.groups],
        title=table.title,
        caption=". ".join(filter(None, (table.note, table.caption))),
    )


def _rich_row(row: Row) -> list[str]:
    cells = ["\n".join(_lines(cell)) for cell in row.cells]
    title, told = one_line(row.title), one_line(row.told)
    if row.n == ABSENT:
        return [title, told, *cells]
    counts = f"{row.n} scored\n{row.n_distinct} distinct\n{row.unscored} unscored"
    return [f"{title}\n{counts}", told, *cells]


def _lines(cell: Cell) -> list[str]:
    published = cell.paper and f"paper {cell.paper}"
    parts = (cell.value, cell.interval, cell.floor, *cell.n.split(", "), published)
    return [part for part in parts if part]


def as_markdown(tables: Sequence[Table]) -> str:
    """Tables in Markdown, every row one line."""
    return "\n\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    titles = [f"{column.group} {column.title}" for column in table.columns]
    heads = ["Method", "Told", *titles, *COUNTS]
    lines = [
        f"**{markdown(table.title)}**",
        "",
        markdown_line(heads),
        markdown_line(["---"] * len(heads)),
    ]
    lines += [markdown_line(_texts(row)) for row in table.rows]
    if table.note:
        lines += ["", markdown(table.note)]
    return "\n".join(lines)


COUNTS = ("n", "distinct", "unscored")


def _texts(row: Row) -> list[str]:
    """A row of a table that has a line for each method."""
    return [row.title, row.told, *map(str, row.cells), row.n, row.n_distinct, row.unscored]


def as_latex(tables: Sequence[Table]) -> str:
    """Tables as LaTeX `tabular`s with the rules of the package booktabs, all text escaped."""
    return "\n\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    spans = [
        rf"\multicolumn{{{wide}}}{{c}}{{{latex_text(group)}}}"
        for group, wide in headings(table.columns)
    ]
    heads = [
        f"& & {' & '.join(spans)} & & & " + r"\\",
        latex_line(["Method", "Told", *(column.title for column in table.columns), *COUNTS]),
    ]
    parts = [[latex_line(_texts(row)) for row in rows] for rows in table.groups]
    aligned = "ll" + "r" * (len(table.columns) + len(COUNTS))
    note = f"\n\\par {latex_text(table.note)}" if table.note else ""
    return f"% {one_line(table.title)}\n{latex_tabular(aligned, heads, parts)}{note}"


FORMS: Mapping[str, Callable[[Sequence[Table]], RenderableType]] = {
    "table": as_rich,
    "markdown": as_markdown,
    "latex": as_latex,
}
"""The forms for people; programs read the rows."""
