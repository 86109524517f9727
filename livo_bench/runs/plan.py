"""Wanted images minus stored images, in fixed blocks: what a run has left to make.

A block is the unit of work, storage, retry and distribution. Blocks are formed from the wanted
list alone, so a run that was killed, or that finds half of its images stored, computes every image
in the same batch as a run that starts from nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from rich.filesize import decimal

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import Prompt, Recipe, Request

Item = TypeVar("Item")

Shard: TypeAlias = tuple[int, int]
"""Part `k` of `n` of some work, from 1."""
WHOLE: Shard = (1, 1)


@dataclass(frozen=True, slots=True)
class Block:
    """Images computed in one batch: one prompt, one recipe family, at most one image an index."""

    id: str
    """`id_of_keys` of the keys; whole blocks are stored in a file of that name."""
    prompt: Prompt
    requests: tuple[Request, ...]
    """Requests of the block, in order of index."""
    recipes: tuple[Recipe, ...]
    """Recipes of the requests, in their order."""
    keys: tuple[str, ...]
    """Keys of the recipes, in their order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks that are wanted, and the keys of them that are not stored yet."""

    blocks: tuple[Block, ...]
    """All that is wanted, stored or not."""
    missing: frozenset[str]
    """Keys to store."""

    @property
    def todo(self) -> tuple[Block, ...]:
        """Blocks with a missing key. Each is computed whole, so that its batch is always the
        same."""
        return tuple(b for b in self.blocks if not self.missing.isdisjoint(b.keys))


class _Row(NamedTuple):
    key: str
    request: Request
    recipe: Recipe


def id_of_keys(keys: Iterable[str]) -> str:
    """Name a set of images: the first 32 hex digits of the SHA-256 of its keys, in any order."""
    return sha256("\n".join(sorted(keys)))[:32]


def form_blocks(wanted: Iterable[tuple[Request, Recipe]], size: int) -> list[Block]:
    """Group wanted images into blocks.

    Any order of `wanted` gives the same blocks, and adding indices leaves full blocks as they are.
    An image that several requests share is in one block, once.

    Args:
        wanted: Requests and the recipes they resolve to.
        size: Indices a block spans; block b of a prompt holds indices from `b * size`.

    Returns:
        Blocks of at most `size` images; those of one family follow each other.
    """
    groups: dict[tuple[Recipe, str, int], list[_Row]] = defaultdict(list)
    for row in _distinct(wanted):
        chunk = row.request.index // size
        groups[row.recipe.family, row.request.prompt.text, chunk].append(row)
    order = {family: family.canonical() for family, _, _ in groups}
    return [
        _block(rows)
        for group in sorted(groups, key=lambda group: (order[group[0]], *group[1:]))
        for rows in _one_image_an_index(groups[group])
    ]


def make_plan(blocks: Iterable[Block], stored_keys: Collection[str]) -> Plan:
    """Look what of some blocks is not stored.

    Args:
        blocks: All that is wanted.
        stored_keys: Keys of the images that need not be made.
    """
    wanted = tuple(blocks)
    missing = frozenset(key for block in wanted for key in block.keys if key not in stored_keys)
    return Plan(wanted, missing)


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
    rendered = sum(len(block.keys) for block in todo)
    return Estimate(
        wanted=len({key for block in plan.blocks for key in block.keys}),
        missing=len(plan.missing),
        rendered=rendered,
        blocks=len(todo),
        seconds=rendered / rate,
        bytes=round(len(plan.missing) * bytes_per_image),
    )


def _distinct(wanted: Iterable[tuple[Request, Recipe]]) -> Iterable[_Row]:
    """Keep one row a key; of the requests that share it, the first in the order of `_place`."""
    kept: dict[str, _Row] = {}
    for request, recipe in wanted:
        row = _Row(recipe.key, request, recipe)
        rival = kept.setdefault(row.key, row)
        if rival is not row:
            kept[row.key] = min(rival, row, key=_place)
    return kept.values()


def _place(row: _Row) -> tuple[str, int, str, str]:
    request = row.request
    return request.prompt.id, request.index, request.principle.subset, request.principle.value


def _one_image_an_index(rows: Iterable[_Row]) -> Iterable[list[_Row]]:
    """Deal the rows of a group to blocks so that none holds two images of an index.

    Several recipes share an index when methods or subsets are planned together. The images of the
    plain prompt come first, then one stratum after the other: planning another method mixes as few
    new images as can be into blocks that may be stored already.
    """
    by_index: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        by_index[row.request.index].append(row)
    layers: dict[int, list[_Row]] = defaultdict(list)
    for index in sorted(by_index):
        of_index = by_index[index]
        ordered = sorted(of_index, key=_plain_first) if len(of_index) > 1 else of_index
        for layer, row in enumerate(ordered):
            layers[layer].append(row)
    return layers.values()


def _plain_first(row: _Row) -> tuple[bool, str, str]:
    return row.recipe.text != row.request.prompt.text, row.recipe.stratum, row.key


def _block(rows: list[_Row]) -> Block:
    keys, requests, recipes = zip(*rows, strict=True)
    return Block(id_of_keys(keys), requests[0].prompt, requests, recipes, keys)


def duration(seconds: float) -> str:
    """A time as people say it: seconds, minutes, or hours and minutes."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
