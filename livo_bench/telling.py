"""How a command tells of its progress on standard error: by bars, by lines of JSON, or not at all.

Only the command line chooses; a program that calls the library sees bars. In lines of JSON standard
error holds nothing else: what a library writes there becomes the `message` of a line.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

BAR, JSON, QUIET = "bar", "json", "quiet"


@dataclass
class _State:
    form: str = BAR
    lines: TextIO | None = None
    """Where lines of JSON go; None where standard error is that."""


_state = _State()


def form() -> str:
    """How the command tells: `BAR`, `JSON` or `QUIET`."""
    return _state.form


@contextmanager
def restored() -> Iterator[None]:
    """Tell by bars again after a block, in which `tell_by` may choose otherwise."""
    before = sys.stderr
    try:
        yield
    finally:
        sys.stderr = before
        _state.form, _state.lines = BAR, None


def tell_by(form: str) -> None:
    """Choose how to tell; in JSON all that is written to standard error is, from now on."""
    _state.form = form
    if form == JSON and _state.lines is None:
        _state.lines = sys.stderr
        sys.stderr = _Lines()


def tell(event: str, **said: object) -> None:
    """Write a line of JSON, where that is how to tell.

    Args:
        event: What happened.
        **said: What there is to say of it, as JSON has it.
    """
    if _state.form == JSON and _state.lines is not None:
        # At once, as other threads tell, too.
        _state.lines.write(line(event, **said))
        _state.lines.flush()


def line(event: str, **said: object) -> str:
    """A line of JSON of an event."""
    return json.dumps({"event": event, **said}) + "\n"


class _Lines(io.TextIOBase):
    """Standard error, where each line that somebody writes becomes a `message`."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        for message in whole:
            if message.strip():
                tell("message", message=message.strip())
        return len(text)
