"""Wanted images minus stored images, in fixed blocks: what a run has left to make.

A block is the unit of work, storage, retry and distribution. Blocks are formed from the wanted
list alone, so a run that was killed, or that finds half of its images stored, computes every image
in the same batch as a run that starts from nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.filesize import decimal

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import Prompt, Recipe, Request
from livo_bench.runs.wanted import Pair, Wanted, distinct

Item = TypeVar("Item")

Shard: TypeAlias = tuple[int, int]
"""Part `k` of `n` of some work, from 1."""
WHOLE: Shard = (1, 1)


class Together(Protocol):
    """Images whose rows one file may hold, under their name."""

    @property
    def id(self) -> str:
        """`id_of_keys` of the keys; the file is called so."""

    @property
    def keys(self) -> Sequence[str]:
        """Keys of the images."""


class Drawn(Together, Protocol):
    """Images of which it is known how they are made."""

    @property
    def recipes(self) -> Sequence[Recipe]:
        """Recipes of the images, in the order of their keys."""


@dataclass(frozen=True, slots=True)
class Block:
    """Images computed in one batch: one prompt, one recipe family, at most one image an index."""

    id: str
    """`id_of_keys` of the keys; whole blocks are stored in a file of that name."""
    prompt: Prompt
    wanted: Wanted = field(compare=False, repr=False)
    """What the block is a part of."""
    rows: NDArray[np.intp] = field(compare=False, repr=False)
    """Which rows of it, in order of index."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Requests of the block, in order of index."""
        return tuple(map(self.wanted.request, self.rows))

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Recipes of the requests, in their order."""
        return tuple(map(self.wanted.recipe, self.rows))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the recipes, in their order."""
        return tuple(map(self.wanted.key, self.rows))


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks that are wanted, and what of them is not stored yet."""

    blocks: tuple[Block, ...]
    """All that is wanted, stored or not."""
    lacking: Mapping[str, Sequence[int]]
    """Which images of a block are to be stored, by its id; whole blocks are not in it."""

    @property
    def todo(self) -> tuple[Block, ...]:
        """Blocks with a missing key. Each is computed whole, so that its batch is always the
        same."""
        return tuple(block for block in self.blocks if block.id in self.lacking)

    @property
    def missing(self) -> int:
        """Number of the images to store."""
        return distinct(
            block.wanted.digests[block.rows[self.lacking[block.id]]] for block in self.todo
        )


def id_of_keys(keys: Iterable[str]) -> str:
    """Name a set of images: the first 32 hex digits of the SHA-256 of its keys, in any order."""
    return sha256("\n".join(sorted(keys)))[:32]


def form_blocks(
    wanted: Iterable[Pair], size: int, shared: NDArray[np.bytes_] | None = None
) -> list[Block]:
    """Group wanted images into blocks.

    Any order of `wanted` gives the same blocks, and adding indices leaves full blocks as they are.
    An image that several requests share is in one block, once.

    Args:
        wanted: Requests and the recipes they resolve to.
        size: Indices a block spans; block b of a prompt holds indices from `b * size`.
        shared: Digests of images that are made in other blocks.

    Returns:
        Blocks of at most `size` images; those of one family follow each other.
    """
    wanted = wanted if isinstance(wanted, Wanted) else Wanted(wanted)
    rows = _distinct(wanted)
    if shared is not None:
        rows = rows[~np.isin(wanted.digests[rows], shared)]
    if not len(rows):
        return []
    families = [recipe.family for recipe in wanted.recipes]
    said = {family: family.canonical() for family in set(families)}
    family = _ranks([said[one] for one in families])[wanted.recipe_of[rows]]
    text = _ranks([prompt.text for prompt, _ in wanted.asked])[wanted.asked_of[rows]]
    index = wanted.indices[rows]
    order = np.lexsort((index, index // size, text, family))
    group = np.stack([family, text, index // size])[:, order]
    starts = np.flatnonzero((group[:, 1:] != group[:, :-1]).any(axis=0)) + 1
    return [
        _block(wanted, layer)
        for of_group in np.split(rows[order], starts)
        for layer in _one_image_an_index(wanted, of_group)
    ]


def make_plan(blocks: Iterable[Block], stored: Container[str]) -> Plan:
    """Look what of some blocks is not stored.

    Args:
        blocks: All that is wanted.
        stored: Keys of the images that need not be made.
    """
    wanted = tuple(blocks)
    lacking = {
        block.id: [row for row, key in enumerate(block.keys) if key not in stored]
        for block in wanted
    }
    return Plan(wanted, {id: rows for id, rows in lacking.items() if rows})


def part_of(work: Sequence[Item], shard: Shard) -> Sequence[Item]:
    """Every n-th piece of work from the k-th on: all who plan the same count it alike.

    Raises:
        BadInput: There is no such part.
    """
    k, n = shard
    if not 1 <= k <= n:
        raise BadInput(f"There is no part {k} of {n}; parts are counted from 1: --shard 1/{n or 1}")
    return work[k - 1 :: n]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan costs; `str()` says it in a sentence."""

    wanted: int
    """Distinct images."""
    missing: int
    """Images to store."""
    rendered: int
    """Images to compute: blocks are computed whole."""
    blocks: int
    """Blocks to compute."""
    seconds: float
    bytes: int
    """Bytes to be written."""
    arithmetic: tuple[str, ...] = ()
    """How the numbers come about, a line each."""

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.wanted:,} images wanted, all stored: nothing to make."
        again = self.rendered - self.missing
        whole = f" (and {again:,} again, to fill their blocks)" if again else ""
        said = (
            f"{self.wanted:,} images wanted, {self.wanted - self.missing:,} stored. "
            f"To make: {self.missing:,}{whole} in {self.blocks:,} blocks, "
            f"about {duration(self.seconds)} and {decimal(self.bytes)}."
        )
        return "\n".join([said, *(f"    {line}" for line in self.arithmetic)])


def estimate(plan: Plan, rate: float, bytes_per_image: float) -> Estimate:
    """Say what a plan costs.

    Args:
        plan: What to make.
        rate: Images sampled and scored per second.
        bytes_per_image: On disk, with its scores.
    """
    todo = plan.todo
    rendered, missing = sum(map(len, todo)), plan.missing
    return Estimate(
        wanted=distinct(block.wanted.digests[block.rows] for block in plan.blocks),
        missing=missing,
        rendered=rendered,
        blocks=len(todo),
        seconds=rendered / rate,
        bytes=round(missing * bytes_per_image),
    )


def _distinct(wanted: Wanted) -> NDArray[np.intp]:
    """One row a key; of the requests that share it, the first by prompt, index and principle."""
    ids = _ranks([prompt.id for prompt, _ in wanted.asked])
    values = _ranks([(principle.subset, principle.value) for _, principle in wanted.asked])
    asked = wanted.asked_of
    order = np.lexsort((values[asked], wanted.indices, ids[asked]))
    _, first = np.unique(wanted.digests[order], return_index=True)
    return order[first]


def _ranks(values: Sequence[Any]) -> NDArray[np.intp]:
    """The place of each value among the sorted ones; equal values have equal places."""
    place = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return np.array([place[value] for value in values], np.intp)


def _one_image_an_index(wanted: Wanted, rows: NDArray[np.intp]) -> Iterable[NDArray[np.intp]]:
    """Deal the rows of a group, in order of index, to blocks so that none holds two images of an
    index.

    Several recipes share an index when methods or subsets are planned together. The images of the
    plain prompt come first, then one stratum after the other: planning another method mixes as few
    new images as can be into blocks that may be stored already.
    """
    indices = wanted.indices[rows]
    if (indices[1:] != indices[:-1]).all():
        return [rows]
    layers: dict[int, list[np.intp]] = defaultdict(list)
    for _, same in groupby(rows, key=lambda row: wanted.indices[row]):
        for layer, row in enumerate(sorted(same, key=lambda row: _plain_first(wanted, row))):
            layers[layer].append(row)
    return map(np.array, layers.values())


def _plain_first(wanted: Wanted, row: np.intp) -> tuple[bool, str, str]:
    prompt, _ = wanted.asked[wanted.asked_of[row]]
    recipe = wanted.recipes[wanted.recipe_of[row]]
    return recipe.text != prompt.text, recipe.stratum, wanted.key(int(row))


def _block(wanted: Wanted, rows: NDArray[np.intp]) -> Block:
    rows = rows.astype(np.int32)
    prompt = wanted.request(int(rows[0])).prompt
    return Block(id_of_keys(map(wanted.key, rows)), prompt, wanted, rows)


def duration(seconds: float) -> str:
    """A time as people say it: seconds, minutes, or hours and minutes."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
