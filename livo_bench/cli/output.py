"""What a command prints: results to standard output, the rest to standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from livo_bench.escaping import redacted, visible
from livo_bench.report.printing import FORMS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from livo_bench.report.printing import Row

ENDLESS = 10_000
"""Columns of a table that goes to a file or a pipe, where lines may be of any length."""


def say(shown: object = "", err: bool = False, nl: bool = True) -> None:
    """Print what others may have written; of errors, what is secret is left out."""
    text = str(shown)
    click.echo(visible(redacted(text) if err else text), err=err, nl=nl)


def print_rows(rows: Sequence[Row], form: str) -> None:
    print_shown(FORMS[form](rows))


def print_shown(shown: RenderableType) -> None:
    if isinstance(shown, str):
        # CSV for a program holds every character; one that is looked at steers no terminal.
        click.echo(visible(shown) if sys.stdout.isatty() else shown, color=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(shown)
        return
    console.width = ENDLESS
    with console.capture() as captured:
        console.print(shown)
    lines = (line.rstrip() for line in captured.get().split("\n"))
    click.echo("\n".join(lines).strip("\n"))
