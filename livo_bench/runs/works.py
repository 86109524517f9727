"""Who makes and who judges each block of a command, what of it is left, and what is packed.

A block's scores are stored as soon as they are there, in a file a judge, so that nothing is lost
with the process. Where all blocks of a pack have theirs, they are put into one file: reading sixty
thousand takes longer than what is computed of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from livo_bench.cards.adapters import LoadedMethod
from livo_bench.interfaces import OwnGenerator, Scorer
from livo_bench.runs.given_pictures import Pictures
from livo_bench.runs.plan import Block, Pack, form_blocks, in_packs
from livo_bench.runs.requests import Job, by_reference
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store


@dataclass
class Work:
    """A block, what makes its images and who judges them."""

    block: Block
    generator: LoadedMethod | Pictures | None
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    pack: int = 0
    """Which works' scores are packed together."""

    @property
    def sampled(self) -> bool:
        """Whether its images are made here."""
        return not isinstance(self.generator, Pictures)


def form_works(session: Session, jobs: Sequence[Job]) -> list[Work]:
    """All blocks and who has to judge them, the reference's first."""
    works: dict[str, Work] = {}
    packs = 0
    for job, of_job in batches(session, jobs):
        scorers_of = _scorers(session, job)
        new = {block.id: Work(block, made_by) for block, made_by in of_job}
        new = {id: work for id, work in new.items() if id not in works}
        works |= new
        # What was new with an earlier job is in a pack of that one's, as the reference is.
        for pack in in_packs([work.block for work in new.values()], session.model.block):
            for block in pack:
                works[block.id].pack = packs
            packs += 1
        for block, _ in of_job:
            work = works[block.id]
            work.scorers = {**work.scorers, **scorers_of(block)}
    return list(works.values())


def batches(
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


def outstanding(store: Store, works: Sequence[Work]) -> list[Work]:
    """The blocks that lack an image or a score; what was refused lacks neither."""
    blocks = [work.block for work in works]
    undrawn = store.undrawn(blocks)
    unsettled = store.unsettled(blocks)
    judged_by: dict[str, list[Block]] = defaultdict(list)
    for work in works:
        for scorer in work.scorers:
            judged_by[scorer].append(work.block)
    packs = _packs(works)
    unjudged = {id: store.unjudged(id, judged, packs[id]) for id, judged in judged_by.items()}

    def lacks(work: Work) -> bool:
        id = work.block.id
        refused = set(undrawn.get(id, ())).difference(unsettled.get(id, ()))
        return id in unsettled or any(
            not refused.issuperset(unjudged[scorer].get(id, ())) for scorer in work.scorers
        )

    return [work for work in works if lacks(work)]


def pack_scores(store: Store, works: Iterable[Work]) -> None:
    """Pack the scores of works, as far as all of a pack are stored; nothing else is touched."""
    for scorer, packs in _packs(works).items():
        store.pack_scores(scorer, packs)


def _packs(works: Iterable[Work]) -> dict[str, list[Pack]]:
    """The packs of each scorer, by its id."""
    blocks: dict[str, dict[int, list[Block]]] = defaultdict(lambda: defaultdict(list))
    for work in works:
        for scorer in work.scorers:
            blocks[scorer][work.pack].append(work.block)
    # Most scorers judge the same blocks: one name each, which takes all keys to find.
    known: dict[tuple[str, ...], Pack] = {}
    return {
        scorer: [
            known.setdefault(tuple(block.id for block in of), Pack(tuple(of)))
            for of in by_pack.values()
            if len(of) > 1
        ]
        for scorer, by_pack in blocks.items()
    }


class Packing:
    """Packs scores while works are being done, each pack when its last one is."""

    def __init__(self, store: Store, works: Sequence[Work], todo: Sequence[Work]) -> None:
        """
        Args:
            store: Store of the scores.
            works: All works of the command.
            todo: Those of them that are still to be done.
        """
        self._store = store
        self._left = Counter(work.pack for work in todo)
        self._works: dict[int, list[Work]] = defaultdict(list)
        for work in works:
            if work.pack in self._left:
                self._works[work.pack].append(work)

    def done(self, work: Work) -> None:
        """Take note that a work is done."""
        self._left[work.pack] -= 1
        if not self._left[work.pack]:
            pack_scores(self._store, self._works.pop(work.pack))
