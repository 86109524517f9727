"""The share of images that there is no picture of."""

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from livo_bench.errors import BadInput
from livo_bench.records import Run
from livo_bench.results.frames import as_refused, refused
from livo_bench.results.metrics import refusals

RUN = Run("mini", "mine", "bias")


def frame_of(reasons: Mapping[str, Sequence[str | None]], subset: str = "gender") -> pd.DataFrame:
    """A scored frame of prompts with a reason an image, None where it was scored."""
    rows = [
        (subset, prompt, prompt[0], index, f"{prompt}-{index}", reason)
        for prompt, of_prompt in reasons.items()
        for index, reason in enumerate(of_prompt)
    ]
    columns = ["subset", "prompt", "category", "index", "key", "unscored"]
    return pd.DataFrame(rows, columns=columns).astype({"unscored": object})


def test_other_reasons_are_no_refusals() -> None:
    frame = frame_of({"a1": [None, "blank image", as_refused("policy"), "refused by nobody"]})
    assert refused(frame).tolist() == [False, False, True, False]


def test_shares_are_means_over_prompts_and_count_all_images() -> None:
    gone = as_refused("policy")
    reasons: dict[str, list[str | None]] = {
        "a1": [gone, gone, None, "blank image"],
        "b1": [None] * 4,
        "b2": [gone, None] * 2,
    }
    rows = refusals.summarise(frame_of(reasons), RUN)
    found = {row.category: (row.value, row.n, row.unscored) for row in rows}
    assert found == {"a": (0.5, 4, 0), "b": (0.25, 8, 0), "all": (pytest.approx(1 / 3), 12, 0)}
    assert {(row.metric, row.subset, row.scorer) for row in rows} == {
        ("refused", "gender", "refusals")
    }


def test_a_subset_without_refusals_counts_where_another_has_some() -> None:
    frame = pd.concat(
        [frame_of({"a1": [as_refused("x"), None]}), frame_of({"a1": [None, None]}, subset="race")],
        ignore_index=True,
    )
    rows = refusals.summarise(frame, RUN)
    assert {row.subset: row.value for row in rows if row.category == "all"} == {
        "gender": 0.5,
        "race": 0,
        "all": 0.25,
    }


def test_without_a_refusal_there_is_no_number() -> None:
    assert refusals.summarise(frame_of({"a1": [None, "blank image"]}), RUN) == []


def test_a_frame_without_reasons_is_named() -> None:
    with pytest.raises(BadInput, match="no column unscored"):
        refusals.summarise(frame_of({"a1": [None]}).drop(columns="unscored"), RUN)
