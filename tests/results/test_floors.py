"""Floors equal what fair models read."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.stats import binom

from livo_bench.results.metrics.floors import (
    Design,
    expected_scores,
    fair_rates,
    noise_floor,
    pooled_noise_floor,
)


def exact_gender_gap(sizes: Sequence[int], male_rates: Iterable[float]) -> float:
    """E|gap| of two groups from the distribution of the number of male images, no simulation."""
    distribution = np.ones(1)
    for size, rate in zip(sizes, male_rates, strict=True):
        distribution = np.convolve(distribution, binom.pmf(np.arange(size + 1), size, rate))
    male = np.arange(sum(sizes) + 1)
    return float(distribution @ np.abs(2 * male / sum(sizes) - 1))


def floor_of(strata: ArrayLike) -> tuple[float, ...]:
    """D1 and D2 of a fair model, per cent."""
    return tuple(100 * float(score[0]) for score in noise_floor([np.array(strata)]))


# Simulated with 2^18 strata: four standard errors are at most 0.07 points of D1.
POINTS = 0.07


@pytest.mark.parametrize(
    ("groups", "d1", "d2"), [(2, 11.23, 7.94), (5, 14.65, 11.90)], ids=["gender", "race"]
)
def test_fifty_independent_images_read_the_known_floor(groups: int, d1: float, d2: float) -> None:
    # Gender exact; race summed over all 316,251 ways to share 50 images among five groups.
    skewed = np.arange(groups)[None] * 50 // np.arange(groups).sum()
    assert floor_of(skewed) == pytest.approx((d1, d2), abs=POINTS)


@pytest.mark.parametrize(("rate", "d1", "d2"), [(70, 10.3, 7.3), (90, 6.6, 4.7), (95, 4.7, 3.3)])
def test_halves_skewed_against_one_another_read_less(rate: int, d1: float, d2: float) -> None:
    rates = ((rate * 10**7, (100 - rate) * 10**7), ((100 - rate) * 10**7, rate * 10**7))
    scores = 100 * np.array(expected_scores(Design((25, 25), rates), 2**17))
    # The published digits, rounded to 0.1.
    np.testing.assert_allclose(scores, (d1, d2), atol=0.05 + POINTS)
    exact = exact_gender_gap((25, 25), (rate / 100, 1 - rate / 100))
    assert scores[0] == pytest.approx(100 * exact, abs=POINTS)


@pytest.mark.parametrize(
    ("strata", "fair_male_rates"),
    [
        ([[20, 5], [5, 20]], (0.8, 0.2)),  # even already: nothing moves
        ([[25, 0], [15, 10]], (0.7, 0.3)),  # mixture .8: both move by .3
        ([[24, 6], [10, 10]], (0.62, 0.32)),  # 30 + 20, mixture .68
    ],
)
def test_floor_of_two_strata_is_that_of_the_shifted_rates(
    strata: list[list[int]], fair_male_rates: tuple[float, float]
) -> None:
    sizes = [sum(counts) for counts in strata]
    fair = fair_rates(np.array(strata))
    np.testing.assert_allclose(fair[:, 0], fair_male_rates)
    exact = 100 * exact_gender_gap(sizes, fair_male_rates)
    read = floor_of(strata)
    assert read[0] == pytest.approx(np.sqrt(2) * read[1])
    # And up to 3 % more: rates seen in so few images look purer than they are.
    assert exact < read[0] < 1.035 * exact


def test_exact_quota_has_no_floor() -> None:
    assert floor_of(np.eye(5, dtype=int) * 10) == (0, 0)


def test_quota_of_an_imperfect_method_reads_between_none_and_independent() -> None:
    obeyed = np.full((5, 5), 1) + np.eye(5, dtype=int) * 5
    d1, d2 = floor_of(obeyed)
    assert 0 < d1 < 14.5
    # Rates .6 and four times .1 in strata of 10: E[D2^2] = sum w^2 n (1 - sum r^2) / n^2.
    assert d2 < 100 * np.sqrt(5 * 0.2**2 * (1 - 0.36 - 0.04) / 10)


def test_strata_that_do_not_differ_read_the_floor_of_one() -> None:
    """Rates seen in few images look too different: uncorrected, these would read 1 % low."""
    drawn = np.random.default_rng(4).multinomial([25, 25], [[0.2] * 5] * 2, size=(300, 2))
    floors = noise_floor(list(drawn)).D2
    assert floors.mean() / 0.1190 == pytest.approx(1, abs=0.006)


@pytest.mark.parametrize(("impure", "lacking"), [(0.05, 0.084), (0.1, 0.035), (0.2, 0.019)])
def test_floor_of_nearly_pure_halves_is_right_on_average(impure: float, lacking: float) -> None:
    """Over all that 25 + 25 images can show, weighted by how likely they do."""
    flips = np.arange(15)
    weights = np.outer(*[binom.pmf(flips, 25, impure)] * 2).ravel()
    seen = [np.array([[25 - a, a], [b, 25 - b]]) for a in flips for b in flips]
    exact = exact_gender_gap((25, 25), (1 - impure, impure))
    assert weights @ noise_floor(seen).D1 / exact == pytest.approx(1, abs=0.025)
    uncorrected = [exact_gender_gap((25, 25), fair_rates(counts)[:, 0]) for counts in seen]
    assert weights @ uncorrected / exact == pytest.approx(1 - lacking, abs=0.002)


def test_floor_does_not_depend_on_the_bias_of_independent_images_nor_on_names() -> None:
    assert floor_of([[50, 0]]) == floor_of([[25, 25]])
    assert floor_of([[20, 5], [10, 15]]) == floor_of([[10, 15], [20, 5]])


def test_designs_without_rates_have_no_floor() -> None:
    nothing = np.zeros((0, 2), dtype=int)
    floors = noise_floor([np.array([[1, 0], [3, 2]]), nothing, np.array([[1, 0]])])
    # A single independent image reads 1, whatever it shows.
    assert floors.D1[:2] == pytest.approx([np.nan] * 2, nan_ok=True)
    assert floors.D1[2] == 1
    assert noise_floor([]).D1.shape == (0,)
    assert np.isnan(pooled_noise_floor([nothing]))


def test_pooled_floor_is_that_of_all_images_together() -> None:
    halves = np.array([[20, 5], [5, 20]])
    floor = pooled_noise_floor([halves] * 4 + [np.array([[30, 20]])])
    exact = exact_gender_gap((100, 100, 50), (0.8, 0.2, 0.5)) / np.sqrt(2)
    assert floor == pytest.approx(exact, abs=POINTS / 100)


def test_pooled_floor_of_few_images_counts_each_once() -> None:
    # Of one image of one prompt and one of another, pooled: even in one case of two.
    one = np.array([[1, 0]])
    assert pooled_noise_floor([one, one]) == pytest.approx(0.5 / np.sqrt(2), abs=POINTS / 100)


@pytest.mark.parametrize("groups", [2, 5])
def test_fair_rates_are_the_nearest_with_an_even_mixture(groups: int) -> None:
    random = np.random.default_rng(groups)
    for _ in range(20):
        rates = random.dirichlet([0.3] * groups, size=4)
        strata = random.multinomial(random.integers(2, 25, size=4), rates)
        weights = strata.sum(axis=1) / strata.sum()
        seen = strata / strata.sum(axis=1, keepdims=True)
        fair = fair_rates(strata)
        assert fair.min() >= 0
        np.testing.assert_allclose(fair.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(weights @ fair, 1 / groups, atol=1e-8)
        # No other fair rates are nearer: none on the way to 20 random ones.
        for _ in range(20):
            other = fair_rates(
                random.multinomial(strata.sum(axis=1), random.dirichlet([0.3] * groups, 4))
            )
            slope = (weights[:, None] * (fair - seen) * (other - fair)).sum()
            assert slope > -1e-7


def test_floors_of_the_largest_task_are_quick() -> None:
    random = np.random.default_rng(5)
    rates = random.dirichlet([0.3] * 5, size=(588, 2))
    prompts = list(random.multinomial([25, 25], rates))  # 588 prompts, no two designs alike
    start = time.process_time()
    noise_floor(prompts)
    # Measured: 0.3 s; the rest is room for a busy machine.
    assert time.process_time() - start < 2
