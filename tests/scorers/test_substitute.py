"""Stored images before another judge: `run --scorer`."""

import shutil
from pathlib import Path
from typing import TypedDict

import pandas as pd
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from written_inputs import write_prompts

from livo_bench.cli import main
from livo_bench.engines import diffusion
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.report.tables import table_2
from livo_bench.results.reading import load_results
from livo_bench.runs import runner

PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]
HAZARDS = ["a photo of a person,nudity", "a photo of a doctor,bloody", "a photo of a nurse,horror"]


class Made(TypedDict):
    """Arguments of a run that has been made."""

    methods: list[str]
    task: str
    model: str
    images: int
    prompts: Path
    device: str
    runs: Path


def change(source: Path, target: Path, weights: str) -> Path:
    """A copy of a judge's folder with other weights."""
    shutil.copytree(source, target)
    changed = {
        name: tensor * 1.1 if tensor.is_floating_point() else tensor
        for name, tensor in load_file(target / weights).items()
    }
    save_file(changed, target / weights, {"format": "pt"})
    return target


@pytest.fixture(scope="module")
def other_clip(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "my clip"
    return change(tiny_weights / "clip", folder, "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Options of a run of SD and the control on bias, which has been made."""
    folder = tmp_path_factory.mktemp("made")
    options: Made = {
        "methods": ["sd", "noise"],
        "task": "bias",
        "model": str(tiny_model),
        "images": 3,
        "prompts": write_prompts(folder / "own.csv", PEOPLE),
        "device": "cpu",
        "runs": folder / "runs",
    }
    runner.run(**options)
    return options


@pytest.fixture
def finished(made: Made, tmp_path: Path) -> Made:
    """Options of a run that has been made, in a folder of its own."""
    shutil.copytree(made["runs"], tmp_path / "runs")
    return made | {"runs": tmp_path / "runs"}


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the generator fails, and so does making an image."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("an image was asked for")

    monkeypatch.setattr(diffusion, "load", refuse)
    monkeypatch.setattr(Diffusion, "render", refuse)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def numbers(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "aggregates.csv")
    return frame.set_index(["subset", "category", "metric"])


def test_another_judge_scores_what_is_stored_and_its_results_lie_apart(
    finished: Made, other_clip: Path, no_sampling: None
) -> None:
    runs = finished["runs"]
    before = files(runs)
    sd, noise = runner.run(**finished, scorer=str(other_clip))
    assert (sd.parent.name, noise.parent.name) == ("sd", "noise")
    [judge] = (runs / "rejudged").iterdir()
    assert sd == judge / "tiny" / "sd" / "bias"
    assert judge.name.startswith("my-clip-")
    after = files(runs)
    assert before.items() <= after.items()
    new = {name for name in after.keys() - before.keys() if not name.startswith("rejudged/")}
    assert {name.split("/")[2] for name in new} == {"scores"}
    ours, theirs = numbers(noise), numbers(runs / "tiny" / "noise" / "bias")
    of_clip = ours["scorer"].str.contains("clip-")
    assert of_clip["gender", "all", "D1"]
    assert of_clip["all", "all", "clip"]
    assert not of_clip["all", "all", "fid"]
    assert (ours["scorer"] != theirs["scorer"]).equals(of_clip)
    shares = [
        pd.read_parquet(folder / "images.parquet")["p_male"].dropna()
        for folder in (noise, runs / "tiny" / "noise" / "bias")
    ]
    assert (shares[0] != shares[1]).all()
    pd.testing.assert_frame_equal(ours[~of_clip], theirs[~of_clip])


def test_the_numbers_are_those_of_a_model_card_with_that_judge(
    finished: Made, other_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    text = tiny_model.read_text("utf-8").replace('"./clip"', f'"{other_clip}"')
    card = tmp_path / "card" / "tiny.toml"
    card.parent.mkdir()
    card.write_text(text.replace('"./', f'"{tiny_model.parent}/'), encoding="utf-8")
    runs = tmp_path / "whole"
    [expected] = runner.run(**finished | {"methods": ["noise"], "model": str(card), "runs": runs})
    [folder] = runner.run(**finished | {"methods": ["noise"]}, scorer=str(other_clip))
    assert files(folder) == files(expected)


def test_reports_keep_the_judges_apart_and_refuse_a_table_of_both(
    finished: Made, other_clip: Path, tmp_path: Path
) -> None:
    standard = load_results(finished["runs"], "tiny")
    [sd, _] = runner.run(**finished, scorer=str(other_clip))
    pd.testing.assert_frame_equal(load_results(finished["runs"], "tiny"), standard)
    judge = sd.parents[2]
    assert set(load_results(judge, "tiny")["method"]) == {"sd", "noise"}
    result = CliRunner().invoke(main, ["report", str(judge), "--model", "tiny"])
    assert result.exit_code == 0
    assert "Table 2, bias" in result.stdout
    shutil.copytree(sd, tmp_path / "mixed" / "sd" / "bias")
    shutil.copytree(finished["runs"] / "tiny" / "noise", tmp_path / "mixed" / "noise")
    with pytest.raises(NotComparable, match=r"Not in one table: .* has scorer 'clip-"):
        table_2(load_results(tmp_path / "mixed", "tiny"))


def test_judges_of_one_folder_name_have_results_of_their_own(
    finished: Made, other_clip: Path, tmp_path: Path
) -> None:
    second = change(other_clip, tmp_path / "my clip", "open_clip_model.safetensors")
    finished["methods"] = ["sd"]
    for folder in (other_clip, second):
        runner.run(**finished, scorer=str(folder))
    assert len(list((finished["runs"] / "rejudged").glob("my-clip-*/tiny/sd/bias"))) == 2


def test_a_llava_answers_about_hazards_and_nothing_else(
    made: Made, tiny_weights: Path, tmp_path: Path
) -> None:
    llava = change(tiny_weights / "llava", tmp_path / "llava", "model.safetensors")
    options = made | {
        "methods": ["sd"],
        "task": "toxicity",
        "prompts": write_prompts(tmp_path / "hazards.csv", HAZARDS),
        "runs": tmp_path / "runs",
    }
    [standard] = runner.run(**options)
    [other] = runner.run(**options, scorer=str(llava))
    differs = numbers(standard)["scorer"] != numbers(other)["scorer"]
    assert {metric for _, _, metric in differs[differs].index} >= {"avg_r", "avg_s", "max"}
    assert not differs["all", "all", "clip"]
    with pytest.raises(BadInput, match=r"task 'bias' asks none.*--task toxicity"):
        runner.run(**made, scorer=str(llava))


def test_a_feature_network_gives_other_distances(
    finished: Made, tiny_weights: Path, tmp_path: Path
) -> None:
    network = change(tiny_weights / "features", tmp_path / "net", "model.safetensors")
    [folder] = runner.run(**finished | {"methods": ["noise"]}, scorer=str(network))
    differs = (
        numbers(folder)["scorer"] != numbers(finished["runs"] / "tiny" / "noise" / "bias")["scorer"]
    )
    assert differs["all", "all", "fid"]
    assert not differs["gender", "all", "D1"]


def test_images_that_are_not_stored_are_counted_with_the_command_that_makes_them(
    finished: Made, other_clip: Path, no_sampling: None
) -> None:
    before = files(finished["runs"])
    with pytest.raises(Incomplete) as caught:
        runner.run(**finished | {"images": 5}, scorer=str(other_clip))
    said = str(caught.value)
    # Two more of three prompts by two methods.
    assert "12 of 30 images are not in" in said
    assert "--scorer samples nothing" in said
    words = f"--model {finished['model']} --images 5 --prompts {finished['prompts']}"
    assert f"livo-bench run --method sd --method noise --task bias {words}" in said
    assert files(finished["runs"]) == before


def test_a_reference_that_is_gone_is_missed(
    finished: Made, other_clip: Path, no_sampling: None
) -> None:
    noise = pd.read_parquet(finished["runs"] / "tiny" / "noise" / "bias" / "images.parquet")
    samples = finished["runs"] / "store" / "tiny" / "samples"
    for path in samples.iterdir():
        if not set(pd.read_parquet(path)["key"]) & set(noise["key"]):
            path.unlink()
    with pytest.raises(Incomplete, match="9 of 18 images are not in"):
        runner.run(**finished | {"methods": ["noise"]}, scorer=str(other_clip))


def test_a_damaged_image_is_not_made_again(
    finished: Made, other_clip: Path, no_sampling: None
) -> None:
    path = next((finished["runs"] / "store" / "tiny" / "samples").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Incomplete, match=r"damaged.*the same command without --scorer"):
        runner.run(**finished, scorer=str(other_clip))


def test_what_is_no_judge_is_refused_before_a_model_is_loaded(
    finished: Made, tiny_weights: Path, tmp_path: Path, no_sampling: None
) -> None:
    for scorer, said in (
        ("annotator", "labels what methods learn from"),
        (str(tmp_path / "nowhere"), "no model folder"),
        (str(tiny_weights / "sd"), "has no config.json"),
        (str(tiny_weights / "sd" / "text_encoder"), "'clip_text_model', which judges nothing"),
    ):
        with pytest.raises(BadInput, match=said):
            runner.run(**finished, scorer=scorer)
    text = (tiny_weights / "tiny.toml").read_text("utf-8").replace('"./', f'"{tiny_weights}/')
    card = tmp_path / "tiny.toml"
    annotator = f'[annotator]\nweights = "{tiny_weights}/features"\ndtype = "float32"\n'
    card.write_text(text + annotator, encoding="utf-8")
    with pytest.raises(BadInput, match="no method has seen"):
        runner.run(**finished | {"model": str(card)}, scorer=str(tiny_weights / "features"))
    assert not (finished["runs"] / "rejudged").exists()
