"""Images in a store, each a function of its recipe alone."""

import os
from dataclasses import replace

import numpy as np

from livo_bench.records import Prompt, Recipe
from livo_bench.runs.plan import Block, id_of_keys

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


def recipes(start, stop):
    return [replace(RECIPE, seed=seed) for seed in range(start, stop)]


def stacked(images):
    return np.stack(list(images.values()))


def keys_of(recipes):
    return [recipe.key for recipe in recipes]


def draw(recipes):
    """Pixels that depend on the recipe alone, so that every process writes the same."""
    return np.stack(
        [
            np.random.default_rng(recipe.seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            for recipe in recipes
        ]
    )


def write(store, start, stop):
    some = recipes(start, stop)
    store.write_samples(some, draw(some))
    return store.folder / "samples" / f"{id_of_keys(keys_of(some))}.parquet"


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def raiser(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def block_of(start, stop):
    made = tuple(recipes(start, stop))
    keys = tuple(keys_of(made))
    return Block(id_of_keys(keys), Prompt("p", "", "", "", "", "eval"), (), made, keys)
