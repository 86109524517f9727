"""Pictures that were made elsewhere, in the place of a method: `run --images-from`.

    DIR/<prompt id>/<index>.png         or .jpg, .jpeg, .webp; indices from 0

They are stored, judged and counted like all images, with two differences. Nobody here knows what
made them, so their recipe says no more than which pictures they are. And they did not start from
the noise that all methods share, so nothing holds one of them against the unaligned model's image
of the same index: FID against the same noise and the control task, which do, are not for them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from livo_bench.bars import bar
from livo_bench.cards import MethodCard, TaskCard
from livo_bench.catalog import LoadedMethod, result_names
from livo_bench.errors import BadInput
from livo_bench.protocols import Pixels
from livo_bench.records import ELSEWHERE, Prompt, Recipe, Request

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class _Set:
    """The pictures of one prompt."""

    digest: str
    size: int
    files: dict[int, Path]
    """By index."""


class Pictures:
    """The pictures of a folder; resolves requests like a `Method`, and reads instead of drawing."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Laid out as this module says.
        """
        self.folder = folder
        self._sets: dict[str, _Set] = {}

    @property
    def digest(self) -> str:
        """SHA-256 of all that was opened."""
        return _sha256(f"{prompt} {self._sets[prompt].digest}" for prompt in sorted(self._sets))

    def open(self, prompts: Iterable[Prompt], images: int) -> None:
        """Find the pictures of prompts.

        Args:
            prompts: Whose.
            images: How many of each are needed, from index 0.

        Raises:
            BadInput: Some are missing, not square, of several sizes in one prompt, or no pictures.
        """
        if not self.folder.is_dir():
            raise BadInput(f"There is no folder {self.folder}, expected one for --images-from.")
        names = sorted({prompt.id for prompt in prompts})
        found = {name: _files(self.folder / name) for name in names}
        self._refuse_missing(found, images)
        with bar() as progress, ThreadPoolExecutor() as pool:
            opened = progress.track(
                pool.map(_open, found.values()), len(found), description="looking at pictures"
            )
            self._sets |= zip(found, opened, strict=True)

    def _refuse_missing(self, found: dict[str, dict[int, Path]], images: int) -> None:
        lacking = {
            name: [index for index in range(images) if index not in files]
            for name, files in found.items()
        }
        lacking = {name: missing for name, missing in lacking.items() if missing}
        if lacking:
            name, missing = next(iter(lacking.items()))
            everywhere = min(map(_unbroken, found.values()))
            advice = f"Make them, or use those that all have: --images {everywhere}"
            raise BadInput(
                f"{self.folder} lacks {sum(map(len, lacking.values())):,} pictures of "
                f"{len(lacking)} of {len(found)} prompts; expected {images} of each, e.g. "
                f"{self.folder / name / str(missing[0])}.png. "
                + (advice if everywhere else "Which prompts there are: livo-bench data prompts")
            )

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Say which picture this is; as for `Method.resolve`, of prompts that are open."""
        of_prompt = self._sets[request.prompt.id]
        return replace(
            base,
            model=ELSEWHERE,
            generator=of_prompt.digest,
            guidance=0.0,
            sampler=ELSEWHERE,
            steps=0,
            size=of_prompt.size,
            dtype="",
        )

    def read(self, requests: Sequence[Request]) -> Pixels:
        """Read pictures of one prompt.

        Raises:
            BadInput: One cannot be read.
        """
        return np.stack([_read(self._sets[r.prompt.id].files[r.index]) for r in requests])


def load(folder: Path, name: str, tasks: Collection[TaskCard]) -> LoadedMethod:
    """Let a folder of pictures stand for a method.

    Args:
        folder: Of the pictures.
        name: What results call them.
        tasks: That they were made for.

    Raises:
        BadInput: The name is that of a method, or none that a folder can have; or a task holds
            images against the unaligned model's from the same noise.
    """
    if not _NAME.fullmatch(name) or name in result_names():
        raise BadInput(
            f"The pictures of {folder} are to be called {name!r}; expected a name that no method "
            "has, of letters, digits, '.', '_' and '-'. Choose one: --method my-model"
        )
    if control := next((task.name for task in tasks if task.control), None):
        raise BadInput(
            f"Task {control!r} holds each image against the unaligned model's from the same noise, "
            "which pictures made elsewhere did not start from. Name another: --task bias"
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


def _files(folder: Path) -> dict[int, Path]:
    """A prompt's pictures by index."""
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and path.stem.isdecimal():
            index = int(path.stem)
            if index in files:
                raise BadInput(
                    f"{files[index]} and {path.name} are both picture {index} of a prompt; "
                    "expected one. Remove the other."
                )
            files[index] = path
    return files


def _unbroken(files: Collection[int]) -> int:
    """How many indices there are, from 0 to the first that is missing."""
    return next(index for index in range(len(files) + 1) if index not in files)


def _open(files: dict[int, Path]) -> _Set:
    lines, sizes = [], {}
    for index, path in sorted(files.items()):
        with path.open("rb") as file:
            lines.append(f"{index} {hashlib.file_digest(file, 'sha256').hexdigest()}")
        try:
            with Image.open(path) as image:  # reads the header alone
                sizes[path] = image.size
        except UnidentifiedImageError as error:
            raise _unreadable(path, error) from error
    first, size = next(iter(sizes.items()))
    for path, (width, height) in sizes.items():
        if (width, height) != size or width != height:
            raise BadInput(
                f"{path} has {width}x{height} pixels, expected a square one, as large as the "
                f"prompt's others ({first.name}: {size[0]}x{size[1]}). Crop or scale it first."
            )
    return _Set(_sha256(lines), size[0], files)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path} is no picture that can be read ({error}). Make it again.")


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
