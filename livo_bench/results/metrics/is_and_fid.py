"""Inception Score and FID of the feature network's vectors, from sums over them.

Both are those of torch-fidelity, to about seven digits (it takes means in float32). The vectors are
read once, a chunk at a time, and what is left of a set without a part of it follows from the sums.

Sources: IS, Salimans et al. 2016, arXiv:1606.03498; FID, Heusel et al. 2017, arXiv:1706.08500.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from scipy.special import xlogy

from livo_bench.errors import BadInput

SPLITS = 10
"""Parts of the set over which IS is averaged."""
PERMUTATION_SEED = 2020
"""torch-fidelity's default."""
CHUNK = 1024
"""Vectors that are looked at together, in float64."""
Vectors: TypeAlias = Sequence[NDArray[np.float32]] | NDArray[np.float32]
"""One an image, all of the same length: a matrix, or its rows."""


def inception_score(
    logits: NDArray[np.float32], splits: int = SPLITS, seed: int = PERMUTATION_SEED
) -> tuple[float, float]:
    """Inception Score: exp of the mean KL divergence of p(y|x) from p(y).

    Args:
        logits: Logits of the feature network, shape `(n, classes)`.
        splits: The images, randomly permuted as torch-fidelity does, are cut into so many parts.
        seed: Seed of the permutation; the released evaluation leaves it unseeded.

    Returns:
        Mean over parts, in [1, classes], and the standard deviation over parts that papers print.
        Parts of few images read low: n / splits images cannot score more than n / splits.

    Raises:
        BadInput: Fewer images than parts.
    """
    if len(logits) < splits:
        raise BadInput(
            f"Inception Score over {splits} parts needs at least {splits} images, got "
            f"{len(logits)}.",
            "Make more: livo-bench run --images 50",
        )
    parts = np.eye(splits)[parts_of(len(logits), splits, seed)]
    scores = Classes.of(logits, parts).scores()
    return float(scores.mean()), float(scores.std(ddof=1)) if splits > 1 else float("nan")


def frechet_distance(features: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Frechet distance between Gaussians fitted to two sets of features (FID).

    Computed for two images or more. With no more images than dimensions (2,048 for Inception) the
    covariances are singular and the number, though defined, is mostly bias; it falls with n, so
    compare sets of equal size only.

    Args:
        features: Features of the images judged, shape `(n, d)`.
        reference: Features of the reference images, shape `(m, d)`.

    Returns:
        The distance; zero, up to rounding, for equal sets.

    Raises:
        BadInput: Fewer than two images in a set, or features of different length.
    """
    if min(len(features), len(reference)) < 2:
        raise BadInput(
            f"FID needs at least 2 images in each set, got {len(features)} and "
            f"{len(reference)} of the reference.",
            "Make more: livo-bench run --images 50",
        )
    if features.shape[1] != reference.shape[1]:
        raise BadInput(
            f"FID needs features of one network, got {features.shape[1]} numbers an image and "
            f"{reference.shape[1]} for the reference.",
            "Score both again with the same model card.",
        )
    return Moments.of(features).distance(Moments.of(reference))


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and scatter of vectors: all that FID asks of a set of images.

    Those of a union or a difference of sets follow from those of the sets (Chan, Golub and LeVeque
    1983, The American Statistician 37(3), equation 2.1), so no image is looked at twice.
    """

    n: int
    mean: NDArray[np.float64]
    """Shape `(d,)`."""
    scatter: NDArray[np.float64]
    """Sum of the outer products of the deviations from the mean, shape `(d, d)`."""

    @classmethod
    def of(cls, vectors: Vectors, counts: NDArray[np.integer] | None = None) -> Moments:
        """Fit vectors, `CHUNK` of them at a time.

        Args:
            vectors: One an image, all of the same length d.
            counts: How often each of them counts; once by default.
        """
        if len(vectors) == 0:
            return cls(0, np.zeros(1), np.zeros((1, 1)))
        counts = np.ones(len(vectors), int) if counts is None else counts
        # Deviations from about the mean, not from zero, keep the digits of the variance.
        about = _chunk(vectors, 0).mean(axis=0)
        total, scatter = np.zeros_like(about), np.zeros((about.size, about.size), order="F")
        for start in range(0, len(vectors), CHUNK):
            deviations = _chunk(vectors, start) - about
            weights = counts[start : start + CHUNK]
            total += weights @ deviations
            deviations *= np.sqrt(weights)[:, None]
            # Adds to the upper triangle of `scatter`, where it lies.
            dsyrk(1.0, deviations.T, beta=1.0, c=scatter, overwrite_c=True)
        n = int(counts.sum())
        upper = scatter - np.outer(total, total) / n
        return cls(n, about + total / n, np.triu(upper) + np.triu(upper, 1).T)

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together."""
        if 0 in (self.n, other.n):
            return self if other.n == 0 else other
        n = self.n + other.n
        apart = other.mean - self.mean
        between = np.outer(apart, apart) * (self.n * other.n / n)
        mean = self.mean + apart * (other.n / n)
        return Moments(n, mean, self.scatter + other.scatter + between)

    def __sub__(self, part: Moments) -> Moments:
        """The moments of the set without a part of it."""
        n = self.n - part.n
        if 0 in (n, part.n):
            return self if n else Moments.of([])
        apart = (part.mean - self.mean) * (self.n / n)
        between = np.outer(apart, apart) * (n * part.n / self.n)
        mean = self.mean - apart * (part.n / self.n)
        return Moments(n, mean, self.scatter - part.scatter - between)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The unbiased covariance, shape `(d, d)`."""
        return self.scatter / (self.n - 1)

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """A matrix R with R R^T the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 0))

    def distance(self, other: Moments) -> float:
        """Squared Frechet distance between the Gaussians with these moments.

        `|m - m'|^2 + tr C + tr C' - 2 tr (C C')^(1/2)`. The eigenvalues of C C' are those of the
        symmetric R^T C R with R R^T = C', which are found faster and stay real.

        Returns:
            The distance; NaN for fewer than two images in a set.
        """
        if min(self.n, other.n) < 2:
            return float("nan")
        ours, apart = self.covariance, self.mean - other.mean
        product = other.root.T @ ours @ other.root
        overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0)).sum()
        return float(apart @ apart + np.trace(ours) + np.trace(other.covariance) - 2 * overlap)


@dataclass(frozen=True, eq=False)
class Classes:
    """Sums over parts of a set of images of what the Inception Score asks of them."""

    n: NDArray[np.float64]
    """Images of each part, shape `(parts,)`."""
    information: NDArray[np.float64]
    """Sum over images of `sum_y p(y|x) log p(y|x)`, shape `(parts,)`."""
    shares: NDArray[np.float64]
    """Sum over images of p(y|x), shape `(parts, classes)`."""

    @classmethod
    def of(cls, logits: Vectors, parts: NDArray) -> Classes:
        """Read logits, `CHUNK` of them at a time.

        Args:
            logits: One vector an image.
            parts: How often each image counts in each part, shape `(n, parts)`.
        """
        information, shares = np.zeros(parts.shape[1]), np.zeros((parts.shape[1], 1))
        for start in range(0, len(logits), CHUNK):
            weights = parts[start : start + CHUNK].T
            shifted = _chunk(logits, start)
            shifted -= shifted.max(axis=1, keepdims=True)
            p = np.exp(shifted)
            total = p.sum(axis=1)
            p /= total[:, None]
            information += weights @ (np.einsum("ny,ny->n", p, shifted) - np.log(total))
            shares = shares + weights @ p
        return cls(parts.sum(axis=0), information, shares)

    def __sub__(self, part: Classes) -> Classes:
        """The sums of the images without some of them."""
        return Classes(
            self.n - part.n, self.information - part.information, self.shares - part.shares
        )

    def together(self) -> Classes:
        """All parts as one."""
        shares = self.shares.sum(axis=0, keepdims=True)
        return Classes(self.n.sum(keepdims=True), self.information.sum(keepdims=True), shares)

    def scores(self) -> NDArray[np.float64]:
        """Inception Score of each part, shape `(parts,)`."""
        # What is left of a class that only the images taken out showed may fall below zero.
        marginal = np.maximum(self.shares, 0) / self.n[:, None]
        return np.exp(self.information / self.n - xlogy(marginal, marginal).sum(axis=1))


def _chunk(vectors: Vectors, start: int) -> NDArray[np.float64]:
    return np.stack(list(vectors[start : start + CHUNK]), dtype=np.float64)


def parts_of(n: int, splits: int, seed: int) -> NDArray[np.intp]:
    """Which part torch-fidelity's permutation puts each of n images into, shape `(n,)`."""
    order = np.random.RandomState(seed).permutation(n)
    ends = np.arange(1, splits + 1) * n // splits
    parts = np.empty(n, np.intp)
    parts[order] = np.searchsorted(ends, np.arange(n), side="right")
    return parts
