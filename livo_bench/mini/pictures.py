"""Rendered data sets of the world, drawn once and kept as memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from livo_bench.mini import world
from livo_bench.mini.drawing import Scene, draw

GENERATOR_SEED = 1
"""Renders the generator trains on."""
JUDGE_SEED = 2
"""Renders evaluators train on."""
ANNOTATOR_SEED = 3
"""Renders the annotator trains on."""
HELD_OUT_SEED = 4
"""Renders that nothing trains on."""

SIZE = 64


@dataclass(frozen=True, slots=True)
class Renders:
    """Pictures with what they show."""

    pixels: NDArray[np.uint8]
    """RGB, shape `(n, 64, 64, 3)`."""
    scenes: list[Scene]
    captions: list[str]
    """Empty strings in balanced sets."""


def described(rng: np.random.Generator) -> tuple[Scene, str]:
    """One draw of the world as it is: skewed, with a caption."""
    return world.sample(rng)


def balanced(rng: np.random.Generator) -> tuple[Scene, str]:
    """One draw with every attribute equally often."""
    return world.sample_balanced(rng), ""


def renders(
    sampler: Callable[[np.random.Generator], tuple[Scene, str]],
    count: int,
    seed: int,
    cache: Path,
) -> Renders:
    """Draw `count` pictures, or take them from the cache.

    Picture i is a function of (seed, i) alone.
    """
    generators = [np.random.default_rng([seed, number]) for number in range(count)]
    drawn = [sampler(rng) for rng in generators]
    path = cache / f"{sampler.__name__}-{seed}-{count}-{world.digest()[:8]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        pixels = open_memmap(unfinished, "w+", np.uint8, (count, SIZE, SIZE, 3))
        work = zip(drawn, generators, strict=True)
        for number, ((scene, _), rng) in enumerate(
            track(work, f"drawing {path.stem}", count, console=Console(stderr=True))
        ):
            pixels[number] = np.asarray(draw(scene, rng))
        pixels.flush()
        unfinished.rename(path)
    return Renders(
        pixels=np.load(path, mmap_mode="r"),
        scenes=[scene for scene, _ in drawn],
        captions=[caption for _, caption in drawn],
    )
