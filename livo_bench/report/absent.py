"""Rows that a table of the paper has and these results have not: which, and how to get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from livo_bench.cards import catalog
from livo_bench.cards.declared import ModelCard
from livo_bench.report.columns import Column, Layout
from livo_bench.report.titles import Label
from livo_bench.results.frames import ALL


@dataclass(frozen=True, slots=True)
class Absent:
    """Methods without results, at least one."""

    titles: tuple[str, ...]
    """Titles of the methods, in the paper's order."""
    command: str
    """Command that runs them; its other options are those of the results that are there."""

    @property
    def words(self) -> str:
        """What a line says before the command."""
        return f"No results of {', '.join(self.titles)}. For their rows run them like the others:"


def from_layout(layout: Layout, present: pd.DataFrame, named: Mapping[str, Label]) -> Absent | None:
    """The paper's methods that a table's tasks and model allow, and that are not in its results.

    Args:
        layout: What the table holds.
        present: Aggregates in the table, at least one, of one model.
        named: How methods are printed, by name.
    """
    results = present["model"].iloc[0]
    model = catalog.model_cards().get(catalog.results_of(results)[0])
    methods = [
        method
        for method in layout.methods
        if method not in set(present["method"])
        and any(_is_for(method, layout.columns))
        and (model is None or _is_offered(method, model))
    ]
    if not methods:
        return None
    tasks = {column.task for column in layout.columns}
    task = tasks.pop() if len(tasks) == 1 else catalog.ALL
    options = [*(f"--method {method}" for method in methods), f"--task {task}"]
    return Absent(
        tuple(named[method].title for method in methods),
        f"livo-bench run {' '.join(options)} {catalog.run_options(results)}",
    )


def _is_offered(method: str, model: ModelCard) -> bool:
    name, _, variant = method.partition(":")
    return all(need in model.offers for need in catalog.method_cards()[name].needs_of(variant))


def _is_for(method: str, columns: tuple[Column, ...]) -> list[bool]:
    card = catalog.method_cards()[method.partition(":")[0]]
    tasks = catalog.task_cards()
    return [
        card.is_for(tasks[column.task], subset)
        for column in columns
        for subset in tasks[column.task].subsets
        if column.subset in (ALL, subset)
    ]
