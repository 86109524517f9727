"""Tests over prompts are as rarely wrong as they say."""

import numpy as np
import pytest
from scipy import stats

from livo_bench.results.metrics import statistics
from livo_bench.results.metrics.statistics import (
    detectable_difference,
    detectable_share,
    holm,
    p_above,
    p_different,
)

SETS = 800
"""Simulated benchmarks behind a coverage."""


def coverage_error(coverage: float = 0.95) -> float:
    """Three binomial standard errors of a simulated coverage."""
    return 3 * np.sqrt(coverage * (1 - coverage) / SETS)


def test_p_above_is_that_of_the_t_test() -> None:
    differences = np.array([0.1, 0.3, -0.2, 0.4, 0.25])
    for margin in (0.0, 0.05):
        expected = stats.ttest_1samp(differences, margin, alternative="greater").pvalue
        assert p_above(differences, margin) == pytest.approx(expected, rel=1e-9)
    assert p_different(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert p_different(-differences) == pytest.approx(p_different(differences))


@pytest.mark.parametrize(("shift", "p"), [(0.3, 0), (0.1 + 0.2, 0), (0, 1), (-0.3, 1)])
def test_differences_without_spread_leave_nothing_to_doubt(shift: float, p: int) -> None:
    assert p_above(np.full(7, shift), margin=0.1) == p
    # A third of 0.1 + 0.2 - 0.3 is not zero in floating-point arithmetic.
    assert p_above(np.array([0.1 + 0.2, 0.3, 0.3]) - 0.3) == 1
    assert p_different(np.full(7, shift)) == float(shift == 0)


def test_holm_is_the_step_down_of_bonferroni() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm([0.6, 0.9])) == [1, 1]
    assert holm([]).shape == (0,)


def test_holm_rejects_any_true_hypothesis_as_rarely_as_alpha_says() -> None:
    random = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(2000):
        # Five true hypotheses, two of them the same one, and two false ones.
        p = np.concatenate([random.uniform(size=4), random.uniform(0, 1e-4, size=2)])
        rejected = holm(np.append(p, p[0])) < 0.05
        false_alarms += bool(rejected[[0, 1, 2, 3, 6]].any())
    # Three standard errors; the one hypothesis that is there twice makes it a little rarer.
    assert false_alarms / 2000 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert false_alarms / 2000 > 0.025


def test_a_detectable_difference_is_a_multiple_of_the_standard_error() -> None:
    differences = np.array([1.0, -1.0, 2.0, 0.0])
    found = detectable_difference(differences, alpha=0.025)
    noncentrality = found / stats.sem(differences)
    assert stats.nct.sf(stats.t.isf(0.025, 3), 3, noncentrality) == pytest.approx(0.8, abs=1e-3)
    assert detectable_difference(differences, 0.025, margin=0.5) == pytest.approx(found + 0.5)
    assert detectable_difference(np.full(5, 0.3), alpha=0.025) == pytest.approx(0)
    assert np.isnan(detectable_difference(np.array([0.3]), alpha=0.025))


def test_results_that_do_not_differ_promise_no_more_than_a_change_of_single_images() -> None:
    none = np.zeros(24)
    mu = detectable_difference(none, 0.025, margin=0.02, reach=1, images=50)
    k = detectable_difference(np.tile([-1.0, 1.0], 12), 0.025) / np.sqrt(1 / 23)
    assert mu - 0.02 == pytest.approx(k * np.sqrt(mu * (1 - mu) / 50 / 24))
    assert detectable_difference(none, 0.025, margin=0.02) == 0.02
    wide = np.tile([-1.0, 1.0], 12)
    both = [detectable_difference(wide, 0.025, 0.02, reach, 50) for reach in (0, 1)]
    assert both[0] == both[1]


@pytest.mark.parametrize("alpha", [0.025, 0.004])
@pytest.mark.parametrize(("prompts", "images"), [(2, 10), (3, 50), (8, 50)])
def test_few_prompts_of_few_images_that_agree_by_chance_are_no_finding(
    prompts: int, images: int, alpha: float
) -> None:
    random = np.random.default_rng(prompts)
    before, now = random.binomial(images, 0.75, size=(2, 4000, prompts)) / images
    p = np.array([p_above(row, reach=1, images=images) for row in now - before])
    assert np.mean(p < alpha) < alpha + 3 * np.sqrt(alpha / 4000)
    if (prompts, alpha) == (2, 0.004):
        spread_alone = np.array([p_above(row) for row in now - before])
        assert np.mean(spread_alone < alpha) > 10 * alpha


@pytest.mark.parametrize("images", [1, 2, 4])
@pytest.mark.parametrize("prompts", [2, 3, 4, 8])
def test_single_images_that_all_move_one_way_by_chance_are_no_finding(
    prompts: int, images: int
) -> None:
    random = np.random.default_rng(prompts)
    before, now = random.binomial(images, 0.5, size=(2, 8000, prompts)) / images
    p = np.array([p_above(row, reach=1, images=images) for row in now - before])
    for alpha in (0.05, 0.025, 0.004):
        assert np.mean(p < alpha) < alpha + 3 * np.sqrt(alpha / 8000)
    assert p_above(np.ones(prompts), 0.02, reach=1, images=1) > 0.25**prompts


def test_what_is_detectable_is_what_the_test_would_find_even_where_all_images_move() -> None:
    for prompts, images in ((2, 1), (3, 1), (4, 2), (8, 1), (24, 50)):
        none = np.zeros(prompts)
        mu = detectable_difference(none, 0.025, margin=0.02, reach=1, images=images)
        p = p_above(np.full(prompts, mu), 0.02, 1, images)
        noncentrality = stats.t.isf(p, prompts - 1)
        found = stats.nct.sf(stats.t.isf(0.025, prompts - 1), prompts - 1, noncentrality)
        assert found == pytest.approx(0.8, abs=1e-3) or mu > 1


# Clusters -----------------------------------------------------------------------------------------


def test_few_clusters_of_very_unequal_size_count_as_fewer_and_as_many_they_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bound that the error in question does not break would guard nothing."""
    sizes, sets = [1] * 12 + [6] * 4, 5 * SETS
    labels = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(9)
    shared = random.normal(size=(sets, len(sizes)))[:, labels]
    differences = shared + random.normal(size=(sets, len(labels)))

    def alarms() -> float:
        return float(np.mean([p_different(each, clusters=labels) < 0.05 for each in differences]))

    bound = 0.05 + coverage_error() / np.sqrt(5)
    assert alarms() < bound
    monkeypatch.setattr(statistics, "freedom_of", lambda sizes: len(sizes) - 1.0)
    assert alarms() > bound


@pytest.mark.parametrize("sizes", [[1, 1], [3, 3, 3], [1, 1, 2], [1, 4, 4, 7]], ids=str)
def test_degrees_of_freedom_are_those_of_the_covariance_of_what_clusters_add(
    sizes: list[int],
) -> None:
    h = np.array(sizes) / sum(sizes)
    adds = h[:, None] * (np.eye(len(h)) - h)
    covariance = adds @ adds.T
    expected = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
    assert statistics.freedom_of(np.array(sizes)) == pytest.approx(
        min(expected, 1 / (h**2).sum() - 1)
    )


def test_one_cluster_has_no_degree_of_freedom_and_two_of_equal_size_have_one() -> None:
    assert statistics.freedom_of(np.array([5])) == 0
    assert statistics.freedom_of(np.array([5, 5])) == pytest.approx(1)
    for labels, known in ((["a"] * 4, False), (["a", "b"] * 2, True), (None, True)):
        variance, _ = statistics.variance_over_prompts(np.array([1.0, 2, 4, 3]), labels)
        assert np.isfinite(variance) == known


@pytest.mark.parametrize("sizes", [[3] * 8, [3] * 24, [2, 3, 3, 6] * 6], ids=str)
def test_tests_of_alike_prompts_have_no_more_false_alarms_than_the_level_says(
    sizes: list[int],
) -> None:
    random = np.random.default_rng(9)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shared, own = random.normal(size=(SETS, len(sizes))), random.normal(size=(SETS, len(labels)))
    differences = shared[:, labels] + own
    alarms, naive = (
        np.mean([p_different(each, clusters=clusters) < 0.05 for each in differences])
        for clusters in (labels, None)
    )
    assert alarms < 0.05 + coverage_error()
    assert naive > 0.12
    above = np.mean([p_above(each, clusters=labels) < 0.05 for each in differences])
    assert above < 0.05 + coverage_error()


def test_a_detectable_difference_of_clusters_is_found_4_times_out_of_5() -> None:
    random = np.random.default_rng(10)
    labels = np.repeat(np.arange(24), 3)
    shared, own = random.normal(size=(SETS, 24)), random.normal(size=(SETS, 72))
    differences = shared[:, labels] + own
    promised = [detectable_difference(each, 0.025, clusters=labels) for each in differences]
    # Proportional to the spread at hand, whose square is what is right on average.
    effect = np.sqrt(np.mean(np.square(promised)))
    found = np.mean([p_different(each + effect, clusters=labels) < 0.05 for each in differences])
    assert found == pytest.approx(0.8, abs=coverage_error(0.8))


@pytest.mark.parametrize(("images", "sizes"), [(10, [3] * 3), (50, [3] * 8), (10, [2, 3, 3, 6])])
def test_unchanged_prompts_of_few_scenes_are_no_finding(images: int, sizes: list[int]) -> None:
    """Nothing changed: the luck of images is each prompt's own, alike as they may be."""
    random = np.random.default_rng(11)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    before, now = random.binomial(images, 0.75, size=(2, 4000, len(labels))) / images
    p = np.array([p_above(row, 0.0, 1, images, labels) for row in now - before])
    for alpha in (0.025, 0.004):
        assert np.mean(p < alpha) < alpha + 3 * np.sqrt(alpha / 4000)


def test_clusters_of_one_prompt_change_no_bit() -> None:
    random = np.random.default_rng(13)
    n = 24
    labels = random.permutation([f"scene {number}" for number in range(n)])
    differences = random.uniform(size=n) - 0.4
    t = (differences.mean() - 0.02) / stats.sem(differences)
    for clusters in (None, labels):
        p = p_above(differences, 0.02, clusters=clusters)
        assert p == pytest.approx(stats.t.sf(t, n - 1), rel=1e-12)
    for one, other in (
        [p_different(differences, 1, 50, clusters) for clusters in (None, labels)],
        [detectable_difference(differences, 0.01, 0.02, 1, 50, c) for c in (None, labels)],
    ):
        assert one == other


def test_order_of_prompts_does_not_matter_and_one_cluster_says_nothing() -> None:
    random = np.random.default_rng(14)
    labels = random.integers(9, size=30)
    scores = random.normal(size=30) + labels / 10
    turned = random.permutation(len(scores))
    p = [p_different(scores[order], clusters=labels[order]) for order in (slice(None), turned)]
    assert p[0] == pytest.approx(p[1])
    assert np.isnan(detectable_difference(scores, 0.025, clusters=["scene"] * 30))


# Images of one prompt -----------------------------------------------------------------------------


@pytest.mark.parametrize("same_noise", [True, False])
def test_the_detectable_share_of_a_prompt_is_found_four_times_out_of_five(same_noise: bool) -> None:
    share = detectable_share(50, 0.001, 0.1, same_noise)
    random = np.random.default_rng(2)
    shown = random.binomial(50, share, size=20_000)
    p = 0.5**shown if same_noise else stats.hypergeom.sf(shown - 1, 100, shown, 50)
    assert np.mean(p < 0.001) == pytest.approx(0.8, abs=0.01)
    assert detectable_share(50, 0.001, 0.5, same_noise) > 0.5
    assert np.isnan(detectable_share(5, 0.001, 0.1, same_noise))


@pytest.mark.parametrize("same_noise", [True, False])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_the_detectable_share_of_few_images_is_that_of_their_least_finding(
    images: int, same_noise: bool
) -> None:
    p = [
        0.5**count if same_noise else stats.hypergeom.sf(count - 1, 2 * images, count, images)
        for count in range(1, images + 1)
    ]
    for count, own in enumerate(p, start=1):
        found = detectable_share(images, float(own) * 1.0001, 0.1, same_noise)
        assert stats.binom.sf(count - 1, images, found) == pytest.approx(0.8)
        # At its own level it is not yet one.
        more = detectable_share(images, float(own) * 0.9999, 0.1, same_noise)
        assert np.isnan(more) if count == images else more > found
