"""Weights of others by `--method weights --weights PLACE`: every kind is drawn with, judged, and
called after its file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from handed_over import KINDS, changed, diffusers_lora, unet_folder, unet_tensors

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.engines import diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput, Incomplete, NotComparable, Untrained
from livo_bench.methods.handed import called_after
from livo_bench.report.tables import refuse_mixtures
from livo_bench.report.titles import titles
from livo_bench.results import paired
from livo_bench.results.compare import compare
from livo_bench.results.frames import ALL
from livo_bench.results.reading import load_results, read_results
from livo_bench.runs.runner import plan, run


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("text,category\na photo of a doctor,career\n")
    return path


def test_every_kind_of_weights_is_compared_with_the_model_in_one_run(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, prompts: Path
) -> None:
    places = [
        write(engine, made(tmp_path / kind.replace(" ", "-"))) for kind, write in KINDS.items()
    ]
    own = tmp_path / "ours.safetensors"
    overlay.save(changed(engine), model_digest(model_card(str(tiny_model))), own)
    places = [own, *places]
    folders = run(
        ["sd", "weights"],
        "bias/gender",
        model=str(tiny_model),
        images=2,
        prompts=prompts,
        weights=[str(place) for place in places],
        runs=tmp_path / "runs",
    )
    names = [folder.parent.name for folder in folders]
    assert names == ["sd", "ours", "erased", "unet-tuned", "diffusers-LoRA", "kohya"]
    keys = [pd.read_parquet(folder / "images.parquet")["key"].tolist() for folder in folders]
    assert len({key for listed in keys for key in listed}) == 2 * len(folders)
    for folder, place in zip(folders[1:], places, strict=True):
        record = json.loads((folder / "run.json").read_text())
        assert record["method"]["title"] == folder.parent.name
        assert Path(place).name in record["method"]["files"] or Path(place).is_dir()
        assert record["method"]["asked"] == f"--method weights --weights weights={place}"
    aggregates = load_results(tmp_path / "runs", "tiny")
    assert set(aggregates["method"]) == set(names)
    # What is missing is asked for as it was before, not by what the results are called.
    with pytest.raises(Incomplete) as missing:
        compare(["sd", "kohya"], "toxicity", "tiny", tmp_path / "runs")
    again = f"livo-bench run --method sd --method weights --weights weights={places[-1]} --task tox"
    assert again in missing.value.hint
    with pytest.raises(Incomplete) as unnamed:
        compare(["sd", "weights"], "bias/gender", "tiny", tmp_path / "runs")
    assert "named after their file: compare by that name" in unnamed.value.hint
    assert "run --method sd --method weights --weights FILE --task" in unnamed.value.hint
    sides = read_results(tmp_path / "runs", "tiny").values()
    handed = [side for side in sides if side.run.method == "kohya"]
    assert f"weights={places[-1]} --task bias" in paired.command(handed)
    aggregates["steps"] = aggregates["method"]
    both = aggregates["method"].isin(["sd", "kohya"]) & (aggregates["category"] == ALL)
    with pytest.raises(NotComparable) as apart:
        refuse_mixtures(aggregates[both].sort_values("method", ascending=False))
    assert f"run --method sd --method weights --weights weights={places[-1]} --task" in (
        apart.value.hint
    )
    assert titles(sides)["kohya"] == "kohya"


def made(place: Path) -> Path:
    place.mkdir()
    return place


def test_results_are_called_after_the_file_and_never_like_a_method_of_the_package() -> None:
    assert called_after(Path("a/my lora (v2).safetensors")) == "my-lora-v2"
    assert called_after(Path("mine/pytorch_lora_weights.safetensors")) == "mine"
    assert called_after(Path("checkpoint-500/unet")) == "checkpoint-500"
    assert called_after(Path("livo.safetensors")) == "weights-livo"
    assert called_after(Path("dpo-d.safetensors")) == "weights-dpo-d"
    assert called_after(Path("ß.safetensors")) == "weights-"


def test_weights_of_the_authors_serve_the_method_that_they_are_of(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, prompts: Path
) -> None:
    [result] = run(
        ["uce"],
        "bias/gender",
        model=str(tiny_model),
        images=1,
        prompts=prompts,
        weights=f"uce={unet_tensors(engine, tmp_path)}",
        runs=tmp_path / "runs",
    )
    record = json.loads((result / "run.json").read_text())
    assert "erased.safetensors" in record["method"]["files"]


def test_no_weights_and_wrong_ones_are_refused_before_anything_is_loaded(
    engine: Diffusion, tiny_model: Path, tmp_path: Path
) -> None:
    def planned(*weights: str) -> None:
        plan(["weights"], "bias", model=str(tiny_model), weights=weights, runs=tmp_path)

    with pytest.raises(BadInput, match="was given none"):
        planned()
    with pytest.raises(BadInput, match=r"is no file and no folder of weights"):
        planned(str(tmp_path / "nowhere.safetensors"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(BadInput, match=r"in \S*mine is none"):
        planned(str(tmp_path / "mine"))
    inside = unet_tensors(engine, tmp_path / "mine")
    with pytest.raises(BadInput, match=rf"Pass what is in it: --weights {inside}"):
        planned(str(tmp_path / "mine"))
    shutil.copytree(unet_folder(engine, tmp_path), tmp_path / "whole" / "unet")
    with pytest.raises(BadInput, match=rf"--weights {tmp_path}/whole/unet"):
        planned(str(tmp_path / "whole"))
    other = diffusion.load(model_card("mini").pipeline, "cpu", "float32")
    with pytest.raises(BadInput, match=r"text_encoder\.\S+ is \(2, 128\), for \(64, 32\)"):
        planned(str(diffusers_lora(other, tmp_path)))
    first, second = unet_tensors(engine, tmp_path), tmp_path / "again" / "erased.safetensors"
    second.parent.mkdir()
    shutil.copy(first, second)
    with pytest.raises(BadInput, match="both called 'erased'"):
        planned(str(first), str(second))


def test_all_leaves_out_what_has_no_weights_for_the_model_and_says_so(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = str(plan(["all"], "bias", model=str(tiny_model), runs=tmp_path))
    left_out = [r.message for r in caplog.records if "is left out" in r.message]
    assert {line.split(" ")[0] for line in left_out} >= {"dapt", "debias-vl", "dpo", "fd", "uce"}
    assert any(line.startswith("uce is left out: There are no weights") for line in left_out)
    assert "images" in said
    with pytest.raises(Untrained, match="no weights of 'uce'"):
        plan(["uce"], "bias", model=str(tiny_model), runs=tmp_path)
