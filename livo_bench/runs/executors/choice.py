"""Which executor does a run's blocks: this process, or one for each device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from livo_bench.errors import BadInput
from livo_bench.runs.executors.actors import Actors
from livo_bench.runs.executors.command import Command
from livo_bench.runs.executors.several import Processes
from livo_bench.runs.sampling import in_parallel
from livo_bench.runs.session import Session
from livo_bench.runs.work import Work, doing, load, make


class Executor(Protocol):
    """Does blocks."""

    def run(self, blocks: Sequence[str]) -> Iterator[str]:
        """Make and judge blocks by their ids; give the ids of those that are stored."""


class Local:
    """An executor whose blocks are done by threads of this process."""

    def __init__(self, session: Session, works: Sequence[Work]) -> None:
        self._session = session
        self._works = {work.block.id: work for work in works}

    def run(self, blocks: Sequence[str]) -> Iterator[str]:
        """Do blocks, in about their order, as `sampling.in_parallel` says."""
        session, todo = self._session, [self._works[id] for id in blocks]
        load(session, todo)

        def done(work: Work) -> str:
            make(session, work)
            return work.block.id

        yield from in_parallel(
            session,
            done,
            todo,
            count=lambda work: len(work.block),
            description=doing(session, todo),
            unit="images",
        )


def executor_of(session: Session, command: Command, works: Sequence[Work]) -> Executor:
    """The executor that a run asks for; by itself several processes where there are several GPUs.

    Args:
        session: Session of the run.
        command: What the run was asked for.
        works: All its work, stored or not.
    """
    options = session.options
    if options["executor"] == "ray":
        _refuse_service(session)
        return Actors(command, session, works, options["address"], options["workers"])
    if options["address"] is not None:
        raise BadInput(
            f"--address {options['address']} is that of a cluster of Ray, which does not do this "
            "run.",
            "Leave it out, or pass --executor ray",
        )
    devices = devices_of(session)
    if not devices:
        return Local(session, works)
    return Processes(command, session, works, devices)


def devices_of(session: Session) -> Sequence[str]:
    """Device of each process that is to work; none where this one does it.

    Raises:
        BadInput: Options contradict each other.
    """
    import torch

    asked, workers = session.options["executor"], session.options["workers"]
    several = session.device == "cuda" and torch.cuda.device_count() > 1
    if asked == "auto" and session.service is None and (several or workers is not None):
        asked = "processes"
    if asked != "processes":
        if workers is not None:
            raise BadInput(
                f"--workers {workers} is the number of processes, and this run is done by one.",
                "Leave it out, or pass --executor processes",
            )
        return ()
    _refuse_service(session)
    if several:
        there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return [there[number % len(there)] for number in range(workers or len(there))]
    default = (os.cpu_count() or 1) if session.device == "cpu" else 1
    return [session.device] * (workers or default)


def _refuse_service(session: Session) -> None:
    if session.service is not None:
        raise BadInput(
            f"{session.model.name!r} is an image service, which one process asks.",
            "Leave --executor out.",
        )
