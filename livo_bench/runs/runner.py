"""A run: blocks through render, score and store, then the numbers.

Everything that was computed is kept: a rerun makes what is missing and nothing else.
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from rich.filesize import decimal

from livo_bench.bars import status
from livo_bench.cards.adapters import LoadedMethod
from livo_bench.cards.readable import PIPELINE
from livo_bench.errors import BadInput, Incomplete
from livo_bench.interfaces import Columns, OwnGenerator, Pixels, Scorer
from livo_bench.interrupt import Stopped
from livo_bench.records import Prompt
from livo_bench.runs.given_pictures import Pictures
from livo_bench.runs.options import RunOptions, as_words
from livo_bench.runs.plan import (
    WHOLE,
    Block,
    Estimate,
    Plan,
    Shard,
    estimate,
    form_blocks,
    part_of,
)
from livo_bench.runs.requests import Job, by_reference, prepare
from livo_bench.runs.sampling import in_parallel, pictures_of
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store
from livo_bench.runs.summary import replaced, summarise_all
from livo_bench.runs.unscored import refuse_unscored
from livo_bench.runs.wanted import distinct
from livo_bench.scorers import ABSTAINED

log = logging.getLogger(__name__)

BLANK = "blank image"
"""Why a picture of a single colour is unscored: judges are not asked about it."""
NOT_A_NUMBER = "score is not a number"
"""Why an image is unscored of which a judge said NaN or infinity."""

NETWORKS = ("denoiser", "text", "vae")
"""What a model card's `[memory]` calls the parameters of a whole pipeline."""
ROUNDS = 3
"""Passes over the plan: one is enough unless stored files turn out damaged while being read."""


@dataclass
class Work:
    """A block, what makes its images and who judges them."""

    block: Block
    generator: LoadedMethod | Pictures | None
    scorers: Mapping[str, Scorer] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether its images are made here."""
        return not isinstance(self.generator, Pictures)


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
    session, jobs = prepare(methods, task, model, **options)
    works = part_of(_works(session, jobs), shard)
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
            _make(session, jobs, works, model)
            return []
        for note in filter(None, (replaced(session, job) for job in jobs)):
            log.warning(note)
        return _finish(session, jobs, works, model)
    except Stopped as stopped:
        made = _estimate(session, works)
        stopped.add_note(f"In {session.store.folder}: {made}")
        raise


def _finish(
    session: Session,
    jobs: Sequence[Job],
    works: Sequence[Work],
    model: str,
) -> list[Path]:
    for _ in range(ROUNDS):
        _make(session, jobs, works, model)
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
) -> None:
    """Make and judge what is missing."""
    if todo := _outstanding(session.store, works):
        _require_files(session, jobs, model, any(work.sampled for work in todo))
        _work_off(session, todo)


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
    batches = (block for _, of_job in _batches(session, jobs) for block, _ in of_job)
    blocks = tuple(part_of(list({block.id: block for block in batches}.values()), shard))
    made = Plan(blocks, session.store.unsettled(blocks))
    card = session.model
    cost = estimate(made, rate or card.rate, card.bytes_per_image)
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
    lines.append(f"disk: {cost.missing:,} PNG images with scores x {card.bytes_per_image:,} bytes")
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


def _works(session: Session, jobs: Sequence[Job]) -> list[Work]:
    """All blocks and who has to judge them, the reference's first."""
    works: dict[str, Work] = {}
    for job, batches in _batches(session, jobs):
        scorers_of = _scorers(session, job)
        for block, generator in batches:
            work = works.setdefault(block.id, Work(block, generator))
            work.scorers = {**work.scorers, **scorers_of(block)}
    return list(works.values())


def _batches(
    session: Session, jobs: Sequence[Job]
) -> Iterator[tuple[Job, list[tuple[Block, LoadedMethod | Pictures | None]]]]:
    """Each job's blocks and what makes their images, those of its reference first.

    Blocks are formed from each job alone, so they do not depend on what else a command asks for.
    """
    for of_task in by_reference(jobs):
        first = of_task[0]
        reference = form_blocks(first.reference, session.model.block)
        reference += form_blocks(first.independent, session.model.block)
        for job in of_task:
            # What a method shares with the unaligned model is made in the reference's batches.
            own = form_blocks(job.wanted, session.model.block, shared=first.reference.digests)
            paints = isinstance(job.method.method, OwnGenerator)
            generator = job.method if paints else job.pictures
            yield job, [(block, None) for block in reference] + [(b, generator) for b in own]


def _scorers(session: Session, job: Job) -> Callable[[Block], Mapping[str, Scorer]]:
    """Who has to judge the images of a block of a job or its reference, by scorer id: whoever an
    image of it is wanted for."""
    features = session.features
    of_asked = []
    for prompt, principle in job.wanted.asked:
        judge = job.scorers[principle.subset, prompt.category]
        scorers_of = [judge, session.clip_score, features]
        if job.names_hazard(prompt):
            scorers_of.append(session.clip_neutral)
        of_asked.append({scorer.id: scorer for scorer in scorers_of})
    every = {features.id: features} | {id: one for of in of_asked for id, one in of.items()}
    asked = np.array([[id in of for id in every] for of in of_asked], bool)
    parts = [job.wanted, job.reference, job.independent]
    _, image_of = np.unique(np.concatenate([p.digests for p in parts]), return_inverse=True)
    wants = np.zeros((image_of.max() + 1, len(every)), bool)
    wants[:, 0] = True
    for column, mark in enumerate(asked.T):
        wants[image_of[: len(job.wanted)][mark[job.wanted.asked_of]], column] = True
    ends = np.cumsum([len(part) for part in parts])[:-1]
    images = dict(zip(map(id, parts), np.split(image_of, ends), strict=True))
    known: dict[bytes, dict[str, Scorer]] = {}

    def scorers_of_block(block: Block) -> Mapping[str, Scorer]:
        marks = np.logical_or.reduce(wants[images[id(block.wanted)][block.rows]])
        return known.setdefault(marks.tobytes(), dict(compress(every.items(), marks.tolist())))

    return scorers_of_block


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
    return estimate(plan, session.model.rate, session.model.bytes_per_image)


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
    fetch.require(model, listed, f" --weights {remote[0]}" if remote else "")
    fetch.warn_of_unpinned(listed)


def _work_off(session: Session, works: Sequence[Work]) -> None:
    """Make and judge blocks."""
    sampled = [work for work in works if work.sampled and session.stand_in is None]
    _load(session, works, sampled)
    done = in_parallel(
        session,
        lambda work: _process(session, work),
        works,
        count=lambda work: len(work.block),
        description="sampling and judging" if sampled else "judging",
        unit="images",
    )
    for _ in done:
        pass


def _load(session: Session, works: Sequence[Work], sampled: Sequence[Work]) -> None:
    with status("loading models"):
        if sampled and session.service is None:
            session.renderer.load_files(recipe for work in sampled for recipe in work.block.recipes)
            blocks = [work.block for work in sampled]
            if cut := {b.prompt.id for b in blocks if session.renderer.cuts(b.recipes[0])}:
                log.warning(
                    f"longer than the text encoder of {session.model.name} reads, so their ends "
                    f"are left out: {', '.join(sorted(cut))}"
                )
        for scorer in {id: s for work in works for id, s in work.scorers.items()}.values():
            scorer.load()


def _process(session: Session, work: Work) -> None:
    """Make what is missing of one block and judge what there is a picture of."""
    pictures = pictures_of(session, work.block, work.generator)
    if not pictures:
        return
    keys, pixels = list(pictures), np.stack(list(pictures.values()))
    blank = [BLANK if (image == image[0, 0]).all() else None for image in pixels]
    prompts = [work.block.prompt] * len(pixels)
    for scorer in work.scorers.values():
        columns, unscored = _judge(scorer, pixels, prompts, blank)
        session.store.write_scores(scorer.id, keys, columns, unscored)


def _judge(
    scorer: Scorer, pixels: Pixels, prompts: Sequence[Prompt], blank: Sequence[str | None]
) -> tuple[Columns, Sequence[str | None]]:
    """Scores of the images that show something, and why others have none: NaN or None."""
    shown = np.array([reason is None for reason in blank])
    if shown.all():
        judged = _score(scorer, pixels, prompts)
    elif shown.any():
        judged = _score(scorer, pixels[shown], list(compress(prompts, shown)))
    else:
        # All are blank, and still their file needs the judge's columns, which only an answer
        # tells: this one, about a stand-in, is dropped.
        stand_in = np.resize(np.arange(256, dtype=np.uint8), pixels[:1].shape)
        answer = scorer.score(stand_in, prompts[:1])
        judged = {name: values[:0] for name, values in answer.items()}
    sound = _sound(judged)
    if shown.all() and sound.all():
        return judged, blank
    scored = shown.copy()
    scored[shown] = sound
    silent = shown.copy()
    silent[shown] = np.asarray(judged["label"]) == ABSTAINED if "label" in judged else False
    reasons = [
        reason if reason or ok else ABSTAINED if abstains else NOT_A_NUMBER
        for reason, ok, abstains in zip(blank, scored, silent, strict=True)
    ]
    return {name: _spread(values[sound], scored) for name, values in judged.items()}, reasons


def _score(scorer: Scorer, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
    """Ask a judge; in halves where not all images fit into the device's memory at once."""
    import torch

    half = len(pixels) // 2
    try:
        return scorer.score(pixels, prompts)
    except torch.OutOfMemoryError as error:
        if not half:
            raise BadInput(
                f"One image does not fit into the device's memory with {scorer.id}: {error}.",
                "Free it, or judge on another device: --device cpu. Images that were made are "
                "kept.",
            ) from error
    # Out here, where the error no longer holds what did not fit.
    torch.accelerator.empty_cache()
    parts = [
        _score(scorer, pixels[part], prompts[part]) for part in (slice(half), slice(half, None))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sound(columns: Columns) -> NDArray[np.bool_]:
    """Which rows hold finite numbers alone: a label that was read off NaN is none."""
    finite = [
        np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        for values in columns.values()
        if np.issubdtype(values.dtype, np.floating)
    ]
    rows = len(next(iter(columns.values())))
    return np.logical_and.reduce([np.ones(rows, bool), *finite])


def _spread(values: NDArray, scored: NDArray[np.bool_]) -> NDArray:
    """Scores at the places of the images that have some, NaN or None at the others."""
    numeric = np.issubdtype(values.dtype, np.floating)
    spread = np.full(
        (len(scored), *values.shape[1:]),
        np.nan if numeric else None,
        values.dtype if numeric else object,
    )
    spread[scored] = values
    return spread


def _command(methods: Sequence[str], task: str, model: str, options: RunOptions) -> str:
    """The command line of a run that samples."""
    words = [word for method in methods for word in ("--method", method)]
    words += ["--task", task, "--model", model]
    samples: RunOptions = {**options, "scorer": None}
    return shlex.join(["livo-bench", "run", *words, *as_words(samples)])
