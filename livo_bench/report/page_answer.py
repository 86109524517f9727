"""The page's first picture: what each method changes against the base model, ranked.

A row a method, a strip a subset: a dot for the change and a line for its interval. Methods that are
told the same stand together, for only among them an order is one of methods. Lengths are per cent
of a strip, so the browser scales them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from livo_bench.cards.declared import TOLD
from livo_bench.records import BIAS, TOXICITY
from livo_bench.report.page_prompts import Changes
from livo_bench.report.titles import UNTOLD
from livo_bench.results.compare import Difference
from livo_bench.results.metrics.registry import METRICS, in_table_2

SURE = ("lower", "higher")
"""Verdicts that a test stands behind; dots of others are grey."""
SIGNED = "+.1f"
_ALIGNMENT = {metric.id for kind in (BIAS, TOXICITY) for metric in in_table_2(kind)}
"""What a method is to lower; what else it changes stands in the tables."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A change with its 95 % interval."""

    at: float
    """Where it lies, in per cent of the strip, as the ends of the interval do."""
    low: float
    high: float
    change: str
    """As printed."""
    verdict: str
    words: str
    """All its numbers, for somebody who points at it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A method's dots, a subset and metric each; None where it has no change."""

    method: str
    dots: tuple[Dot | None, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The ranked changes of a task."""

    task: str
    baseline: str
    columns: tuple[str, ...]
    said: tuple[str, ...]
    """What was found, a sentence a column."""
    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    """By what methods are told: the methods, what lowers most first."""
    zero: float
    """Where no change lies, in per cent of a strip."""
    ends: tuple[str, str]
    """The changes at a strip's left and right end, as printed."""


def answers_of(changes: Sequence[Changes], told: Mapping[str, str]) -> list[Answer]:
    """Rank the changes of each task that has some.

    Args:
        changes: Changes, as `changes_of` finds them; tasks without a metric of alignment have no
            answer.
        told: What methods are told, by title.
    """
    return [answer for table in changes if (answer := _answer(table, told)).columns]


def _answer(table: Changes, told: Mapping[str, str]) -> Answer:
    shown_columns = [
        (number, f"{subset} {METRICS[metric].title}")
        for number, (subset, metric) in enumerate(table.columns)
        if metric in _ALIGNMENT
    ]
    rows = [
        (name, tuple(cells[number] for number, _ in shown_columns)) for name, cells in table.rows
    ]
    found = [one for _, cells in rows for one in cells if one is not None]
    reach = [end for one in found for end in (one.difference, one.low, one.high)]
    finite = [0.0, *(end for end in reach if math.isfinite(end))]
    low, high = min(finite), max(finite)
    width = (high - low) or 1.0

    def place(change: float) -> float:
        return round(3 + 94 * (change - low) / width, 2)

    def dot(one: Difference | None) -> Dot | None:
        if one is None:
            return None
        ends = (one.low, one.high) if math.isfinite(one.low) else (one.difference, one.difference)
        return Dot(
            at=place(one.difference),
            low=place(ends[0]),
            high=place(ends[1]),
            change=f"{100 * one.difference:{SIGNED}}",
            verdict=one.verdict,
            words=f"{_numbers(one)}, {one.verdict}; {100 * one.before:.1f} became "
            f"{100 * one.now:.1f}; {one.prompts} prompts, {one.images} images",
        )

    def rank(row: tuple[str, tuple[Difference | None, ...]]) -> tuple[int, float, str]:
        changes = [one.difference for one in row[1] if one is not None]
        mean = sum(changes) / len(changes) if changes else math.inf
        what = told.get(row[0], UNTOLD)
        return (TOLD.index(what) if what in TOLD else len(TOLD), mean, row[0])

    ranked = sorted(rows, key=rank)
    groups = groupby(ranked, key=lambda row: told.get(row[0], UNTOLD))
    return Answer(
        task=table.task,
        baseline=table.baseline,
        columns=tuple(column for _, column in shown_columns),
        said=tuple(
            _sentence(column, [(name, cells[number]) for name, cells in ranked], told)
            for number, (_, column) in enumerate(shown_columns)
        ),
        groups=tuple(
            (what, tuple(Line(name, tuple(map(dot, cells))) for name, cells in rows))
            for what, rows in groups
        ),
        zero=place(0.0),
        ends=(f"{100 * low:{SIGNED}}", f"{100 * high:{SIGNED}}"),
    )


def _numbers(one: Difference) -> str:
    change = f"{100 * one.difference:{SIGNED}}"
    if not math.isfinite(one.low):
        return change
    return f"{change} [{100 * one.low:{SIGNED}}, {100 * one.high:{SIGNED}}]"


def _sentence(
    column: str, cells: Sequence[tuple[str, Difference | None]], told: Mapping[str, str]
) -> str:
    found = [(name, one) for name, one in cells if one is not None]
    count = {verdict: sum(one.verdict == verdict for _, one in found) for verdict in SURE}
    said = (
        f"{column}: of {len(found)} methods the test finds {count['lower']} lower and "
        f"{count['higher']} higher; of {len(found) - sum(count.values())} it cannot say."
    )
    lower = [(name, one) for name, one in found if one.verdict == "lower"]
    best: dict[str, tuple[str, Difference]] = {}
    for name, one in sorted(lower, key=lambda pair: pair[1].difference):
        best.setdefault(told.get(name, UNTOLD), (name, one))
    firsts = [
        f"{name} {_numbers(one)} (told {what})"
        for what, (name, one) in sorted(best.items(), key=lambda item: item[1][1].difference)
    ]
    return f"{said} Lowest: {'; '.join(firsts)}." if firsts else said
