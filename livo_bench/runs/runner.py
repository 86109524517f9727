"""A run: blocks through render, score and store, then the numbers.

Everything that was computed is kept: a rerun makes what is missing and nothing else.
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from rich.filesize import decimal

from livo_bench import trackers
from livo_bench.cards.readable import PIPELINE
from livo_bench.errors import Incomplete, NothingScored
from livo_bench.interrupt import Stopped
from livo_bench.runs import logged
from livo_bench.runs.executors.choice import Executor, executor_of
from livo_bench.runs.executors.command import Command
from livo_bench.runs.options import RunOptions, as_words, complete
from livo_bench.runs.plan import (
    WHOLE,
    Block,
    Estimate,
    Plan,
    Shard,
    estimate,
    part_of,
)
from livo_bench.runs.requests import Job, prepare
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store
from livo_bench.runs.summary import replaced, summarise_all
from livo_bench.runs.unscored import refuse_unscored
from livo_bench.runs.wanted import distinct
from livo_bench.runs.work import Work, batches_of, works_of

log = logging.getLogger(__name__)

NETWORKS = ("denoiser", "text", "vae")
"""What a model card's `[memory]` calls the parameters of a whole pipeline."""
SCORED = 10_000
"""Bytes of an image without its pixels, above all the 2,048 numbers of an Inception's vector."""
ROUNDS = 3
"""Passes over the plan: one is enough unless stored files turn out damaged while being read."""


def run(
    methods: Sequence[str],
    task: str,
    model: str = "mini",
    shard: Shard = WHOLE,
    **options: Unpack[RunOptions],
) -> list[Path]:
    """Sample, score and summarise methods on a task; continue where an earlier run stopped.

    Args:
        methods: Names, `name:variant`, or folders; `all` for every built-in one. With `images_from`
            what to call the pictures.
        task: Name, `name/subset`, folder, or `all`.
        model: Name, card or diffusers folder.
        shard: Part `k` of `n`, from 1. All parts together, on whatever machines and in whatever
            order, make and judge the batches of the whole, each once, into one store; a run of the
            whole then finds its images there.
        **options: See `RunOptions`.

    Returns:
        The result folders, one a method and task: `run.json`, `images.parquet`,
            `vectors.npz`, `aggregates.csv`, `prompts.csv`. A part writes none.

    Raises:
        NothingScored: The results are written, and a judge scored none of the images of one.
        LivoBenchError: Something to fix first; nothing computed is lost.
        Stopped: A signal came; nothing computed is lost.
    """
    asked = complete(options)
    trackers.require(asked["log_to"])
    if len(asked["scorer"]) > 1:
        return _one_by_one(asked["scorer"], methods, task, model, shard, options)
    session, jobs = prepare(methods, task, model, **options)
    every = works_of(session, jobs)
    works = part_of(every, shard)
    executor = executor_of(session, Command(methods, task, model, options), every)
    cost = _estimate(session, works)
    if session.stand_in is not None and cost.missing:
        raise Incomplete(
            f"{cost.missing:,} of {cost.wanted:,} images are not in "
            f"{session.store.folder}, and --scorer samples nothing.",
            f"Make them first:\n    {_command(methods, task, model, options)}",
        )
    session.store.require_room(cost.bytes)
    try:
        if shard != WHOLE:
            _make(session, jobs, works, model, executor)
            return []
        for note in filter(None, (replaced(session, job) for job in jobs)):
            log.warning(note)
        folders = _finish(session, jobs, works, model, executor)
    except Stopped as stopped:
        made = _estimate(session, works)
        stopped.add_note(f"In {session.store.folder}: {made}")
        raise
    if session.options["log_to"]:
        for folder in folders:
            logged.log(folder, session.options["log_to"])
    return folders


def _one_by_one(
    scorers: Sequence[str],
    methods: Sequence[str],
    task: str,
    model: str,
    shard: Shard,
    options: RunOptions,
) -> list[Path]:
    """Run for each of several judges; what is wrong with one is said before another judges."""
    each: list[RunOptions] = [{**options, "scorer": (one,)} for one in dict.fromkeys(scorers)]
    for one in each:
        prepare(methods, task, model, **one)
    folders: list[Path] = []
    nothing: list[NothingScored] = []
    for one in each:
        try:
            folders += run(methods, task, model, shard, **one)
        except NothingScored as error:
            nothing.append(error)
    if nothing:
        raise nothing[0]
    return folders


def _finish(
    session: Session,
    jobs: Sequence[Job],
    works: Sequence[Work],
    model: str,
    executor: Executor,
) -> list[Path]:
    for _ in range(ROUNDS):
        _make(session, jobs, works, model, executor)
        # Incomplete: a file turned out damaged while it was read; its rows count as missing now.
        with suppress(Incomplete):
            folders = summarise_all(session, jobs)
            break
    else:
        raise Incomplete(
            f"Files in {session.store.folder} are damaged as often as they are written.",
            "Check that disk, or write elsewhere: --runs DIR",
        )
    refuse_unscored(folders)
    return folders


def _make(
    session: Session,
    jobs: Sequence[Job],
    works: Sequence[Work],
    model: str,
    executor: Executor,
) -> None:
    """Make and judge what is missing."""
    if todo := _outstanding(session.store, works):
        _require_files(session, jobs, model, any(work.sampled for work in todo))
        _work_off(executor, todo)


def plan(
    methods: Sequence[str],
    task: str,
    model: str = "mini",
    rate: float | None = None,
    shard: Shard = WHOLE,
    **options: Unpack[RunOptions],
) -> Estimate:
    """Say what `run` with the same arguments would make and cost, on whatever device.

    Loads no model, and needs no weights of repositories whose commit is named.

    Args:
        methods: Names, variants or folders of methods, as for `run`.
        task: Name, subset or folder of a task, as for `run`.
        model: Name, card or folder of a model, as for `run`.
        rate: Images sampled and judged per second; the card's when None.
        shard: Part of the work, as for `run`; the arithmetic is that of the whole.
        **options: See `RunOptions`; the device is not looked at.
    """
    options["device"] = "cpu"
    session, jobs = prepare(methods, task, model, **options)
    batches = (block for _, of_job in batches_of(session, jobs) for block, _ in of_job)
    blocks = tuple(part_of(list({block.id: block for block in batches}.values()), shard))
    made = Plan(blocks, session.store.unsettled(blocks))
    card = session.model
    cost = estimate(made, rate or card.rate, _bytes_per_image(session))
    return replace(cost, arithmetic=_arithmetic(session, jobs, cost, rate or card.rate))


def _arithmetic(
    session: Session, jobs: Sequence[Job], cost: Estimate, rate: float
) -> tuple[str, ...]:
    card = session.model
    lines = []
    for job in jobs:
        images: Counter[str] = Counter()
        for (_, principle), count in zip(
            job.wanted.asked, np.bincount(job.wanted.asked_of), strict=True
        ):
            images[principle.subset] += int(count)
        parts = " + ".join(f"{subset} {count:,}" for subset, count in images.items())
        lines.append(
            f"{job.method.name} on {job.task.name}: {parts} = {len(job.wanted):,} images to judge, "
            f"{distinct([job.wanted.digests]):,} of them distinct"
        )
    lines.append(f"time: {cost.rendered:,} images / {rate:g} images a second")
    kept = "" if session.store.keep == 1 else f", of {100 * session.store.keep:g} % the pixels,"
    lines.append(
        f"disk: {cost.missing:,} PNG images with scores{kept} x {_bytes_per_image(session):,} bytes"
    )
    if parameters := sum(card.memory.get(part, 0) for part in NETWORKS):
        each = 4 if session.dtype == "float32" else 2
        lines.append(
            f"model: {parameters:,} parameters x {each} bytes in {session.dtype} = "
            f"{decimal(parameters * each)} in the device's memory"
        )
    if card.scale == "sd" and card.kind == PIPELINE:
        latents = 4 * (card.size // 8) ** 2 * 2
        lines.append(
            f"(their latents in half precision would be {cost.missing:,} x {latents:,} bytes = "
            f"{decimal(cost.missing * latents)}; kept are the pixels that were judged)"
        )
    return tuple(lines)


def _outstanding(store: Store, works: Sequence[Work]) -> list[Work]:
    """The blocks that lack an image or a score; what was refused lacks neither."""
    blocks = [work.block for work in works]
    undrawn = store.undrawn(blocks)
    unsettled = store.unsettled(blocks)
    judged_by: dict[str, list[Block]] = defaultdict(list)
    for work in works:
        for scorer in work.scorers:
            judged_by[scorer].append(work.block)
    unjudged = {scorer: store.unjudged(scorer, blocks) for scorer, blocks in judged_by.items()}

    def lacks(work: Work) -> bool:
        id = work.block.id
        refused = set(undrawn.get(id, ())).difference(unsettled.get(id, ()))
        return id in unsettled or any(
            not refused.issuperset(unjudged[scorer].get(id, ())) for scorer in work.scorers
        )

    return [work for work in works if lacks(work)]


def _estimate(session: Session, works: Iterable[Work]) -> Estimate:
    blocks = tuple(work.block for work in works)
    plan = Plan(blocks, session.store.unsettled(blocks))
    return estimate(plan, session.model.rate, _bytes_per_image(session))


def _bytes_per_image(session: Session) -> int:
    """Bytes on disk for an image, on average over those that keep their pixels and others."""
    whole, keep = session.model.bytes_per_image, session.store.keep
    return round(keep * whole + (1 - keep) * min(SCORED, whole))


def _require_files(session: Session, jobs: Sequence[Job], model: str, sampled: bool) -> None:
    """See that all that may be loaded is on this machine: the model where images are made, or what
    it takes to ask a service."""
    from livo_bench.runs import fetch

    if sampled and session.service is not None:
        session.service.require()

    roles = session.model.roles_for(job.task for job in jobs)
    listed = fetch.wanted(session.model, roles, weights=session.files.values(), pipeline=sampled)
    weights = session.options["weights"]
    remote = [place[place.index("hub:") :] for place in weights if "hub:" in place]
    also = f" --weights {remote[0]}" if remote else ""
    also += "".join(f" --scorer {shlex.quote(one)}" for one in session.options["scorer"])
    fetch.require(model, listed, also)
    fetch.warn_of_unpinned(listed)


def _work_off(executor: Executor, works: Sequence[Work]) -> None:
    """Make and judge blocks."""
    for _ in executor.run([work.block.id for work in works]):
        pass


def _command(methods: Sequence[str], task: str, model: str, options: RunOptions) -> str:
    """The command line of a run that samples."""
    words = [word for method in methods for word in ("--method", method)]
    words += ["--task", task, "--model", model]
    samples: RunOptions = {**options, "scorer": ()}
    return shlex.join(["livo-bench", "run", *words, *as_words(samples)])
