"""Intervals cover what they say; floors equal what fair models read."""

import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import binom

from livo_bench.metrics import statistics
from livo_bench.metrics.discrepancy import discrepancies, unbiased_square
from livo_bench.metrics.statistics import (
    Design,
    bootstrap_over_prompts,
    bootstrap_pooled_distance,
    detectable_difference,
    expected_scores,
    fair_rates,
    holm,
    jackknife_over_prompts,
    noise_floor,
    p_above,
    p_different,
    pooled_noise_floor,
)

SETS = 800
"""Simulated benchmarks behind a coverage."""


def coverage_error(coverage=0.95):
    """Three binomial standard errors of a simulated coverage."""
    return 3 * np.sqrt(coverage * (1 - coverage) / SETS)


def gender_d1(random, prompts, images=50):
    """D1 per prompt of a population of prompts whose rates differ, shape `(SETS, prompts)`."""
    rates = random.beta(1.2, 0.8, size=(SETS, prompts))
    male = random.binomial(images, rates)
    return discrepancies(np.stack([male, images - male], axis=-1)).D1


# Intervals ----------------------------------------------------------------------------------------


# With 8 prompts plain percentiles would cover 90 %, with 24 they would cover 93.5 %.
@pytest.mark.parametrize("prompts", [8, 24])
def test_bootstrap_covers_the_mean_over_the_population_of_prompts(prompts):
    random = np.random.default_rng(prompts)
    truth = np.mean([gender_d1(random, 1000).mean() for _ in range(5)])  # 4 million prompts
    intervals = np.array([bootstrap_over_prompts(d1, 1000) for d1 in gender_d1(random, prompts)])
    covered = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
    assert covered == pytest.approx(0.95, abs=coverage_error())


def test_interval_of_the_unbiased_square_covers_the_truth_of_a_stratified_design():
    """25 steered and 25 plain images a prompt; covering the root is covering the square."""
    random = np.random.default_rng(6)
    prompts = 48

    def male_rates(size):
        """Of the plain half and of the steered one, which is nearer to even."""
        plain = random.beta(1.2, 0.8, size=size)
        return np.stack([plain, 0.5 + (plain - 0.5) / 2], axis=-1)

    truth = (2 * (male_rates(1_000_000).mean(axis=-1) - 0.5) ** 2).mean()
    covered = 0
    for _ in range(SETS):
        male = random.binomial(25, male_rates(prompts))
        strata = np.stack([male, 25 - male], axis=-1)
        low, high = bootstrap_over_prompts([unbiased_square(each) for each in strata], 1000)
        covered += low <= truth <= high
    assert covered / SETS == pytest.approx(0.95, abs=coverage_error())


def test_interval_of_a_share_of_toxic_images_covers():
    random = np.random.default_rng(7)
    rates = random.beta(0.6, 1.4, size=(SETS, 24))  # from none to all, a third on average
    shares = random.binomial(50, rates) / 50
    intervals = np.array([bootstrap_over_prompts(each, 1000) for each in shares])
    covered = np.mean((intervals[:, 0] <= 0.3) & (intervals[:, 1] >= 0.3))
    assert covered == pytest.approx(0.95, abs=coverage_error())


def test_width_is_that_of_the_t_interval():
    scores = np.random.default_rng(0).normal(size=50)
    low, high = bootstrap_over_prompts(scores)
    # 2.0096: t quantile of 49 degrees of freedom. Ends of 4,000 resamples scatter by 2 %.
    expected = 2 * 2.0096 * scores.std(ddof=1) / np.sqrt(50)
    assert high - low == pytest.approx(expected, rel=0.04)
    assert (low + high) / 2 == pytest.approx(scores.mean(), abs=0.02 * expected)


def test_interval_is_repeatable_and_ignores_prompts_without_a_score():
    scores = np.random.default_rng(0).uniform(size=24)
    with_gap = np.insert(scores, 5, np.nan)
    assert bootstrap_over_prompts(scores) == bootstrap_over_prompts(with_gap)
    assert bootstrap_over_prompts(scores) != bootstrap_over_prompts(scores, seed=1)


@pytest.mark.parametrize("scores", [[], [0.3], [0.3, np.nan]])
def test_one_prompt_has_no_interval(scores):
    assert np.isnan(bootstrap_over_prompts(scores)).all()


def test_equal_prompts_have_an_interval_of_no_width():
    assert bootstrap_over_prompts([0.25] * 6) == (0.25, 0.25)


@pytest.mark.parametrize("skew", [0, 0.05, 0.3])
@pytest.mark.parametrize("groups", [2, 5])
def test_pooled_interval_covers_even_where_the_truth_is_zero(skew, groups):
    random = np.random.default_rng(groups)
    rates = np.full(groups, (1 - skew) / groups)
    rates[0] += skew
    truth = float(np.sqrt(((rates - 1 / groups) ** 2).sum()))
    counts = random.multinomial(50, random.dirichlet(rates * 4, size=(SETS, 24)))
    intervals = np.array([bootstrap_pooled_distance(each, 500) for each in counts])
    covered = np.mean((intervals[:, 0] <= truth + 1e-12) & (truth <= intervals[:, 1]))
    assert covered > 0.95 - coverage_error()  # conservative by design for five groups


def test_pooled_interval_holds_its_value_and_passes_over_empty_prompts():
    counts = np.array([[25, 25], [40, 10], [10, 40], [0, 0]])
    low, high = bootstrap_pooled_distance(counts)
    assert low == 0
    assert high == pytest.approx(np.sqrt(0.5))  # three prompts this different could be anything
    assert (low, high) == bootstrap_pooled_distance(counts[:3])
    assert np.isnan(bootstrap_pooled_distance(counts[:1])).all()


@pytest.mark.parametrize("prompts", [12, 100])
def test_jackknife_of_a_mean_covers_like_a_t_interval(prompts):
    random = np.random.default_rng(prompts)
    ids = np.repeat(np.arange(prompts).astype(str), 4)
    covered = 0
    for _ in range(SETS // 2):
        # Images of a prompt are alike, so an interval over images would be half as wide.
        scores = np.repeat(random.normal(size=prompts), 4) + random.normal(size=len(ids)) / 4
        interval = jackknife_over_prompts(
            scores.mean(), ids, lambda out, s=scores: s[~np.isin(ids, out.astype(str))].mean()
        )
        covered += interval.low <= 0 <= interval.high
    assert covered / (SETS // 2) == pytest.approx(0.95, abs=np.sqrt(2) * coverage_error())


def test_jackknife_of_a_mean_is_the_textbook_error():
    scores = dict(zip("abcdef", [1.0, 4.0, 2.0, 8.0, 5.0, 7.0], strict=True))
    values = np.array(list(scores.values()))
    low, high = jackknife_over_prompts(
        values.mean(),
        list(scores),
        lambda out: float(np.mean([scores[p] for p in scores if p not in out])),
    )
    assert high - low == pytest.approx(2 * 2.5706 * values.std(ddof=1) / np.sqrt(6), rel=1e-4)
    assert np.isnan(jackknife_over_prompts(1.0, ["a", "a"], lambda out: 1.0)).all()


# Clusters -----------------------------------------------------------------------------------------


def scenes(random, number=24):
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


def test_interval_covers_where_prompts_of_a_scene_are_alike_and_the_naive_one_does_not():
    random = np.random.default_rng(8)
    covered = np.zeros(2)
    for _ in range(SETS // 2):
        scores, labels = scenes(random)
        for place, clusters in enumerate((labels, None)):
            low, high = bootstrap_over_prompts(scores, 1000, clusters=clusters)
            covered[place] += low <= SCENE_MEAN <= high
    assert covered[0] / (SETS // 2) == pytest.approx(0.95, abs=np.sqrt(2) * coverage_error())
    assert covered[1] / (SETS // 2) < 0.85


def test_few_clusters_of_very_unequal_size_count_as_fewer_and_as_many_they_would_be_seen(
    monkeypatch,
):
    """A bound that the error in question does not break would guard nothing."""
    sizes, sets = [1] * 12 + [6] * 4, 5 * SETS
    labels = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(9)
    shared = random.normal(size=(sets, len(sizes)))[:, labels]
    differences = shared + random.normal(size=(sets, len(labels)))

    def alarms() -> float:
        return np.mean([p_different(each, clusters=labels) < 0.05 for each in differences])

    # A quarter of a level more is left where clusters are few and very unequal.
    bound = 0.05 * 1.25 + coverage_error() / np.sqrt(5)
    assert alarms() < bound
    monkeypatch.setattr(statistics, "_effective", lambda sizes: float(len(sizes)))
    assert alarms() > bound


@pytest.mark.parametrize("sizes", [[3] * 8, [3] * 24, [2, 3, 3, 6] * 6], ids=str)
def test_tests_of_alike_prompts_have_no_more_false_alarms_than_the_level_says(sizes):
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


def test_a_detectable_difference_of_clusters_is_found_4_times_out_of_5():
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
def test_unchanged_prompts_of_few_scenes_are_no_finding(images, sizes):
    """Nothing changed: the luck of images is each prompt's own, alike as they may be."""
    random = np.random.default_rng(11)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    before, now = random.binomial(images, 0.75, size=(2, 4000, len(labels))) / images
    p = np.array([p_above(row, 0.0, 1, images, labels) for row in now - before])
    for alpha in (0.025, 0.004):
        assert np.mean(p < alpha) < alpha + 3 * np.sqrt(alpha / 4000)


def test_pooled_interval_of_alike_prompts_covers():
    random = np.random.default_rng(12)
    labels = np.repeat(np.arange(24), 3)
    covered = np.zeros(2)
    for _ in range(SETS // 2):
        rates = random.beta(1.3, 0.7, size=24)[labels]
        male = random.binomial(50, rates)
        counts = np.stack([male, 50 - male], axis=1)
        for place, clusters in enumerate((labels, None)):
            low, high = bootstrap_pooled_distance(counts, 500, clusters=clusters)
            covered[place] += low <= 0.15 * np.sqrt(2) <= high
    assert covered[0] / (SETS // 2) == pytest.approx(0.95, abs=np.sqrt(2) * coverage_error())
    assert covered[1] / (SETS // 2) < 0.85


def test_jackknife_leaves_out_whole_clusters():
    scores = dict(zip("abcdef", [1.0, 4.0, 2.0, 8.0, 5.0, 7.0], strict=True))
    left_out = []

    def mean_without(out):
        left_out.append("".join(out))
        return float(np.mean([scores[p] for p in scores if p not in out]))

    # Repeats, as of images, in no order.
    prompts, clusters = list("fabcdefa"), list("yxzyzxyx")
    low, high = jackknife_over_prompts(4.5, prompts, mean_without, clusters)
    assert left_out == ["ae", "bd", "cf"]
    # Of equal clusters it is the textbook error of their means: 3, 6 and 4.5.
    error = np.std([3, 6, 4.5], ddof=1) / np.sqrt(3)
    assert high - low == pytest.approx(2 * 4.3027 * error, rel=1e-4)
    assert np.isnan(jackknife_over_prompts(1.0, list("ab"), lambda out: 1.0, ["x", "x"])).all()


def test_clusters_of_one_prompt_change_no_bit():
    random = np.random.default_rng(13)
    scores, n = random.uniform(size=24), 24
    labels = random.permutation([f"scene {number}" for number in range(n)])
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=4000).astype(float)
    expansion = np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975) / ndtri(0.975)
    tail = ndtr(-expansion * ndtri(0.975))
    expected = np.quantile(drawn @ scores / n, [tail, 1 - tail])
    counts = random.multinomial(50, [0.4, 0.6], size=n)
    rates = drawn @ counts
    offsets = rates / rates.sum(axis=1, keepdims=True) - counts.sum(axis=0) / counts.sum()
    radius = expansion * np.quantile(np.linalg.norm(offsets, axis=1), 0.95)
    reach = discrepancies(counts.sum(axis=0)).D2 + radius
    differences = scores - 0.4
    error = np.sqrt(max(float(differences.var(ddof=1)), 0.0) / n)
    t = stats.t.sf((differences.mean() - 0.02) / error, n - 1)
    for clusters in (None, labels):
        assert bootstrap_over_prompts(scores, clusters=clusters) == tuple(expected)
        assert bootstrap_pooled_distance(counts, clusters=clusters).high == reach
        assert p_above(differences, 0.02, clusters=clusters) == t
    for one, other in (
        [p_different(differences, 1, 50, clusters) for clusters in (None, labels)],
        [detectable_difference(differences, 0.01, 0.02, 1, 50, c) for c in (None, labels)],
        [jackknife_over_prompts(0.5, list("abcd"), len, c) for c in (None, list("wxyz"))],
    ):
        assert one == other


def test_order_and_names_of_clusters_do_not_matter():
    scores, labels = scenes(np.random.default_rng(14), number=12)
    named = [f"scene {label}" for label in labels]
    assert bootstrap_over_prompts(scores, clusters=labels) == bootstrap_over_prompts(
        scores, clusters=named
    )
    turned = np.random.default_rng(0).permutation(len(scores))
    p = [p_different(scores[order], clusters=labels[order]) for order in (slice(None), turned)]
    assert p[0] == pytest.approx(p[1])


def test_one_cluster_says_nothing_of_others():
    scores, same = np.array([0.1, 0.5, 0.3]), ["scene"] * 3
    assert np.isnan(bootstrap_over_prompts(scores, clusters=same)).all()
    assert np.isnan(bootstrap_over_prompts([0.1, 0.5, np.nan], clusters=["a", "a", "b"])).all()
    assert np.isnan(bootstrap_pooled_distance(np.ones((3, 2), int), clusters=same)).all()
    assert np.isnan(detectable_difference(scores, 0.025, clusters=same))


# Floors -------------------------------------------------------------------------------------------


def exact_gender_gap(sizes, male_rates):
    """E|gap| of two groups from the distribution of the number of male images, no simulation."""
    distribution = np.ones(1)
    for size, rate in zip(sizes, male_rates, strict=True):
        distribution = np.convolve(distribution, binom.pmf(np.arange(size + 1), size, rate))
    male = np.arange(sum(sizes) + 1)
    return distribution @ np.abs(2 * male / sum(sizes) - 1)


def floor_of(strata):
    """D1 and D2 of a fair model, per cent."""
    return tuple(100 * float(score[0]) for score in noise_floor([np.array(strata)]))


# Simulated with 2^18 strata: four standard errors are at most 0.07 points of D1.
POINTS = 0.07


@pytest.mark.parametrize(
    ("groups", "d1", "d2"), [(2, 11.23, 7.94), (5, 14.65, 11.90)], ids=["gender", "race"]
)
def test_fifty_independent_images_read_the_known_floor(groups, d1, d2):
    # Gender exact; race summed over all 316,251 ways to share 50 images among five groups.
    skewed = np.arange(groups)[None] * 50 // np.arange(groups).sum()
    assert floor_of(skewed) == pytest.approx((d1, d2), abs=POINTS)


@pytest.mark.parametrize(("rate", "d1", "d2"), [(70, 10.3, 7.3), (90, 6.6, 4.7), (95, 4.7, 3.3)])
def test_halves_skewed_against_one_another_read_less(rate, d1, d2):
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
def test_floor_of_two_strata_is_that_of_the_shifted_rates(strata, fair_male_rates):
    sizes = [sum(counts) for counts in strata]
    exact = 100 * exact_gender_gap(sizes, fair_male_rates)
    assert floor_of(strata) == pytest.approx((exact, exact / np.sqrt(2)), abs=POINTS)


def test_exact_quota_has_no_floor():
    assert floor_of(np.eye(5, dtype=int) * 10) == (0, 0)


def test_quota_of_an_imperfect_method_reads_between_none_and_independent():
    obeyed = np.full((5, 5), 1) + np.eye(5, dtype=int) * 5
    d1, d2 = floor_of(obeyed)
    assert 0 < d1 < 14.5
    # Rates .6 and four times .1 in strata of 10: E[D2^2] = sum w^2 n (1 - sum r^2) / n^2.
    assert d2 < 100 * np.sqrt(5 * 0.2**2 * (1 - 0.36 - 0.04) / 10)


def test_strata_that_do_not_differ_read_almost_the_floor_of_one():
    """The bound given in the docstring: rates seen in few images look too different."""
    drawn = np.random.default_rng(4).multinomial([25, 25], [[0.2] * 5] * 2, size=(300, 2))
    floors = noise_floor(list(drawn)).D2
    # 1 % low for 25 + 25; sampling error of 300 such prompts 0.2 %.
    assert floors.mean() / 0.1190 == pytest.approx(0.99, abs=0.006)


def test_floor_does_not_depend_on_the_bias_of_independent_images_nor_on_names():
    assert floor_of([[50, 0]]) == floor_of([[25, 25]])
    assert floor_of([[20, 5], [10, 15]]) == floor_of([[10, 15], [20, 5]])


def test_designs_without_rates_have_no_floor():
    nothing = np.zeros((0, 2), dtype=int)
    floors = noise_floor([np.array([[1, 0], [3, 2]]), nothing, np.array([[1, 0]])])
    # A single independent image reads 1, whatever it shows.
    assert floors.D1[:2] == pytest.approx([np.nan] * 2, nan_ok=True)
    assert floors.D1[2] == 1
    assert noise_floor([]).D1.shape == (0,)
    assert np.isnan(pooled_noise_floor([nothing]))


def test_pooled_floor_is_that_of_all_images_together():
    halves = np.array([[20, 5], [5, 20]])
    floor = pooled_noise_floor([halves] * 4 + [np.array([[30, 20]])])
    exact = exact_gender_gap((100, 100, 50), (0.8, 0.2, 0.5)) / np.sqrt(2)
    assert floor == pytest.approx(exact, abs=POINTS / 100)


@pytest.mark.parametrize("groups", [2, 5])
def test_fair_rates_are_the_nearest_with_an_even_mixture(groups):
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


def test_floors_of_the_largest_task_are_quick():
    random = np.random.default_rng(5)
    rates = random.dirichlet([0.3] * 5, size=(588, 2))
    prompts = list(random.multinomial([25, 25], rates))  # 588 prompts, no two designs alike
    start = time.process_time()
    noise_floor(prompts)
    # Measured: 0.3 s; the rest is room for a busy machine.
    assert time.process_time() - start < 2


# Tests --------------------------------------------------------------------------------------------


def test_p_above_is_that_of_the_t_test():
    differences = np.array([0.1, 0.3, -0.2, 0.4, 0.25])
    for margin in (0.0, 0.05):
        expected = stats.ttest_1samp(differences, margin, alternative="greater").pvalue
        assert p_above(differences, margin) == pytest.approx(expected, rel=1e-9)
    assert p_different(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert p_different(-differences) == pytest.approx(p_different(differences))


@pytest.mark.parametrize(("shift", "p"), [(0.3, 0), (0.1 + 0.2, 0), (0, 1), (-0.3, 1)])
def test_differences_without_spread_leave_nothing_to_doubt(shift, p):
    assert p_above(np.full(7, shift), margin=0.1) == p
    # A third of 0.1 + 0.2 - 0.3 is not zero in floating-point arithmetic.
    assert p_above(np.array([0.1 + 0.2, 0.3, 0.3]) - 0.3) == 1
    assert p_different(np.full(7, shift)) == float(shift == 0)


def test_holm_is_the_step_down_of_bonferroni():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm([0.6, 0.9])) == [1, 1]
    assert holm([]).shape == (0,)


def test_holm_rejects_any_true_hypothesis_as_rarely_as_alpha_says():
    random = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(2000):
        # Five true hypotheses, two of them the same one, and two false ones.
        p = np.concatenate([random.uniform(size=4), random.uniform(0, 1e-4, size=2)])
        rejected = holm(np.append(p, p[0])) < 0.05
        false_alarms += rejected[[0, 1, 2, 3, 6]].any()
    # Three standard errors; the one hypothesis that is there twice makes it a little rarer.
    assert false_alarms / 2000 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert false_alarms / 2000 > 0.025


def test_a_detectable_difference_is_a_multiple_of_the_standard_error():
    differences = np.array([1.0, -1.0, 2.0, 0.0])
    found = detectable_difference(differences, alpha=0.025)
    noncentrality = found / stats.sem(differences)
    assert stats.nct.sf(stats.t.isf(0.025, 3), 3, noncentrality) == pytest.approx(0.8, abs=1e-3)
    assert detectable_difference(differences, 0.025, margin=0.5) == pytest.approx(found + 0.5)
    assert detectable_difference(np.full(5, 0.3), alpha=0.025) == pytest.approx(0)
    assert np.isnan(detectable_difference(np.array([0.3]), alpha=0.025))


def test_results_that_do_not_differ_promise_no_more_than_a_change_of_single_images():
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
def test_few_prompts_of_few_images_that_agree_by_chance_are_no_finding(prompts, images, alpha):
    random = np.random.default_rng(prompts)
    before, now = random.binomial(images, 0.75, size=(2, 4000, prompts)) / images
    p = np.array([p_above(row, reach=1, images=images) for row in now - before])
    assert np.mean(p < alpha) < alpha + 3 * np.sqrt(alpha / 4000)
    if (prompts, alpha) == (2, 0.004):
        spread_alone = np.array([p_above(row) for row in now - before])
        assert np.mean(spread_alone < alpha) > 10 * alpha
