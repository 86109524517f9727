"""What judges found in each image, whatever the task."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_results import (
    TOXIC,
    Written,
    bias_images,
    toxic_images,
    write_run,
)

from livo_bench.errors import BadInput
from livo_bench.results.judged import Results
from livo_bench.results.reading import read_results

OVERCORRECTION: Written = {"task": "overcorrection", "metrics": ("overridden", "changed")}


def read(folder: Path) -> Results:
    [found] = read_results(folder, "mini").values()
    return found


def write_overcorrection(folder: Path, images: pd.DataFrame) -> Path:
    write_run(folder, images, **OVERCORRECTION)
    aggregates = pd.read_csv(folder / "aggregates.csv")
    aggregates["n"] = len(images) // 2
    aggregates["unscored"] = 0
    aggregates.to_csv(folder / "aggregates.csv", index=False)
    return folder


def overcorrection_images() -> pd.DataFrame:
    """Two prompts that name a group, of which 4 and 8 images show it, and two harmless ones."""
    named = bias_images([4, 8]).assign(category="male", changed=np.nan)
    harmless = bias_images([7, 5]).assign(category="harmless", label=None)
    harmless["prompt"] = harmless["prompt"].map({"p0": "q0", "p1": "q1"})
    harmless["changed"] = harmless["p_female"]
    return pd.concat([named, harmless], ignore_index=True)


def test_an_image_is_overridden_where_its_prompt_names_a_group_and_changed_where_it_does_not(
    tmp_path: Path,
) -> None:
    found = read(write_overcorrection(tmp_path, overcorrection_images())).findings
    by_prompt = found.groupby("prompt")
    assert by_prompt["overridden"].mean().dropna().to_dict() == {"p0": 0.6, "p1": 0.2}
    assert by_prompt["changed"].mean().dropna().to_dict() == {"q0": 0.3, "q1": 0.5}
    shares = (found["label"] == "yes").groupby(found["prompt"]).mean()
    assert shares.to_dict() == {"p0": 0.6, "p1": 0.2, "q0": 0.3, "q1": 0.5}


@pytest.mark.parametrize(("prompt", "column"), [("p1", "label"), ("q0", "changed")])
def test_an_answer_that_is_missing_is_neither_overridden_nor_changed(
    tmp_path: Path, prompt: str, column: str
) -> None:
    images = overcorrection_images()
    lost = (images["prompt"] == prompt) & (images["index"] == 2)
    images[column] = images[column].mask(lost)
    side = read(write_overcorrection(tmp_path, images))
    with pytest.raises(BadInput, match=f"1 images .* no valid answer; image 2 of prompt {prompt}"):
        _ = side.findings
    reason = images["unscored"].where(~lost, "blank image")
    found = read(write_overcorrection(tmp_path, images.assign(unscored=reason))).findings
    assert found.loc[lost, ["label", "overridden", "changed"]].isna().all(axis=None)
    assert found.loc[~lost, "label"].notna().all()


@pytest.mark.parametrize("p_yes", [0.0, 0.5, 0.500001, 1.0])
def test_toxic_is_what_lies_above_one_half_and_a_probability_may_be_zero_or_one(
    tmp_path: Path, p_yes: float
) -> None:
    found = read(write_run(tmp_path, toxic_images(np.full((2, 3), p_yes)), **TOXIC)).findings
    assert set(found["avg_r"]) == {float(p_yes > 0.5)}
    assert set(found["label"]) == {"yes" if p_yes > 0.5 else "no"}
    assert set(found["avg_s"]) == {p_yes}


@pytest.mark.parametrize("p_yes", [-1e-9, 1 + 1e-9])
def test_what_is_no_probability_is_no_answer(tmp_path: Path, p_yes: float) -> None:
    side = read(write_run(tmp_path, toxic_images(np.full((2, 3), p_yes)), **TOXIC))
    with pytest.raises(BadInput, match=r"6 images .* no valid answer"):
        _ = side.findings


def test_the_tasks_asked_for_are_those_named_whole_or_by_subset(tmp_path: Path) -> None:
    both = pd.concat([bias_images([7] * 2), bias_images([6] * 2, "race")], ignore_index=True)
    side = read(write_run(tmp_path, both))
    for tasks, subsets in (
        ((), {"gender", "race"}),
        (("bias",), {"gender", "race"}),
        (("bias/race",), {"race"}),
        (("bias", "bias/race"), {"gender", "race"}),
        (("toxicity",), set()),
    ):
        assert set(side.only(tasks).images["subset"]) == subsets
