from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from written_results import IMAGES, PROMPTS, TOXIC, bias_images, toxic_images, write_run

from livo_bench.check import as_rows, check, paired_test
from livo_bench.errors import BadInput, Incomplete, NotComparable


@pytest.fixture
def baseline(tmp_path):
    return write_run(tmp_path / "baseline", bias_images([7, 8, 6, 9, 3, 2, 5, 7]))


def test_the_same_results_pass_with_no_difference(baseline):
    comparisons = check(baseline, baseline)
    assert [(c.subset, c.metric) for c in comparisons] == [("gender", "D1"), ("gender", "D2")]
    for c in comparisons:
        assert (c.difference, c.p, c.regression) == (0, 1, False)
        assert (c.prompts, c.images) == (PROMPTS, PROMPTS * IMAGES)
        assert c.detectable == 0.02
    # D1 = |2 x / 10 - 1| of 7, 8, 6, 9, 3, 2, 5, 7
    assert comparisons[0].before == pytest.approx(np.mean([0.4, 0.6, 0.2, 0.8, 0.4, 0.6, 0, 0.4]))


def test_a_clear_worsening_is_a_regression_and_p_is_that_of_the_t_test(tmp_path, baseline):
    now = write_run(tmp_path / "now", bias_images([10, 10, 9, 10, 0, 1, 8, 10]))
    d1 = check(baseline, now)[0]
    before_d1 = np.array([0.4, 0.6, 0.2, 0.8, 0.4, 0.6, 0, 0.4])
    now_d1 = np.array([1, 1, 0.8, 1, 1, 0.8, 0.6, 1])
    expected = stats.ttest_rel(now_d1, before_d1 + 0.02, alternative="greater").pvalue
    assert d1.p == pytest.approx(expected, rel=1e-9)
    assert d1.difference == pytest.approx((now_d1 - before_d1).mean())
    assert d1.regression


def test_an_improvement_passes(tmp_path, baseline):
    now = write_run(tmp_path / "now", bias_images([5] * PROMPTS))
    assert not any(c.regression for c in check(baseline, now))


def test_a_difference_within_the_margin_passes_and_beyond_it_does_not(tmp_path):
    before = write_run(tmp_path / "before", toxic_images(np.full((4, 10), 0.10)), **TOXIC)
    now = write_run(tmp_path / "now", toxic_images(np.full((4, 10), 0.15)), **TOXIC)
    rate, score = check(before, now, margin=0.06)
    assert (score.metric, round(score.difference, 6), score.p) == ("avg_s", 0.05, 1)
    assert not score.regression
    rate, score = check(before, now, margin=0.04)
    assert (score.p, score.regression) == (0, True)
    assert (rate.difference, rate.regression) == (0, False)  # no image crossed one half


def test_alpha_is_shared_among_the_tests(tmp_path, baseline):
    worse = [8, 8, 7, 9, 2, 2, 5, 8]
    now = write_run(tmp_path / "now", bias_images(worse))
    p = check(baseline, now)[0].p
    assert check(baseline, now, alpha=2.02 * p)[0].regression  # two tests, half of alpha each
    assert not check(baseline, now, alpha=1.98 * p)[0].regression


def alarms(difference: float, alpha: float, repetitions: int) -> float:
    """Share of tests of 12 prompts that find a true difference, of spread 0.1, above 0.02."""
    draws = np.random.default_rng(0).normal(difference, 0.1, size=(repetitions, 12))
    return float(np.mean([paired_test(worse, alpha, margin=0.02).p < alpha for worse in draws]))


def test_false_alarms_are_as_rare_as_alpha_says():
    # 2,000 repetitions: three standard errors are 3 sqrt(0.1 * 0.9 / 2000) = 0.020.
    assert alarms(0.02, alpha=0.1, repetitions=2000) == pytest.approx(0.1, abs=0.020)


def test_the_detectable_difference_is_found_four_times_out_of_five():
    # What 12 differences of spread 0.1 can detect. 2,000 repetitions: three standard errors are
    # 0.027, and the approximation itself is off by 1 point.
    known_spread = np.tile([-1.0, 1.0], 6) * 0.1 * np.sqrt(11 / 12)
    size = paired_test(known_spread, alpha=0.05, margin=0.02).detectable
    assert 0.06 < size < 0.12
    assert alarms(size, alpha=0.05, repetitions=2000) == pytest.approx(0.8, abs=0.037)


def test_a_smaller_run_is_compared_on_exactly_the_shared_images(tmp_path, baseline):
    images = bias_images([7, 8, 6, 9, 3, 2, 5, 7])
    few = images[(images["index"] < 4) & images["prompt"].isin(["p0", "p3", "p5"])]
    now = write_run(tmp_path / "now", few)
    d1 = check(baseline, now)[0]
    assert (d1.prompts, d1.images) == (3, 12)
    # Of their first 4 images, 4, 4 and 2 are male.
    assert d1.before == d1.now == pytest.approx((1 + 1 + 0) / 3)


def test_a_baseline_of_many_runs_in_one_file_is_read_by_method_and_task(tmp_path, baseline):
    gender, race = bias_images([7] * 4), bias_images([6] * 4, subset="race")
    both = pd.concat([gender, race]).assign(method="sd", task="bias")
    other = gender.assign(method="noise", task="bias", label="male")
    folder = write_run(tmp_path / "many", both)
    names = pd.read_csv(folder / "aggregates.csv")
    pd.concat([names, names.assign(method="noise")]).to_csv(folder / "aggregates.csv", index=False)
    gender.to_parquet(folder / "images.parquet")
    with pytest.raises(BadInput, match=r"no columns method and task, .* speaks of 2 runs"):
        check(folder, folder)
    pd.concat([both, other]).to_parquet(folder / "images.parquet")
    now = write_run(tmp_path / "now", pd.concat([gender, race]))
    comparisons = check(folder, now, methods=["sd"])
    assert [(c.subset, c.metric) for c in comparisons] == [
        ("gender", "D1"), ("gender", "D2"), ("race", "D1"), ("race", "D2"),
    ]  # fmt: skip
    assert all(c.difference == 0 for c in comparisons)


def test_other_scorers_are_not_comparable(tmp_path, baseline):
    now = write_run(
        tmp_path / "now", bias_images([7] * PROMPTS), scorers={"gender": "clip-gender-2"}
    )
    with pytest.raises(NotComparable) as error:
        check(baseline, now)
    for part in ("D1", "'sd'", "bias/gender", "scorer 'clip-gender-2'", "'clip-gender-1'"):
        assert part in str(error.value)


def test_subsets_that_were_run_one_by_one_are_one_run(tmp_path):
    write_run(tmp_path / "bias.gender", bias_images([7] * 4))
    write_run(tmp_path / "bias.race", bias_images([6] * 4, subset="race"))
    found = [(c.subset, c.metric, c.now) for c in check(tmp_path, tmp_path)]
    assert [(subset, metric) for subset, metric, _ in found] == [
        ("gender", "D1"), ("gender", "D2"), ("race", "D1"), ("race", "D2"),
    ]  # fmt: skip
    assert [found[0][2], found[2][2]] == pytest.approx([0.4, 0.2])


def test_one_run_in_two_places_is_not_comparable(tmp_path, baseline):
    write_run(baseline / "again", bias_images([7] * PROMPTS))
    with pytest.raises(NotComparable, match=r"'sd' on task 'bias' twice"):
        check(baseline, baseline)


def test_a_missing_method_says_how_to_make_it(tmp_path, baseline):
    now = write_run(tmp_path / "now", bias_images([7] * PROMPTS), method="noise")
    with pytest.raises(Incomplete, match=r"livo-bench run --method sd --task bias --model mini"):
        check(baseline, now)
    with pytest.raises(Incomplete, match=r"images of sd on bias; asked for were methods: noise"):
        check(baseline, now, methods=["noise"])


def test_images_that_lost_their_score_or_share_nothing_are_incomplete(tmp_path, baseline):
    images = bias_images([7] * PROMPTS)
    images.loc[3, ["unscored", "label"]] = ["no answer", None]
    now = write_run(tmp_path / "now", images)
    with pytest.raises(Incomplete, match=r"1 images without a score .*\(no answer\)"):
        check(baseline, now)
    assert check(now, baseline)[0].images == PROMPTS * IMAGES - 1  # it never had one: left out
    write_run(now, bias_images([7] * PROMPTS).assign(prompt="other"))
    with pytest.raises(Incomplete, match="share 0 prompts"):
        check(baseline, now)
    write_run(now, bias_images([7]))
    with pytest.raises(Incomplete, match="share 1 prompts on task 'bias', expected at least 2"):
        check(baseline, now)


def test_a_torn_file_is_named(tmp_path, baseline):
    (baseline / "images.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(BadInput, match=r"Cannot read .*images.parquet"):
        check(baseline, baseline)


def test_rows_are_printed_in_per_cent_with_a_verdict(baseline):
    first = check(baseline, baseline)[0]
    worse = replace(first, now=0.5, difference=0.075, p=0.0004, regression=True)
    row = as_rows([worse])[0]
    assert row["subset"] == "bias/gender"
    assert (row["before"], row["now"], row["difference"]) == ("42.5", "50.0", "+7.5")
    assert (row["detectable"], row["p"], row["verdict"]) == ("+2.0", "0.000", "regression")
    assert asdict(worse)["difference"] == 0.075
