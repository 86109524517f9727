"""IS and FID computed again from what result folders hold: `livo-bench report --table recomputed`.

Nothing of the run is asked for, neither its store nor a network: the images of `images.parquet`
have vectors in `vectors.npz` (see `metrics.vectors`), and those that a method left to the unaligned
model in that model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from livo_bench.cards.catalog import results_of
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate
from livo_bench.report.printing import with_interval
from livo_bench.results.frames import ALL
from livo_bench.results.kept_vectors import UNALIGNED, Folder, aligned, read_folders
from livo_bench.results.metrics import quality

METRICS = (quality.IS, quality.FID, quality.FID_STEERED, quality.FID_INDEPENDENT)


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One number of a method, as `aggregates.csv` has it and as its vectors give it."""

    method: str
    task: str
    subset: str
    metric: str
    n: int
    """Images behind the stored number."""
    value: float
    low: float
    high: float
    value_again: float
    """NaN, like its interval, where the unaligned model's folder lacks what it takes."""
    low_again: float
    high_again: float


def recomputed(root: Path, model: str) -> list[Recomputed]:
    """Compute IS and FID of all results of a model again.

    Args:
        root: Folder of results.
        model: Model, as results name it.

    Raises:
        BadInput: A file is not what it should be.
        Incomplete: No result of the model has vectors.
    """
    folders = read_folders(root, model)
    own_reference = results_of(model)[1].own_reference
    unaligned = {f.run.task: f for f in folders if f.run.method == UNALIGNED}
    return [
        one
        for folder in folders
        for one in _again(folder, None if own_reference else unaligned.get(folder.run.task))
    ]


def _again(folder: Folder, unaligned: Folder | None) -> list[Recomputed]:
    rows = folder.aggregates[folder.aggregates["metric"].isin(METRICS)]
    numbers = {one.metric: one for one in _numbers(folder, unaligned, rows)}
    nothing = (float("nan"),) * 3
    found = []
    for record in rows[list(AGGREGATE_COLUMNS)].to_dict("records"):
        row = Aggregate(**{str(name): value for name, value in record.items()})
        again = numbers.get(row.metric)
        found.append(
            Recomputed(
                *(row.method, row.task, row.subset, row.metric, row.n),
                *(row.value, row.low, row.high),
                *(nothing if again is None else (again.value, again.low, again.high)),
            )
        )
    return found


def _numbers(folder: Folder, unaligned: Folder | None, rows: pd.DataFrame) -> list[Aggregate]:
    scorers = dict.fromkeys((quality.IS, quality.FID, quality.CLIP), "")
    intervals = bool(rows["low"].notna().any())
    images = folder.images
    no_clip = images.assign(cosine=np.nan, unscored="not asked for")
    reference, steered, network = None, None, folder.network
    both = None if unaligned is None else folder.beside(unaligned)
    if both is not None:
        network, others = both
        moved = images["key"] != others["key"]
        if moved.any():
            reference, steered = quality.Features.of(others), moved
    found = quality.summarise(no_clip, network, folder.run, scorers, reference, steered, intervals)
    if both is not None and unaligned is not None and unaligned.other is not None:
        noise = aligned(images, unaligned.other)
        plain, independent = quality.Features.of(both[1]), quality.Features.of(noise)
        found.append(
            quality.summarise_independent(
                network, plain, independent, folder.run, scorers, intervals
            )
        )
    return [one for one in found if one.metric in METRICS]


def as_rows(found: list[Recomputed]) -> list[Mapping[str, object]]:
    """Form rows as people read them: numbers with their intervals."""
    return [
        {
            "method": one.method,
            "on": one.task if one.subset == ALL else f"{one.task}/{one.subset}",
            "metric": one.metric,
            "n": one.n,
            "stored": with_interval(_to_cents, one.value, one.low, one.high),
            "recomputed": with_interval(_to_cents, one.value_again, one.low_again, one.high_again),
        }
        for one in found
    ]


def _to_cents(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"
