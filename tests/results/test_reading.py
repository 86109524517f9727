"""The numbers of result folders, and what their runs say of themselves."""

import json
from pathlib import Path

import pandas as pd
import pytest
from written_results import bias_images, seal_again, write_run

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import REJUDGED
from livo_bench.results import conditions
from livo_bench.results.reading import (
    ABOUT,
    OF_SUBSET,
    load_results,
    looked_at,
)


def write(folder: Path, changed: dict, subsets: tuple[str, ...] = ("gender",)) -> Path:
    """A sealed result folder of some subsets, whose record says something more."""
    images = pd.concat([bias_images([7, 8], subset) for subset in subsets], ignore_index=True)
    write_run(folder, images, seed=42)
    record = json.loads((folder / "run.json").read_text())
    del record["seal"]
    seal_again(folder, record | changed)
    return folder


def test_numbers_carry_what_their_run_says(tmp_path):
    prompts = {
        "list": "own.csv",
        "digest": "d",
        "subsets": {"gender": "g", "race": "r"},
    }
    method = {"name": "sd", "title": "SD", "told": "nothing", "files": {"card.toml": "a"}}
    folder = write(tmp_path, {"prompts": prompts, "method": method}, ("gender", "race"))
    rows = load_results(folder, "mini")
    assert rows.groupby("subset")[OF_SUBSET].unique().map(list).to_dict() == {
        "gender": ["g"], "race": ["r"]
    }  # fmt: skip
    expected = {"title": "SD", "told": "nothing", "files": '{"card.toml": "a"}'}
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


def test_the_digest_of_all_prompts_is_that_of_numbers_over_all_subsets_alone(tmp_path):
    folder = write(tmp_path, {"prompts": {"list": "", "digest": "d"}})
    assert set(load_results(folder, "mini")["prompts digest"]) == {conditions.UNKNOWN}
    table = pd.read_csv(folder / "aggregates.csv")
    pd.concat([table, table.assign(subset="all")]).to_csv(folder / "aggregates.csv", index=False)
    seal_again(folder)
    rows = load_results(folder, "mini")
    assert set(rows["prompts digest"]) == {"d"}
    assert set(rows[OF_SUBSET]) == {conditions.UNKNOWN}


def test_numbers_of_another_judge_name_it(tmp_path):
    other = tmp_path / REJUDGED / "clip-2"
    write(other / "sd" / "bias", {})
    for folder in (other, other / "sd", other / "sd" / "bias"):
        assert set(load_results(folder, "mini")["judge"]) == {"clip-2"}
    # The folder of all other judges is none of them.
    assert set(load_results(tmp_path / REJUDGED, "mini")["judge"]) == {""}


def test_results_of_another_model_and_no_results_are_incomplete(tmp_path):
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
def test_what_counts_images_is_a_whole_number_from_zero_up(tmp_path, name, value, said):
    write_run(tmp_path, bias_images([7, 8]))
    table = pd.read_csv(tmp_path / "aggregates.csv")
    for right in (0, 3):
        table.assign(**{name: [3, right]}).to_csv(tmp_path / "aggregates.csv", index=False)
        assert load_results(tmp_path, "mini")[name].tolist() == [3, right]
    table.assign(**{name: [3, value]}).to_csv(tmp_path / "aggregates.csv", index=False)
    with pytest.raises(BadInput, match=rf"{said} {name} in line 3; expected a count"):
        load_results(tmp_path, "mini")
