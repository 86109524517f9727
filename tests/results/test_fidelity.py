"""Whether images show what was asked for, all of them and those that a method steered."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from livo_bench.errors import BadInput, Incomplete
from livo_bench.mini.world import CONTENTS, mannequin_in
from livo_bench.records import Aggregate, Run
from livo_bench.results.metrics import fidelity
from livo_bench.results.metrics.intervals import interval_of_mean

RUN = Run("mini", "livo", "bias")
BEACH, CAVE = mannequin_in("beach"), mannequin_in("cave")
CLASSES = ("nurse", "doctor", BEACH, CAVE, "cat", "beach")
ASKED = {"a": "nurse", "b": "doctor", "f": BEACH}


def frame_of(
    prompts: Mapping[str, Sequence[tuple[str | None, bool]]],
    subset: str = "gender",
    category: str = "career",
) -> pd.DataFrame:
    """A scored frame from {prompt: [(class shown, steered)]}; class None is unscored."""
    rows = [
        (
            subset,
            prompt,
            category,
            f"{prompt}-{i}",
            None if shown is None else np.eye(len(CLASSES))[CLASSES.index(shown)],
            steered,
            "blank image" if shown is None else None,
        )
        for prompt, images in prompts.items()
        for i, (shown, steered) in enumerate(images)
    ]
    columns = ["subset", "prompt", "category", "key", "logits", "steered", "unscored"]
    return pd.DataFrame(rows, columns=columns)


def summarise(
    frame: pd.DataFrame, asked: Mapping[str, str] = ASKED, kinds: Mapping[str, str] = CONTENTS
) -> list[Aggregate]:
    judged = fidelity.judge(frame.reset_index(drop=True), asked, CLASSES, kinds)
    return fidelity.summarise(judged, RUN, asked, "world-1")


def values_of(
    rows: list[Aggregate], subset: str = "gender", category: str = "all"
) -> dict[str, Aggregate]:
    return {row.metric: row for row in rows if (row.subset, row.category) == (subset, category)}


HALF_STEERED = {
    "a": [("nurse", False), ("nurse", False), ("doctor", True), ("cat", True)],
    "b": [("doctor", False), ("doctor", True)],
}


def test_hand_worked_example() -> None:
    rows = values_of(summarise(frame_of(HALF_STEERED)))
    # a shows a nurse twice and somebody three times of four; b is right throughout.
    assert rows["content"].value == pytest.approx((0.5 + 1) / 2)
    assert rows["presence"].value == pytest.approx((0.75 + 1) / 2)
    assert rows["content_steered"].value == pytest.approx((0 + 1) / 2)
    assert rows["presence_steered"].value == pytest.approx((0.5 + 1) / 2)
    ends = (rows["content"].low, rows["content"].high)
    assert ends == pytest.approx(tuple(interval_of_mean([0.5, 1])))
    assert {name: row.n for name, row in rows.items()} == {
        "content": 6,
        "presence": 6,
        "content_steered": 3,
        "presence_steered": 3,
    }
    assert {row.scorer for row in rows.values()} == {"world-1"}


def test_without_kinds_nothing_is_said_of_presence() -> None:
    rows = values_of(summarise(frame_of(HALF_STEERED), kinds={}))
    assert set(rows) == {"content", "content_steered"}
    assert rows["content"].value == pytest.approx((0.5 + 1) / 2)


def test_a_figure_is_present_in_any_setting_but_a_person_or_the_empty_setting_is_none() -> None:
    shown = [BEACH, CAVE, "nurse", "beach"]
    rows = values_of(summarise(frame_of({"f": [(name, False) for name in shown]})))
    assert (rows["content"].value, rows["presence"].value) == (0.25, 0.5)


def test_images_of_something_else_fail_both() -> None:
    others = frame_of({prompt: [("cat", True)] * 5 for prompt in "ab"})
    assert {row.value for row in summarise(others)} == {0}


def test_noise_taken_for_some_portrait_fails_content() -> None:
    asked = {"a": "nurse", "b": "nurse"}
    noise = frame_of({prompt: [("doctor", True)] * 5 for prompt in asked})
    rows = values_of(summarise(noise, asked))
    assert (rows["content_steered"].value, rows["presence_steered"].value) == (0, 1)


def test_the_unaligned_model_has_no_steered_rows() -> None:
    plain = frame_of({"a": [("nurse", False)] * 3})
    assert {row.metric for row in summarise(plain)} == {"content", "presence"}


def test_a_model_that_steers_every_image_has_the_same_numbers_twice() -> None:
    rows = values_of(summarise(frame_of({"a": [("nurse", True), ("cat", True)]})))
    for metric in ("content", "presence"):
        assert rows[f"{metric}_steered"].value == rows[metric].value
        assert rows[f"{metric}_steered"].n == rows[metric].n


def test_one_subset_alone_has_no_rows_over_all() -> None:
    rows = summarise(frame_of({"a": [("nurse", True)], "b": [("cat", False)]}))
    assert {row.subset for row in rows} == {"gender"}


def test_each_subset_and_category_has_its_rows_and_steered_ones_where_there_are_some() -> None:
    frame = pd.concat(
        [
            frame_of({"a": [("nurse", True)]}),
            frame_of({"b": [("cat", False)]}, category="positive"),
            frame_of({"b": [("doctor", False)]}, category="positive", subset="race"),
        ]
    )
    rows = summarise(frame)
    content = {(r.subset, r.category): r.value for r in rows if r.metric == "content"}
    assert content == {
        ("gender", "career"): 1,
        ("gender", "positive"): 0,
        ("gender", "all"): 0.5,
        ("race", "positive"): 1,
        ("race", "all"): 1,
        ("all", "all"): 0.75,  # b is right in one of two subsets
    }
    steered = {(r.subset, r.category): r.n for r in rows if r.metric == "content_steered"}
    assert steered == {("gender", "career"): 1, ("gender", "all"): 1, ("all", "all"): 1}


def test_subsets_that_show_the_same_show_it_over_all() -> None:
    gender = frame_of(HALF_STEERED)
    rows = summarise(pd.concat([gender, gender.assign(subset="race")]))
    for metric, row in values_of(rows, subset="all").items():
        alone = values_of(rows)[metric]
        assert (row.value, row.low, row.high) == (alone.value, alone.low, alone.high)
        assert (row.n, row.n_distinct) == (2 * alone.n, alone.n_distinct)


def test_unscored_images_are_left_out_and_counted() -> None:
    row = values_of(summarise(frame_of({"a": [("nurse", True), (None, True)]})))["content"]
    assert (row.value, row.n, row.unscored) == (1, 1, 1)
    nothing = values_of(summarise(frame_of({"a": [(None, True)]})))["content_steered"]
    assert np.isnan(nothing.value)
    assert (nothing.n, nothing.unscored) == (0, 1)


def test_prompts_that_ask_for_no_class_are_left_out() -> None:
    frame = frame_of({**HALF_STEERED, "own": [("cat", True)]})
    assert list(map(repr, summarise(frame))) == list(map(repr, summarise(frame_of(HALF_STEERED))))
    assert summarise(frame, asked={}) == []


def test_missing_column_and_empty_frame_are_refused() -> None:
    with pytest.raises(BadInput, match="no column steered"):
        summarise(frame_of(HALF_STEERED).drop(columns="steered"))
    with pytest.raises(Incomplete, match="no image"):
        summarise(frame_of(HALF_STEERED)[:0])
