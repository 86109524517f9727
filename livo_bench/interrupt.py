"""SIGINT and SIGTERM: the first ends a command after the work in hand, the second at once.

Only the command line listens; a program that calls the library keeps its own handlers. All writes
are atomic, so what the second signal costs is the work in hand and nothing else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from livo_bench import telling

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; the notes say what is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
        """Exit code by the convention of shells: 128 and the signal's number."""


@dataclass
class _State:
    asked: int = 0
    """The signal that came; 0 where none has."""
    held: bool = False
    """Whether `Stopped` waits for the end of a step."""


_state = _State()


@contextmanager
def listening() -> Iterator[None]:
    """Turn the first signal into `Stopped`, in the main thread; signals that are ignored stay so.

    The second one has the system's own effect: it ends the process.
    """
    heard = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, _ask) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        _state.asked = 0


@contextmanager
def held() -> Iterator[None]:
    """Do not break into the steps of a loop, which looks itself whether a signal has come.

    Raises:
        Stopped: A signal came, and the loop ended before it looked.
    """
    _state.held = True
    try:
        yield
    finally:
        _state.held = False
    require_unasked()


def asked() -> int:
    """The signal that has come; 0 where none has."""
    return _state.asked


def require_unasked() -> None:
    """Begin no more work once a signal has come.

    Raises:
        Stopped: One has.
    """
    if _state.asked:
        raise Stopped(_state.asked)


def stopped(number: int, kept: str) -> Stopped:
    """The error of a loop that ends because of a signal.

    Args:
        number: The signal, which may have come to another process.
        kept: A sentence that says what is kept.
    """
    error = Stopped(number)
    error.add_note(kept)
    return error


def _ask(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    _state.asked = number
    # Not print, whose buffer the signal may have found half written.
    stopping = "Stopping when the work in hand is done; once more stops at once."
    told = telling.form() == telling.JSON
    line = telling.line("message", message=stopping) if told else f"\n{stopping}\n"
    os.write(2, line.encode())
    if not _state.held:
        raise Stopped(number)
