"""Result folders: numbers, what their runs say of themselves, and scored images."""

import json
from pathlib import Path

import pandas as pd
import pytest
from written_results import bias_images, seal_again, write_run

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import REJUDGED
from livo_bench.results import conditions
from livo_bench.results.judged import Results
from livo_bench.results.reading import (
    ABOUT,
    OF_SUBSET,
    load_results,
    looked_at,
    read_prompts,
    read_results,
)


def write(folder: Path, changed: dict, subsets: tuple[str, ...] = ("gender",)) -> Path:
    """A sealed result folder of some subsets, whose record says something more."""
    images = pd.concat([bias_images([7, 8], subset) for subset in subsets], ignore_index=True)
    write_run(folder, images, seed=42)
    record = json.loads((folder / "run.json").read_text())
    del record["seal"]
    seal_again(folder, record | changed)
    return folder


def test_numbers_carry_what_their_run_says(tmp_path: Path) -> None:
    prompts = {
        "list": "own.csv",
        "digest": "d",
        "subsets": {"gender": "g", "race": "r"},
    }
    method = {"name": "sd", "title": "SD", "told": "nothing", "files": {"card.toml": "a"}}
    method["asked"] = "--method ./sd"
    folder = write(tmp_path, {"prompts": prompts, "method": method}, ("gender", "race"))
    rows = load_results(folder, "mini")
    assert rows.groupby("subset")[OF_SUBSET].unique().map(list).to_dict() == {
        "gender": ["g"], "race": ["r"]
    }  # fmt: skip
    expected = {
        "title": "SD",
        "asked": "--method ./sd",
        "told": "nothing",
        "files": '{"card.toml": "a"}',
    }
    assert {name: set(rows[name]) for name in ABOUT} == {
        name: {value} for name, value in expected.items()
    }
    assert (set(rows["prompts"]), set(rows["judge"])) == ({"own.csv"}, {""})
    assert {*rows["steps"], *rows["seed"]} == {"15", "42"}
    names = {condition.name for condition in looked_at()}
    rules = {
        one.name for one in conditions.CONDITIONS if one.table in ("must agree", conditions.SAID)
    }
    assert names == rules
    assert names - {OF_SUBSET} <= {*rows}


def test_the_digest_of_all_prompts_is_that_of_numbers_over_all_subsets_alone(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, {"prompts": {"list": "", "digest": "d"}})
    assert set(load_results(folder, "mini")["prompts digest"]) == {conditions.UNKNOWN}
    table = pd.read_csv(folder / "aggregates.csv")
    pd.concat([table, table.assign(subset="all")]).to_csv(folder / "aggregates.csv", index=False)
    seal_again(folder)
    rows = load_results(folder, "mini")
    assert set(rows["prompts digest"]) == {"d"}
    assert set(rows[OF_SUBSET]) == {conditions.UNKNOWN}


def test_numbers_of_another_judge_name_it(tmp_path: Path) -> None:
    other = tmp_path / REJUDGED / "clip-2"
    write(other / "sd" / "bias", {})
    for folder in (other, other / "sd", other / "sd" / "bias"):
        assert set(load_results(folder, "mini")["judge"]) == {"clip-2"}
    # The folder of all other judges is none of them.
    assert set(load_results(tmp_path / REJUDGED, "mini")["judge"]) == {""}


def test_results_of_another_model_and_no_results_are_incomplete(tmp_path: Path) -> None:
    write(tmp_path / "runs", {})
    with pytest.raises(Incomplete, match=r"No results of model 'other' .* with results: mini"):
        load_results(tmp_path / "runs", "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Incomplete, match=r"with results: none"):
        load_results(tmp_path / "empty", "mini")
    with pytest.raises(Incomplete, match="There is no folder"):
        load_results(tmp_path / "gone", "mini")


@pytest.mark.parametrize("name", ["n", "n_distinct", "unscored"])
@pytest.mark.parametrize(
    ("value", "said"), [(-1, "has -1 for"), (2.5, "has 2.5 for"), (None, "has no")]
)
def test_what_counts_images_is_a_whole_number_from_zero_up(
    tmp_path: Path, name: str, value: float | None, said: str
) -> None:
    write_run(tmp_path, bias_images([7, 8]))
    table = pd.read_csv(tmp_path / "aggregates.csv")
    for right in (0, 3):
        table.assign(**{name: [3, right]}).to_csv(tmp_path / "aggregates.csv", index=False)
        assert load_results(tmp_path, "mini")[name].tolist() == [3, right]
    table.assign(**{name: pd.Series([3, value])}).to_csv(tmp_path / "aggregates.csv", index=False)
    with pytest.raises(BadInput, match=rf"{said} {name} in line 3; expected a count"):
        load_results(tmp_path, "mini")


# Images -------------------------------------------------------------------------------------------


def read(folder: Path) -> Results:
    [found] = read_results(folder, "mini").values()
    return found


def test_subsets_that_were_run_one_by_one_are_joined_row_by_row(tmp_path: Path) -> None:
    write_run(tmp_path / "bias.gender", bias_images([7] * 2), seed=1)
    write_run(tmp_path / "bias.race", bias_images([6] * 2, "race"), seed=1)
    side = read(tmp_path)
    assert side.images.index.is_unique
    assert [folder.name for folder in side.folders] == ["bias.gender", "bias.race"]
    assert {subset for subset, _ in side.scorers} == {"gender", "race"}
    assert len(side.records) == 2
    assert side.sealed
    (tmp_path / "bias.race" / "run.json").unlink()
    assert not read(tmp_path).sealed


PROMPT_ROWS = pd.DataFrame(
    {"subset": "gender", "prompt": ["p1", "p0"], "category": "career", "n": 10, "D1": [0.5, 0.25]}
)


def test_numbers_of_prompts_come_by_subset_and_prompt(tmp_path: Path) -> None:
    write_run(tmp_path, bias_images([7, 8]))
    PROMPT_ROWS.assign(told="text").to_csv(tmp_path / "prompts.csv", index=False)
    found = read_prompts(read(tmp_path))
    assert found.index.names == ["subset", "prompt"]
    assert found.index.tolist() == [("gender", "p0"), ("gender", "p1")]
    assert found["D1"].tolist() == [0.25, 0.5]
    assert {*found.columns} == {"n", "D1", "category"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (PROMPT_ROWS.drop(columns="n"), "Cannot read"),
        (PROMPT_ROWS.drop(columns="category"), "Cannot read"),
        (PROMPT_ROWS.assign(n=pd.Series([10, None])), "lacks the category or the images"),
        (PROMPT_ROWS.assign(n="ten"), "lacks the category or the images"),
        (
            PROMPT_ROWS.assign(category=pd.Series(["career", None])),
            "lacks the category or the images",
        ),
        (PROMPT_ROWS.assign(prompt="p0"), "or has one twice"),
    ],
    ids=["no n", "no category", "an n is missing", "n is a word", "a category is missing", "twice"],
)
def test_prompts_without_their_number_of_images_are_refused(
    tmp_path: Path, rows: pd.DataFrame, said: str
) -> None:
    write_run(tmp_path, bias_images([7, 8]))
    rows.to_csv(tmp_path / "prompts.csv", index=False)
    with pytest.raises(BadInput, match=said):
        read_prompts(read(tmp_path))
