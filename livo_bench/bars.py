"""The progress bar, the same wherever something counts its way to a known end."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from livo_bench.escaping import one_line


class _Words(TextColumn):
    """Text that is no markup and steers no terminal."""

    def render(self, task: Task) -> Text:
        return Text(one_line(self.text_format.format(task=task)))


def bar(*told: str | ProgressColumn, shown: bool = True) -> Progress:
    """A bar on standard error with description, count, passed and remaining time.

    Args:
        *told: What stands after the count; text may name fields of the task, as in `rich`.
        shown: False where another process shows it.
    """
    return Progress(
        _Words("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(_Words(one) if isinstance(one, str) else one for one in told),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=2,
        disable=not shown,
    )
