"""A run: blocks through render, score and store, then the numbers.

Everything that was computed is kept: a rerun makes what is missing and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
from rich.console import Console

from livo_bench.errors import Incomplete
from livo_bench.jobs import Job, prepare
from livo_bench.plan import Block, Estimate, estimate, form_blocks, make_plan
from livo_bench.protocols import Columns, OwnGenerator, Pixels, Scorer
from livo_bench.records import Prompt, Recipe, Request
from livo_bench.results import summarise
from livo_bench.sampling import images_of, in_parallel
from livo_bench.session import Session
from livo_bench.store import Store

BLANK = "blank image"
"""Why a picture of a single colour is unscored: judges are not asked about it."""

ROUNDS = 3
"""Passes over the plan: one is enough unless stored files turn out damaged while being read."""


@dataclass
class Work:
    """A block, what makes its images and who judges them."""

    block: Block
    generator: OwnGenerator | None
    scorers: dict[str, Scorer] = field(default_factory=dict)


def run(
    methods: Sequence[str],
    task: str,
    model: str = "mini",
    images: int = 50,
    prompts: Path | None = None,
    seed: int = 42,
    device: str = "auto",
    dtype: str | None = None,
    runs: Path = Path("results/runs"),
    weights: str | None = None,
    independent_reference: bool = False,
) -> list[Path]:
    """Sample, score and summarise methods on a task; continue where an earlier run stopped.

    Args:
        methods: Names, `name:variant`, or folders; `all` for every built-in one.
        task: Name, `name/subset`, folder, or `all`.
        model: Name, card or diffusers folder.
        images: Per prompt and subset.
        prompts: A list of one's own instead of the task's evaluation prompts.
        seed: Base seed of all noise.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: Precision of the generator; the card's when None.
        runs: Folder of images, scores and results.
        weights: Folder or repository of trained weights, instead of those of the methods.
        independent_reference: Also compare with the unaligned model's images from other noise, the
            next `images` indices of each prompt, which are sampled for this.

    Returns:
        The result folders, one a method and task: `run.json`, `images.parquet`,
        `aggregates.csv`, `prompts.csv`.

    Raises:
        LivoBenchError: Something to fix first; nothing computed is lost.
    """
    session, jobs = prepare(
        methods,
        task,
        model,
        images,
        prompts,
        seed,
        device,
        dtype,
        runs,
        weights,
        independent_reference,
    )
    works = _works(session, jobs)
    session.store.require_room(_estimate(session, works).bytes)
    for _ in range(ROUNDS):
        if todo := _outstanding(session.store, works):
            _work_off(session, todo)
        # Incomplete: a file turned out damaged while it was read; its rows count as missing now.
        with suppress(Incomplete):
            return [summarise(session, job, images) for job in jobs]
    raise Incomplete(
        f"Files in {session.store.folder} are damaged as often as they are written. Check that "
        "disk, or write elsewhere: --runs DIR"
    )


def plan(
    methods: Sequence[str],
    task: str,
    model: str = "mini",
    images: int = 50,
    prompts: Path | None = None,
    seed: int = 42,
    device: str = "auto",
    dtype: str | None = None,
    runs: Path = Path("results/runs"),
    weights: str | None = None,
    independent_reference: bool = False,
) -> Estimate:
    """Say what `run` with the same arguments would make and cost; loads no model."""
    session, jobs = prepare(
        methods,
        task,
        model,
        images,
        prompts,
        seed,
        device,
        dtype,
        runs,
        weights,
        independent_reference,
    )
    return _estimate(session, _works(session, jobs))


@dataclass(frozen=True)
class _List:
    """Images that a job alone makes, or those of a reference, and who has to judge each."""

    wanted: Sequence[tuple[Request, Recipe]]
    generator: OwnGenerator | None
    scorers: Mapping[str, Mapping[str, Scorer]]
    """By image key, by scorer id."""


def _lists(session: Session, job: Job) -> Iterator[_List]:
    features = session.features
    scorers: dict[str, dict[str, Scorer]] = {
        recipe.key: {features.id: features} for _, recipe in job.reference
    }
    # What a method shares with the unaligned model is made in the reference's batches, once.
    own = [(request, recipe) for request, recipe in job.wanted if recipe.key not in scorers]
    for request, recipe in job.wanted:
        of_image = scorers.setdefault(recipe.key, {})
        judge = job.judges[request.principle.subset, request.prompt.category]
        for scorer in (judge, session.clip_score, features):
            of_image[scorer.id] = scorer
    generator = job.method.method if isinstance(job.method.method, OwnGenerator) else None
    yield _List(job.reference, None, scorers)
    yield _List(own, generator, scorers)
    featurised = {recipe.key: {features.id: features} for _, recipe in job.independent}
    yield _List(job.independent, None, featurised)


def _works(session: Session, jobs: Sequence[Job]) -> list[Work]:
    """All blocks, the reference's first.

    Blocks are formed from each job alone, so they do not depend on what else a command asks for.
    """
    works: dict[str, Work] = {}
    for job in jobs:
        for listed in _lists(session, job):
            for block in form_blocks(listed.wanted, session.model.block):
                work = works.setdefault(block.id, Work(block, listed.generator))
                for key in block.keys:
                    work.scorers |= listed.scorers[key]
    return list(works.values())


def _outstanding(store: Store, works: Iterable[Work]) -> list[Work]:
    """The blocks that lack an image or a score."""
    stored = store.sample_keys()
    ids = {scorer for work in works for scorer in work.scorers}
    scored = {scorer: store.score_keys(scorer) for scorer in ids}
    return [
        work
        for work in works
        if not stored.issuperset(work.block.keys)
        or any(not scored[scorer].issuperset(work.block.keys) for scorer in work.scorers)
    ]


def _estimate(session: Session, works: Sequence[Work]) -> Estimate:
    plan = make_plan([work.block for work in works], session.store.sample_keys())
    return estimate(plan, session.model.rate, session.model.bytes_per_image)


def _work_off(session: Session, works: Sequence[Work]) -> None:
    """Make and judge blocks."""
    _load(session, works)
    done = in_parallel(
        session,
        lambda work: _process(session, work),
        works,
        count=lambda work: len(work.block.keys),
        description="sampling and judging",
        unit="images",
    )
    for _ in done:
        pass


def _load(session: Session, works: Sequence[Work]) -> None:
    with Console(stderr=True).status("loading models"):
        session.engine.load_files(recipe for work in works for recipe in work.block.recipes)
        for scorer in {id: s for work in works for id, s in work.scorers.items()}.values():
            scorer.load()


def _process(session: Session, work: Work) -> None:
    """Make what is missing of one block and judge it."""
    pixels = images_of(session, work.block, work.generator)
    blank = [BLANK if (image == image[0, 0]).all() else None for image in pixels]
    for scorer in work.scorers.values():
        columns = _judge(scorer, pixels, [work.block.prompt] * len(pixels), blank)
        session.store.write_scores(scorer.id, work.block.keys, columns, blank)


def _judge(
    scorer: Scorer, pixels: Pixels, prompts: Sequence[Prompt], blank: Sequence[str | None]
) -> Columns:
    """Scores of the images that show something; NaN or None for blank ones."""
    shown = np.array([reason is None for reason in blank])
    if shown.all():
        return scorer.score(pixels, prompts)
    if shown.any():
        judged = scorer.score(pixels[shown], list(compress(prompts, shown)))
    else:
        # Which columns there are only a judge's answer tells: this one, to a stand-in, is dropped.
        stand_in = np.resize(np.arange(256, dtype=np.uint8), pixels[:1].shape)
        answer = scorer.score(stand_in, prompts[:1])
        judged = {name: values[:0] for name, values in answer.items()}
    columns = {}
    for name, values in judged.items():
        numeric = np.issubdtype(values.dtype, np.floating)
        spread = np.full(
            (len(pixels), *values.shape[1:]),
            np.nan if numeric else None,
            values.dtype if numeric else object,
        )
        spread[shown] = values
        columns[name] = spread
    return columns
