"""Blocks to images, made or taken from the store, and the pool of workers that does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import ProgressColumn, Task
from rich.text import Text

from livo_bench.bars import bar
from livo_bench.cards.adapters import LoadedMethod
from livo_bench.errors import Incomplete
from livo_bench.interfaces import Pixels
from livo_bench.interrupt import require_unasked
from livo_bench.runs.given_pictures import Pictures
from livo_bench.runs.plan import Block
from livo_bench.runs.service import ImageService
from livo_bench.runs.session import Session

Item = TypeVar("Item")
Result = TypeVar("Result")


def images_of(
    session: Session, block: Block, generator: LoadedMethod | Pictures | None = None
) -> Pixels:
    """A block's images: stored ones as they are, the others made, the whole batch at once.

    Args:
        session: Session whose store and engine are used.
        block: What to make.
        generator: Makes the images, or has them; the engine when None.

    Returns:
        RGB, uint8, `(n, size, size, 3)`, in the block's order.

    Raises:
        BadInput: The generator returned something else, or a picture cannot be read.
        Incomplete: An image was never made, and the session judges those that were.
        Stopped: A signal came before this block was begun.
    """
    require_unasked()
    stored = session.store.read_samples(block.keys)
    if len(stored) == len(block.keys):
        return np.stack(list(stored.values()))
    if session.stand_in is not None and (lost := session.store.undrawn([block])):
        raise _damaged(session, len(lost[block.id]))
    if generator is None:
        pixels = session.renderer.render(block.recipes)
    elif isinstance(generator, Pictures):
        pixels = generator.read(block.requests)
    else:
        pixels = generator.generate(block.requests, session.renderer.noise(block.recipes))
    session.store.write_samples(block.recipes, pixels)
    for key, image in stored.items():
        pixels[block.keys.index(key)] = image
    return pixels


def pictures_of(
    session: Session, block: Block, generator: LoadedMethod | Pictures | None = None
) -> dict[str, NDArray[np.uint8]]:
    """A block's images that there are, by key: as `images_of`, without those that were refused.

    What is refused is stored as such. Arguments and errors are those of `images_of`.
    """
    if isinstance(generator, Pictures) and (reasons := generator.refused(block.requests)):
        session.store.write_refused(block.recipes, reasons)
        return {}
    if session.service is not None:
        return _answers(session, session.service, block)
    return dict(zip(block.keys, images_of(session, block, generator), strict=True))


def _answers(session: Session, service: ImageService, block: Block) -> dict[str, NDArray[np.uint8]]:
    """A block's images by a service, which is asked only for those that it never answered for: a
    batch has no say in them."""
    require_unasked()
    pictures = session.store.read_samples(block.keys)
    known = pictures.keys() | session.store.read_refused(block.keys).keys()
    left = {
        key: recipe
        for key, recipe in zip(block.keys, block.recipes, strict=True)
        if key not in known
    }
    if left and session.stand_in is not None:
        raise _damaged(session, len(left))
    answers, failed = service.ask(list(left.values()))
    made = {key: one for key, one in answers.items() if not isinstance(one, str)}
    reasons = {key: one for key, one in answers.items() if isinstance(one, str)}
    if made:
        session.store.write_samples([left[key] for key in made], np.stack(list(made.values())))
    session.store.write_refused([left[key] for key in reasons], list(reasons.values()))
    if failed is not None:
        raise failed
    pictures |= made
    return {key: pictures[key] for key in block.keys if key in pictures}


def _damaged(session: Session, images: int) -> Incomplete:
    return Incomplete(
        f"{images} images in {session.store.folder} turned out damaged, "
        "and --scorer samples nothing.",
        "Make them again: the same command without --scorer",
    )


def in_parallel(
    session: Session,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    count: Callable[[Item], int],
    description: str,
    unit: str,
) -> Iterator[Result]:
    """Do work on items, one a worker at a time, behind a progress bar.

    On a CPU each item is computed by one thread: two blocks side by side are faster than one block
    on two cores, and the last bits do not depend on how many cores there are. On a GPU two workers
    take turns: one samples while the other judges and writes.

    Args:
        session: Says the device.
        work: Done in a worker; called once an item.
        items: What to work on, in the order in which it is begun.
        count: How far an item moves the bar.
        description: What the bar says, and `unit` what it counts.

    Returns:
        Results in the order in which they are ready. Stopped by an error or a signal, the items in
        hand are finished first.
    """
    import torch

    def begin(item: Item) -> Result:
        require_unasked()
        return work(item)

    workers = (os.cpu_count() or 1) if session.device == "cpu" else 2
    with bar(unit, _Speed()) as progress:
        task = progress.add_task(description, total=sum(map(count, items)))
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            submitted = {pool.submit(begin, item): item for item in items}
            for future in as_completed(submitted):
                yield future.result()
                progress.advance(task, count(submitted[future]))
        finally:
            progress.stop()  # shows the cursor again, which a second signal would leave hidden
            pool.shutdown(cancel_futures=True)


class _Speed(ProgressColumn):
    """A column of the progress bar that says items a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
