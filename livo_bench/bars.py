"""The progress bar, the same wherever something counts its way to a known end.

Where a command tells by lines of JSON (`telling`), each is a line of a bar at most twice a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from livo_bench import telling
from livo_bench.escaping import one_line

REFRESHED = 2
"""Times a second that a bar is drawn anew, or told of."""
Item = TypeVar("Item")


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
    drawn = shown and telling.form() == telling.BAR
    kind = _Told if shown and telling.form() == telling.JSON else Progress
    return kind(
        _Words("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(_Words(one) if isinstance(one, str) else one for one in told),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=REFRESHED,
        disable=not drawn,
    )


def counted(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Items, one after another, behind a bar.

    Args:
        items: What is counted.
        description: What the bar says.
        total: Number of items; their length when None.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar() as progress:
        yield from progress.track(items, total, description=description)


def status(doing: str) -> AbstractContextManager[Any]:
    """Say for the length of a block what is being done, without a known end."""
    telling.tell("status", doing=doing)
    drawn = telling.form() == telling.BAR
    return Console(stderr=True).status(doing) if drawn else nullcontext()


class _Told(Progress):
    """Progress in lines of JSON instead of a bar."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._due = 0.0

    def add_task(self, description: str, **options: Any) -> TaskID:  # type: ignore[override]
        task = super().add_task(description, **options)
        self._tell(task)
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **options: Any) -> None:
        super().update(task_id, **options)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        if task.finished or (now := time.monotonic()) >= self._due:
            self._due = 0.0 if task.finished else now + 1 / REFRESHED
            telling.tell(
                "progress",
                doing=task.description,
                done=round(task.completed),
                total=None if task.total is None else round(task.total),
                seconds=round(task.elapsed or 0, 1),
                **{name: said for name, said in task.fields.items() if said != ""},
            )
