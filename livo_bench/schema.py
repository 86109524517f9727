"""What a field may hold, as the annotation of its data class says: `Annotated[int, at_least(1)]`.

Cards and settings are read by it (`cards.fields`), and what methods return is held against it
(`records.wrong_field`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from sys import float_info
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints


class Limit(NamedTuple):
    """What an annotation asks of a value besides its type."""

    holds: Callable[[Any], bool]
    said: Callable[[str], str]
    """For messages: a kind of value, such as `a text`, within the limit."""


def at_least(least: float) -> Limit:
    """A number from `least` up."""
    return Limit(lambda value: value >= least, lambda kind: f"{kind} from {least:g} up")


def between(least: float, most: float) -> Limit:
    """A number from `least` to `most`."""
    return Limit(
        lambda value: least <= value <= most, lambda kind: f"{kind} from {least:g} to {most:g}"
    )


def one_of(known: Iterable[str]) -> Limit:
    """A text out of those that are known."""
    known = tuple(known)
    return Limit(lambda value: value in known, lambda kind: f"one of: {', '.join(known)}")


def template(*names: str) -> Limit:
    """A text with these names in braces."""
    said = " and ".join(f"{{{name}}}" for name in names)
    return Limit(
        lambda value: sorted(re.findall(r"\{(\w*)\}", value)) == sorted(names),
        lambda kind: f"{kind} with {said}, each once",
    )


_SAYS = Limit(lambda value: bool(value.strip()), str)
LOCATED = _SAYS._replace(said=lambda kind: f"{kind} that names a repository or a path")

Text = Annotated[str, _SAYS]
"""Not blank."""
Place = Annotated[str, LOCATED]
"""A repository, or a path from the folder of the card that names it."""
Share = Annotated[float, between(0, 1)]
MOST = 10**9
"""The most that a setting of a method may be: beyond it lie slips of the hand, work without an end
and losses that single precision cannot hold."""
Count = Annotated[int, between(1, MOST)]
Factor = Annotated[float, between(0, MOST)]
Weight = Annotated[float, between(1e-6, MOST)]
"""A factor that is divided by."""
Rate = Annotated[float, between(1e-12, 1)]
"""A learning rate, at which something is learnt."""

_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    Path: ((str,), "a path"),
    Mapping: ((dict,), "a table"),
}
"""The types that a value may have, and what such a value is called."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one annotation asks of a value."""

    plain: Any
    """Type of the value without limits: `float`, `tuple`, `Mapping`, a data class."""
    types: tuple[type, ...]
    expected: str
    """What is expected, for messages."""
    limits: tuple[Limit, ...] = ()
    item: Kind | None = None
    """Kind of the items of a tuple, or of the values of a mapping."""
    optional: bool = False
    """Whether None will do."""

    @property
    def is_record(self) -> bool:
        """Whether it is a data class, whose fields have annotations of their own."""
        return is_dataclass(self.plain)

    def holds(self, value: Any) -> bool:
        """Whether a value is what the annotation asks for."""
        if value is None:
            return self.optional
        # A bool is an int too, and `steps = true` is a mistake.
        exact = type(value) in self.types
        if not exact and (isinstance(value, bool) or not isinstance(value, self.types)):
            return False
        # Neither infinity, nor what is no number, nor a whole number that is too large for one.
        if self.plain is float and not abs(value) <= float_info.max:
            return False
        return not self.limits or all(limit.holds(value) for limit in self.limits)


def kind_of(annotation: Any) -> Kind:
    """What an annotation asks for: a scalar, a data class, some texts or data classes (`tuple`),
    either by name (`Mapping`), or one out of several scalars or None."""
    plain, inner = get_origin(annotation) or annotation, get_args(annotation)
    if plain is Annotated:
        kind = kind_of(inner[0])
        [limit] = inner[1:]
        return replace(kind, limits=(*kind.limits, limit), expected=limit.said(kind.expected))
    if plain in (Union, UnionType):
        kinds = [kind_of(one) for one in inner if one is not NoneType]
        # Who expects a number need not be told of whole ones.
        said = [kind.expected for kind in kinds if kind.plain is not int or len(kinds) == 1]
        types = tuple(one for kind in kinds for one in kind.types)
        several = replace(kinds[0], plain=annotation, types=types, expected=", ".join(said))
        return replace(several if kinds[1:] else kinds[0], optional=NoneType in inner)
    if plain is tuple:
        item = kind_of(inner[0])
        each = f", each {item.expected}" if item.expected != "a text" else ""
        distinct = Limit(
            lambda value: all(map(item.holds, value)) and len({*value}) == len(value),
            lambda kind: f"{kind} of distinct texts{each}",
        )
        return Kind(tuple, (list,), distinct.said("a list"), (distinct,), item)
    types, called = _KINDS.get(plain, ((plain,), f"a {plain.__name__}"))
    return Kind(plain, types, called, item=kind_of(inner[-1]) if inner else None)


@cache
def kinds_of(record: Any) -> Mapping[str, Kind]:
    """What the annotations of a data class ask of its fields, by name."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: kind_of(hints[field.name]) for field in fields(record)}
