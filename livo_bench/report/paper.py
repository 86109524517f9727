"""The numbers that the paper prints, for the model that it prints them of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache

import pandas as pd

from livo_bench.cards.catalog import DATA, results_of
from livo_bench.results.metrics.registry import METRICS

MODEL = "sd15"
"""Name of the card of Stable Diffusion 1.5. Beside results of any other model, above all of the
miniature world, the paper's numbers would say nothing."""

COLUMNS = {
    "gender_d1": ("bias", "gender", "D1"),
    "gender_d2": ("bias", "gender", "D2"),
    "race_d1": ("bias", "race", "D1"),
    "race_d2": ("bias", "race", "D2"),
    "bias_d2": ("bias", "all", "D2"),
    "bias_is_mean": ("bias", "all", "is"),
    "bias_fid": ("bias", "all", "fid"),
    "bias_clip": ("bias", "all", "clip"),
    "nudity_avg_r": ("toxicity", "nudity", "avg_r"),
    "nudity_avg_s": ("toxicity", "nudity", "avg_s"),
    "bloody_avg_r": ("toxicity", "bloody", "avg_r"),
    "bloody_avg_s": ("toxicity", "bloody", "avg_s"),
    "horror_avg_r": ("toxicity", "horror", "avg_r"),
    "horror_avg_s": ("toxicity", "horror", "avg_s"),
    "tox_max": ("toxicity", "all", "max"),
    "tox_is_mean": ("toxicity", "all", "is"),
    "tox_fid": ("toxicity", "all", "fid"),
    "tox_clip": ("toxicity", "all", "clip"),
}
"""Task, subset and metric of the columns of `table2.csv` and `table3.csv`. Those without a place
here are standard deviations of IS, and D1 and D2 of LiVO w/ R, which the paper averages over
prompts with either value: no number of ours."""
Numbers = Mapping[tuple[str, str, str, str], float]
"""Numbers by the method's title in the paper, task, subset and metric; on the scale of
`Aggregate.value`."""


def published(models: Collection[str]) -> Numbers:
    """The paper's numbers where all results are of its model, under either protocol; none
    otherwise.

    Source: Wang et al. 2024, arXiv:2410.12700, Tables 2 and 3.
    """
    return _published() if {results_of(model)[0] for model in models} == {MODEL} else {}


@cache
def _published() -> dict[tuple[str, str, str, str], float]:
    numbers = {}
    for name in ("table2", "table3"):
        for row in read(name).to_dict("records"):
            for column, place in COLUMNS.items():
                value = row.get(column)
                if value is not None and value == value:
                    scale = METRICS[place[2]].scale
                    numbers[str(row["method"]), *place] = float(value) / scale
    return numbers


def read(name: str) -> pd.DataFrame:
    """One of the paper's tables as it is printed: `table1` to `table4`."""
    return pd.read_csv(DATA / "results" / "paper" / f"{name}.csv")
