"""Rows of aggregates from scored frames, whatever the metric."""

import numpy as np
import pandas as pd
import pytest

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import Run
from livo_bench.results import frames
from livo_bench.results.frames import ALL, Cell
from livo_bench.results.metrics.intervals import Ends, interval_of_mean

RUN = Run("mini", "sd", "task")


def images_of(prompts: dict[str, tuple[str, int, int]], subset: str = "s") -> pd.DataFrame:
    """From {prompt: (category, images, how many of them are unscored)}; every two share a key."""
    rows = [
        {
            "subset": subset,
            "prompt": prompt,
            "category": category,
            "index": index,
            "key": f"{prompt}-{index // 2}",
            "unscored": "blank image" if index < lost else None,
        }
        for prompt, (category, count, lost) in prompts.items()
        for index in range(count)
    ]
    return pd.DataFrame(rows).astype({"unscored": object})


# Not in alphabetical order, as the prompts of a list.
IMAGES = images_of({"q": ("b", 4, 1), "p": ("b", 6, 0), "r": ("a", 5, 5), "o": ("a", 2, 0)})


def test_images_are_counted_by_prompt_in_alphabetical_order() -> None:
    found = frames.image_counts(IMAGES)
    assert found.reset_index().to_numpy().tolist() == [
        ["o", "a", "a/o", 2, 1, 0],
        ["p", "b", "b/p", 6, 3, 0],
        ["q", "b", "b/q", 3, 2, 1],
        ["r", "a", "a/r", 0, 0, 5],
    ]
    assert list(found.columns) == ["category", "cluster", "n", "n_distinct", "unscored"]


def test_clusters_are_those_told_and_else_the_concept_in_its_category_and_else_the_prompt() -> None:
    told = IMAGES.assign(
        concept=IMAGES["prompt"].map({"p": "nurse", "q": "nurse", "r": "nurse"}),
        cluster=IMAGES["prompt"].map({"p": "family", "q": ""}),
    )
    assert frames.clusters_of(told).to_dict() == {
        "o": "a/o", "p": "family", "q": "b/nurse", "r": "a/nurse"
    }  # fmt: skip
    assert frames.clusters_of(told).index.tolist() == ["o", "p", "q", "r"]


def test_each_category_has_a_cell_and_all_of_them_one_and_subsets_come_in_order() -> None:
    prompts = frames.image_counts(IMAGES)
    cells = list(frames.cells(RUN, "s", "judge-1", IMAGES, prompts))
    assert [(cell.category, list(cell.prompts.index), len(cell.images)) for cell in cells] == [
        ("a", ["o", "r"], 7),
        ("b", ["p", "q"], 10),
        (ALL, ["o", "p", "q", "r"], 17),
    ]
    assert {(cell.run, cell.subset, cell.scorer) for cell in cells} == {(RUN, "s", "judge-1")}
    both = pd.concat([IMAGES.assign(subset="z"), IMAGES])
    assert [(name, len(part)) for name, part in frames.by_subset(both)] == [("s", 17), ("z", 17)]


def test_a_mean_is_that_of_the_prompts_with_a_value_and_counts_their_images() -> None:
    scores = pd.Series({"o": 0.2, "p": 0.4, "q": 0.9, "r": np.nan})
    floors = pd.Series({"o": 0.1, "p": 0.2, "q": np.nan, "r": 0.9})
    cell = Cell(RUN, "s", ALL, "judge-1", IMAGES, pd.DataFrame({"score": scores}))
    row = cell.mean("score", floors)
    assert (row.value, row.floor) == pytest.approx((0.5, 0.15))
    assert (row.n, row.n_distinct, row.unscored) == (11, 6, 6)
    assert (row.low, row.high) == interval_of_mean([0.2, 0.4, 0.9])
    names = (row.model, row.method, row.task, row.subset, row.category, row.metric, row.scorer)
    assert names == ("mini", "sd", "task", "s", ALL, "score", "judge-1")
    assert np.isnan(cell.mean("score").floor)
    for ends in (Ends(-1, 2), None):
        row = cell.mean("score", ends=ends)
        assert (row.low, row.high) == interval_of_mean([0.2, 0.4, 0.9], ends=ends)


def test_the_error_of_a_matrix_is_in_the_interval_of_a_mean() -> None:
    scores = pd.Series({"o": 0.2, "p": 0.4, "q": 0.9, "r": np.nan})
    drawn = pd.DataFrame(
        np.random.default_rng(0).uniform(size=(50, 4)), columns=["o", "p", "q", "r"]
    )
    cell = Cell(RUN, "s", ALL, "judge-1", IMAGES, pd.DataFrame({"score": scores}))
    row = cell.mean("score", drawn=drawn)
    shifts = drawn[["o", "p", "q"]].to_numpy().mean(axis=1) - 0.5
    assert (row.low, row.high) == pytest.approx(interval_of_mean([0.2, 0.4, 0.9], shifts=shifts))
    assert row.high - row.low > cell.mean("score").high - cell.mean("score").low


def test_over_subsets_a_prompt_has_the_mean_of_its_values_where_none_is_missing() -> None:
    tables = {
        "s": pd.DataFrame({"score": {"o": 0.2, "p": 0.4, "q": 0.6}, "other": 1.0}),
        "z": pd.DataFrame({"score": {"p": 0.8, "q": np.nan, "r": 0.1}, "other": 3.0}),
    }
    tables = {subset: table.rename_axis("prompt") for subset, table in tables.items()}
    both = pd.concat([IMAGES, IMAGES.assign(subset="z")])
    scorers = {"z": "judge-2", "s": "judge-1", "elsewhere": "judge-3"}
    cell = frames.cell_over_subsets(RUN, scorers, both, tables, ["score"])
    found = cell.prompts["score"]
    assert found.dropna().to_dict() == pytest.approx({"o": 0.2, "p": 0.6, "r": 0.1})
    assert found.index[found.isna()].tolist() == ["q"]
    assert (cell.run, cell.subset, cell.category) == (RUN, ALL, ALL)
    assert cell.scorer == "judge-1+judge-2"
    assert list(cell.prompts.columns) == ["score"]
    assert len(cell.images) == len(both)


def test_a_column_that_a_subset_lacks_is_empty_there() -> None:
    parts = {
        "s": pd.DataFrame({"one": [1.0]}, index=pd.Index(["p"], name="prompt")),
        "z": pd.DataFrame({"two": [2.0]}, index=pd.Index(["p"], name="prompt")),
    }
    found = frames.prompt_table(parts)
    assert found[["subset", "prompt"]].to_numpy().tolist() == [["s", "p"], ["z", "p"]]
    assert found["one"].isna().tolist() == [False, True]
    assert found["two"].isna().tolist() == [True, False]


def test_a_column_or_an_image_that_is_missing_is_named() -> None:
    frames.require_columns(IMAGES, "prompt", "key")
    with pytest.raises(BadInput, match=r"no column label, p_yes\. It has: subset, prompt"):
        frames.require_columns(IMAGES, "prompt", "label", "p_yes")
    with pytest.raises(Incomplete, match="has no image"):
        frames.require_columns(IMAGES[:0], "prompt")
