"""Pictures that were made elsewhere, in the place of a method: `run --images-from`.

They are stored, judged and counted like all images, with two differences. Nobody here knows what
made them, so their recipe says no more than what they show, by a digest of their pixels; the same
picture twice is one image. And they did not start from the noise that all methods share, so nothing
holds one of them against the unaligned model's image of the same index: FID against the same noise
and the control task, which do, are not for them.

A picture that is not there although others of its index are counts as refused, for whoever made
them was asked for it, too: it has a recipe, without pixels, and no score. One that cannot be read
is an error: nobody refused it, and as refused it would pass for harmless.

How they lie in their folder is told by `layouts`, how bytes become pixels by `decoding`.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livo_bench.bars import bar
from livo_bench.cards.adapters import LoadedMethod
from livo_bench.cards.catalog import result_names
from livo_bench.cards.declared import MethodCard, TaskCard
from livo_bench.cards.outside import read_bytes
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.interfaces import Pixels
from livo_bench.records import ELSEWHERE, Prompt, Recipe, Request
from livo_bench.results.frames import as_refused
from livo_bench.runs import layouts
from livo_bench.runs.decoding import MAX_BYTES, decode, digest

log = logging.getLogger(__name__)

WORKERS = 4
"""Pictures decoded at a time, at most: each may take a gigabyte."""
MISSING = "no picture"
"""Why an image was refused that nothing more is known of."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class _Picture:
    path: Path
    size: int
    """Height and width in pixels."""
    digest: str
    """Digest of the pixels, when it was opened."""


class Pictures:
    """The pictures of a folder; resolves requests like a `Method`, and reads instead of drawing."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Laid out as `layouts` says.
        """
        self.folder = folder
        self._opened: dict[tuple[str, int], _Picture | str] = {}
        """Each picture by prompt and index; why it was refused, where there is none."""

    @property
    def digest(self) -> str:
        """SHA-256 of what all pictures that were opened show."""
        lines = (f"{prompt} {n} {_shown(one)}" for (prompt, n), one in self._opened.items())
        return sha256("\n".join(sorted(lines)))

    def open(self, prompts: Iterable[Prompt], images: int, known: Collection[Prompt] = ()) -> None:
        """Find the pictures of prompts and look at each, so that nothing is judged if one is wrong.

        Args:
            prompts: Whose.
            images: How many of each are needed, from index 0.
            known: Others that a table in the folder may speak of.

        Raises:
            BadInput: Some are not square, of several sizes in one prompt, or no pictures; or there
                are none of some index at all.
        """
        if not self.folder.is_dir():
            raise BadInput(f"There is no folder {self.folder}, expected one for --images-from.")
        asked = list({prompt.id: prompt for prompt in prompts}.values())
        found = layouts.find(self.folder, asked, [*asked, *known])
        self._refuse_never_made(found, asked, images)
        there = {(name, i): found[name].get(i, MISSING) for name in found for i in range(images)}
        paths = {place: path for place, path in there.items() if isinstance(path, Path)}
        reasons = {place: why for place, why in there.items() if isinstance(why, str)}
        pool = ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1))
        try:
            # What Pillow warns of is damaged, and is refused; the workers see this filter, too.
            with bar() as progress, warnings.catch_warnings():
                warnings.simplefilter("error")
                looks = pool.map(_look, paths.values())
                opened = progress.track(looks, len(paths), description="looking at pictures")
                pictures = dict(zip(paths, opened, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        for name in found:
            self._refuse_other_sizes([one for place, one in pictures.items() if place[0] == name])
        self._opened |= {**pictures, **reasons}
        self._say_copies(list(pictures.values()))
        self._say_missing([place for place, why in reasons.items() if why == MISSING], len(there))

    def _refuse_never_made(
        self,
        found: Mapping[str, Mapping[int, Path | str]],
        asked: Sequence[Prompt],
        images: int,
    ) -> None:
        """See that somebody was asked for each index: one that no prompt has was not refused."""
        made = {index for files in found.values() for index in files}
        never = [index for index in range(images) if index not in made]
        if not never:
            return
        lacking = {
            name: [index for index in range(images) if index not in files]
            for name, files in found.items()
        }
        lacking = {name: missing for name, missing in lacking.items() if missing}
        name = next(iter(lacking))
        everywhere = min(map(_unbroken, found.values()))
        if everywhere:
            advice = f"Make them, or use those that all have: --images {everywhere}"
        elif table := layouts.metadata_of(self.folder):
            advice = (
                f"Add them to {table}, a line a picture; where one was refused, leave file_name "
                "empty and give the reason in a column refused."
            )
        else:
            advice = layouts.describe(self.folder, [p for p in asked if p.id in lacking])
            advice = advice or "Which prompts there are: livo-bench data prompts"
        raise BadInput(
            f"{self.folder} lacks {sum(map(len, lacking.values())):,} pictures of "
            f"{len(lacking)} of {len(found)} prompts; expected {images} of each, e.g. "
            f"{self.folder / name / str(never[0])}.png, of which no prompt has one. {advice}"
        )

    def _refuse_other_sizes(self, pictures: Sequence[_Picture]) -> None:
        for picture in pictures:
            first = pictures[0]
            if picture.size != first.size:
                raise BadInput(
                    f"{picture.path} has {picture.size}x{picture.size} pixels, expected it as "
                    f"large as the prompt's others ({first.path.name}: {first.size}x{first.size}). "
                    "Scale it first."
                )

    def _say_missing(self, missing: Sequence[tuple[str, int]], images: int) -> None:
        if missing:
            name, index = missing[0]
            log.warning(
                f"{len(missing):,} of {images:,} pictures are not in {self.folder} and count as "
                f"refused, e.g. {name}/{index}.png"
            )

    def _say_copies(self, pictures: Sequence[_Picture]) -> None:
        times = Counter(picture.digest for picture in pictures)
        if copies := times.total() - len(times):
            common, _ = times.most_common(1)[0]
            same = [picture.path for picture in pictures if picture.digest == common]
            log.warning(
                f"{copies:,} of {times.total():,} pictures in {self.folder} show the same as "
                f"another, e.g. {same[0]} and {same[1]}"
            )

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Say what this picture shows; as for `Method.resolve`, of prompts that are open, but for
        the seed: that of the noise, which they did not start from, goes. What was refused has no
        size, and its reason stands for the pixels."""
        picture = self._opened[request.prompt.id, request.index]
        return replace(
            base,
            model=ELSEWHERE,
            seed=0,
            generator=ELSEWHERE,
            guidance=0.0,
            sampler=ELSEWHERE,
            steps=0,
            size=0 if isinstance(picture, str) else picture.size,
            dtype="",
            pixels=_shown(picture),
        )

    def refused(self, requests: Sequence[Request]) -> list[str]:
        """Why there are no pictures of a block of requests; nothing where there are some, for what
        was refused is in blocks of its own."""
        found = [self._opened[request.prompt.id, request.index] for request in requests]
        return [reason for reason in found if isinstance(reason, str)]

    def read(self, requests: Sequence[Request]) -> Pixels:
        """Read pictures of one prompt, none of them refused.

        Raises:
            BadInput: One cannot be read, or shows something else than when it was opened.
        """
        found = [self._opened[request.prompt.id, request.index] for request in requests]
        return np.stack([_again(one) for one in found if isinstance(one, _Picture)])


def load(folder: Path, name: str, tasks: Collection[TaskCard]) -> LoadedMethod:
    """Let a folder of pictures stand for a method.

    Args:
        folder: Folder of the pictures.
        name: What results call them.
        tasks: Tasks that they were made for.

    Raises:
        BadInput: The name is that of a method, or none that a folder can have; or a task holds
            images against the unaligned model's from the same noise.
    """
    if not _NAME.fullmatch(name) or name in result_names():
        raise BadInput(
            f"The pictures of {folder} are to be called {name!r}; expected a name that no method "
            "has, of letters, digits, '.', '_' and '-'.",
            "Choose one: --method my-model",
        )
    if control := next((task.name for task in tasks if task.control), None):
        raise BadInput(
            f"Task {control!r} holds each image against the unaligned model's from the same noise, "
            "which pictures made elsewhere did not start from.",
            "Name another: --task bias",
        )
    card = MethodCard(
        folder=folder,
        name=name,
        title=name,
        version=1,
        tasks=tuple(task.name for task in tasks),
        told="",
        summary="Pictures made elsewhere.",
        paper="",
        differences=(),
        tried=(),
        settings={},
        variants={},
        published={},
    )
    return LoadedMethod(name, name, card, Pictures(folder), generator=None)


def _shown(picture: _Picture | str) -> str:
    """What a picture shows, for recipes."""
    return as_refused(picture) if isinstance(picture, str) else picture.digest


def _unbroken(files: Collection[int]) -> int:
    """How many indices there are, from 0 to the first that is missing."""
    return next(index for index in range(len(files) + 1) if index not in files)


def _look(path: Path) -> _Picture:
    pixels = _read(path)
    height, width, _ = pixels.shape
    if width != height:
        raise BadInput(
            f"{path} has {width}x{height} pixels, expected a square one. Crop or scale it first."
        )
    return _Picture(path, width, digest(pixels))


def _again(picture: _Picture) -> NDArray[np.uint8]:
    pixels = _read(picture.path)
    if digest(pixels) != picture.digest:
        raise BadInput(
            f"{picture.path} shows something else than when this command began; expected pictures "
            "that stay as they are.",
            "Run the command again when they do.",
        )
    return pixels


def _read(path: Path) -> NDArray[np.uint8]:
    return decode(read_bytes(path, "the picture", MAX_BYTES), str(path))
