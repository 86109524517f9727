"""A worker: plans a command anew, gets ids of blocks, and answers with those that it has stored.

`python -m livo_bench.runs.executors.worker` reads lines of JSON on standard input: the command, a
list of the ids of all that there is to do, then the ids that it is to do, one a line. It answers
with lines on standard output, `Said`: first what its work is based on, then each block that is
done. No pixels pass. It ends when its input does, at once: whoever gave it work is gone then, or
wants no more, and what is half written has no name yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import IO, NoReturn, TypedDict

from livo_bench import interrupt
from livo_bench.runs.executors.planned import (
    Failure,
    Planned,
    failure_of,
    hands,
    single_threaded,
)


class Said(TypedDict, total=False):
    """A line of a worker; it has one of these."""

    bases: Mapping[str, str]
    """What its work is based on, see `command.bases`; models are not loaded yet."""
    done: str
    """Id of a block whose images and scores are stored."""
    warning: str
    error: Failure
    """The worker ends with it."""


_LOCK = threading.Lock()


def say(out: IO[str], **said: object) -> None:
    """Write a line of `Said`."""
    with _LOCK:
        out.write(json.dumps(said) + "\n")
        out.flush()


def serve(lines: IO[str], out: IO[str]) -> None:
    """Do blocks until there are no more lines, and end the process then."""
    planned = Planned(lines.readline(), lambda words: say(out, warning=words))
    say(out, bases=planned.bases)
    todo: list[str] = json.loads(lines.readline() or "[]")
    wanted: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in lines:
            wanted.put(json.loads(line))
        os._exit(0)

    def work_off() -> None:
        single_threaded()
        try:
            while True:
                id = wanted.get()
                planned.make(id)
                say(out, done=id)
        except BaseException as error:
            _fail(out, error)

    threading.Thread(target=listen, daemon=True).start()
    planned.load(todo)
    for _ in range(hands(planned.device) - 1):
        threading.Thread(target=work_off, daemon=True).start()
    work_off()


def _fail(out: IO[str], error: BaseException) -> NoReturn:
    """Say an error and end."""
    say(out, error=failure_of(error))
    os._exit(1)


def main() -> None:
    """Serve whoever started this process."""
    for number in interrupt.SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # they are for whoever started it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        serve(sys.stdin, answers)
    except BaseException as error:
        _fail(answers, error)


if __name__ == "__main__":
    main()
