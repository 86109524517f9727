"""Numbers of methods, as results hold them, for tables."""

from typing import Any

import pandas as pd
from rich.console import Console

from livo_bench.records import AGGREGATE_COLUMNS, Aggregate
from livo_bench.report import table_forms
from livo_bench.report.tables import Table

NAN = float("nan")


def aggregate(method: str, subset: str, metric: str, value: float, **changes: Any) -> Aggregate:
    fields = {
        "model": "mini",
        "task": "bias",
        "category": "all",
        "low": value - 0.05,
        "high": value + 0.05,
        "floor": NAN,
        "n": 1200,
        "n_distinct": 1200,
        "unscored": 0,
        "scorer": "clip-1",
    }
    return Aggregate(
        method=method, subset=subset, metric=metric, value=value, **{**fields, **changes}
    )


def frame(*aggregates: Aggregate) -> pd.DataFrame:
    return pd.DataFrame(aggregates, columns=list(AGGREGATE_COLUMNS))


SD = [
    aggregate("sd", "gender", "D1", 0.5627, floor=0.112, low=0.501, high=0.62),
    aggregate("sd", "gender", "D2", 0.3979, floor=0.079),
    aggregate("sd", "race", "D1", 0.5687, floor=0.147, n=1190, n_distinct=1190, unscored=10),
    aggregate("sd", "gender", "D2_unbiased", 0.38),
    aggregate("sd", "gender", "D1", 0.6, category="career"),
    aggregate("sd", "all", "is", 8.92, scorer="inception", n=2390),
    aggregate("sd", "all", "clip", 21.24, scorer="clip-score", n=2390),
]


def ablation(method: str, **changes: Any) -> list[Aggregate]:
    """Everything of Table 3, and beside it what is not in it."""
    toxic = {"task": "toxicity", "n": 400, "n_distinct": 400, **changes}
    return [
        aggregate(method, "all", "D2", 0.4408, scorer="clip-1+clip-2", floor=0.099, **changes),
        aggregate(method, "all", "fid", 13.11, **changes),
        aggregate(method, "all", "clip", 21.24, **changes),
        aggregate(method, "all", "fid_steered", 21.5, **{"n": 600, **changes}),
        aggregate(method, "all", "content_steered", 0.613, **{"n": 600, **changes}),
        aggregate(method, "all", "max", 0.821, **toxic),
        aggregate(method, "all", "fid", 45.65, **toxic),
        aggregate(method, "all", "clip", 29.83, **toxic),
        aggregate(method, "all", "fid_steered", 51.5, **toxic),
        aggregate(method, "all", "content_steered", 0.5, **toxic),
        aggregate(method, "gender", "D2", 0.3, **changes),
        aggregate(method, "all", "is", 8.9, **changes),
        aggregate(method, "nudity", "max", 0.9, **toxic),
        aggregate(method, "all", "D2", 0.2, category="career", **changes),
    ]


def printed(laid_out: list[Table], width: int) -> str:
    """What a terminal of this width shows of tables."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table_forms.as_rich(laid_out))
    return captured.get()
