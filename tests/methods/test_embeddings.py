"""The classifier on text states, without any text."""

from __future__ import annotations

import numpy as np
import pytest

from livo_bench.methods.retrieval.embeddings import RIDGE, WIDTH, fit


@pytest.fixture
def states() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 2, 6)) * [[[1.0], [7.0]]] + 3


@pytest.fixture
def targets() -> np.ndarray:
    return np.eye(3)[np.arange(40) % 4 % 3] * (np.arange(40) % 4 < 3)[:, None]


def test_scores_are_those_of_the_dual_equation(states: np.ndarray, targets: np.ndarray) -> None:
    new = states[:5] + 0.3
    halves = [states[:, half] for half in (0, 1)]
    spreads = [np.sqrt(np.mean([(x - h.mean(0)) @ (x - h.mean(0)) for x in h])) for h in halves]

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        distance = sum(((a[h] - b[h]) ** 2).sum() / spreads[h] ** 2 for h in (0, 1))
        return float(np.exp(-distance / WIDTH))

    gram = np.array([[kernel(a, b) for b in states] for a in states])
    votes = np.linalg.inv(gram + RIDGE * np.eye(40)) @ targets
    expected = np.array([[kernel(a, b) for b in states] for a in new]) @ votes
    np.testing.assert_allclose(fit(states, targets).scores(new), expected, atol=1e-10)


def test_examples_score_near_their_targets_and_strangers_near_nothing(
    states: np.ndarray, targets: np.ndarray
) -> None:
    classifier = fit(states, targets)
    np.testing.assert_allclose(classifier.scores(states), targets, atol=0.05)
    np.testing.assert_allclose(classifier.scores(states + 50), 0, atol=1e-12)


def test_size_of_either_state_does_not_matter(states: np.ndarray, targets: np.ndarray) -> None:
    scaled = states * [[[0.01], [100.0]]]
    np.testing.assert_allclose(
        fit(scaled, targets).scores(scaled[:7]), fit(states, targets).scores(states[:7])
    )
