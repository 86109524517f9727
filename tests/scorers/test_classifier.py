"""An image classifier as judge, declared by `judge.toml`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_judges import save_vit
from written_inputs import write_prompts

from livo_bench.errors import BadInput
from livo_bench.report import contents
from livo_bench.results.two_judges import cohens_kappa, compare_judges
from livo_bench.runs import runner

PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career"]
JUDGE = """\
kind = "classifier"
role = "attributes"
weights = "./network"
dtype = "float32"
subsets = ["gender"]

[labels]
Man = "male"
Woman = "female"
Nobody = "abstained"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judge")
    save_vit(place / "network", ["Man", "Woman", "Nobody"])
    (place / "judge.toml").write_text(JUDGE, "utf-8")
    return place


def test_a_classifier_judges_stored_images_and_what_it_abstains_from_is_counted(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "own.csv", PEOPLE)
    runs = tmp_path / "runs"
    made = {"model": str(tiny_model), "images": 3, "prompts": prompts, "device": "cpu"}
    runner.run(methods=["sd"], task="bias/gender", runs=runs, **made)  # type: ignore[arg-type]
    for line, name in (("", "answers"), ("threshold = 1.0\n", "silent")):
        file = folder / f"{name}.toml"
        file.write_text(line + JUDGE.replace('Nobody = "abstained"', 'Nobody = "male"'), "utf-8")
    run = {**made, "methods": ["sd"], "task": "bias/gender", "runs": runs}
    [results] = runner.run(**run, scorer=str(folder / "answers.toml"))  # type: ignore[arg-type]
    images = pd.read_parquet(results / "images.parquet")
    images = images[images["subset"] == "gender"]
    assert set(images["label"]) <= {"male", "female"}
    assert images["unscored"].isna().all()
    assert (images["p_male"] + images["p_female"]).to_numpy() == pytest.approx(1)
    with pytest.raises(Exception, match="abstained"):
        runner.run(**run, scorer=str(folder / "silent.toml"))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="asks about 'race'"):
        runner.run(**{**run, "task": "bias/race"}, scorer=str(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('Woman = "female"', 'Lady = "female"', "classes of .* are Man, Nobody, Woman"),
        ('"female"', '"lady"', "answers lady, male; subset 'gender' .* expects"),
        ('"classifier"', '"oracle"', "kind is 'oracle', expected one of"),
        ('"attributes"', '"features"', "role is 'features', expected"),
    ],
)
def test_a_judge_of_other_labels_is_refused_before_it_loads(
    old: str, new: str, message: str, folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (folder / "wrong.toml").write_text(JUDGE.replace(old, new), "utf-8")
    with pytest.raises(BadInput, match=message):
        runner.run(
            methods=["sd"],
            task="bias/gender",
            model=str(tiny_model),
            images=3,
            prompts=write_prompts(tmp_path / "own.csv", PEOPLE),
            device="cpu",
            runs=tmp_path / "runs",
            scorer=str(folder / "wrong.toml"),
        )


def test_several_judges_are_held_against_each_other(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    made = {
        "methods": ["sd"],
        "task": "bias/gender",
        "model": str(tiny_model),
        "images": 3,
        "prompts": write_prompts(tmp_path / "own.csv", PEOPLE),
        "device": "cpu",
        "runs": tmp_path / "runs",
    }
    runner.run(**made)  # type: ignore[arg-type]
    swapped = (
        JUDGE.replace('"male"', '"x"').replace('"female"', '"male"').replace('"x"', '"female"')
    )
    for name, text in (("one", JUDGE), ("two", swapped)):
        (folder / f"{name}.toml").write_text(text.replace('"abstained"', '"male"'), "utf-8")
    judges = tuple(str(folder / f"{name}.toml") for name in ("one", "two"))
    assert len(runner.run(**made, scorer=judges)) == 2  # type: ignore[arg-type]
    pairs = compare_judges(tmp_path / "runs", "tiny")
    assert len(pairs) == 3
    assert {pair.n for pair in pairs} == {6}
    for pair in pairs:
        assert sum(pair.confusion.values()) == 6
    told = str(contents.report("judges", form="csv", folder=tmp_path / "runs", model="tiny"))
    assert told.count("\n") >= 3
    with pytest.raises(BadInput, match="no model folder"):
        runner.run(**made, scorer=(judges[0], str(tmp_path / "none")))  # type: ignore[arg-type]


def test_kappa_is_that_of_cohen() -> None:
    # Cohen's kappa of 20, 5, 10, 15: observed 0.7, expected 0.5.
    counts = np.array([[[20.0, 5], [10, 15]], [[4, 0], [0, 0]], [[5, 0], [0, 5]]])
    assert cohens_kappa(counts) == pytest.approx([0.4, np.nan, 1], nan_ok=True)
