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

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; the notes say what is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
        """By convention of the shells."""


@dataclass
class _State:
    asked: int | None = None
    """The signal that came."""
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
        _state.asked = None


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


def asked() -> bool:
    """Whether a signal has come."""
    return _state.asked is not None


def require_unasked(kept: str | None = None) -> None:
    """Begin no more work once a signal has come.

    Args:
        kept: A sentence that says what is kept.

    Raises:
        Stopped: One has.
    """
    if _state.asked is not None:
        stopped = Stopped(_state.asked)
        if kept is not None:
            stopped.add_note(kept)
        raise stopped


def _ask(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    _state.asked = number
    # Not print, whose buffer the signal may have found half written.
    os.write(2, b"\nStopping when the work in hand is done; once more stops at once.\n")
    if not _state.held:
        raise Stopped(number)
