"""Wanted images in columns: millions of requests and recipes in some sixty bytes each.

Images of a prompt differ in little but their seed, so a recipe is kept once without it. What is
asked for and how it is made come back as records when a row is looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from livo_bench.records import (
    Principle,
    Prompt,
    Recipe,
    Request,
    digest_around,
    same_but_seed,
    values_but_seed,
)

Pair: TypeAlias = tuple[Request, Recipe]
"""What is asked for, and how it is made."""
DIGEST = 32
"""Bytes of a key."""
_RECENT = 8
"""Recipes of a prompt that are looked through for one that differs in its seed alone."""


class Wanted(Sequence[Pair]):
    """Requests and the recipes that they resolve to, in the order in which they were added."""

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.asked: list[tuple[Prompt, Principle]] = []
        """Prompts and principles, each pair of them once."""
        self.recipes: list[Recipe] = []
        """Recipes, those that differ in their seed alone mostly once: with that of the first."""
        self._asked_of, self._index, self._recipe_of = array("i"), array("i"), array("i")
        self._seed, self._digest = array("q"), bytearray()
        self._number: dict[tuple[Prompt, Principle], int] = {}
        self._recent: list[tuple[int, tuple[object, ...], bytes, bytes]] = []
        self.extend(pairs)

    def extend(self, pairs: Iterable[Pair]) -> None:
        """Add rows at the end; not once a column was looked at."""
        prompt = principle = None
        number = -1
        for request, recipe in pairs:
            if request.prompt is not prompt or request.principle is not principle:
                prompt, principle = request.prompt, request.principle
                before_it = number
                number = self._number.setdefault((prompt, principle), len(self.asked))
                if number == len(self.asked):
                    self.asked.append((prompt, principle))
                if number != before_it:
                    self._recent.clear()
            which, before, after = self._alike(recipe)
            self._asked_of.append(number)
            self._index.append(request.index)
            self._recipe_of.append(which)
            self._seed.append(recipe.seed)
            self._digest += digest_around(before, recipe.seed, after)

    def _alike(self, recipe: Recipe) -> tuple[int, bytes, bytes]:
        """Number of the recipe without its seed, and its canonical form around that."""
        values = values_but_seed(recipe)
        for which, known, before, after in self._recent:
            if same_but_seed(values, known):
                return which, before, after
        before, after = recipe.around_seed
        which = len(self.recipes)
        self.recipes.append(recipe)
        self._recent = [(which, values, before, after), *self._recent[: _RECENT - 1]]
        return which, before, after

    @property
    def asked_of(self) -> NDArray[np.int32]:
        """Which of `asked` each row is of, `(n,)`."""
        return np.frombuffer(self._asked_of, np.int32)

    @property
    def indices(self) -> NDArray[np.int32]:
        """Which of the prompt's images each row is, `(n,)`."""
        return np.frombuffer(self._index, np.int32)

    @property
    def recipe_of(self) -> NDArray[np.int32]:
        """Which of `recipes` each row has, but for its seed, `(n,)`."""
        return np.frombuffer(self._recipe_of, np.int32)

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Seeds of the recipes, `(n,)`."""
        return np.frombuffer(self._seed, np.int64)

    @property
    def digests(self) -> NDArray[np.bytes_]:
        """Keys of the recipes as bytes, of which they are the hexadecimal form, `(n,)`.

        NumPy leaves zeros at their ends away where a single one is taken out.
        """
        return np.frombuffer(self._digest, f"S{DIGEST}")

    def key(self, row: int) -> str:
        """The key of a recipe."""
        return self._digest[row * DIGEST : (row + 1) * DIGEST].hex()

    def keys(self) -> list[str]:
        """The keys of all recipes, row by row."""
        return [self.key(row) for row in range(len(self))]

    def request(self, row: int) -> Request:
        """What is asked for in a row."""
        prompt, principle = self.asked[self._asked_of[row]]
        return Request(prompt, self._index[row], principle)

    def recipe(self, row: int) -> Recipe:
        """How the image of a row is made."""
        return self.recipes[self._recipe_of[row]].reseeded(self._seed[row])

    def where(self, fits: Callable[[Prompt, Principle], bool]) -> Wanted:
        """The rows that are asked for by some prompts and principles, in their order."""
        fitting = np.array([fits(*one) for one in self.asked], bool)
        rows = np.flatnonzero(fitting[self.asked_of]) if len(self) else ()
        return Wanted(self[int(row)] for row in rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wanted):
            return NotImplemented
        ours, theirs = (
            (one.asked, one._asked_of, one._index, one._digest) for one in (self, other)
        )
        return ours == theirs

    __hash__ = None  # type: ignore[assignment]  # rows may be added

    def __len__(self) -> int:
        return len(self._seed)

    @overload
    def __getitem__(self, row: int) -> Pair: ...

    @overload
    def __getitem__(self, row: slice) -> list[Pair]: ...

    def __getitem__(self, row: int | slice) -> Pair | list[Pair]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        return self.request(row), self.recipe(row)

    def __iter__(self) -> Iterator[Pair]:
        return map(self.__getitem__, range(len(self)))


def distinct(digests: Iterable[NDArray[np.bytes_]]) -> int:
    """How many different keys there are in some columns of them."""
    parts = list(digests)
    if not sum(map(len, parts)):
        return 0
    ordered = np.sort(np.concatenate(parts))
    return int((ordered[1:] != ordered[:-1]).sum()) + 1
