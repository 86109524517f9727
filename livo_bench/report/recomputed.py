"""IS and FID computed again from what result folders hold: `livo-bench report --table recomputed`.

Nothing of the run is asked for, neither its store nor a network: the images of `images.parquet`
have vectors in `vectors.npz` (see `metrics.vectors`), and those that a method left to the unaligned
model in that model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from livo_bench.cards.catalog import results_of
from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate, Run
from livo_bench.results import seal
from livo_bench.results.frames import ALL
from livo_bench.results.metrics import quality, vectors
from livo_bench.results.reading import aggregates_of, read_images

METRICS = (quality.IS, quality.FID, quality.FID_STEERED, quality.FID_INDEPENDENT)
UNALIGNED = "sd"
REQUEST = ["subset", "prompt", "index"]


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


@dataclass(frozen=True, eq=False)
class _Folder:
    """What a result folder says of its images' vectors."""

    rows: pd.DataFrame
    """Rows of its IS and FID among its aggregates."""
    images: pd.DataFrame
    """`images.parquet`, a row a request, in the order of requests."""
    vectors: vectors.Vectors

    @property
    def run(self) -> Run:
        first = self.rows.iloc[0]
        return Run(first["model"], first["method"], first["task"])

    @cached_property
    def known(self) -> pd.DataFrame:
        """Features and logits by key of the image."""
        keys = self.images["key"].to_numpy()[self.vectors.requests]
        found = {"features": list(self.vectors.features), "logits": list(self.vectors.logits)}
        return pd.DataFrame(found, index=keys)

    @cached_property
    def network(self) -> pd.DataFrame:
        """The feature network's scored frame, of its own images alone."""
        return _scored(self.images, self.known)

    @cached_property
    def other(self) -> pd.DataFrame | None:
        """The feature network's scored frame of images from other noise, if there are some."""
        if not len(self.vectors.other_requests):
            return None
        keys = self.images["key"].to_numpy()[self.vectors.other_requests]
        found = pd.DataFrame({"features": list(self.vectors.other_features)}, index=keys)
        return _scored(self.images, found)


def _scored(images: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    frame = images.drop(columns="unscored", errors="ignore").join(known, on="key")
    return frame.assign(unscored=frame["features"].isna().map({True: "no vector", False: None}))


def recomputed(root: Path, model: str) -> list[Recomputed]:
    """Compute IS and FID of all results of a model again.

    Args:
        root: Folder of results.
        model: Model, as results name it.

    Raises:
        BadInput: A file is not what it should be.
        Incomplete: No result of the model has vectors.
    """
    folders = _read(root, model)
    if not folders:
        raise Incomplete(
            f"No results of model {model!r} in {root} hold vectors of images; older ones do not.",
            "Run them again with the same livo-bench run; their images are kept.",
        )
    own_reference = results_of(model)[1].own_reference
    unaligned = {f.run.task: f for f in folders if f.run.method == UNALIGNED}
    return [
        one
        for folder in folders
        for one in _again(folder, None if own_reference else unaligned.get(folder.run.task))
    ]


def _read(root: Path, model: str) -> list[_Folder]:
    found = []
    for opened in seal.open_all(root):
        if not {seal.VECTORS, seal.IMAGES} <= opened.files.keys():
            continue
        rows = aggregates_of(opened)
        rows = rows[(rows["model"] == model) & rows["metric"].isin(METRICS)]
        read = vectors.unpack(opened.files[seal.VECTORS], opened.path / seal.VECTORS)
        images = read_images(opened)
        if len(read.places) != len(images):
            raise BadInput(
                f"{opened.path / seal.VECTORS} is of {len(read.places)} images and "
                f"{seal.IMAGES} beside it of {len(images)}, so they are not of one run.",
                "Run it again with the same livo-bench run; its images are kept.",
            )
        if len(rows) and len(read.requests):
            in_order = images.iloc[np.argsort(read.places, kind="stable")].reset_index(drop=True)
            found.append(_Folder(rows, in_order, read))
    return found


def _again(folder: _Folder, unaligned: _Folder | None) -> list[Recomputed]:
    numbers = {one.metric: one for one in _numbers(folder, unaligned)}
    nothing = (float("nan"),) * 3
    found = []
    for record in folder.rows[list(AGGREGATE_COLUMNS)].to_dict("records"):
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


def _numbers(folder: _Folder, unaligned: _Folder | None) -> list[Aggregate]:
    scorers = dict.fromkeys((quality.IS, quality.FID, quality.CLIP), "")
    intervals = bool(folder.rows["low"].notna().any())
    images = folder.images
    no_clip = images.assign(cosine=np.nan, unscored="not asked for")
    reference, steered, network = None, None, folder.network
    others = None if unaligned is None else _beside(images, unaligned)
    if others is not None:
        assert unaligned is not None
        kept = unaligned.known[~unaligned.known.index.isin(folder.known.index)]
        network = _scored(images, pd.concat([folder.known, kept]))
        moved = images["key"] != others["key"]
        if moved.any():
            reference, steered = quality.Features.of(others), moved
    found = quality.summarise(no_clip, network, folder.run, scorers, reference, steered, intervals)
    if others is not None and unaligned is not None and unaligned.other is not None:
        noise = _aligned(images, unaligned.other)
        plain, independent = quality.Features.of(others), quality.Features.of(noise)
        found.append(
            quality.summarise_independent(
                network, plain, independent, folder.run, scorers, intervals
            )
        )
    return [one for one in found if one.metric in METRICS]


def _beside(images: pd.DataFrame, unaligned: _Folder) -> pd.DataFrame | None:
    """The unaligned model's scored frame of the same requests; None if it lacks some."""
    there = pd.MultiIndex.from_frame(unaligned.images[REQUEST])
    if not pd.MultiIndex.from_frame(images[REQUEST]).isin(there).all():
        return None
    return _aligned(images, unaligned.network)


def _aligned(images: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    wanted = pd.MultiIndex.from_frame(images[REQUEST])
    return frame.set_index(REQUEST).loc[wanted].reset_index()


def as_rows(found: list[Recomputed]) -> list[Mapping[str, object]]:
    """Form rows as people read them: numbers with their intervals."""
    return [
        {
            "method": one.method,
            "on": one.task if one.subset == ALL else f"{one.task}/{one.subset}",
            "metric": one.metric,
            "n": one.n,
            "stored": _said(one.value, one.low, one.high),
            "recomputed": _said(one.value_again, one.low_again, one.high_again),
        }
        for one in found
    ]


def _said(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
