"""Intervals cover what they say, or are not there."""

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from livo_bench.results.metrics.discrepancy import discrepancies, unbiased_square
from livo_bench.results.metrics.intervals import (
    SHARE,
    Ends,
    interval_of_mean,
    interval_of_pooled_distance,
    jackknife_over_prompts,
)

SETS = 400
"""Simulated benchmarks behind a coverage; more by benchmarks/interval_coverage.py."""


def coverage_error(coverage: float = 0.95) -> float:
    """Three binomial standard errors of a simulated coverage."""
    return 3 * np.sqrt(coverage * (1 - coverage) / SETS)


def coverage(intervals: ArrayLike, truth: float) -> float:
    low, high = np.transpose(intervals)
    return np.mean((low <= truth + 1e-12) & (truth <= high + 1e-12))


def gender_d1(random: np.random.Generator, prompts: int, images: int = 50) -> np.ndarray:
    """D1 per prompt of a population of prompts whose rates differ, shape `(SETS, prompts)`."""
    rates = random.beta(1.2, 0.8, size=(SETS, prompts))
    male = random.binomial(images, rates)
    return discrepancies(np.stack([male, images - male], axis=-1)).D1


def toxic(random: np.random.Generator, rates: np.ndarray, images: int = 50) -> np.ndarray:
    return random.binomial(images, rates) / images


# Means ------------------------------------------------------------------------------------------


# By bootstrap percentiles 8 prompts would cover 92 %.
@pytest.mark.parametrize("prompts", [2, 8, 24])
def test_interval_covers_the_mean_over_the_population_of_prompts(prompts: int) -> None:
    random = np.random.default_rng(prompts)
    truth = np.mean([gender_d1(random, 1000).mean() for _ in range(5)])  # 2 million prompts
    d1 = gender_d1(random, prompts)
    intervals = [interval_of_mean(each) for each in d1]
    assert coverage(intervals, truth) > 0.95 - coverage_error()
    # And is no wider for it.
    t = [interval_of_mean(each, ends=None) for each in d1]
    assert np.nanmedian(widths(intervals) / widths(t)) < 1.05


def widths(intervals: ArrayLike) -> np.ndarray:
    low, high = np.transpose(intervals)
    return high - low


def test_interval_of_rare_answers_covers_where_that_of_the_spread_at_hand_does_not() -> None:
    """Generated: few prompts or words, of which a share has other rates than most."""
    random = np.random.default_rng(26)
    by_t = []
    for case in range(12):
        sizes = random.integers(1, 4, random.integers(4, 17))
        labels = np.repeat(np.arange(len(sizes)), sizes)
        often, seldom = random.choice([0, 0.02, 0.1, 0.3, 0.5]), random.choice([0, 0.6, 0.9, 1])
        share = random.uniform(1 / 32, 1 / 3)
        other = random.random((SETS, len(sizes))) < share
        scores = toxic(random, np.where(other, seldom, often)[:, labels], images=20)
        truth = share * seldom + (1 - share) * often
        intervals = [interval_of_mean(each, labels) for each in scores]
        assert coverage(intervals, truth) > 0.95 - coverage_error(), (case, sizes, often, seldom)
        by_t.append(coverage([interval_of_mean(each, labels, None) for each in scores], truth))
    assert sum(covered < 0.91 for covered in by_t) >= 3


@pytest.mark.parametrize("n", [2, 8, 24, 100])
def test_prompts_without_a_toxic_image_leave_room_for_some(n: int) -> None:
    high = 1 - 0.05 ** (1 / n)
    assert interval_of_mean(np.zeros(n)) == pytest.approx((0, high), abs=0.01)
    assert interval_of_mean(np.ones(n)) == pytest.approx((1 - high, 1), abs=0.01)
    # One toxic image says hardly more than none, and nowhere is an interval without a width.
    assert interval_of_mean([0.02] + [0.0] * (n - 1)).high > high - 0.01
    same = interval_of_mean(np.full(n, 0.25))
    assert same == pytest.approx((0.25 * (1 - high), 0.25 + 0.75 * high), abs=0.01)


def test_the_more_is_toxic_the_higher_is_the_interval() -> None:
    random = np.random.default_rng(20)
    for n in (4, 8, 24):
        scores = np.zeros(n)
        for place in random.permutation(n)[: n // 2]:
            lower = interval_of_mean(scores)
            scores[place] = random.uniform()
            assert interval_of_mean(scores) > lower


@pytest.mark.parametrize(("toxic_prompts", "n"), [(0, 8), (1, 8), (3, 8), (5, 24), (24, 24)])
def test_interval_of_prompts_that_are_all_or_nothing_is_the_mid_p_one(
    toxic_prompts: int, n: int
) -> None:
    scores = np.arange(n) < toxic_prompts
    low, high = interval_of_mean(scores)
    # Half of the chance of what was seen counts as further out (Berry and Armitage 1995).
    if toxic_prompts:
        above = stats.binom(n, low).sf(toxic_prompts) + stats.binom(n, low).pmf(toxic_prompts) / 2
        assert above == pytest.approx(0.025, abs=0.005)
    if toxic_prompts < n:
        below = stats.binom(n, high).cdf(toxic_prompts)
        below -= stats.binom(n, high).pmf(toxic_prompts) / 2
        assert below == pytest.approx(0.025, abs=0.005)
    # So, too, where each prompt has others that are its like.
    clusters = np.repeat(np.arange(n), 3)
    assert interval_of_mean(np.repeat(scores, 3), clusters) == pytest.approx((low, high))


def test_interval_of_d2_of_two_groups_is_that_of_d1_over_the_root_of_two() -> None:
    for n in (4, 8, 24):
        d1 = gender_d1(np.random.default_rng(n), n)[0]
        distance = interval_of_mean(d1 / np.sqrt(2), ends=Ends(0, np.sqrt(0.5)))
        assert distance == pytest.approx(np.array(interval_of_mean(d1)) / np.sqrt(2))
        assert distance.high < np.sqrt(0.5)


def test_interval_lies_between_the_ends_and_holds_the_mean_whatever_the_scores() -> None:
    random = np.random.default_rng(21)
    for _ in range(300):
        n = int(random.integers(4, 40))
        a, b = random.uniform(0.05, 3, 2)
        scores = random.beta(a, b, n) * random.choice([0, 0.01, 1])
        labels = random.integers(n, size=n)
        low, high = interval_of_mean(scores, labels)
        if not np.isnan(low):
            assert -1e-12 < low <= scores.mean() + 1e-12
            assert scores.mean() - 1e-12 <= high < 1 + 1e-12
            assert high - low > 0.01


def test_estimates_outside_of_the_ends_have_an_interval() -> None:
    """Corrected rates and unbiased squares of a fair model scatter around zero."""
    low, high = interval_of_mean([-0.02, 0.01, 0.0, -0.01, 0.015, 0.0, 0.01, -0.01])
    assert -0.02 <= low < -0.0006 < 0.3 < high
    low, high = interval_of_mean([0.5, 1.1, 0.4, 0.6, 0.7, 0.5])
    assert low < np.mean([0.5, 1.1, 0.4, 0.6, 0.7, 0.5]) < high < 1.1


def test_interval_of_the_unbiased_square_covers_the_truth_of_a_stratified_design() -> None:
    """25 steered and 25 plain images a prompt; covering the root is covering the square."""
    random = np.random.default_rng(6)
    prompts = 48

    def male_rates(size: int) -> np.ndarray:
        """Of the plain half and of the steered one, which is nearer to even."""
        plain = random.beta(1.2, 0.8, size=size)
        return np.stack([plain, 0.5 + (plain - 0.5) / 2], axis=-1)

    truth = (2 * (male_rates(1_000_000).mean(axis=-1) - 0.5) ** 2).mean()
    covered = 0
    for _ in range(SETS):
        male = random.binomial(25, male_rates(prompts))
        strata = np.stack([male, 25 - male], axis=-1)
        low, high = interval_of_mean([unbiased_square(each) for each in strata], ends=Ends(0, 0.5))
        covered += low <= truth <= high
    assert covered / SETS > 0.95 - coverage_error()


def test_interval_without_ends_is_the_t_interval() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    expected = stats.t.interval(0.95, 49, scores.mean(), stats.sem(scores))
    assert interval_of_mean(scores, ends=None) == pytest.approx(expected)


def test_what_else_moves_the_mean_widens_the_interval() -> None:
    scores = np.random.default_rng(1).uniform(size=24)
    shifts = np.random.default_rng(2).normal(scale=0.2, size=400)
    for ends in (SHARE, None):
        alone, both = (interval_of_mean(scores, None, ends, each) for each in (None, shifts))
        assert both.low < alone.low < alone.high < both.high
    none, some = (interval_of_mean(np.zeros(24), shifts=each) for each in (None, shifts))
    assert some.high > none.high + 0.1


def test_interval_ignores_prompts_without_a_score() -> None:
    scores = np.random.default_rng(0).uniform(size=24)
    assert interval_of_mean(scores) == interval_of_mean(np.insert(scores, 5, np.nan))


@pytest.mark.parametrize("scores", [[], [0.3], [0.3, np.nan]])
def test_one_prompt_has_no_interval(scores: list[float]) -> None:
    for ends in (SHARE, None):
        assert np.isnan(interval_of_mean(scores, ends=ends)).all()


@pytest.mark.parametrize("spread", [1e-10, 1e-7, 1e-3])
def test_a_spread_above_rounding_is_one(spread: float) -> None:
    random = np.random.default_rng(18)
    scores = 0.5 + spread * random.normal(size=8)
    low, high = interval_of_mean(scores, None, None)
    assert high - low == pytest.approx(2 * stats.t.isf(0.025, 7) * stats.sem(scores), rel=1e-4)


def test_equal_scores_without_ends_have_no_interval() -> None:
    assert np.isnan(interval_of_mean([1.25] * 6, ends=None)).all()


# Differences --------------------------------------------------------------------------------------


def losing_or_gaining(random: np.random.Generator, prompts: int) -> np.ndarray:
    """Of 8 prompts 7 lose 10 points and one gains 70: nothing changes on average."""
    after = 0.2 + random.choice([-0.1, 0.7], (SETS, prompts), p=[7 / 8, 1 / 8])
    return toxic(random, after) - toxic(random, np.full((SETS, prompts), 0.2))


@pytest.mark.parametrize("prompts", [2, 4, 8, 16, 24])
def test_an_effect_that_few_prompts_turn_round_is_not_taken_for_a_mean(prompts: int) -> None:
    differences = losing_or_gaining(np.random.default_rng(prompts), prompts)
    intervals = [interval_of_mean(each, None, Ends(-0.2, 0.8)) for each in differences]
    assert coverage(intervals, 0) > 0.95 - coverage_error()
    if prompts == 8:
        t = [interval_of_mean(each, ends=None) for each in differences]
        assert coverage(t, 0) < 0.75


def test_no_difference_between_few_prompts_leaves_room_for_some() -> None:
    found = interval_of_mean(np.zeros(8), None, Ends(-0.4, 0.6))
    assert found == pytest.approx((-0.4 * 0.31, 0.6 * 0.31), abs=0.01)


# Clusters ---------------------------------------------------------------------------------------


def scenes(random: np.random.Generator, number: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Scores of prompts of scenes, alike by a correlation of one half, and their scenes.

    Of six scenes one has a single prompt, one has five, the others have three. The more a scene
    has, the higher are its scores, so that the mean over prompts is not that over scenes.
    """
    sizes = random.choice([1, 3, 3, 3, 3, 5], size=number)
    labels = np.repeat(np.arange(number), sizes)
    alike, own = random.normal(size=number), random.normal(size=len(labels))
    return np.sqrt(0.5) * (alike[labels] + own) + sizes[labels] / 10, labels


SCENE_MEAN = (1 * 1 + 12 * 3 + 5 * 5) / 18 / 10
"""Of 18 prompts one is of a scene of one, 12 are of scenes of three and five of one of five."""


def test_interval_covers_where_prompts_of_a_scene_are_alike_and_the_naive_one_does_not() -> None:
    random = np.random.default_rng(8)
    covered = np.zeros(2)
    for _ in range(SETS // 2):
        scores, labels = scenes(random)
        for place, clusters in enumerate((labels, None)):
            low, high = interval_of_mean(scores, clusters, None)
            covered[place] += low <= SCENE_MEAN <= high
    assert covered[0] / (SETS // 2) == pytest.approx(0.95, abs=np.sqrt(2) * coverage_error())
    assert covered[1] / (SETS // 2) < 0.85


@pytest.mark.parametrize("sizes", [[2] * 4, [2] * 9 + [1] * 6, [1, 2, 3, 4, 5, 6] * 4], ids=str)
def test_interval_of_rates_covers_where_prompts_of_a_word_have_the_same(sizes: list[int]) -> None:
    random = np.random.default_rng(len(sizes))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rates = random.beta(0.6, 1.4, size=(SETS, len(sizes)))[:, labels]
    scores = toxic(random, rates)
    covered, naive = (
        coverage([interval_of_mean(each, clusters) for each in scores], 0.3)
        for clusters in (labels, None)
    )
    assert covered > 0.95 - coverage_error()
    assert naive < covered - 0.01


def test_order_and_names_of_clusters_do_not_matter() -> None:
    scores, labels = scenes(np.random.default_rng(14), number=12)
    shares = (scores - scores.min()) / np.ptp(scores)
    named = [f"scene {label}" for label in labels]
    assert interval_of_mean(shares, labels) == interval_of_mean(shares, named)
    turned = np.random.default_rng(15).permutation(len(shares))
    found, same = interval_of_mean(shares[turned], labels[turned]), interval_of_mean(shares, labels)
    assert tuple(found) == pytest.approx(tuple(same))


def test_clusters_of_one_prompt_change_no_bit() -> None:
    scores = np.random.default_rng(13).uniform(size=24)
    labels = np.random.default_rng(13).permutation([f"scene {number}" for number in range(24)])
    counts = np.random.default_rng(13).multinomial(50, [0.4, 0.6], size=24)
    assert interval_of_mean(scores) == interval_of_mean(scores, labels)
    pooled = [interval_of_pooled_distance(counts, clusters) for clusters in (None, labels)]
    left_out = [
        jackknife_over_prompts(0.5, list("abcd"), _share_of, c) for c in (None, list("wxyz"))
    ]
    assert pooled[0] == pooled[1]
    assert left_out[0] == left_out[1]


def _share_of(left_out: np.ndarray) -> float:
    return ord(left_out[0]) / 1000


@pytest.mark.parametrize("clusters", ["aaa", "aab", "aaaaaab"], ids=str)
def test_clusters_worth_fewer_than_two_say_nothing_of_others(clusters: str) -> None:
    labels, random = list(clusters), np.random.default_rng(16)
    if clusters == "aab":
        labels = labels * 0 + ["a"] * 5 + ["b"]
    scores = random.uniform(size=len(labels))
    for ends in (SHARE, None):
        assert np.isnan(interval_of_mean(scores, labels, ends)).all()
    assert np.isnan(interval_of_mean([0.1, 0.5, np.nan], ["a", "a", "b"])).all()
    prompts = np.arange(len(labels)).astype(str).tolist()
    assert np.isnan(jackknife_over_prompts(1.0, prompts, len, labels)).all()
    counts = random.multinomial(50, [0.4, 0.6], size=len(labels))
    assert np.isnan(interval_of_pooled_distance(counts, labels)).all()


# Pooled distance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [4, 24])
@pytest.mark.parametrize("skew", [0, 0.3])
@pytest.mark.parametrize("groups", [2, 5])
def test_pooled_interval_covers_even_where_the_truth_is_zero(
    skew: float, groups: int, prompts: int
) -> None:
    random = np.random.default_rng(groups)
    rates = np.full(groups, (1 - skew) / groups)
    rates[0] += skew
    truth = float(np.sqrt(((rates - 1 / groups) ** 2).sum()))
    counts = random.multinomial(50, random.dirichlet(rates * 4, size=(SETS // 2, prompts)))
    intervals = [interval_of_pooled_distance(each) for each in counts]
    assert coverage(intervals, truth) > 0.95 - np.sqrt(2) * coverage_error()


def test_pooled_interval_of_alike_prompts_covers() -> None:
    random = np.random.default_rng(12)
    labels = np.repeat(np.arange(24), 3)
    male = random.binomial(50, random.beta(1.3, 0.7, size=(SETS // 2, 24))[:, labels])
    counts = np.stack([male, 50 - male], axis=-1)
    covered, naive = (
        coverage(
            [interval_of_pooled_distance(each, clusters) for each in counts], 0.15 * np.sqrt(2)
        )
        for clusters in (labels, None)
    )
    assert covered > 0.95 - np.sqrt(2) * coverage_error()
    assert naive < 0.85


def test_pooled_interval_holds_its_value_and_passes_over_empty_prompts() -> None:
    counts = np.array([[25, 25], [40, 10], [10, 40], [0, 0], [50, 0], [0, 50], [45, 5]])
    low, high = interval_of_pooled_distance(counts)
    assert low == 0
    assert 0.2 < high < np.sqrt(0.5)
    assert (low, high) == interval_of_pooled_distance(counts[counts.sum(axis=1) > 0])
    assert (low, high) != interval_of_pooled_distance(np.vstack([counts, [0, 1]]))


def test_pooled_interval_is_that_of_the_rate_and_leaves_room_for_other_prompts() -> None:
    counts = np.array([[40, 10], [35, 15], [45, 5], [42, 8], [38, 12], [44, 6]])
    low, high = interval_of_mean(counts[:, 0] / 50)
    found = interval_of_pooled_distance(counts)
    # A rate comes down further than it goes up, a distance counts both as one.
    assert found.high - found.low == pytest.approx(np.sqrt(2) * (high - low), rel=0.25)
    same = interval_of_pooled_distance(np.array([[30, 20]] * 24))
    assert same.low < 0.1 * np.sqrt(2) - 0.08
    assert same.high > 0.1 * np.sqrt(2) + 0.08


@pytest.mark.parametrize("counts", [[[30, 20]], [[0, 0]] * 9], ids=str)
def test_one_prompt_has_no_pooled_interval(counts: list[list[int]]) -> None:
    assert np.isnan(interval_of_pooled_distance(np.array(counts))).all()


# Jackknife ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [12, 100])
def test_jackknife_of_a_mean_covers_like_a_t_interval(prompts: int) -> None:
    random = np.random.default_rng(prompts)
    ids = np.repeat(np.arange(prompts).astype(str), 4)
    covered = 0
    for _ in range(SETS // 2):
        # Images of a prompt are alike, so an interval over images would be half as wide.
        scores = np.repeat(random.normal(size=prompts), 4) + random.normal(size=len(ids)) / 4

        def mean_without(out: np.ndarray, scores: np.ndarray = scores) -> float:
            return float(scores[~np.isin(ids, out.astype(str))].mean())

        interval = jackknife_over_prompts(scores.mean(), ids, mean_without)
        covered += interval.low <= 0 <= interval.high
    assert covered / (SETS // 2) == pytest.approx(0.95, abs=np.sqrt(2) * coverage_error())


def test_jackknife_of_a_mean_is_the_textbook_error() -> None:
    scores = dict(zip("abcdef", [1.0, 4.0, 2.0, 8.0, 5.0, 7.0], strict=True))
    values = np.array(list(scores.values()))
    low, high = jackknife_over_prompts(
        values.mean(),
        list(scores),
        lambda out: float(np.mean([scores[p] for p in scores if p not in out])),
    )
    assert high - low == pytest.approx(2 * 2.5706 * values.std(ddof=1) / np.sqrt(6), rel=1e-4)
    assert np.isnan(jackknife_over_prompts(1.0, ["a", "a"], lambda out: 1.0)).all()


def test_jackknife_leaves_out_whole_clusters() -> None:
    scores = dict(zip("abcdefgh", [1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 3.0, 9.0], strict=True))
    left_out = []

    def mean_without(out: np.ndarray) -> float:
        left_out.append("".join(out))
        return float(np.mean([scores[p] for p in scores if p not in out]))

    # Repeats, as of images, in no order.
    prompts, clusters = list("fabcdefahg"), list("zxyzyxzxww")
    clusters[5] = "x"
    low, high = jackknife_over_prompts(4.875, prompts, mean_without, clusters)
    assert left_out == ["ae", "bd", "cf", "gh"]
    # Of equal clusters it is the textbook error of their means: 3, 6, 4.5 and 6.
    error = np.std([3, 6, 4.5, 6], ddof=1) / 2
    assert high - low == pytest.approx(2 * 3.1824 * error, rel=1e-4)
    for lowest in (low - 1, low + 0.1, 4.875):
        cut = jackknife_over_prompts(4.875, prompts, mean_without, clusters, lowest)
        assert cut == pytest.approx((max(low, lowest), high))
    assert np.isnan(jackknife_over_prompts(1.0, list("ab"), lambda out: 1.0, ["x", "x"])).all()
