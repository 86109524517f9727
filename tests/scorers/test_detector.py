"""Boxes as judges: who is there, and who is not, declared by `judge.toml`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_judges import LIGHT, save_onnx_boxes, save_vit, save_yolos
from written_inputs import write_prompts

from livo_bench.errors import BadInput, NothingScored
from livo_bench.report import contents
from livo_bench.results.metrics.fidelity import NOT_ONE
from livo_bench.runs import runner
from livo_bench.scorers.boxes import Boxes, Counted, Found
from livo_bench.scorers.substitute import read_judge

PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career"]
YOLOS = """\
kind = "detector"
role = "people"
weights = "./network"
dtype = "float32"
classes = ["person"]
threshold = 0.2
"""
ONNX = """\
kind = "detector"
role = "people"
weights = "./boxes.onnx"
dtype = "float32"
classes = ["person"]
threshold = 0.4

[input]
size = 32
std = { red = 255, green = 255, blue = 255 }
"""
GREYS = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (255, 170, 60)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judge")
    save_yolos(place / "network", ["person", "cat"])
    save_onnx_boxes(place / "boxes.onnx", ["person", "cat"])
    return place


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that has been made."""
    runs = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {
        "methods": ["sd"],
        "task": "bias/gender",
        "model": str(tiny_model),
        "images": 3,
        "prompts": write_prompts(runs / "own.csv", PEOPLE),
        "device": "cpu",
        "runs": runs,
    }
    runner.run(**options)
    return options


def network(file: Path, text: str) -> Boxes:
    """The network of a judge."""
    file.write_text(text, "utf-8")
    declared: Any = read_judge(file)[1]
    declared.check("people")
    found: Boxes = declared.network("cpu")
    found.load()
    return found


def test_boxes_of_an_onnx_file_are_counted_from_the_threshold_on_and_each_once(
    folder: Path,
) -> None:
    counted = Counted(network(folder / "onnx.toml", ONNX))
    assert counted.score(GREYS, [])["persons"].tolist() == [2, 1, 0]
    apart = Counted(network(folder / "apart.toml", f"overlap = 1.0\n{ONNX}"))
    assert apart.score(GREYS, [])["persons"].tolist() == [3, 2, 0]
    assert counted.id != apart.id
    cats = Counted(network(folder / "cats.toml", ONNX.replace('["person"]', '["cat"]')))
    assert not cats.score(GREYS, [])["persons"].any()


def test_a_detector_of_hazards_says_yes_where_there_is_a_box_of_one(folder: Path) -> None:
    found = Found(network(folder / "onnx.toml", ONNX), "nudity").score(GREYS, [])
    assert found["label"].tolist() == ["yes", "yes", "no"]
    assert found["p_yes"].tolist() == [1, 1, 0]
    assert found["p_no"].tolist() == [0, 0, 1]


def lights(runs: Path) -> dict[str, float]:
    """Light of the stored pictures, from 0 to 1, by key."""
    stored = pd.concat(map(pd.read_parquet, runs.glob("store/tiny/samples/*.parquet")))
    pictures = {
        str(key): np.asarray(Image.open(io.BytesIO(image["bytes"])))
        for key, image in zip(stored["key"], stored["image"], strict=True)
    }
    return {key: float(picture.mean()) / 255 for key, picture in pictures.items()}


def test_groups_are_those_of_images_that_show_exactly_one_person(
    folder: Path, made: dict[str, Any]
) -> None:
    light = pd.Series(lights(made["runs"]))
    ordered = light.sort_values().to_numpy()
    gap = np.diff(ordered).argmax()
    middle = ordered[gap : gap + 2].mean()
    file = folder / "half.toml"
    file.write_text(ONNX.replace("0.4", str(LIGHT * middle)), "utf-8")
    [results] = runner.run(**made, scorer=str(file))
    images = pd.read_parquet(results / "images.parquet")
    one = images["key"].map(light) > middle
    assert 0 < one.sum() < len(images)
    assert (images["one_person"] == one).all()
    assert set(images.loc[one, "label"]) <= {"male", "female"}
    assert set(images.loc[~one, "unscored"]) == {NOT_ONE}
    assert images.loc[~one, ["label", "p_male", "p_female"]].isna().all(axis=None)
    table = pd.read_csv(results / "aggregates.csv").query("category == 'all'")
    rows: Any = table.set_index("metric").to_dict("index")
    assert rows["one_person"]["value"] == pytest.approx(one.mean())
    assert rows["one_person"]["scorer"].startswith("detector-people-")
    assert rows["D1"]["n"] == one.sum()
    assert rows["D1"]["unscored"] == (~one).sum()
    assert rows["D1"]["scorer"].endswith(rows["one_person"]["scorer"])


def test_who_draws_nobody_has_no_number(folder: Path, made: dict[str, Any]) -> None:
    file = folder / "nobody.toml"
    file.write_text(ONNX.replace('["person"]', '["cat"]'), "utf-8")
    with pytest.raises(NothingScored, match=NOT_ONE):
        runner.run(**made, scorer=str(file))


def test_a_detector_of_transformers_counts_what_its_processor_finds(folder: Path) -> None:
    every = Counted(network(folder / "every.toml", YOLOS.replace("0.2", "0.0")))
    both = Counted(
        network(folder / "both.toml", YOLOS.replace("0.2", "0.0").replace('"]', '", "cat"]'))
    )
    persons = every.score(GREYS, [])["persons"]
    assert (persons <= both.score(GREYS, [])["persons"]).all()
    assert both.score(GREYS, [])["persons"].max() <= 4
    none = Counted(network(folder / "none.toml", YOLOS.replace("0.2", "1.0")))
    assert not none.score(GREYS, [])["persons"].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YOLOS.replace('["person"]', '["people"]'), "knows no people; it knows cat, person"),
        (YOLOS.replace('["person"]', "[]"), "counts nothing"),
        (YOLOS.replace("./network", "./vit"), "of type 'vit', which draws no boxes"),
        (YOLOS.replace('"people"', '"hazards"'), "answers questions about hazards, and task"),
        (ONNX.replace('["person"]', '["people"]'), "knows no people; it knows cat, person"),
        (ONNX.split("[input]")[0], "does not say how it is shown pictures"),
        (ONNX.replace("./boxes", "./none"), "There is no ONNX file"),
        (ONNX.replace("./boxes", "package:livo_none/boxes"), "'livo_none', .* is not installed"),
        (ONNX.replace("red = 255", "rot = 255"), "has colours rot"),
    ],
)
def test_a_detector_that_cannot_be_one_is_refused(
    text: str, message: str, folder: Path, made: dict[str, Any]
) -> None:
    if not (folder / "vit").exists():
        save_vit(folder / "vit", ["person", "cat"])
    (folder / "wrong.toml").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=message) as refused:
        runner.run(**made, scorer=str(folder / "wrong.toml"))
    assert refused.value.hint


def test_a_card_may_name_who_counts_and_tables_show_the_share(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    counts = ONNX.replace('role = "people"\n', "").replace("./boxes", str(folder / "boxes"))
    counts = counts.replace("[input]", "[judges.people.input]")
    card = tiny_model.with_name("counting.toml")
    text = tiny_model.read_text("utf-8").replace('"tiny"', '"counting"')
    card.write_text(f"{text}[judges.people]\n{counts}", "utf-8")
    runs = tmp_path / "runs"
    runner.run(
        methods=["sd"],
        task="bias",
        model=str(card),
        images=1,
        prompts=write_prompts(tmp_path / "own.csv", PEOPLE),
        device="cpu",
        runs=runs,
    )
    table = str(contents.report("trade-off", form="csv", folder=runs, model="counting"))
    assert "one_person" in table
    shown = str(contents.report("trade-off", form="markdown", folder=runs, model="counting"))
    assert "All images One person" in shown
    assert "Steered images One person" not in shown
