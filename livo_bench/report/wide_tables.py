"""Tables for a terminal: no number is broken, and what is too wide comes in several parts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from livo_bench.escaping import one_line, visible

LONG = 24
"""Columns with longer lines than this wrap them, between words where they can."""
GAP, EDGES = 3, 2
"""What rich sets between two columns, and around all of them, in this style."""
CAPTION = 120
"""A caption is no longer a line than this, however wide the terminal."""


@dataclass(frozen=True)
class Wide:
    """A table that is printed in as many parts as the width asks for.

    Columns of one group stay together where the width allows it, and each part has the leading
    columns again.
    """

    heads: Sequence[tuple[str, str]]
    """Group of each column, which is printed once for neighbours, and its title."""
    sections: Sequence[Sequence[Sequence[str]]]
    """Rows, a text of some lines for each column; a rule stands between two sections."""
    leading: int = 1
    title: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        """Take out what would steer the terminal, before widths are measured."""
        heads = [(one_line(group), one_line(head)) for group, head in self.heads]
        sections = [[[visible(cell) for cell in row] for row in rows] for rows in self.sections]
        object.__setattr__(self, "heads", heads)
        object.__setattr__(self, "sections", sections)
        object.__setattr__(self, "title", one_line(self.title))
        object.__setattr__(self, "caption", one_line(self.caption))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = list(self._parts(options.max_width))
        for number, columns in enumerate(parts, start=1):
            of = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
            yield self._part(columns, ", ".join(filter(None, (self.title, of))))
        if self.caption:
            lines = textwrap.wrap(self.caption, min(options.max_width, CAPTION))
            yield Text("\n".join(lines), style="dim")

    def _parts(self, width: int) -> Iterator[list[int]]:
        """Which columns stand in which part."""

        def fits(columns: Sequence[int]) -> bool:
            widths = [self._width(column) for column in (*leading, *columns)]
            return sum(widths) + GAP * (len(widths) - 1) + EDGES <= width

        leading = list(range(min(self.leading, len(self.heads))))
        others = range(self.leading, len(self.heads))
        groups = [list(found) for _, found in groupby(others, lambda place: self.heads[place][0])]
        if len(groups) > 1 and not fits(groups[0] + groups[1]):
            # What a method is told waits where the first numbers leave it no room.
            groups = [*groups[1:], groups[0]]
        part: list[int] = []
        for group in groups:
            for columns in [group] if fits(group) else [[column] for column in group]:
                if part and not fits(part + columns):
                    yield leading + part
                    part = []
                part += columns
        yield leading + part

    def _lines(self, column: int) -> list[str]:
        return [line for rows in self.sections for row in rows for line in row[column].splitlines()]

    def _head(self, column: int) -> list[str]:
        """Lines of a title that is no wider than what stands below it, where words allow it."""
        title = self.heads[column][1]
        room = _widest([*self._lines(column), *title.split(), " "])
        return textwrap.wrap(title, min(room, LONG), break_long_words=False)

    def _width(self, column: int) -> int:
        """How narrow a column may be."""
        group = self.heads[column][0]
        lines = [*self._lines(column), *self._head(column), *group.split()]
        if _widest(lines) <= LONG:
            return _widest(lines)
        return min(LONG, _widest([word for line in lines for word in line.split()]))

    def _part(self, columns: Sequence[int], title: str) -> Table:
        table = Table(
            title=Text(title, style="bold") if title else None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        above = ""
        for column in columns:
            group = self.heads[column][0]
            shown = textwrap.wrap(group, self._width(column)) if group != above else []
            above = group
            table.add_column(
                Text("\n".join([*shown, *self._head(column)])),
                no_wrap=_widest(self._lines(column)) <= LONG,
                overflow="fold",
            )
        for rows in self.sections:
            for row in rows:
                table.add_row(*(Text(row[column]) for column in columns))
            table.add_section()
        return table


def _widest(lines: Sequence[str]) -> int:
    return max(map(cell_len, lines), default=0)
