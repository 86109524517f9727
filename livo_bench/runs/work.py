"""The work of a run: its blocks, what makes their images, who judges them, and how one is done.

Whoever plans a command anew comes to the same blocks, so a block's id says all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from livo_bench.bars import status
from livo_bench.cards.adapters import LoadedMethod
from livo_bench.errors import BadInput
from livo_bench.interfaces import Columns, OwnGenerator, Pixels, Scorer
from livo_bench.records import Prompt
from livo_bench.runs.given_pictures import Pictures
from livo_bench.runs.plan import Block, form_blocks
from livo_bench.runs.requests import Job, by_reference
from livo_bench.runs.sampling import pictures_of
from livo_bench.runs.session import Session
from livo_bench.scorers import ABSTAINED

log = logging.getLogger(__name__)

BLANK = "blank image"
"""Why a picture of a single colour is unscored: judges are not asked about it."""
NOT_A_NUMBER = "score is not a number"
"""Why an image is unscored of which a judge said NaN or infinity."""


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


def works_of(session: Session, jobs: Sequence[Job]) -> list[Work]:
    """All blocks and who has to judge them, the reference's first."""
    works: dict[str, Work] = {}
    for job, batches in batches_of(session, jobs):
        scorers_of = _scorers(session, job)
        for block, generator in batches:
            work = works.setdefault(block.id, Work(block, generator))
            work.scorers = {**work.scorers, **scorers_of(block)}
    return list(works.values())


def batches_of(
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
        if job.people is not None:
            scorers_of.append(job.people)
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


def doing(session: Session, works: Sequence[Work]) -> str:
    """What is done to blocks, as bars say it."""
    sampled = session.stand_in is None and any(work.sampled for work in works)
    return "sampling and judging" if sampled else "judging"


def by_weights(works: Sequence[Work]) -> list[Work]:
    """Order work by the weights and then the shape that it needs, so that they change seldom."""
    first = [work.block.wanted.recipe(int(work.block.rows[0])) for work in works]
    weights = [(recipe.generator, recipe.overlay) for recipe in first]
    place = {one: number for number, one in reversed(list(enumerate(weights)))}

    def key(number: int) -> tuple[int, str, bool, bool, int]:
        recipe = first[number]
        branches = recipe.safety is None, recipe.edit is None
        return place[weights[number]], recipe.layout or "", *branches, -len(works[number].block)

    return [works[number] for number in sorted(range(len(works)), key=key)]


def load(session: Session, works: Sequence[Work]) -> None:
    """Load what makes and judges blocks, before several threads ask for it."""
    sampled = [work for work in works if work.sampled]
    if session.stand_in is not None:  # those whose pixels were not kept
        again = session.store.pixelless([work.block for work in sampled])
        sampled = [work for work in sampled if work.block.id in again]
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


def make(session: Session, work: Work) -> None:
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
