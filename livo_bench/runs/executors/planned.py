"""A command that a worker plans anew and whose blocks it does by their ids, whoever gives them.

What a worker is told and says is plain data: ids, versions, words. No pixels pass.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from livo_bench import errors
from livo_bench.errors import BadInput, LivoBenchError
from livo_bench.runs.executors.command import bases, read_command
from livo_bench.runs.requests import prepare
from livo_bench.runs.work import load, make, works_of

DEATHS = 3
"""Of workers over one block, or before their first, until it is not begun again."""
Failure = tuple[str, str, str]
"""Class, message and hint of a `LivoBenchError`, or the name of another error, its message and its
traceback."""


class Planned:
    """A command planned anew; models are not loaded yet."""

    def __init__(self, command: str, warn: Callable[[str], None]) -> None:
        """
        Args:
            command: See `Command.as_json`.
            warn: Called with what is warned of from now on. What planning warns of has been said
                by whoever planned it first.

        Raises:
            LivoBenchError: Whatever is wrong with it.
        """
        asked = read_command(command)
        logging.disable(logging.WARNING)
        self._session, jobs = prepare(asked.methods, asked.task, asked.model, **asked.options)
        works = works_of(self._session, jobs)
        self._works = {work.block.id: work for work in works}
        self.device = self._session.device
        self.bases: Mapping[str, str] = bases(self._session, works)
        """What its work is based on, see `command.bases`."""
        logging.disable(logging.NOTSET)
        told = logging.getLogger("livo_bench")
        told.handlers = [one for one in told.handlers if not isinstance(one, _Warnings)]
        told.addHandler(_Warnings(warn))
        told.propagate = False

    def load(self, todo: Sequence[str]) -> None:
        """Load what blocks need, before several threads ask for it."""
        single_threaded()
        load(self._session, [self._works[id] for id in todo])

    def make(self, id: str) -> None:
        """Make and judge what is missing of a block."""
        make(self._session, self._works[id])


def single_threaded() -> None:
    """Have this thread compute alone, as `sampling.in_parallel` does."""
    import torch

    torch.set_num_threads(1)


def hands(device: str) -> int:
    """How many blocks a worker does at once: on a GPU one is judged while the other is sampled."""
    return 1 if device == "cpu" else 2


def require_same(worker: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """See that a worker plans the same.

    Raises:
        BadInput: It would do other work.
    """
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise BadInput(
                f"A worker on {worker} would not do the same work: {name} is "
                f"{theirs.get(name)!r} there and {value!r} here.",
                "Have both the same, and start the command again.",
            )


def failure_of(error: BaseException) -> Failure:
    """An error as plain data."""
    name = type(error).__name__
    if isinstance(error, LivoBenchError) and not isinstance(error, errors.AdapterFailed):
        return name, error.message, error.hint
    return name, str(error), "".join(traceback.format_exception(error))


def raise_failure(failure: Failure) -> NoReturn:
    """Raise what a worker did."""
    name, message, hint = failure
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, LivoBenchError):
        if kind is errors.AdapterFailed:
            raise kind(message) from RuntimeError(hint)
        raise kind(message, hint)
    raise RuntimeError(f"A worker failed: {name}: {message}\n{hint}")


class _Warnings(logging.Handler):
    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(record.getMessage())
