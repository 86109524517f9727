"""The progress bar, the same wherever something counts its way to a known end.

Where a command tells by lines of JSON (`telling`), each is a line of a bar at most twice a second;
a notebook has a line of text that changes as often and stays in it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    console = Console(stderr=True)
    drawn = shown and telling.form() == telling.BAR
    kind = _Told if shown and telling.form() == telling.JSON else Progress
    if drawn and console.is_jupyter:
        drawn, kind = False, _InNotebook
    return kind(
        _Words("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(_Words(one) if isinstance(one, str) else one for one in told),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
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
    if telling.form() != telling.BAR:
        return nullcontext()
    console = Console(stderr=True)
    return _status_in_notebook(doing) if console.is_jupyter else console.status(doing)


class _Elsewhere(Progress):
    """Progress that is told at most `REFRESHED` times a second instead of drawn."""

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
            self._say(task)

    def _say(self, task: Task) -> None:
        raise NotImplementedError


class _Told(_Elsewhere):
    """Progress in lines of JSON."""

    def _say(self, task: Task) -> None:
        telling.tell(
            "progress",
            doing=task.description,
            done=round(task.completed),
            total=None if task.total is None else round(task.total),
            seconds=round(task.elapsed or 0, 1),
            **{name: said for name, said in task.fields.items() if said != ""},
        )


class _InNotebook(_Elsewhere):
    """Progress in an output of the cell that runs, which needs no widgets and is kept with it."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self._line = _Line()

    def _say(self, task: Task) -> None:
        # A file without colours, in which the bar is as long as what is done.
        paper = Console(file=io.StringIO(), width=100, force_jupyter=False, color_system=None)
        lines = paper.render_lines(self.get_renderable(), pad=False)
        self._line.show("\n".join("".join(part.text for part in line) for line in lines).rstrip())


class _Line:
    """An output of a notebook's cell that changes."""

    def __init__(self) -> None:
        self._shown: Any = None

    def show(self, text: str) -> None:
        from IPython.display import display

        said = {"text/plain": text}
        if self._shown is None:
            self._shown = display(said, raw=True, display_id=True)
        else:
            self._shown.update(said, raw=True)


@contextmanager
def _status_in_notebook(doing: str) -> Iterator[None]:
    line = _Line()
    line.show(f"{doing} ...")
    yield
    line.show(f"{doing}: done")
