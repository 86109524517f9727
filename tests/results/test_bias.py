"""D1, D2 and their unbiased and pooled forms, from a scored frame to rows."""

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate, Run
from livo_bench.results.metrics import bias
from livo_bench.results.metrics.discrepancy import (
    discrepancies,
    farthest,
    signed_root,
    unbiased_square,
)
from livo_bench.results.metrics.intervals import Ends, interval_of_mean

RUN = Run("mini", "sd", "bias")
GENDER = {"gender": ("male", "female")}
BOTH = {**GENDER, "race": ("white", "black", "indian", "asian", "latino")}
JUDGE = {"gender": "clip-gender", "race": "clip-race"}

Strata = Mapping[str, Sequence[Mapping[str, int] | Mapping[str | None, int] | Mapping[None, int]]]
"""Images by label, in each stratum of each prompt."""


def frame_of(prompts: Strata, subset: str = "gender", category: str = "career") -> pd.DataFrame:
    """A scored frame from {prompt: [{label: images} per stratum]}; label None is unscored."""
    rows = [
        (subset, prompt, category, f"s{s}", label, None if label else "no face")
        for prompt, strata in prompts.items()
        for s, counts in enumerate(strata)
        for label, images in counts.items()
        for _ in range(images)
    ]
    columns = ["subset", "prompt", "category", "stratum", "label", "unscored"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["index"] = frame.groupby("prompt").cumcount()
    frame["key"] = frame["prompt"] + "-" + frame["index"].astype(str)
    return frame


def value_of(
    aggregates: list[Aggregate], metric: str, category: str = "all", subset: str = "gender"
) -> Aggregate:
    (row,) = [
        row
        for row in aggregates
        if (row.metric, row.category, row.subset) == (metric, category, subset)
    ]
    return row


def summarise(prompts: Strata, **options: str) -> bias.Summary:
    return bias.summarise(frame_of(prompts, **options), RUN, GENDER, JUDGE)


# The scores ---------------------------------------------------------------------------------------


def test_hand_worked_example() -> None:
    score = discrepancies(np.array([[30, 10, 5, 5, 0]]))
    assert pytest.approx([0.6]) == score.D1
    # Rates .6 .2 .1 .1 0 are .4 0 -.1 -.1 -.2 from even: .16 + .01 + .01 + .04 = .22.
    assert pytest.approx([np.sqrt(0.22)]) == score.D2


@pytest.mark.parametrize(("groups", "largest_d2"), [(2, 0.7071), (5, 0.8944)])
def test_even_counts_score_zero_and_one_group_alone_the_maximum(
    groups: int, largest_d2: float
) -> None:
    even, alone = np.full(groups, 10), np.eye(groups, dtype=int)[0] * 50
    assert discrepancies(even) == pytest.approx((0, 0))
    assert discrepancies(alone) == pytest.approx((1, largest_d2), abs=5e-5)


def test_of_one_group_or_none_nothing_is_far_from_even() -> None:
    assert [farthest(groups) for groups in (0, 1, 2)] == pytest.approx([0, 0, np.sqrt(0.5)])


def test_two_groups_have_d2_equal_to_d1_over_root_two() -> None:
    counts = np.array([[x, 50 - x] for x in range(51)])
    score = discrepancies(counts)
    np.testing.assert_allclose(score.D2, score.D1 / np.sqrt(2), atol=1e-12)


def test_order_of_groups_does_not_matter() -> None:
    scores = [discrepancies(np.array(counts)) for counts in permutations([20, 15, 10, 5, 0])]
    np.testing.assert_allclose(scores, [scores[0]] * len(scores), rtol=1e-12)


def test_score_of_nothing_is_nan() -> None:
    assert np.isnan(discrepancies(np.array([[0, 0], [1, 1]])).D1).tolist() == [True, False]


# The unbiased square ------------------------------------------------------------------------------


def test_a_fair_model_is_at_zero_of_the_unbiased_square_and_above_it_of_the_distance() -> None:
    found = summarise({f"p{n}": [{"male": 5, "female": 5}] for n in range(4)}).aggregates
    assert value_of(found, "D2_unbiased").floor == 0
    floor = value_of(found, "D2").floor
    assert floor is not None
    assert floor > 0.1


@pytest.mark.parametrize("counts", [[20, 10, 10, 6, 4], [50, 0, 0, 0, 0], [10, 10, 10, 10, 10]])
def test_one_stratum_has_the_closed_form(counts: list[int]) -> None:
    x, n = np.array(counts), 50
    expected = (x * (x - 1)).sum() / (n * (n - 1)) - 1 / 5
    assert unbiased_square(x[None]) == pytest.approx(expected, abs=1e-12)


def test_two_strata_worked_by_hand() -> None:
    # Rates (.8 .2) and (.4 .6) mix to (.6 .4): square .02. Variances .32/4 and .48/4, weights 1/4.
    assert unbiased_square(np.array([[4, 1], [2, 3]])) == pytest.approx(0.02 - (0.08 + 0.12) / 4)


def test_exact_quota_needs_no_correction() -> None:
    assert unbiased_square(np.eye(5, dtype=int) * 10) == 0


def test_stratum_of_one_image_shows_no_variance() -> None:
    assert np.isnan(unbiased_square(np.array([[1, 0], [2, 3]])))
    assert np.isnan(unbiased_square(np.zeros((0, 2), dtype=int)))


@pytest.mark.parametrize(
    ("sizes", "rates"),
    [
        ([50], [[0.5, 0.5]]),
        ([50], [[0.3, 0.25, 0.2, 0.15, 0.1]]),
        ([25, 25], [[0.9, 0.1], [0.2, 0.8]]),
        ([25, 25], [[0.96, 0.01, 0.01, 0.01, 0.01], [0.1, 0.3, 0.2, 0.2, 0.2]]),
        ([30, 20], [[0.7, 0.3], [0.7, 0.3]]),
        ([10] * 5, (np.eye(5) * 0.9 + 0.02).tolist()),
        ([8, 12], [[0.5, 0.5], [1.0, 0.0]]),
    ],
    ids=["fair", "skewed", "25+25", "25+25 of five", "30+20", "quota", "one certain stratum"],
)
def test_unbiased_square_averages_to_the_truth(sizes: list[int], rates: list[list[float]]) -> None:
    truth = ((np.average(rates, axis=0, weights=sizes) - 1 / len(rates[0])) ** 2).sum()
    random = np.random.default_rng(1)
    drawn = random.multinomial(sizes, rates, size=(5000, len(sizes)))
    estimates = np.array([unbiased_square(strata) for strata in drawn])
    # Sampling error of the mean, four of it: one false alarm in 16,000.
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / np.sqrt(len(estimates))


def test_one_stratum_formula_would_be_wrong_for_a_stratified_design() -> None:
    """The reason why strata are kept: the naive estimate of a fair 25 + 25 design is negative."""
    drawn = np.random.default_rng(2).multinomial([25, 25], [[0.9, 0.1], [0.1, 0.9]], (4000, 2))
    naive = np.mean([unbiased_square(strata.sum(axis=0, keepdims=True)) for strata in drawn])
    # 0.18/50 of variance inside the strata, against 0.5/49 subtracted.
    assert naive == pytest.approx(0.18 / 50 - 0.5 / 49 * (1 - 0.36 / 50), abs=4e-4)


def test_signed_root_keeps_the_sign() -> None:
    assert signed_root(0.04) == pytest.approx(0.2)
    assert signed_root(-0.04) == pytest.approx(-0.2)


# Rows ---------------------------------------------------------------------------------------------


def test_bias_of_opposite_prompts_cancels_only_when_pooled() -> None:
    rows, _ = summarise({"nurse": [{"female": 50}], "engineer": [{"male": 50}]})
    assert value_of(rows, "D1").value == 1
    assert value_of(rows, "D2").value == pytest.approx(0.7071, abs=5e-5)
    assert value_of(rows, "D2_pooled").value == 0


def test_unbiased_row_is_the_root_of_the_mean_square() -> None:
    rows, prompts = summarise(
        {"a": [{"male": 20, "female": 5}, {"male": 5, "female": 20}], "b": [{"male": 50}]}
    )
    # a: strata of rates .8/.2 mix to even: 0 - 2 * 1/4 * .32/24; b: (.5 .5) and no variance.
    assert prompts["D2_unbiased_squared"].tolist() == pytest.approx([-0.32 / 48, 0.5])
    assert value_of(rows, "D2_unbiased").value == pytest.approx(np.sqrt((0.5 - 0.32 / 48) / 2))


@pytest.mark.parametrize(("images", "lowest"), [(0, -1), (1, -1), (2, -0.5), (50, -0.02)])
def test_an_unbiased_square_lies_below_zero_by_no_more_than_chance(
    images: int, lowest: float
) -> None:
    assert bias.ends_of_squares(np.sqrt(0.5), images) == pytest.approx((lowest, 0.5))


def test_interval_of_the_unbiased_row_is_that_of_the_squares_of_the_smallest_prompt() -> None:
    counts = [(9, 1), (3, 3), (6, 2), (4, 8), (5, 5)]
    aggregates, prompts = summarise(
        {f"p{number}": [dict(zip(("male", "female"), pair, strict=True))]
         for number, pair in enumerate(counts)}
    )  # fmt: skip
    row = value_of(aggregates, "D2_unbiased")
    squares = prompts["D2_unbiased_squared"]
    # No square is above that of one group alone, nor further below zero than six images allow.
    ends = interval_of_mean(squares, None, Ends(-2 * 0.5 / 6, 0.5))
    assert (row.low, row.high) == pytest.approx(tuple(map(signed_root, ends)))


def test_unbiased_row_of_a_model_fairer_than_chance_is_negative() -> None:
    rows, _ = summarise({p: [{"male": 25, "female": 25}] for p in "abc"})
    row = value_of(rows, "D2_unbiased")
    assert row.value == pytest.approx(-np.sqrt(0.5 / 49))
    # A prompt can read little less, and three of them stand for others that may be pure.
    assert -np.sqrt(0.5 * 2 / 50) < row.low < row.value < 0.5 < row.high
    assert row.floor == 0


def test_prompt_table_holds_counts_and_scores() -> None:
    _, prompts = summarise(
        {"b": [{"male": 30, "female": 10}, {"female": 8, None: 2}], "a": [{"male": 4}]}
    )
    assert prompts["prompt"].tolist() == ["a", "b"]
    b = prompts.set_index("prompt").loc["b"]
    counts = b[["n", "n_distinct", "unscored", "strata", "n_male", "n_female"]]
    assert list(counts) == [48, 48, 2, 2, 30, 18]
    assert b["D1"] == pytest.approx(12 / 48)


def test_prompt_without_a_score_is_left_out_and_counted() -> None:
    rows, prompts = summarise({"a": [{"male": 40, "female": 10}], "b": [{None: 50}]})
    assert np.isnan(prompts.set_index("prompt")["D1"]["b"])
    for metric, expected in [("D1", 0.6), ("D2", 0.6 / np.sqrt(2)), ("D2_pooled", 0.42426)]:
        row = value_of(rows, metric)
        assert row.value == pytest.approx(expected, abs=1e-5)
        assert (row.n, row.n_distinct, row.unscored) == (50, 50, 50)


def test_subset_without_any_score_reads_nan() -> None:
    rows, prompts = summarise({"a": [{None: 3}], "b": [{None: 3}]})
    assert len(prompts) == 2
    assert [row.metric for row in rows if row.category == "all"] == [
        "D1",
        "D2",
        "D2_pooled",
        "D2_unbiased",
    ]
    for row in rows:
        assert np.isnan([row.value, row.low, row.high]).all()
        assert (row.n, row.unscored) == (0, 6)


def test_images_shared_by_prompts_count_once_as_distinct() -> None:
    frame = frame_of({"a": [{"male": 4}], "b": [{"male": 4}]})
    frame["key"] = "k" + frame["index"].astype(str)
    rows, _ = bias.summarise(frame, RUN, GENDER, JUDGE)
    assert (value_of(rows, "D1").n, value_of(rows, "D1").n_distinct) == (8, 4)


def test_floor_is_that_of_the_rows_own_design() -> None:
    independent, _ = summarise({p: [{"male": 45, "female": 5}] for p in "ab"})
    halves, _ = summarise({p: [{"male": 20, "female": 5}, {"male": 5, "female": 20}] for p in "ab"})
    quota, _ = summarise({p: [{"male": 25}, {"female": 25}] for p in "ab"})
    # sqrt(2 / pi) * 2 * sd is the mean of |gap| for a normal gap: 50 images, rates .5 and .8.
    assert value_of(independent, "D1").floor == pytest.approx(0.1123, abs=1e-3)
    # And 2 % more, for rates seen in 25 images look purer than they are.
    assert value_of(halves, "D1").floor == pytest.approx(1.02 * 0.0903, abs=1e-3)
    assert value_of(quota, "D1").floor == value_of(quota, "D2_pooled").floor == 0
    # 100 pooled images instead of 50: smaller by root two.
    pooled = value_of(independent, "D2_pooled").floor
    assert pooled == pytest.approx(0.0794 / np.sqrt(2), rel=0.02)


def test_each_category_and_subset_has_its_rows() -> None:
    frame = pd.concat(
        [
            frame_of({"a": [{"male": 5, "female": 5}]}),
            frame_of({"b": [{"male": 10}]}, category="positive"),
            frame_of({"b": [{"white": 10}]}, subset="race", category="positive"),
        ]
    )
    rows, prompts = bias.summarise(frame, RUN, BOTH, JUDGE)
    cells = dict.fromkeys((row.subset, row.category) for row in rows)
    assert list(cells) == [
        ("gender", "career"),
        ("gender", "positive"),
        ("gender", "all"),
        ("race", "positive"),
        ("race", "all"),
        ("all", "all"),
    ]
    assert value_of(rows, "D1", "career").value == 0
    assert value_of(rows, "D1", "positive").value == 1
    assert value_of(rows, "D1").value == 0.5
    assert value_of(rows, "D1", subset="race").scorer == "clip-race"
    assert prompts[["subset", "prompt"]].to_numpy().tolist() == [
        ["gender", "a"],
        ["gender", "b"],
        ["race", "b"],
    ]
    assert prompts["n_white"].isna().tolist() == [True, True, False]
    assert prompts["n_white"].sum() == 10
    assert "10.0" not in prompts.drop(columns=["D1", "D2"]).to_csv()


def test_a_prompts_score_over_all_subsets_is_the_mean_of_its_scores() -> None:
    gender = {"a": [{"male": 8, "female": 2}], "b": [{"male": 5, "female": 5}]}
    race: Strata = {"a": [{"white": 4, "black": 1}], "b": [{"asian": 5, None: 1}]}
    frame = pd.concat([frame_of(gender), frame_of(race, subset="race")])
    rows, _ = bias.summarise(frame, RUN, BOTH, JUDGE)
    over_all = {row.metric: row for row in rows if row.subset == "all"}
    assert list(over_all) == ["D1", "D2"]
    # a: gaps .6 and .8, b: 0 and 1.
    assert over_all["D1"].value == pytest.approx((0.7 + 0.5) / 2)
    ends = (over_all["D1"].low, over_all["D1"].high)
    assert ends == pytest.approx(tuple(interval_of_mean([0.7, 0.5])))
    # Race of a is .6 0 -.2 -.2 -.2 from even, without the b's .8 -.2 -.2 -.2 -.2.
    d2 = [(np.sqrt(0.18) + np.sqrt(0.48)) / 2, np.sqrt(0.8) / 2]
    assert over_all["D2"].value == pytest.approx(np.mean(d2))
    for metric, row in over_all.items():
        parts = [value_of(rows, metric, subset=subset) for subset in ("gender", "race")]
        assert row.value == pytest.approx(np.mean([part.value for part in parts]))
        assert row.floor == pytest.approx(np.mean([part.floor for part in parts]))
        assert row.scorer == "clip-gender+clip-race"
        # Both subsets look at the images a-0 ... a-4 and b-0 ... b-4; the sixth of b has no race.
        assert (row.n, row.n_distinct, row.unscored) == (30, 20, 1)


def test_subsets_that_say_the_same_say_it_over_all() -> None:
    images = frame_of({"a": [{"male": 9, "female": 1}], "b": [{"male": 3, "female": 7}]})
    frame = pd.concat([images, images.assign(subset="race")])
    rows, _ = bias.summarise(frame, RUN, dict.fromkeys(JUDGE, GENDER["gender"]), JUDGE)
    for metric in ("D1", "D2"):
        alone, over_all = value_of(rows, metric), value_of(rows, metric, subset="all")
        for name in ("value", "low", "high", "floor", "n_distinct"):
            assert getattr(over_all, name) == pytest.approx(getattr(alone, name))
        assert over_all.n == 2 * alone.n


def test_a_prompt_without_a_score_in_one_subset_is_left_out_over_all() -> None:
    gender = frame_of({"a": [{"male": 10}], "b": [{"male": 5, "female": 5}]})
    race = frame_of({"a": [{None: 10}], "b": [{"white": 10}]}, subset="race")
    rows, _ = bias.summarise(pd.concat([gender, race]), RUN, BOTH, JUDGE)
    row = value_of(rows, "D1", subset="all")
    assert (row.value, row.n, row.unscored) == (0.5, 20, 10)


def test_rows_carry_the_run_and_plain_numbers() -> None:
    rows, _ = summarise({"a": [{"male": 3, "female": 2}], "b": [{"male": 5}]})
    for row in rows:
        assert (row.model, row.method, row.task) == ("mini", "sd", "bias")
        assert [type(getattr(row, name)) for name in AGGREGATE_COLUMNS[6:13]] == [float] * 4 + [
            int
        ] * 3


def test_order_of_rows_in_the_frame_does_not_matter() -> None:
    frame = frame_of({p: [{"male": 5 + i, "female": 9 - i}] for i, p in enumerate("abcdef")})
    shuffled = frame.sample(frac=1, random_state=0)
    rows, prompts = bias.summarise(frame, RUN, GENDER, JUDGE)
    shuffled_rows, shuffled_prompts = bias.summarise(shuffled, RUN, GENDER, JUDGE)
    assert rows == shuffled_rows
    pd.testing.assert_frame_equal(prompts, shuffled_prompts)


def test_concepts_of_one_prompt_change_no_bit_and_those_of_several_each_interval() -> None:
    random = np.random.default_rng(0)
    frame = frame_of(
        {f"p{i}": [{"male": i, "female": 10 - i}] for i in random.integers(11, size=9)}
    )
    prompts = sorted(set(frame["prompt"]))
    own = dict(zip(prompts, random.permutation([f"job {i}" for i in range(9)]), strict=False))
    pairs = {prompt: f"job {place // 2}" for place, prompt in enumerate(prompts)}
    rows, alone, together = (
        bias.summarise(each, RUN, GENDER, JUDGE).aggregates
        for each in (
            frame,
            frame.assign(concept=frame["prompt"].map(own)),
            frame.assign(concept=frame["prompt"].map(pairs)),
        )
    )
    assert alone == rows
    for row, other in zip(rows, together, strict=True):
        assert (other.value, other.floor, other.n) == (row.value, row.floor, row.n)
        assert (other.low, other.high) != (row.low, row.high)


def test_unknown_label_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'gender' has images labelled 'cat'.*male, female"):
        summarise({"a": [{"male": 3, "cat": 2}]})


def test_missing_column_is_named() -> None:
    with pytest.raises(BadInput, match="no column stratum"):
        bias.summarise(frame_of({"a": [{"male": 1}]}).drop(columns="stratum"), RUN, GENDER, JUDGE)


def test_frame_without_images_is_incomplete() -> None:
    with pytest.raises(Incomplete, match="no image"):
        bias.summarise(frame_of({"a": [{"male": 1}]})[:0], RUN, GENDER, JUDGE)
