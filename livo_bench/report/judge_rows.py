"""What judges say of the same images, as rows: `report --table judges`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from livo_bench.report.printing import Row, points, with_interval
from livo_bench.report.titles import labels
from livo_bench.results.two_judges import Pair

SHOWN = 3
"""Confusions that a row for people names."""


def as_rows(pairs: Sequence[Pair]) -> list[Row]:
    """Rows as people read them: shares x100 and kappa with their intervals, the commonest
    confusions."""
    title_of = {name: one.title for name, one in labels({pair.method for pair in pairs}).items()}
    return [
        {
            "method": title_of[one.method],
            "on": f"{one.task}/{one.subset}",
            "judge": one.judge,
            "other": one.other,
            "n": str(one.n),
            "disagree %": with_interval(points, one.differ, one.differ_low, one.differ_high),
            "kappa": with_interval(_kappa, one.kappa, one.kappa_low, one.kappa_high),
            "unscored": f"{one.unscored} and {one.other_unscored}",
            "judge says/other says": _confused(one),
        }
        for one in pairs
    ]


def as_data(pairs: Sequence[Pair]) -> list[Row]:
    """Rows with every digit."""
    said = [asdict(one) for one in pairs]
    return [{**row, "confusion": _counted(row["confusion"])} for row in said]


def _kappa(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _confused(one: Pair) -> str:
    apart = {both: n for both, n in one.confusion.items() if len({*both.split("/")}) > 1}
    return _counted(dict(list(apart.items())[:SHOWN])) or "-"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{both} {n}" for both, n in counts.items())
