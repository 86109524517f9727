"""Blocks done by processes of their own, one a GPU or some on the CPU, from one queue.

Workers are told ids and answer with ids (`worker`). Whatever becomes of one, nothing is lost: its
blocks go back to the queue and another process takes its place; and as a block's file is named by
its content, one that was stored before its worker died is stored once.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any

from rich.progress import TaskID

from livo_bench import interrupt
from livo_bench.bars import bar
from livo_bench.errors import Incomplete
from livo_bench.runs.executors.command import Command, bases
from livo_bench.runs.executors.planned import DEATHS, hands, raise_failure, require_same
from livo_bench.runs.session import Session
from livo_bench.runs.work import Work, by_weights, doing

log = logging.getLogger(__name__)


class _Worker:
    """A process that does blocks; what it says is put into a queue, `None` at its end."""

    def __init__(self, command: str, device: str, heard: SimpleQueue[tuple[_Worker, Any]]) -> None:
        self.device = device
        self.in_hand: list[str] = []
        self.ready = False
        """Whether it said that it plans the same."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        # The same modules as here, those of a user's adapters included.
        paths = [path or os.getcwd() for path in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "livo_bench.runs.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the process that gives the work
        )
        self._listener = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._listener.start()
        self._send(command)

    def _listen(self, heard: SimpleQueue[tuple[_Worker, Any]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The last line of one that was killed may be cut off.
            with suppress(json.JSONDecodeError):
                heard.put((self, json.loads(line)))
        self._process.stdout.close()
        self._process.wait()
        heard.put((self, None))

    def begin(self, todo: Sequence[str]) -> None:
        self.ready = True
        self._send(json.dumps(list(todo)))

    def give(self, id: str) -> None:
        self.in_hand.append(id)
        self._send(json.dumps(id))

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        # One that is gone is heard of by the end of what it says.
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def last_words(self) -> str:
        """The end of what it wrote on standard error, and how it ended."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-5:]
        return "\n".join([f"exit code {self._process.returncode}", *lines])

    def end(self) -> None:
        """Have it end at once, whatever it does."""
        self._process.kill()
        self._listener.join()
        for stream in (self._process.stdin, self._stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


class Processes:
    """An executor whose blocks are done by a process for each device."""

    def __init__(
        self,
        command: Command,
        session: Session,
        works: Sequence[Work],
        devices: Sequence[str],
    ) -> None:
        """
        Args:
            command: From which workers plan the same blocks.
            session: Session of the run.
            works: All its work, stored or not.
            devices: Device of each worker.
        """
        self._command, self._session, self._works = command, session, works
        self._work_of = {work.block.id: work for work in works}
        self._devices = devices
        self._heard: SimpleQueue[tuple[_Worker, Any]] = SimpleQueue()
        self._deaths: Counter[str] = Counter()
        self._warned: set[str] = set()

    def run(self, blocks: Sequence[str]) -> Iterator[str]:
        """Do blocks, those of the same weights together.

        Returns:
            Ids of the blocks as they are done. Stopped by an error or a signal, those in hand are
            finished first.

        Raises:
            BadInput: A worker would not do the same work.
            Incomplete: Workers die of a block, or before they begin.
            LivoBenchError: What a worker raised.
            Stopped: A signal came.
        """
        todo = by_weights([self._work_of[id] for id in blocks])
        queue = deque(work.block.id for work in todo)
        left = set(blocks)
        workers: dict[_Worker, TaskID] = {}
        total = sum(len(work.block) for work in todo)
        with bar("images") as progress, interrupt.held():
            whole = progress.add_task(doing(self._session, todo), total=total)
            try:
                for place, device in enumerate(self._devices[: len(blocks)], 1):
                    line = progress.add_task(f"{place} {device}", total=total)
                    workers[self._start(device)] = line
                while left:
                    interrupt.require_unasked()
                    for worker in workers:
                        while queue and worker.ready and len(worker.in_hand) < hands(worker.device):
                            worker.give(queue.popleft())
                    worker, said = self._next()
                    if said is None:
                        line = workers.pop(worker)
                        queue.extendleft(reversed(worker.in_hand))
                        self._bury(worker)
                        workers[self._start(worker.device)] = line
                    elif id := self._hear(worker, said, blocks):
                        left.discard(id)
                        for task in (whole, workers[worker]):
                            progress.advance(task, len(self._work_of[id].block))
                        yield id
            finally:
                progress.stop()
                self._end(workers)

    def _start(self, device: str) -> _Worker:
        return _Worker(self._command.as_json(executor="local", workers=None, address=None,
                                                device=device),
                       device, self._heard)  # fmt: skip

    def _next(self) -> tuple[_Worker, Any]:
        """What a worker says next; looks now and then whether a signal came."""
        while True:
            with suppress(Empty):
                return self._heard.get(timeout=0.2)
            interrupt.require_unasked()

    def _hear(self, worker: _Worker, said: dict[str, Any], blocks: Sequence[str]) -> str | None:
        """Take in what a worker says; the block, if one is done."""
        if "bases" in said:
            require_same(worker.device, self._bases, said["bases"])
            self._deaths.pop(_start_on(worker.device), None)
            worker.begin(blocks)
        elif "warning" in said:
            if said["warning"] not in self._warned:
                log.warning(said["warning"])
            self._warned.add(said["warning"])
        elif "error" in said:
            worker.in_hand.clear()
            raise_failure(said["error"])
        elif said["done"] in worker.in_hand:
            worker.in_hand.remove(said["done"])
            return str(said["done"])
        return None

    @cached_property
    def _bases(self) -> Mapping[str, str]:
        """What workers must agree in with this process."""
        return bases(self._session, self._works)

    def _bury(self, worker: _Worker) -> None:
        """Take leave of a worker that is dead, and see that others do not follow it for ever."""
        words = worker.last_words()
        worker.end()
        over = worker.in_hand or [] if worker.ready else [_start_on(worker.device)]
        self._deaths.update(over)
        for what in over:
            if self._deaths[what] >= DEATHS:
                what = f"block {what}" if worker.ready else what
                raise Incomplete(
                    f"{DEATHS} workers died over {what}, the last with {words}\n",
                    "What was finished is kept. Look what ends them (often it is memory), use "
                    "fewer: --workers N, or none: --executor local",
                )
        log.warning(f"a worker on {worker.device} died ({words.splitlines()[0]}); "
                    "its blocks are begun again")  # fmt: skip

    def _end(self, workers: Mapping[_Worker, TaskID]) -> None:
        """Let the workers finish what they have in hand, and end them."""
        try:
            busy = {worker for worker in workers if worker.in_hand}
            while busy:
                worker, said = self._heard.get()
                if said is None or "error" in said:
                    busy.discard(worker)
                elif "done" in said and said["done"] in worker.in_hand:
                    worker.in_hand.remove(said["done"])
                    if not worker.in_hand:
                        busy.discard(worker)
        finally:
            for worker in workers:
                worker.end()


def _start_on(device: str) -> str:
    return f"the start on {device}"
