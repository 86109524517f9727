"""Result folders with the feature network's vectors of their images, see `metrics.vectors`.

A method's folder has vectors of its own images; those that it left to the unaligned model have
theirs in that model's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import Run
from livo_bench.results import seal
from livo_bench.results.metrics import vectors
from livo_bench.results.reading import aggregates_of, read_images

UNALIGNED = "sd"
REQUEST = ["subset", "prompt", "index"]


@dataclass(frozen=True, eq=False)
class Folder:
    """What a result folder says of its images' vectors."""

    aggregates: pd.DataFrame
    images: pd.DataFrame
    """`images.parquet`, a row a request, in the order of requests."""
    vectors: vectors.Vectors

    @property
    def run(self) -> Run:
        """Whose images these are."""
        first = self.aggregates.iloc[0]
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
        return with_vectors(self.images, self.known)

    @cached_property
    def other(self) -> pd.DataFrame | None:
        """The feature network's scored frame of images from other noise, if there are some."""
        if not len(self.vectors.other_requests):
            return None
        keys = self.images["key"].to_numpy()[self.vectors.other_requests]
        found = pd.DataFrame({"features": list(self.vectors.other_features)}, index=keys)
        return with_vectors(self.images, found)

    def beside(self, unaligned: Folder) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The scored frame with the vectors of all images, and the unaligned model's of the same
        requests, row by row; None if that model lacks some."""
        wanted = pd.MultiIndex.from_frame(self.images[REQUEST])
        if not wanted.isin(pd.MultiIndex.from_frame(unaligned.images[REQUEST])).all():
            return None
        kept = unaligned.known[~unaligned.known.index.isin(self.known.index)]
        whole = with_vectors(self.images, pd.concat([self.known, kept]))
        return whole, aligned(self.images, unaligned.network)


def read_folders(root: Path, model: str) -> list[Folder]:
    """Read the results of a model that hold vectors.

    Args:
        root: Folder of results.
        model: Model, as results name it.

    Raises:
        BadInput: A file is not what it should be.
        Incomplete: No result of the model has vectors.
    """
    found = []
    for opened in seal.open_all(root):
        if not {seal.VECTORS, seal.IMAGES} <= opened.files.keys():
            continue
        aggregates = aggregates_of(opened)
        aggregates = aggregates[aggregates["model"] == model]
        read = vectors.unpack(opened.files[seal.VECTORS], opened.path / seal.VECTORS)
        images = read_images(opened)
        if len(read.places) != len(images):
            raise BadInput(
                f"{opened.path / seal.VECTORS} is of {len(read.places)} images and "
                f"{seal.IMAGES} beside it of {len(images)}, so they are not of one run.",
                "Run it again with the same livo-bench run; its images are kept.",
            )
        if len(aggregates) and len(read.requests):
            in_order = images.iloc[np.argsort(read.places, kind="stable")].reset_index(drop=True)
            found.append(Folder(aggregates, in_order, read))
    if not found:
        raise Incomplete(
            f"No results of model {model!r} in {root} hold vectors of images; older ones do not.",
            "Run them again with the same livo-bench run; their images are kept.",
        )
    return found


def with_vectors(images: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Images as a scored frame of the feature network.

    Args:
        images: Rows of `images.parquet`.
        known: Vectors by key of the image; an image without them is unscored.
    """
    frame = images.drop(columns="unscored", errors="ignore").join(known, on="key")
    return frame.assign(unscored=frame["features"].isna().map({True: "no vector", False: None}))


def aligned(images: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame that stand beside images, in their order."""
    wanted = pd.MultiIndex.from_frame(images[REQUEST])
    return frame.set_index(REQUEST).loc[wanted].reset_index()
