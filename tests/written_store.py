"""Images in a store, each a function of its recipe alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from livo_bench.records import Recipe
from livo_bench.runs.plan import id_of_keys
from livo_bench.runs.store import Store

RECIPE = Recipe(
    model="m" * 64,
    text="a photo of a chef",
    seed=0,
    negative="",
    guidance=2.0,
    sampler="dpmsolver++",
    steps=12,
    size=8,
    dtype="float32",
)


def recipes(start: int, stop: int) -> list[Recipe]:
    return [replace(RECIPE, seed=seed) for seed in range(start, stop)]


def stacked(images: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(images.values()))


def keys_of(recipes: Sequence[Recipe]) -> list[str]:
    return [recipe.key for recipe in recipes]


def draw(recipes: Sequence[Recipe]) -> np.ndarray:
    """Pixels that depend on the recipe alone, so that every process writes the same."""
    return np.stack(
        [
            np.random.default_rng(recipe.seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            for recipe in recipes
        ]
    )


def write(store: Store, start: int, stop: int) -> Path:
    some = recipes(start, stop)
    store.write_samples(some, draw(some))
    return store.folder / "samples" / f"{id_of_keys(keys_of(some))}.parquet"


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def raiser(number: int) -> Callable[..., NoReturn]:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@dataclass(frozen=True)
class Named:
    """Keys that a file may be named by."""

    keys: Sequence[str]
    recipes: Sequence[Recipe] = ()

    @property
    def id(self) -> str:
        return id_of_keys(self.keys)


def block_of(start: int, stop: int) -> Named:
    some = recipes(start, stop)
    return Named(keys_of(some), some)


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, but for what a killed process was writing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }
