"""The tables of methods in the forms that people read: terminal, Markdown, LaTeX.

Each says of a number the same, its interval, floor, n and the paper's own, and escapes what comes
from data. Rows of plain data are printed by `printing`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from livo_bench.escaping import markdown, one_line
from livo_bench.report.absent import Absent
from livo_bench.report.columns import headings
from livo_bench.report.printing import latex_line, latex_tabular, latex_text, markdown_line
from livo_bench.report.tables import ABSENT, Cell, Row, Table
from livo_bench.report.wide_tables import Wide

CONTINUED = " \\"
"""Ends a line of a command that goes on in the next."""


def as_rich(tables: Sequence[Table]) -> RenderableType:
    """Tables for a terminal: under each number its interval and its floor."""
    parts: list[RenderableType] = []
    for table in tables:
        parts.append(_rich(table))
        if table.absent:
            parts.append(_Missing(table.absent))
    return Group(*parts)


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


@dataclass(frozen=True, slots=True)
class _Missing:
    """A line below a table; where it is too long, its command can still be copied."""

    absent: Absent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        words, command = self.absent.words, self.absent.command
        width = options.max_width
        if len(words) + 1 + len(command) <= width:
            yield Text(f"{words} {command}", style="dim")
            return
        room = width - len(CONTINUED)
        parts = textwrap.wrap(command, room, break_long_words=False, break_on_hyphens=False)
        yield Text("\n".join(textwrap.wrap(words, width)), style="dim")
        yield Text(f"{CONTINUED}\n".join(parts), style="dim")


def _rich_row(row: Row) -> list[str]:
    cells = ["\n".join(_lines(cell)) for cell in row.cells]
    title, told = one_line(row.title), one_line(row.told)
    if row.n == ABSENT:  # the paper's numbers alone
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
    if table.absent:
        lines += ["", f"{markdown(table.absent.words)} `{table.absent.command}`"]
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
    absent = f"\n% {table.absent.words} {table.absent.command}" if table.absent else ""
    return f"% {one_line(table.title)}\n{latex_tabular(aligned, heads, parts)}{note}{absent}"


FORMS: Mapping[str, Callable[[Sequence[Table]], RenderableType]] = {
    "table": as_rich,
    "markdown": as_markdown,
    "latex": as_latex,
}
"""The forms for people; programs read the rows."""
