"""The page's tables of prompts: what methods change on the same images, and prompts, worst first.

Nothing is decided here: differences and verdicts are those of `compare`, numbers of prompts those
that the runs wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pandas as pd

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import digest_of, read_task_prompts
from livo_bench.errors import Incomplete
from livo_bench.report.printing import spread
from livo_bench.results import reading, seal
from livo_bench.results.compare import Difference, differences, notes, pairs_of
from livo_bench.results.judged import Results
from livo_bench.results.metrics.registry import HEADLINES
from livo_bench.results.paired import Pair
from livo_bench.results.record import RunRecord


@dataclass(frozen=True, slots=True)
class Changes:
    """What methods change against the first one, on the same images: a row each."""

    task: str
    baseline: str
    columns: tuple[tuple[str, str], ...]
    """Subset and metric."""
    rows: tuple[tuple[str, tuple[Difference | None, ...]], ...]
    """Method and its differences; None where the two share too few prompts to say."""
    said: tuple[str, ...]
    """What else differs that may, see `conditions`."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt of one subset under all methods."""

    subset: str
    category: str
    id: str
    text: str
    """Empty where it is not known."""
    images: str
    """Scored images of each method, `low-high` where they differ."""
    values: tuple[float, ...]
    """Method by method, fractions; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """A task's prompts by one metric, worst first."""

    task: str
    metric: str
    methods: tuple[str, ...]
    rows: tuple[PromptRow, ...]


def _headlines(side: Results) -> list[str]:
    return [metric for metric in side.metrics if metric in HEADLINES]


def changes_of(
    tasks: Mapping[str, Sequence[Results]], title_of: Mapping[str, str]
) -> list[Changes]:
    """A table for each task of several methods; verdicts hold together over all of them."""
    found = differences([pair for sides in tasks.values() for pair in _pairs(sides)])
    return [
        _of_task(sides, [d for d in found if d.task == task], title_of)
        for task, sides in tasks.items()
        if len(sides) > 1
    ]


def _pairs(sides: Sequence[Results]) -> Iterator[Pair]:
    """The first method with every other that it shares enough prompts with."""
    for other in sides[1:]:
        with suppress(Incomplete):
            yield from pairs_of(sides[0], other)


def _of_task(
    sides: Sequence[Results], found: Sequence[Difference], title_of: Mapping[str, str]
) -> Changes:
    places = {(d.method, d.subset, d.metric): d for d in found}
    order = _headlines(sides[0])
    shown = {(d.subset, d.metric) for d in found if d.metric in order}
    columns = sorted(shown, key=lambda column: (column[0], order.index(column[1])))
    return Changes(
        task=sides[0].run.task,
        baseline=title_of[sides[0].run.method],
        columns=tuple(columns),
        rows=tuple(
            (title_of[method], tuple(places.get((method, *column)) for column in columns))
            for method in (side.run.method for side in sides[1:])
        ),
        said=tuple(notes(sides)),
    )


def prompts_of(
    sides: Sequence[Results], texts: Mapping[str, str], title_of: Mapping[str, str]
) -> list[Prompts]:
    """A table for each metric: prompts by their mean over all methods, the worst first."""
    scores = [(title_of[side.run.method], reading.read_prompts(side)) for side in sides]
    found = []
    for metric in _headlines(sides[0]):
        shown = {name: table.dropna(subset=metric) for name, table in scores if metric in table}
        if not shown:
            continue
        values = pd.concat({name: rows[metric] for name, rows in shown.items()}, axis="columns")
        counts = pd.concat({name: rows["n"] for name, rows in shown.items()}, axis="columns")
        categories = pd.concat([rows["category"] for rows in shown.values()])
        category = categories[~categories.index.duplicated()]
        worst = values.mean(axis="columns").sort_values(ascending=False, kind="stable").index
        rows = [
            PromptRow(
                subset=place[0],
                category=category[place],
                id=place[1],
                text=texts.get(place[1], ""),
                images=spread(counts.loc[place].dropna().astype(int).tolist()),
                values=tuple(values.loc[place]),
            )
            for place in worst
        ]
        found.append(Prompts(sides[0].run.task, metric, tuple(shown), tuple(rows)))
    return found


def texts_of(sides: Sequence[Results], card: ModelCard | None) -> dict[str, str]:
    """Texts of a task's prompts by id; those of a list of the user's own are not known."""
    task = task_cards().get(sides[0].run.task)
    if task is None or card is None:
        return {}
    known = {prompt.id: prompt for prompt in read_task_prompts(task, card.scale)}
    texts: dict[str, str] = {}
    for side in sides:
        for folder in side.folders:
            ids = reading.read_prompts(replace(side, folders=(folder,))).index.unique("prompt")
            prompts = [known[name] for name in ids if name in known]
            recorded = side.records.get(folder / seal.RECORD, RunRecord()).prompts
            if digest_of(prompts) == recorded.digest:
                texts |= {prompt.id: prompt.text for prompt in prompts}
    return texts
