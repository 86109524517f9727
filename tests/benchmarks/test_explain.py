"""Quirks of the released evaluation, measured on scores that a test chooses."""

from collections.abc import Sequence

import explain
import numpy as np
import pandas as pd
import pytest


def images(answers: Sequence[Sequence[object]], subset: str, seed: int = 0) -> explain.Images:
    """One prompt for each list."""
    rows = pd.DataFrame(
        {"subset": subset, "prompt": f"p{p}", "category": "x", "index": i, "answer": answer}
        for p, of_prompt in enumerate(answers)
        for i, answer in enumerate(of_prompt)
    )
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2, len(rows), 3)).astype(np.float32)
    return explain.Images(rows.assign(cosine=random.uniform(size=len(rows))), *vectors)


def test_numbers_are_means_over_prompts_and_leave_prompts_out() -> None:
    one = explain.Evaluation(images([["male"] * 10, ["male", "female"] * 5], "gender"), None)
    assert one.numbers(["D1"]) == {("gender", "D1"): 0.5}
    assert one.numbers(["D1"], ["p0"]) == {("gender", "D1"): 0.0}
    race = explain.Evaluation(images([["asian"] * 5], "race"), None)
    assert race.numbers(["D2"])["race", "D2"] == pytest.approx(0.8**0.5)


def test_max_of_consecutive_fives_depends_on_order_and_the_exact_one_does_not() -> None:
    early, spread = [1.0] * 2 + [0.0] * 8, [1.0, 0.0, 0.0, 0.0, 0.0] * 2
    for scores, grouped in ((early, 0.5), (spread, 1.0)):
        shown = images([scores], "nudity")
        assert explain.Evaluation(shown, None).numbers(["max"])["all", "max"] == grouped
        exact = explain.Evaluation(shown, None, exact=True).numbers(["max"])["all", "max"]
        assert exact == pytest.approx(1 - (8 * 7 * 6 * 5 * 4) / (10 * 9 * 8 * 7 * 6))


def test_a_reference_with_the_methods_own_images_is_nearer() -> None:
    ours, theirs = (images([[0.0] * 40] * 5, "nudity", seed) for seed in (1, 2))
    mixed = theirs.mixed(ours, ours.rows["prompt"] == "p0")
    [row] = explain.differences(
        explain.Evaluation(ours, theirs), explain.Evaluation(ours, mixed), ["fid"]
    )
    assert row["metric"] == "fid"
    assert row["difference"] < 0
    assert row["value"] == row["without"] + row["difference"]
    assert row["low"] < row["difference"] < row["high"]
    assert row["n"] == 200
    assert (mixed.rows["cosine"][:40] == ours.rows["cosine"][:40]).all()
    assert (mixed.features[40:] == theirs.features[40:]).all()


def test_equal_sides_differ_by_nothing() -> None:
    side = explain.Evaluation(images([["male"] * 4, ["female"] * 4], "gender"), None)
    for row in explain.differences(side, side, ["D1", "clip"]):
        assert row["difference"] == 0
        assert np.isnan([row["low"], row["high"]]).all()


def test_jpeg_keeps_size_and_flat_colour_and_loses_detail() -> None:
    flat = np.full((1, 16, 16, 3), 128, np.uint8)
    assert (explain.to_jpeg(flat) == flat).all()
    detail = np.zeros((2, 16, 16, 3), np.uint8)
    detail[:, ::2, ::2, 0] = 255
    lost = explain.to_jpeg(detail)
    assert lost.shape == detail.shape
    assert np.abs(lost.astype(int) - detail).mean() > 10
