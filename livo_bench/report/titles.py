"""What methods are called, and what they are told: one rule for tables, figures and pages.

A run records both. Where it did not, the card of a built-in method says them, and of a stranger
nothing is known but its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from livo_bench.cards.catalog import method_labels

if TYPE_CHECKING:
    from livo_bench.results.judged import Results

UNTOLD = "-"


@dataclass(frozen=True, slots=True)
class Label:
    """How one method is printed."""

    title: str
    told: str
    """What it is told at sampling time besides the prompt."""


def labels(
    methods: Iterable[str], recorded: Mapping[str, Label] = MappingProxyType({})
) -> dict[str, Label]:
    """How methods are printed: built-in ones all, and these.

    Args:
        methods: Names of methods, as in `--method`.
        recorded: What runs say of some; an empty title is none.

    Returns:
        By name. Of two methods with one title, those that are not built in have their name behind
        it, so that no title stands for two.
    """
    known = {name: Label(*label) for name, label in method_labels().items()}
    found = dict(known)
    for name in methods:
        label = recorded.get(name, Label("", ""))
        if label.title:
            found[name] = Label(" ".join(label.title.split()), label.told or UNTOLD)
        elif name not in known:
            found[name] = Label(name, UNTOLD)
    times = Counter(label.title for label in found.values())
    return {
        name: Label(f"{label.title} ({name})", label.told)
        if times[label.title] > 1 and name not in known
        else label
        for name, label in found.items()
    }


def titles(sides: Collection[Results]) -> dict[str, str]:
    """Titles of methods by name, from what their runs recorded."""
    recorded = {}
    for side in sides:
        for record in side.records.values():
            if record.method.title is not None:
                recorded[side.run.method] = Label(record.method.title, record.method.told or "")
    found = labels({side.run.method for side in sides}, recorded)
    return {name: label.title for name, label in found.items()}
