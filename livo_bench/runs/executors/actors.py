"""Blocks done by actors of Ray, on a cluster or on this machine alone.

An actor owns a device. It is built from the command as plain data, plans it anew, refuses to go on
where that comes to something else, and is told ids and answers with ids: what it makes goes to the
folder of `--runs`, which all machines see. Ray starts an actor that dies again, elsewhere if need
be, and with it the blocks that it had in hand.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from platform import node
from typing import Any, TypedDict

from rich.progress import TaskID

from livo_bench import interrupt
from livo_bench.bars import bar
from livo_bench.errors import BadInput, Incomplete
from livo_bench.escaping import excerpt
from livo_bench.runs.executors.command import Command, bases
from livo_bench.runs.executors.planned import (
    DEATHS,
    Failure,
    Planned,
    failure_of,
    hands,
    raise_failure,
    require_same,
    single_threaded,
)
from livo_bench.runs.executors.ray_cluster import connected, require_ray
from livo_bench.runs.session import Session
from livo_bench.runs.work import Work, by_weights, doing

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that a block is in hand at least until an idle worker does it, too, and three times as
long as any before it: its worker may hang, or have no machine any more. Both write one file."""


class Said(TypedDict, total=False):
    """An answer of an actor."""

    where: str
    """Its machine and process, which change where it was started again."""
    warnings: Sequence[str]
    """What was warned of since the last answer."""
    error: Failure
    """Why it could not do what it was asked."""


class Actor:
    """What an actor of Ray is made of; it plans and loads with the first that it is asked."""

    def __init__(
        self, command: str, folder: str, ours: Mapping[str, str], todo: Sequence[str]
    ) -> None:
        """
        Args:
            command: See `Command.as_json`.
            folder: Working folder of whoever gives the work, which relative paths begin at.
            ours: What its work has to be based on.
            todo: Ids of all that there is to do.
        """
        self._asked = command, folder, ours, todo
        self._lock = threading.Lock()
        self._planned: Planned | None = None
        self._warnings: list[str] = []

    def begin(self) -> Said:
        """Plan and load."""
        return self._answer(None)

    def do(self, id: str) -> Said:
        """Make and judge what is missing of a block."""
        return self._answer(id)

    def _answer(self, id: str | None) -> Said:
        said = Said(where=f"{node()}, process {os.getpid()}")
        try:
            with self._lock:
                planned = self._planned = self._planned or self._plan()
            single_threaded()
            if id is not None:
                planned.make(id)
        except BaseException as error:
            said["error"] = failure_of(error)
        said["warnings"], self._warnings = self._warnings, []
        return said

    def _plan(self) -> Planned:
        command, folder, ours, todo = self._asked
        try:
            os.chdir(folder)
        except OSError as error:
            raise BadInput(
                f"A worker on {node()} has no folder {folder}, where the command was started.",
                "Start it in a folder that all machines of the cluster see.",
            ) from error
        planned = Planned(command, self._warnings.append)
        require_same(node(), ours, planned.bases)
        planned.load(todo)
        return planned


@dataclass(eq=False)
class _Worker:
    """An actor as it is known here."""

    handle: Any
    line: TaskID
    where: str = ""
    """Where it is; nowhere before it is ready."""
    in_hand: list[str] = field(default_factory=list)
    seen: bool = False
    """Whether what it stored was found here."""


class Actors:
    """An executor whose blocks are done by actors of Ray."""

    def __init__(
        self,
        command: Command,
        session: Session,
        works: Sequence[Work],
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        """
        Args:
            command: From which workers plan the same blocks.
            session: Session of the run.
            works: All its work, stored or not.
            address: Address of a cluster, as Ray takes it; Ray is started here when None.
            workers: Number of actors; one a GPU, or one a CPU core, when None.

        Raises:
            BadInput: Ray is not installed.
        """
        require_ray()
        self._command, self._session, self._works = command, session, works
        self._work_of = {work.block.id: work for work in works}
        self._address, self._workers = address, workers
        self._warned: set[str] = set()

    def run(self, blocks: Sequence[str]) -> Iterator[str]:
        """Do blocks, those of the same weights together.

        Returns:
            Ids of the blocks as they are done. Stopped by an error or a signal, those that are
            being done are finished first.

        Raises:
            BadInput: The cluster is not reached, lacks what is asked for, or would not do the same
                work.
            Incomplete: Workers die of a block, or before they begin.
            LivoBenchError: What a worker raised.
            Stopped: A signal came.
        """
        todo = by_weights([self._work_of[id] for id in blocks])
        with connected(self._address, self._workers) as ray:
            device, number = self._fitting(ray.cluster_resources())
            yield from self._work_off(ray, todo, device, min(number, len(todo)))

    def _fitting(self, resources: Mapping[str, float]) -> tuple[str, int]:
        """Device of each actor, and how many actors there are to be."""
        asked, gpus = self._session.options["device"], int(resources.get("GPU", 0))
        device = ("cuda" if gpus else self._session.device) if asked == "auto" else asked
        if device.startswith("cuda:"):
            raise BadInput(
                f"--device {device} names one device of one machine, and Ray gives each worker one "
                "of its own.",
                "Pass --device cuda",
            )
        kind = "GPU" if device == "cuda" else "CPU"
        there = int(resources.get(kind, 0))
        number = self._workers or there
        if not 1 <= number <= there:
            raise BadInput(
                f"{number or 'Some'} workers need a {kind} each, and Ray has {there}.",
                f"Use --workers {there}" if there else "Pass --device cpu, or add machines to it.",
            )
        return device, number

    def _work_off(self, ray: Any, todo: Sequence[Work], device: str, number: int) -> Iterator[str]:
        queue = deque(work.block.id for work in todo)
        left = set(queue)
        begun: dict[str, float] = {}
        longest = 0.0
        waiting: dict[Any, tuple[_Worker, str | None]] = {}
        total = sum(len(work.block) for work in todo)
        with bar("images") as progress, interrupt.held():
            whole = progress.add_task(doing(self._session, todo), total=total)
            handles = self._actors(ray, list(queue), device, number)
            workers = [
                _Worker(handle, progress.add_task(f"{place} {device}", total=total))
                for place, handle in enumerate(handles, 1)
            ]
            try:
                waiting |= {one.handle.begin.remote(): (one, None) for one in workers}
                while left:
                    interrupt.require_unasked()
                    now = time.monotonic()
                    given: list[tuple[_Worker, str]] = []
                    ready = [one for one in workers if one.where]
                    for worker in ready:
                        # One more than it does, so that it does not wait for this process.
                        while queue and len(worker.in_hand) <= hands(device):
                            worker.in_hand.append(queue.popleft())
                            given.append((worker, worker.in_hand[-1]))
                    idle = [one for one in ready if not one.in_hand]
                    late = [
                        id for id in left if now - begun.get(id, now) > max(PATIENCE, 3 * longest)
                    ]
                    for worker, id in zip(idle, late, strict=False):
                        worker.in_hand.append(id)
                        given.append((worker, id))
                    for worker, id in given:
                        begun[id] = now
                        waiting[worker.handle.do.remote(id)] = worker, id
                    done, _ = ray.wait(list(waiting), num_returns=1, timeout=0.2)
                    for future in done:
                        worker, of = waiting.pop(future)
                        self._hear(worker, of, _answer(ray, future, of))
                        if of in left:
                            left.discard(of)
                            longest = max(longest, time.monotonic() - begun[of])
                            for task in (whole, worker.line):
                                progress.advance(task, len(self._work_of[of].block))
                            yield of
            finally:
                progress.stop()
                if left:
                    _finish(ray, list(waiting))
                for worker in workers:
                    ray.kill(worker.handle)

    def _actors(self, ray: Any, todo: Sequence[str], device: str, number: int) -> list[Any]:
        command = self._command.as_json(executor="local", workers=None, address=None, device=device)
        ours = bases(self._session, self._works)
        kind = ray.remote(
            num_cpus=1,
            num_gpus=int(device == "cuda"),
            max_concurrency=hands(device),
            max_restarts=-1,
            max_task_retries=DEATHS - 1,
        )(Actor)
        return [kind.remote(command, os.getcwd(), ours, todo) for _ in range(number)]

    def _hear(self, worker: _Worker, id: str | None, said: Said) -> None:
        """Take in what a worker says."""
        for words in said["warnings"]:
            if words not in self._warned:
                log.warning(words)
            self._warned.add(words)
        if "error" in said:
            raise_failure(said["error"])
        if worker.where not in ("", said["where"]):
            log.warning(f"a worker on {worker.where} died; its blocks are begun again")
        worker.where = said["where"]
        if id is None:
            return
        worker.in_hand.remove(id)
        if not worker.seen and self._session.store.unsettled([self._work_of[id].block]):
            raise BadInput(
                f"A worker on {worker.where} stored block {id}, and it is not in "
                f"{self._session.store.folder} here.",
                "Name a folder that all machines of the cluster see: --runs DIR",
            )
        worker.seen = True


def _answer(ray: Any, future: Any, id: str | None) -> Said:
    """What an actor says; Ray has begun it again as often as it is to."""
    try:
        said: Said = ray.get(future)
    except ray.exceptions.RayError as error:
        what = "the start of a worker" if id is None else f"block {id}"
        raise Incomplete(
            f"{DEATHS} workers died over {what}, the last with {excerpt(str(error), 600)}",
            "What was finished is kept. Look what ends them (often it is memory), use fewer: "
            "--workers N, or none: --executor local",
        ) from None
    return said


def _finish(ray: Any, futures: Sequence[Any]) -> None:
    """Let actors finish what they do, and nothing more."""
    for future in futures:
        ray.cancel(future)
    ray.wait(futures, num_returns=len(futures))
