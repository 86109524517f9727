"""The feature network's vectors of a run's images, so that IS and FID can be computed again.

FID leaves out one prompt after another for its interval, so it asks for a mean and a scatter of
each. Those of 50 images are about twice the vectors themselves, wherefore a result folder keeps the
vectors, in `vectors.npz`: of each different image once, of what a method left to the unaligned
model none, for those are in that model's folder. Features are rounded to a 64th of their spread,
probabilities of classes to 1/65535, and lie column by column, where they compress to a seventh of
what they were. What that moves is in docs/metrics.md.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from livo_bench.errors import BadInput
from livo_bench.results.frames import scored

STEPS = 64
"""Steps of rounding in a standard deviation of all features. Each adds a twelfth of its square to
every variance, which directions in which images hardly differ feel first: with 16 steps a step
was twice as wide as the narrowest direction, and FID moved by up to 1.5 %; with 64 it moves by
0.1 %."""
SHARES = 65535
"""Steps in a probability of one."""
_DAMAGED = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile),
)
"""What NumPy and zipfile raise for a file that is none of theirs."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of a run, as `pack` keeps them. A request goes by its place among the run's."""

    places: NDArray[np.int32]
    """Request of each row of `images.parquet`."""
    requests: NDArray[np.int32]
    """The first request for each image whose vectors follow, `(n,)`."""
    features: NDArray[np.float32]
    """Vectors of these images, shape `(n, d)`."""
    logits: NDArray[np.float32]
    """Logarithms of the probabilities of classes, shape `(n, classes)`."""
    other_requests: NDArray[np.int32]
    """The first request that each image of the same prompts from other noise stands beside, `(m,)`;
    empty where there are none."""
    other_features: NDArray[np.float32]
    """Vectors of the images from other noise, shape `(m, d)`."""


def pack(
    places: pd.Index,
    network: pd.DataFrame,
    left_alone: pd.Series,
    other: pd.DataFrame | None = None,
) -> bytes:
    """Make the file of a run's vectors.

    Args:
        places: Request of each row of `images.parquet`.
        network: The feature network's scored frame of the run, a row a request, see `quality`;
            without rows the file holds no vectors.
        left_alone: Which of these images the method left to the unaligned model.
        other: The frame of images from other noise, a row a request; of the unaligned model alone.
    """
    own = scored(network[~left_alone]).drop_duplicates("key")
    others = network.head(0) if other is None else scored(other).drop_duplicates("key")
    features, step = _rounded(own)
    other_features, other_step = _rounded(others)
    arrays = {
        "places": places.to_numpy(np.int32),
        "requests": own.index.to_numpy(np.int32),
        "features": features,
        "step": np.float64(step),
        "shares": _shares(own),
        "other_requests": others.index.to_numpy(np.int32),
        "other_features": other_features,
        "other_step": np.float64(other_step),
    }
    buffer = io.BytesIO()
    # NumPy's own `savez_compressed` deflates, which leaves a sixth more.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes, path: Path) -> Vectors:
    """Read the file.

    Args:
        data: Its bytes.
        path: Where they are from, for messages.

    Raises:
        BadInput: They are no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _vectors(arrays)
    except _DAMAGED as error:
        raise BadInput(
            f"Cannot read {path}: {error}.",
            "Run it again with the same livo-bench run; its images are kept.",
        ) from error


def _vectors(arrays: Any) -> Vectors:
    shares = arrays["shares"].T.astype(np.float32) / SHARES
    with np.errstate(divide="ignore"):
        # A class without a share keeps a logarithm, small enough to count for nothing.
        logits = np.maximum(np.log(shares), -30)
    found = Vectors(
        arrays["places"],
        arrays["requests"],
        (arrays["features"].T * arrays["step"]).astype(np.float32),
        logits,
        arrays["other_requests"],
        (arrays["other_features"].T * arrays["other_step"]).astype(np.float32),
    )
    of_images = ((found.requests, found.features), (found.other_requests, found.other_features))
    if any(len(requests) != len(vectors) for requests, vectors in of_images) or len(
        found.logits
    ) != len(found.requests):
        raise ValueError("it has not one vector for each image")
    for requests in (found.places, found.requests, found.other_requests):
        if requests.size and not 0 <= requests.min() <= requests.max() < len(found.places):
            raise ValueError("it names requests that the run has not")
    return found


def _stacked(frame: pd.DataFrame, column: str) -> NDArray[np.float32]:
    vectors = list(frame[column])
    return np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, 0), np.float32)


def _shares(frame: pd.DataFrame) -> NDArray[np.uint16]:
    """Probabilities of classes in steps, shape `(classes, n)`."""
    logits = _stacked(frame, "logits")
    shares = softmax(logits, axis=1) if logits.size else logits
    return np.ascontiguousarray(np.rint(shares * SHARES).T, np.uint16)


def _rounded(frame: pd.DataFrame) -> tuple[NDArray[np.integer], float]:
    """Features as whole numbers of the smallest type that holds them, shape `(d, n)`, and what one
    of them is worth."""
    vectors = _stacked(frame, "features")
    spread = float(vectors.std()) if vectors.size else 0.0
    step = 2.0 ** round(np.log2(spread / STEPS)) if spread else 1.0
    vectors /= step
    np.rint(vectors, out=vectors)
    ends = [int(vectors.min()), int(vectors.max())] if vectors.size else [0]
    smallest = np.result_type(*map(np.min_scalar_type, ends))
    return np.ascontiguousarray(vectors.T, smallest), step
