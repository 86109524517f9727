"""The figures that `report --figure` draws, by name. Each imports what it needs when drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from livo_bench.cards.catalog import RUNS, SHIPPED

Figure: TypeAlias = Callable[[Path | None, str, Path], None]
"""Draws a figure of a folder (its own one for None) and a model into a file."""


def _trade_off(folder: Path | None, model: str, out: Path) -> None:
    from livo_bench.report import trade_off
    from livo_bench.results import reading

    trade_off.write_trade_off(reading.load_results(folder or RUNS, model), out)


def _data_efficiency(folder: Path | None, model: str, out: Path) -> None:
    from livo_bench.report import curves

    curves.data_efficiency(curves.read_sweeps(folder or SHIPPED, model), out)


def _margins(folder: Path | None, model: str, out: Path) -> None:
    from livo_bench.report import curves

    curves.margins(curves.read_sweeps(folder or SHIPPED, model), out)


def _convergence(folder: Path | None, model: str, out: Path) -> None:
    from livo_bench.cards.catalog import DATA
    from livo_bench.report import curves

    curves.convergence(curves.read_training_curves(folder or DATA / "methods", model), out)


def _cases(folder: Path | None, model: str, out: Path) -> None:
    from livo_bench.report import grid

    grid.cases(out, model, folder or RUNS)


FIGURES: Mapping[str, Figure] = {
    "trade-off": _trade_off,
    "data-efficiency": _data_efficiency,
    "margins": _margins,
    "convergence": _convergence,
    "cases": _cases,
}
