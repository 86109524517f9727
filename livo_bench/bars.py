"""The progress bar, the same wherever something counts its way to a known end."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def bar(*told: str | ProgressColumn, shown: bool = True) -> Progress:
    """A bar on standard error with description, count, passed and remaining time.

    Args:
        *told: What stands after the count; text may name fields of the task, as in `rich`.
        shown: False where another process shows it.
    """
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        *told,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=2,
        disable=not shown,
    )
