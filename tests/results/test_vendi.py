"""The Vendi score, on vectors of which it is known."""

import numpy as np
import pytest

from livo_bench.results.metrics.vendi import vendi_score


def rows(*vectors: list[float]) -> np.ndarray:
    return np.array(vectors, np.float32)


def test_images_that_are_alike_count_as_one() -> None:
    assert vendi_score(rows([1, 2], [2, 4], [0.5, 1])) == pytest.approx(1)


def test_images_that_have_nothing_in_common_count_each() -> None:
    assert vendi_score(np.eye(5, 7, dtype=np.float32)) == pytest.approx(5)
    # Two of one kind and two of another are two.
    assert vendi_score(rows([1, 0], [1, 0], [0, 3], [0, 3])) == pytest.approx(2)


def test_it_is_the_entropy_of_the_kernels_eigenvalues() -> None:
    features = np.abs(np.random.default_rng(0).normal(size=(12, 30))).astype(np.float32)
    lengths = np.linalg.norm(features, axis=1)
    kernel = features @ features.T / np.outer(lengths, lengths)
    eigenvalues = np.linalg.eigvalsh(kernel.astype(np.float64) / 12)
    expected = np.exp(-sum(value * np.log(value) for value in eigenvalues if value > 0))
    assert vendi_score(features) == pytest.approx(expected, rel=1e-5)


def test_more_images_than_features_and_images_without_any_are_counted() -> None:
    assert vendi_score(np.ones((50, 3), np.float32)) == pytest.approx(1)
    assert np.isfinite(vendi_score(np.zeros((4, 3), np.float32)))
