"""The unaligned model's pictures of some texts: what methods forget towards, or remember by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livo_bench.methods.training import latents, processes
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Principle, Prompt, Recipe, Request
from livo_bench.runs.plan import form_blocks, make_plan, part_of
from livo_bench.runs.sampling import images_of, in_parallel
from livo_bench.runs.session import Session

Asked = Sequence[tuple[Prompt, str]]
"""Prompts, and the texts that they are drawn with."""


@dataclass(frozen=True)
class OwnPictures:
    """Pictures of n texts, `count` of each."""

    moments: latents.Moments
    """Moments of the distinct pictures."""
    rows: Sequence[Sequence[int]]
    """Pictures of each text, by row of the moments, `(n, count)`."""


def of(training: Training, asked: Asked, count: int) -> OwnPictures:
    """Pictures of texts: made where they are not stored, a part by each process, and encoded.

    Args:
        training: Training whose model draws them.
        asked: Prompts and texts.
        count: Pictures of each, the first ones of the data's seed.
    """
    session = training.session
    wanted = [
        [(_request(prompt, index), session.recipe(text, index)) for index in range(count)]
        for prompt, text in asked
    ]
    _sample(session, [one for each in wanted for one in each])
    processes.wait()
    # Texts that are the same share their pictures.
    keys = sorted({recipe.key for each in wanted for _, recipe in each})
    row_of = {key: row for row, key in enumerate(keys)}
    rows = [[row_of[recipe.key] for _, recipe in each] for each in wanted]
    with processes.first_goes_first():
        moments = latents.moments_of(session, keys, training.out / "checkpoints")
    return OwnPictures(moments, rows)


def _request(prompt: Prompt, index: int) -> Request:
    return Request(prompt, index, Principle(task="", subset="", value=""))


def _sample(session: Session, wanted: Sequence[tuple[Request, Recipe]]) -> None:
    """Make the pictures that are not stored yet, or this process's part of them."""
    blocks = part_of(form_blocks(wanted, session.model.block), processes.shard())
    plan = make_plan(blocks, session.store.sample_keys(blocks))
    if todo := plan.todo:
        session.store.require_room(round(plan.missing * session.model.bytes_per_image))
        session.load_engine()
        done = in_parallel(
            session,
            lambda block: images_of(session, block),
            todo,
            len,
            "sampling pictures",
            "images",
        )
        for _ in done:
            pass
