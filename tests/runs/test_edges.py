"""From a run to its report, comparison and gate: what is half there, is no number, shows nothing
or was judged otherwise is counted or refused by name, and never averaged in silence."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from written_inputs import Asked, write_method, write_prompts

from livo_bench.cli import main
from livo_bench.errors import BadInput, NothingScored
from livo_bench.files import write_atomically
from livo_bench.results import seal
from livo_bench.runs import runner, work
from livo_bench.runs.store import Store
from livo_bench.scorers.clip_encoder import ClipEncoder

ROWS = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]
IMAGES = 4
TOTAL = len(ROWS) * IMAGES
DOTS = (
    "np.random.default_rng([{seed}, request.index]).integers(0, 256, (64, 64, 3), dtype=np.uint8)"
)
BLACK = "np.zeros((64, 64, 3), np.uint8)"


def painter(folder: Path, black: str = "False", seed: int = 0) -> str:
    """A method that paints coloured dots, or black where a condition holds."""
    image = f"{BLACK} if {black} else {DOTS.format(seed=seed)}"
    generate = f"return np.stack([{image} for request in requests])"
    return write_method(folder, generate=generate)


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Options of a run of a painter, which has been made."""
    folder = tmp_path_factory.mktemp("edges")
    options: Asked = {
        "methods": [painter(folder / "painter")],
        "task": "bias",
        "model": str(tiny_model),
        "images": IMAGES,
        "prompts": write_prompts(folder / "own.csv", ROWS),
        "device": "cpu",
        "runs": folder / "runs",
    }
    runner.run(**options)
    return options


@pytest.fixture
def baseline(made: Asked) -> Path:
    """Results without images, as one commits them."""
    return made["runs"] / "tiny"


@pytest.fixture
def finished(made: Asked, tmp_path: Path) -> Asked:
    """Options of the run in a folder of its own."""
    shutil.copytree(made["runs"], tmp_path / "runs")
    return made | {"runs": tmp_path / "runs"}


def livo_bench(*words: object, model: str = "tiny") -> Result:
    result = CliRunner().invoke(main, [*map(str, words), "--model", model])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def report(runs: Path) -> Result:
    return livo_bench("report", runs, "--format", "markdown")


def row_of(title: str, said: str) -> list[str]:
    """Cells of a method's line in a Markdown table."""
    [line] = [line for line in said.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def check(baseline: Path, runs: Path) -> Result:
    return livo_bench("check", "--baseline", baseline, "--runs", runs)


# Scores that are none


@pytest.fixture
def broken_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP that says NaN of every prompt's first picture."""
    encode = ClipEncoder._encode_images
    first = np.random.default_rng([0, 0]).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def say_nan(self: ClipEncoder, pixels: np.ndarray) -> torch.Tensor:
        features = encode(self, pixels).clone()
        features[(pixels == first).all(axis=(1, 2, 3))] = float("nan")
        return features

    monkeypatch.setattr(ClipEncoder, "_encode_images", say_nan)


@pytest.mark.usefixtures("broken_judge")
def test_nan_is_counted_as_unscored_in_every_number(
    finished: Asked, baseline: Path, tmp_path: Path
) -> None:
    lost = len(ROWS)
    finished |= {"runs": tmp_path / "broken"}
    [folder] = runner.run(**finished)
    images = pd.read_parquet(folder / "images.parquet")
    unscored = images[images["unscored"].notna()]
    assert set(unscored["unscored"]) == {work.NOT_A_NUMBER}
    assert len(unscored) == 2 * lost  # for gender and for race
    assert unscored[["label", "p_male", "p_white"]].isna().all(axis=None)
    whole = pd.read_csv(folder / "aggregates.csv").set_index(["subset", "category", "metric"])
    assert tuple(whole.loc[("gender", "all", "D1"), ["n", "unscored"]]) == (TOTAL - lost, lost)
    assert tuple(whole.loc[("all", "all", "clip"), ["n", "unscored"]]) == (
        2 * (TOTAL - lost),
        2 * lost,
    )
    assert tuple(whole.loc[("all", "all", "fid"), ["n", "unscored"]]) == (2 * TOTAL, 0)
    assert np.isfinite(whole["value"]["all", "all", "clip"])
    assert row_of("Own", report(finished["runs"]).stdout)[-1] == str(lost)
    gate = check(baseline, finished["runs"])
    assert f"without a score {2 * lost} ({2 * lost} {work.NOT_A_NUMBER}), before 0" in gate.stderr


def test_nan_that_lies_in_the_store_is_refused(finished: Asked) -> None:
    [scores] = (finished["runs"] / "store" / "tiny" / "scores").glob("clip-gender-*")
    store = Store(finished["runs"], "tiny")
    frame = store.read_scores(scores.name, store.score_keys(scores.name))
    shutil.rmtree(scores)
    columns = {str(name): frame[name].to_numpy() for name in frame if name != "unscored"}
    columns["p_male"] = np.where(np.arange(len(frame)) < 2, np.nan, columns["p_male"])
    Store(finished["runs"], "tiny").write_scores(scores.name, list(frame.index), columns)
    with pytest.raises(BadInput, match=rf"2 of {TOTAL} scores of {scores.name} are not numbers"):
        runner.run(**finished)


# Pictures of nothing


def test_black_images_are_counted_and_the_gate_says_so(
    finished: Asked, baseline: Path, tmp_path: Path
) -> None:
    method = painter(tmp_path / "painter", black="request.index == 0")
    [folder] = runner.run(**finished | {"methods": [method]})
    rows = pd.read_csv(folder / "aggregates.csv")
    bias = rows[(rows["subset"] == "gender") & (rows["category"] == "all")]
    assert set(bias["n"]) == {TOTAL - len(ROWS)}
    assert set(bias["unscored"]) == {len(ROWS)}
    assert str(len(ROWS)) in row_of("Own", report(finished["runs"]).stdout)[-1]
    gate = check(baseline, finished["runs"])
    assert (
        f"without a score {2 * len(ROWS)} ({2 * len(ROWS)} {work.BLANK}), before 0" in gate.stderr
    )


def test_images_that_are_all_black_are_results_without_numbers_and_exit_4(
    finished: Asked, tmp_path: Path
) -> None:
    method = painter(tmp_path / "painter", black="True")
    with pytest.raises(NothingScored, match=rf"none of {TOTAL} images by clip-gender-") as raised:
        runner.run(**finished | {"methods": [method]})
    assert work.BLANK in str(raised.value)
    folder = finished["runs"] / "tiny" / "painter" / "bias"
    assert f"{folder}, subset gender" in str(raised.value)
    images = pd.read_parquet(folder / seal.IMAGES)
    assert images["unscored"].notna().all()
    options = {name: finished[name] for name in ("task", "images", "prompts", "runs")}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    again = livo_bench("run", "--method", method, *words, model=finished["model"])
    assert again.exit_code == 4
    assert "The results are kept" in again.stderr


def test_a_prompt_of_black_images_has_no_value_and_is_left_out_by_name(
    finished: Asked, tmp_path: Path
) -> None:
    method = painter(tmp_path / "painter", black="'nurse' in request.prompt.text")
    [folder] = runner.run(**finished | {"methods": [method]})
    prompts = pd.read_csv(folder / "prompts.csv").set_index(["subset", "prompt"])
    without = prompts[prompts["n"] == 0]
    assert set(without["unscored"]) == {IMAGES}
    assert without[["D1", "D2"]].isna().all(axis=None)
    gender = pd.read_csv(folder / "aggregates.csv").set_index(["subset", "category", "metric"])
    mean = prompts["D1"].loc["gender"].mean()
    assert gender.loc[("gender", "all", "D1"), "value"] == pytest.approx(mean)
    assert gender.loc[("gender", "all", "D1"), "unscored"] == IMAGES
    runner.run(**finished | {"methods": ["sd"]})
    paired = livo_bench(
        "compare", "sd", "painter", "--runs", finished["runs"], "--format", "csv"
    ).stdout.splitlines()
    place = paired[0].split(",").index("images")
    assert {line.split(",")[place] for line in paired if ",all,D1," in line} == {
        str(TOTAL - IMAGES)
    }


# Judges of two versions


def test_methods_that_two_judges_saw_are_in_no_table_and_no_comparison(
    finished: Asked, tiny_weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_weights, tmp_path / "newer")
    config = tmp_path / "newer" / "clip" / "tokenizer_config.json"
    config.write_text(config.read_text() + "\n")
    newer = str(tmp_path / "newer" / "tiny.toml")
    runner.run(**finished | {"methods": ["noise"], "model": newer})
    for words in (["report", finished["runs"]],
                  ["compare", "painter", "noise", "--runs", finished["runs"]]):  # fmt: skip
        result = livo_bench(*words)
        assert result.exit_code in (2, 3)
        assert "has scorer 'clip-" in result.stderr
        assert "its images are kept" in result.stderr
    # Run again, the older one is judged anew, from stored images.
    runner.run(**finished | {"methods": [*finished["methods"], "noise"], "model": newer})
    assert report(finished["runs"]).exit_code == 0


def test_a_baseline_of_another_judge_is_not_comparable(
    finished: Asked, baseline: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_weights, tmp_path / "newer")
    config = tmp_path / "newer" / "clip" / "tokenizer_config.json"
    config.write_text(config.read_text() + "\n")
    runner.run(**finished | {"model": str(tmp_path / "newer" / "tiny.toml")})
    gate = check(baseline, finished["runs"])
    assert gate.exit_code == 3
    assert "scorer 'clip-gender-" in gate.stderr


# Runs that are half there


@pytest.mark.parametrize(
    "unwritten", ["images.parquet", "prompts.csv", "vectors.npz", "aggregates.csv", "run.json"]
)
def test_a_run_stopped_while_it_writes_its_results_has_none(
    finished: Asked, baseline: Path, monkeypatch: pytest.MonkeyPatch, unwritten: str
) -> None:
    def stop(path: Path, data: bytes, *option: str) -> None:
        # The first record says that the folder is unfinished.
        if path.name == unwritten and (path.name != "run.json" or b"seal" in data):
            raise KeyboardInterrupt
        write_atomically(path, data, *option)

    more = finished | {"images": IMAGES + 1}
    with monkeypatch.context() as patch:
        patch.setattr(seal, "write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            runner.run(**more)
    said = report(finished["runs"])
    assert said.exit_code == 2
    assert "No results of model 'tiny'" in said.stderr
    gate = check(baseline, finished["runs"])
    assert gate.exit_code == 4
    assert "no images of method 'painter' on task 'bias'" in gate.stderr
    runner.run(**more)
    assert check(baseline, finished["runs"]).exit_code == 0


def test_a_run_stopped_half_way_has_no_results_and_is_missed(
    finished: Asked, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "summarise_all", stop)
    half = finished | {"methods": ["noise"]}
    with pytest.raises(KeyboardInterrupt):
        runner.run(**half)
    cells = row_of("Own", report(finished["runs"]).stdout)
    assert cells[0] == "Own"
    assert "| noise |" not in report(finished["runs"]).stdout
    result = livo_bench("compare", "painter", "noise", "--runs", finished["runs"])
    assert result.exit_code == 2
    assert "--method noise" in result.stderr


def test_what_a_killed_process_was_writing_is_no_result(finished: Asked) -> None:
    folder = finished["runs"] / "tiny" / "painter" / "bias"
    before = report(finished["runs"]).stdout
    (folder / ".aggregates.csv.0123.tmp").write_bytes((folder / "run.json").read_bytes())
    (folder / ".images.parquet.0123.tmp").write_bytes(b"torn")
    assert report(finished["runs"]).stdout == before


# References that are gone


def test_a_reference_that_is_gone_is_made_again(finished: Asked) -> None:
    runs = finished["runs"]
    folder = runs / "tiny" / "painter" / "bias"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    own = set(pd.read_parquet(folder / "images.parquet")["key"])
    for path in (runs / "store" / "tiny").rglob("*.parquet"):
        if not own & set(pd.read_parquet(path, columns=["key"])["key"]):
            path.unlink()
    runner.run(**finished)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_results_without_their_images_scores_are_no_baseline(
    finished: Asked, baseline: Path
) -> None:
    (finished["runs"] / "tiny" / "painter" / "bias" / "images.parquet").unlink()
    gate = check(baseline, finished["runs"])
    assert gate.exit_code == 2
    assert "images.parquet is gone, for which run.json vouches" in gate.stderr
