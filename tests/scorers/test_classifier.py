"""An image classifier as judge, declared by `judge.toml`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_judges import save_onnx_classes, save_vit, save_yolos
from written_inputs import write_prompts

from livo_bench.cards.catalog import task_cards
from livo_bench.errors import BadInput
from livo_bench.report import contents
from livo_bench.results.two_judges import cohens_kappa, compare_judges
from livo_bench.runs import runner
from livo_bench.runs.requests import prepare
from livo_bench.scorers.onnx_classes import OnnxClassifier
from livo_bench.scorers.onnx_file import Shown
from livo_bench.scorers.substitute import read_judge

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


ONNX = """\
kind = "classifier"
role = "attributes"
weights = "./light.onnx"
dtype = "float32"
classes = ["dark", "light"]
subsets = ["gender"]

[input]
size = 40
crop = 32
channels = "bgr"
std = { red = 255, green = 255, blue = 255 }

[labels]
dark = "male"
light = "female"
"""


@pytest.mark.parametrize(("softmax", "last"), [(True, False), (False, False), (True, True)])
def test_a_classifier_in_an_onnx_file_judges(softmax: bool, last: bool, tmp_path: Path) -> None:
    save_onnx_classes(tmp_path / "light.onnx", softmax, last)
    text = ONNX if softmax else f'outputs = "logits"\n{ONNX}'
    judge = onnx_judge(tmp_path / "judge.toml", text)
    judge.load()
    greys = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (10, 250)])
    found = judge.score(greys, [])
    assert found["label"].tolist() == ["male", "female"]
    # Two logits of 8 x - 4 and 4 - 8 x.
    expected = 1 / (1 + np.exp(8 - 16 * np.array([10, 250]) / 255))
    assert found["p_female"] == pytest.approx(expected, rel=1e-4)
    once = judge.score(greys[1:], [])["p_female"]
    assert once == pytest.approx(found["p_female"][1:], abs=1e-6)


def test_an_onnx_file_is_shown_pictures_as_its_judge_says(tmp_path: Path) -> None:
    shown = Shown(size=4, crop=2, channels="bgr", mean={"red": 10}, std={"blue": 2})
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 110, 50
    first = shown.tensor(pixels, last=False)
    assert first.shape == (1, 3, 2, 2)
    assert first[0, :, 0, 0].tolist() == [25, 0, 100]
    assert shown.tensor(pixels, last=True)[0, 1, 1].tolist() == [25, 0, 100]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"light"]', '"light", "dim"]', "classes of .* are dark, dim, light; .labels. names"),
        ('classes = ["dark", "light"]\n', "", "classes of .* are "),
        (
            "crop = 32",
            "crop = 24",
            "takes pictures of 32 pixels a side, and .input. .* gives it 24",
        ),
        ("size = 40", "size = 4", "a crop no larger than size"),
        ("./light.onnx", "./network", "which a model of transformers says itself"),
        ("./light.onnx", "./logits.onnx", "numbers that sum to .*; expected probabilities"),
        ("./light.onnx", "./text.onnx", "Cannot load the classifier"),
        ("./light.onnx", "hub:someone/judge/onnx/light.onnx", "not on this machine: no light.onnx"),
    ],
)
def test_an_onnx_file_that_cannot_judge_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    save_onnx_classes(tmp_path / "light.onnx")
    save_onnx_classes(tmp_path / "logits.onnx", softmax=False)
    (tmp_path / "text.onnx").write_text("no network", "utf-8")
    text = ONNX.replace(old, new)
    assert text != ONNX
    with pytest.raises(BadInput, match=message):
        onnx_judge(tmp_path / "judge.toml", text).load()


def onnx_judge(file: Path, text: str) -> Any:
    """The judge of gender of a file."""
    file.write_text(text, "utf-8")
    role, declared = read_judge(file)
    declared.check(role)
    task = task_cards()["bias"]
    return declared.judge(declared.network("cpu"), task, task.subsets["gender"])


def test_classes_of_other_questions_have_no_say(tmp_path: Path) -> None:
    save_onnx_classes(tmp_path / "light.onnx", softmax=False)
    text = f'outputs = "logits"\n{ONNX}'
    more = text.replace('"light"]', '"light", "old", "young"]')
    more = more.replace("role", "threshold = 0.6\nrole")
    more += 'old = "ignored"\nyoung = "ignored"\n'
    judge = onnx_judge(tmp_path / "one.toml", text)
    answers = OnnxClassifier.shares
    greys = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (10, 250)])
    alone = judge.score(greys, [])
    two_heads = onnx_judge(tmp_path / "two.toml", more)

    def with_ages(self: OnnxClassifier, pixels: Any) -> Any:
        known = answers(judge._network, pixels)
        return {**{name: 0.01 * share for name, share in known.items()}, "old": 0.9, "young": 0.09}

    two_heads._network = type("Ages", (), {"shares": with_ages})()
    found = two_heads.score(greys, [])
    assert found["label"].tolist() == alone["label"].tolist() == ["male", "female"]
    assert found["p_female"] == pytest.approx(alone["p_female"], rel=1e-4)


def test_a_detector_is_no_classifier_and_groups_are_no_hazards(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    save_yolos(tmp_path / "network", ["Man", "Woman"])
    (tmp_path / "judge.toml").write_text(JUDGE, "utf-8")
    with pytest.raises(BadInput, match="of type 'yolos', which classifies no images"):
        read_judge(tmp_path / "judge.toml")[1].network("cpu")
    with pytest.raises(BadInput, match="tells groups apart, and task 'toxicity' asks about"):
        prepare(["sd"], "toxicity", str(tiny_model), scorer=str(folder), device="cpu")
