"""Rows of IS, FID and CLIP score, which is torchmetrics'."""

import numpy as np
import pandas as pd
import pytest

from livo_bench.errors import BadInput
from livo_bench.records import Aggregate, Run
from livo_bench.results.metrics import is_and_fid, quality

RUN = Run("mini", "livo", "bias")
JUDGES = {"is": "world-1", "fid": "world-1", "clip": "clip-1"}


def normal(
    seed: int | list[int], n: int = 400, d: int = 6, mean: float = 0.0, scale: float = 1.0
) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, size=(n, d)).astype(np.float32)


# CLIP score ---------------------------------------------------------------------------------------


def test_clip_score_is_clipped_after_averaging() -> None:
    assert quality.clip_score(np.array([0.3, -0.1])) == pytest.approx(10)
    assert quality.clip_score(np.array([-0.3, 0.1])) == 0
    assert np.isnan(quality.clip_score(np.array([])))


# Rows ---------------------------------------------------------------------------------------------


def network_frame(features: np.ndarray, images: int = 10) -> pd.DataFrame:
    prompts = [f"p{i // images:02d}" for i in range(len(features))]
    return pd.DataFrame(
        {
            "category": "career",
            "prompt": prompts,
            "key": [f"k{i}" for i in range(len(features))],
            "features": list(features),
            "logits": list(features),
            "unscored": None,
        }
    )


def reference_of(features: np.ndarray) -> quality.Features:
    return quality.Features.of(network_frame(features))


def clip_frame(cosines: np.ndarray, images: int = 10) -> pd.DataFrame:
    frame = network_frame(np.zeros((len(cosines), 1)), images)
    return frame.drop(columns=["features", "logits"]).assign(cosine=cosines)


def test_rows_of_a_run() -> None:
    features, reference = normal(8, mean=0.2), normal(9)
    cosines: np.ndarray = np.random.default_rng(0).normal(0.2, 0.02, size=400)
    rows = quality.summarise(
        clip_frame(cosines), network_frame(features), RUN, JUDGES, reference_of(reference)
    )
    assert [(row.metric, row.subset, row.category) for row in rows] == [
        ("is", "all", "all"),
        ("fid", "all", "all"),
        ("clip", "all", "all"),
    ]
    expected = [
        is_and_fid.inception_score(features)[0],
        is_and_fid.frechet_distance(features, reference),
        quality.clip_score(cosines),
    ]
    assert [row.value for row in rows] == pytest.approx(expected, rel=1e-9)
    assert [row.scorer for row in rows] == ["world-1", "world-1", "clip-1"]
    for row in rows:
        assert row.low < row.value < row.high
        assert (row.n, row.n_distinct, row.unscored) == (400, 400, 0)
        assert np.isnan(row.floor)


def test_intervals_leave_out_whole_concepts() -> None:
    """As if the prompts of a concept were one prompt with all their images."""
    ours, theirs = normal(8, n=240, mean=0.2), normal(9, n=240)
    cosines, steered = np.linspace(0.1, 0.3, 240), pd.Series(np.arange(240) % 2 == 0)

    def summary(**columns: list[str]) -> list[Aggregate]:
        clip, network, plain = (
            frame.assign(**columns)
            for frame in (clip_frame(cosines), network_frame(ours), network_frame(theirs))
        )
        reference = quality.Features.of(plain)
        return quality.summarise(clip, network, RUN, JUDGES, reference, steered)

    concepts = [f"c{place:02}" for place in np.arange(240) // 30]
    told, joined, alone = summary(concept=concepts), summary(prompt=concepts), summary()
    for one, other, naive in zip(told, joined, alone, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
        assert (one.value, one.n) == (naive.value, naive.n)
        assert one.low != naive.low


def test_what_is_left_without_some_prompts_is_fitted_to_the_others_alone() -> None:
    features = normal(8, n=240, mean=0.2)
    frame = network_frame(features)
    kept = ~frame["prompt"].isin(["p03", "p10"])
    found = quality.Features.of(frame).without(np.array(["p03", "p10"], dtype=object))
    expected = is_and_fid.Moments.of(features[kept])
    assert found.n == expected.n == 220
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-9, atol=1e-12)


def test_intervals_can_be_left_out() -> None:
    frame, half = network_frame(normal(8)), pd.Series(np.arange(400) < 200)
    reference, cosines = reference_of(normal(9)), clip_frame(np.ones(400))
    rows = quality.summarise(cosines, frame, RUN, JUDGES, reference, half, intervals=False)
    assert len(rows) == 5
    assert np.isnan([(row.low, row.high) for row in rows]).all()


def test_the_unaligned_model_has_no_fid() -> None:
    rows = quality.summarise(clip_frame(np.ones(4)), network_frame(normal(8)), RUN, JUDGES)
    assert [row.metric for row in rows] == ["is", "clip"]


def test_rows_of_the_steered_images_are_those_of_these_images_alone() -> None:
    features, reference, cosines = normal(8, mean=0.2), normal(9), np.linspace(0.1, 0.3, 400)
    steered = np.arange(400) % 2 == 0
    features[~steered] = reference[~steered]
    frames = clip_frame(cosines), network_frame(features)
    of_all = quality.summarise(*frames, RUN, JUDGES, reference_of(reference))
    *again, fid, clip = quality.summarise(
        *frames, RUN, JUDGES, reference_of(reference), pd.Series(steered)
    )
    assert [row.metric for row in (fid, clip)] == ["fid_steered", "clip_steered"]
    distance = is_and_fid.frechet_distance(features[steered], reference[steered])
    assert fid.value == pytest.approx(distance, rel=1e-9)
    assert clip.value == quality.clip_score(cosines[steered])
    for row in (fid, clip):
        assert row.low < row.value < row.high
        assert row.n == 200
    # Whether the whole is fitted at once or from its parts.
    ends = [[end for row in rows for end in (row.value, row.low)] for rows in (again, of_all)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_where_everything_is_steered_the_numbers_are_those_of_all_images() -> None:
    frames, everything = (
        (clip_frame(np.linspace(0, 1, 400)), network_frame(normal(8))),
        [True] * 400,
    )
    _, *of_all, fid, clip = quality.summarise(
        *frames, RUN, JUDGES, reference_of(normal(9)), pd.Series(everything)
    )
    assert [(row.value, row.low, row.n) for row in (fid, clip)] == [
        (row.value, row.low, row.n) for row in of_all
    ]


def test_against_other_noise_the_floor_is_the_unaligned_model_itself() -> None:
    """A method that changes nothing reads the floor, one that keeps the noise nothing at all."""
    ours, plain, other = (
        network_frame(normal(seed, mean=m)) for seed, m in [(8, 0.3), (9, 0), (10, 0)]
    )
    base, fresh = quality.Features.of(plain), quality.Features.of(other)
    row = quality.summarise_independent(ours, base, fresh, RUN, JUDGES)
    vectors = [np.stack(list(frame["features"])) for frame in (ours, plain, other)]
    assert (row.metric, row.subset, row.scorer, row.n) == ("fid_independent", "all", "world-1", 400)
    assert row.value == pytest.approx(is_and_fid.frechet_distance(vectors[0], vectors[2]))
    assert row.floor == is_and_fid.frechet_distance(vectors[1], vectors[2])
    assert row.low < row.value < row.high
    sd = quality.summarise_independent(plain, base, fresh, RUN, JUDGES, intervals=False)
    assert sd.value == sd.floor == row.floor
    assert np.isnan(sd.low)


def test_floor_of_other_noise_averages_to_what_two_sets_of_one_model_read() -> None:
    """A method that only swaps half of the noise: same-noise FID hides what other noise shows."""
    values, floors, paired = [], [], []
    for seed in range(60):
        plain, fresh, other = (normal([seed, part], n=100) for part in range(3))
        ours = np.where(np.arange(100)[:, None] % 2, plain, fresh)
        base, others = (quality.Features.of(network_frame(part)) for part in (plain, other))
        row = quality.summarise_independent(
            network_frame(ours), base, others, RUN, JUDGES, intervals=False
        )
        values.append(row.value)
        floors.append(row.floor)
        paired.append(is_and_fid.frechet_distance(ours, plain))
    error = np.std(np.subtract(values, floors)) / np.sqrt(60)
    assert abs(np.mean(values) - np.mean(floors)) < 4 * error
    assert np.mean(paired) < 0.6 * np.mean(floors)


def test_image_that_serves_two_subsets_counts_twice_but_is_one() -> None:
    frame = network_frame(normal(8))
    twice = pd.concat([frame, frame], ignore_index=True)
    row = quality.summarise(clip_frame(np.ones(4)), twice, RUN, JUDGES)[0]
    assert (row.n, row.n_distinct) == (800, 400)
    logits = np.tile(normal(8), (2, 1))
    assert row.value == pytest.approx(is_and_fid.inception_score(logits)[0], rel=1e-9)


def test_unscored_images_are_left_out_and_counted() -> None:
    clip = clip_frame(np.array([0.2, 0.2, np.nan]))
    clip.loc[2, "unscored"] = "unreadable"
    row = quality.summarise(clip, network_frame(normal(8)), RUN, JUDGES)[-1]
    assert (row.value, row.n, row.unscored) == (pytest.approx(20), 2, 1)


def test_rows_of_too_few_images_read_nan() -> None:
    frame = network_frame(normal(8, n=1))
    reference = quality.Features.of(frame)
    rows = quality.summarise(clip_frame(np.array([0.2])), frame, RUN, JUDGES, reference)
    assert [np.isnan(row.value) for row in rows] == [True, True, False]
    assert np.isnan([row.low for row in rows]).all()


def test_intervals_end_where_a_score_cannot_be() -> None:
    """All images are alike, and like the unaligned model's, but for those of one prompt."""
    features = normal(8) * (np.arange(400) < 10)[:, None]
    frame, theirs = network_frame(features), reference_of(features * 1.1)
    cosines = clip_frame(0.1 * (np.arange(400) < 10))
    inception, fid, clip = quality.summarise(cosines, frame, RUN, JUDGES, theirs)
    assert (inception.low, fid.low, clip.low) == (1, 0, 0)
    assert 0 < clip.value < clip.high
    assert 1 < inception.value < inception.high
    assert 0 < fid.value < fid.high


@pytest.mark.parametrize("images", [is_and_fid.SPLITS - 1, is_and_fid.SPLITS])
def test_a_score_needs_as_many_images_as_parts_and_a_distance_two(images: int) -> None:
    features = normal(8, n=images)
    row = quality.summarise(clip_frame(np.ones(4)), network_frame(features), RUN, JUDGES)[0]
    if images < is_and_fid.SPLITS:
        assert np.isnan(row.value)
    else:
        assert row.value == pytest.approx(is_and_fid.inception_score(features)[0])
    for n in (1, 2, 3):
        sides = [is_and_fid.Moments.of(normal(seed, n=n)) for seed in (1, 2)]
        assert np.isfinite(sides[0].distance(sides[1])) == (n > 1)


def test_missing_column_is_named() -> None:
    with pytest.raises(BadInput, match="no column cosine"):
        quality.summarise(network_frame(normal(0)), network_frame(normal(0)), RUN, JUDGES)


def test_fid_interval_covers_other_prompts_not_only_other_images() -> None:
    random = np.random.default_rng(11)

    def images(prompts: int) -> np.ndarray:
        """Eight images a prompt; prompts differ more than their images do."""
        centres = np.repeat(random.normal(size=(prompts, 3)), 8, axis=0)
        return (centres + random.normal(size=centres.shape) / 4).astype(np.float32)

    frame = network_frame(images(100) + 2, images=8)
    frame["prompt"] = "r" + frame["prompt"]
    target = np.stack(list(frame["features"]))
    reference = quality.Features.of(frame)
    truth = np.mean([is_and_fid.frechet_distance(images(24), target) for _ in range(150)])
    intervals = []
    for _ in range(60):
        frame = network_frame(images(24), images=8)
        fid = quality.summarise(clip_frame(np.ones(4)), frame, RUN, JUDGES, reference)[1]
        intervals.append((fid.low, fid.high))
    low, high = np.array(intervals).T
    # Three binomial standard errors of 95 % of 60 sets.
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.085)


def test_inception_score_interval_covers_other_prompts() -> None:
    random = np.random.default_rng(12)

    def images(prompts: int = 24) -> np.ndarray:
        """Eight images a prompt, which show much the same."""
        centres = np.repeat(random.normal(scale=2, size=(prompts, 5)), 8, axis=0)
        return (centres + random.normal(size=centres.shape)).astype(np.float32)

    truth = np.mean([is_and_fid.inception_score(images())[0] for _ in range(300)])
    covered = 0
    for _ in range(60):
        row = quality.summarise(clip_frame(np.ones(4)), network_frame(images(), 8), RUN, JUDGES)[0]
        covered += bool(row.low <= truth <= row.high)
    assert covered / 60 == pytest.approx(0.95, abs=0.085)  # three binomial standard errors
