"""A worker: plans a command anew, gets ids of blocks, and answers with those that it has stored.

`python -m livo_bench.runs.executors.worker` reads lines of JSON on standard input: the command, a
list of the ids of all that there is to do, then the ids that it is to do, one a line. It answers
with lines on standard output, `Said`: first what its work is based on, then each block that is
done. No pixels pass. It ends when its input does, at once: whoever gave it work is gone then, or
wants no more, and what is half written has no name yet.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from queue import SimpleQueue
from typing import IO, NoReturn, TypedDict

from livo_bench import interrupt
from livo_bench.errors import LivoBenchError
from livo_bench.runs.executors.command import bases, read_command
from livo_bench.runs.requests import prepare
from livo_bench.runs.work import load, make, works_of


class Said(TypedDict, total=False):
    """A line of a worker; it has one of these."""

    bases: Mapping[str, str]
    """What its work is based on, see `command.bases`; models are not loaded yet."""
    done: str
    """Id of a block whose images and scores are stored."""
    warning: str
    error: tuple[str, str, str]
    """Class, message and hint of a `LivoBenchError`, or the name of another error and its
    traceback. The worker ends with it."""


def hands(device: str) -> int:
    """How many blocks a worker has in hand: on a GPU one is judged while the other is sampled."""
    return 1 if device == "cpu" else 2


class _Warnings(logging.Handler):
    def __init__(self, out: IO[str]) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        say(self._out, warning=record.getMessage())


_LOCK = threading.Lock()


def say(out: IO[str], **said: object) -> None:
    """Write a line of `Said`."""
    with _LOCK:
        out.write(json.dumps(said) + "\n")
        out.flush()


def serve(lines: IO[str], out: IO[str]) -> None:
    """Do blocks until there are no more lines, and end the process then."""
    import torch

    command = read_command(lines.readline())
    logging.disable(logging.WARNING)  # whoever planned it first has said so
    session, jobs = prepare(command.methods, command.task, command.model, **command.options)
    works = {work.block.id: work for work in works_of(session, jobs)}
    say(out, bases=bases(session, list(works.values())))
    logging.disable(logging.NOTSET)
    told = logging.getLogger("livo_bench")
    told.addHandler(_Warnings(out))
    told.propagate = False
    todo: list[str] = json.loads(lines.readline() or "[]")
    wanted: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in lines:
            wanted.put(json.loads(line))
        os._exit(0)

    def work_off() -> None:
        torch.set_num_threads(1)  # as `sampling.in_parallel`
        try:
            while True:
                id = wanted.get()
                make(session, works[id])
                say(out, done=id)
        except BaseException as error:
            _fail(out, error)

    threading.Thread(target=listen, daemon=True).start()
    torch.set_num_threads(1)
    load(session, [works[id] for id in todo])
    for _ in range(hands(session.device) - 1):
        threading.Thread(target=work_off, daemon=True).start()
    work_off()


def _fail(out: IO[str], error: BaseException) -> NoReturn:
    """Say an error and end."""
    if isinstance(error, LivoBenchError) and error.__cause__ is None:
        said = [type(error).__name__, error.message, error.hint]
    else:
        said = [type(error).__name__, str(error), "".join(traceback.format_exception(error))]
    say(out, error=said)
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
