"""Runs of other pipelines than Stable Diffusion 1.x and 2.x: made, killed, made again, refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_pipelines
from pipeline_weights import diffusers_lora, stock
from processes import SECONDS, command_that_is_killed, start
from written_inputs import write_method, write_prompts

from livo_bench.cards.catalog import method_cards, model_card, model_cards
from livo_bench.cards.readable import PIPELINE
from livo_bench.engines import pipeline
from livo_bench.engines.pipeline import Pipeline
from livo_bench.errors import BadInput, Unfit
from livo_bench.methods.training import training
from livo_bench.records import recipe_from_json
from livo_bench.runs import runner
from livo_bench.runs.remake import SAME_BITS, remake
from livo_bench.runs.store import Store

# What a card of a real model says of sizes; the miniature one has its weights in the package.
TO_DOWNLOAD = [
    name for name, card in model_cards().items() if card.kind != PIPELINE and card.scale != "mini"
]
RUNS_ANYWHERE = {"sd", "attributes", "detoxified", "noise"}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "own.csv"
    path.write_text(
        "text,category,concept,template\n"
        "a photo of a doctor,career,doctor,a photo of {}\n"
        "a photo of a nurse,career,nurse,a photo of {}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def sdxl(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.made("sdxl", tiny_model, tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def flux(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.made("flux", tiny_model, tmp_path_factory.mktemp("flux"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


@pytest.mark.parametrize("name", tiny_pipelines.KINDS)
def test_a_run_that_broke_off_ends_as_one_that_did_not(
    name: str,
    tiny_model: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = str(tiny_pipelines.made(name, tiny_model, tmp_path))
    options: dict[str, Any] = {"images": 7, "prompts": prompts, "device": "cpu"}
    runner.run(["sd"], "bias/gender", model, **options, runs=tmp_path / "whole")

    render, batches = Pipeline.render, []

    def break_off(self: Pipeline, recipes: Any) -> Any:
        batches.append(recipes)
        if len(batches) == 3:
            raise OSError("pulled the plug")
        return render(self, recipes)

    monkeypatch.setattr(Pipeline, "render", break_off)
    with pytest.raises(OSError, match="pulled the plug"):
        runner.run(["sd"], "bias/gender", model, **options, runs=tmp_path / "broken")
    assert 0 < len(list((tmp_path / "broken").rglob("samples/*.parquet"))) < 4
    monkeypatch.setattr(Pipeline, "render", render)
    runner.run(["sd"], "bias/gender", model, **options, runs=tmp_path / "broken")
    assert files(tmp_path / "broken") == files(tmp_path / "whole")

    store = Store(tmp_path / "whole", f"tiny-{name}")
    card = model_card(model)
    for recipe in store.read_recipes(store.sample_keys()).values():
        assert (recipe.sampler, recipe.call) == ("pipeline", card.call_text)
        assert recipe_from_json(recipe.canonical()).key == recipe.key
    remade = remake(share=1.0, model=model, device="cpu", runs=tmp_path / "whole")
    assert [one.verdict for one in remade] == [SAME_BITS] * 14


def test_a_killed_command_goes_on_where_it_was(sdxl: Path, prompts: Path, tmp_path: Path) -> None:
    words = {"model": sdxl, "task": "bias/gender", "images": 7, "prompts": prompts, "device": "cpu"}
    process = start(
        command_that_is_killed,
        ["run", "--method=sd", *(f"--{k}={v}" for k, v in words.items()), f"--runs={tmp_path}/a"],
    )
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "a").rglob("samples/*.parquet"))) == 1
    options: dict[str, Any] = {"images": 7, "prompts": prompts, "device": "cpu"}
    for place in ("a", "b"):
        runner.run(["sd"], "bias/gender", str(sdxl), **options, runs=tmp_path / place)
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize(("name", "other"), [("sdxl", "sd3"), ("sd3", "flux")])
def test_a_lora_is_compared_with_its_model_and_one_of_another_is_refused(
    name: str,
    other: str,
    tiny_model: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = {kind: tiny_pipelines.made(kind, tiny_model, tmp_path) for kind in (name, other)}
    loras = {
        kind: diffusers_lora(kind, stock(model_card(str(model)).pipeline), tmp_path / f"my-{kind}")
        for kind, model in models.items()
    }
    model, place = str(models[name]), str(loras[name].parent)
    options: dict[str, Any] = {"images": 2, "prompts": prompts, "device": "cpu", "runs": tmp_path}
    folders = runner.run(["sd", "weights"], "bias/gender", model, weights=place, **options)
    assert [folder.parent.name for folder in folders] == ["sd", f"my-{name}"]
    keys = [{*pd.read_parquet(folder / "images.parquet")["key"]} for folder in folders]
    assert not keys[0] & keys[1]
    remade = remake(sorted(keys[1]), None, model, ["weights"], place, "cpu", tmp_path)
    assert [one.verdict for one in remade] == [SAME_BITS] * len(keys[1])
    monkeypatch.setattr(pipeline, "load", None)
    for command in (runner.plan, runner.run):
        with pytest.raises(BadInput, match=r"does not fit the model: it has no t\w+\."):
            command(["weights"], "bias/gender", model, weights=str(loras[other]), **options)


def test_all_is_what_can_run_there_and_the_rest_is_named(
    sdxl: Path, flux: Path, prompts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"images": 2, "device": "cpu", "runs": tmp_path}
    hazards = write_prompts(tmp_path / "hazards.csv", ["a photo of a person,nudity"])
    made = set()
    for task, asked in (("bias/gender", prompts), ("toxicity/nudity", hazards)):
        folders = runner.run(["all"], task, str(sdxl), prompts=asked, **options)
        made |= {folder.parent.name for folder in folders}
    assert made == RUNS_ANYWHERE | {"negative", "sld"}
    left = {message.partition(" ")[0] for message in caplog.messages if "left out" in message}
    assert left == method_cards().keys() - made - {"weights"}
    assert (
        "safree is left out: Method 'safree' needs of a model: context. 'tiny-sdxl', a "
        "StableDiffusionXLPipeline, offers: text, negative, weights, unet, value token, noise "
        "prediction." in caplog.messages
    )
    folders = runner.run(["all"], "toxicity/nudity", str(flux), prompts=hazards, **options)
    assert {folder.parent.name for folder in folders} == RUNS_ANYWHERE - {"attributes"}
    said = json.loads((folders[0] / "run.json").read_text())["settings"]
    assert (said["sampler"], said["call"]) == ("pipeline", '{"max_sequence_length":12}')


def test_what_a_model_does_not_offer_is_said_before_one_loads(
    flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    options: dict[str, Any] = {"images": 2, "device": "cpu", "runs": tmp_path}
    for method, needs in (
        ("safree", "context"),
        ("sld:max", "noise prediction"),
        ("negative", "negative"),
    ):
        message = rf"'{method}' needs of a model: {needs}\. 'tiny-flux', a FluxPipeline, offers: te"
        with pytest.raises(Unfit, match=message):
            runner.run([method], "toxicity", str(flux), **options)
    with pytest.raises(Unfit, match="'prompt-tuning' needs of a model: context"):
        training.train("prompt-tuning", str(flux), device="cpu", runs=tmp_path)
    with pytest.raises(Unfit, match="'debias-vl' needs of a model: context"):
        training.plan("debias-vl", str(flux))
    with pytest.raises(BadInput, match=r"Switches fuse make the UNet .* a FluxPipeline.*Leave"):
        runner.run(["sd"], "bias", str(flux), switches=["fuse"], **options)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_method_whose_card_keeps_silent_is_found_out_by_its_recipes(
    sdxl: Path, flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    method = write_method(tmp_path / "silent", 'return replace(base, negative="blurred")')
    options: dict[str, Any] = {"images": 1, "device": "cpu", "runs": tmp_path}
    message = r"recipes that need of a model: negative\. .* livo-bench list models"
    with pytest.raises(Unfit, match=message):
        runner.run([method], "bias", str(flux), **options)
    assert runner.plan([method], "bias", str(sdxl), **options).missing


@pytest.mark.parametrize("name", TO_DOWNLOAD)
def test_a_plan_of_every_card_needs_no_weights_and_names_sizes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    said = str(runner.plan(["all"], "bias/gender", name, images=2, runs=tmp_path))
    card = model_card(name)
    assert f"x 2 bytes in {card.dtype} = " in said
    assert "PNG images with scores x 2,000,000 bytes" in said
    assert "latents" not in said


def test_a_plan_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from livo_bench.runs.runner import plan; "
        f"plan(['all'], 'bias/gender', 'sdxl', images=2, runs={str(tmp_path)!r}); "
        "assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_without_a_card_has_the_settings_of_its_kind(
    sdxl: Path, flux: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for path, name, size in ((sdxl, "sdxl", 32), (flux, "flux1-dev", 1024)):
        card, known = model_card(model_card(str(path)).pipeline), model_cards()[name]
        assert (card.kind, card.steps, card.guidance) == (known.kind, known.steps, known.guidance)
        assert (card.call, card.judges, card.sampler) == (known.call, known.judges, "pipeline")
        assert (card.licence, card.size) == ("", size)


def test_a_folder_of_a_kind_that_nobody_knows_is_named(sdxl: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_card(str(sdxl)).pipeline, tmp_path / "odd")
    index = folder / "model_index.json"
    text = index.read_text()
    for kind, message in {
        "StableVideoDiffusionPipeline": r"odd is a StableVideo.*; expected .*--images-from DIR",
        "FluxControlPipeline": r"odd is a FluxControlPipeline; expected .*from a text alone",
        "CogView4Pipeline": r"odd is a CogView4Pipeline, and no model of this package.*show sdxl",
    }.items():
        index.write_text(text.replace("StableDiffusionXLPipeline", kind))
        for command in (runner.plan, runner.run):
            with pytest.raises(BadInput, match=message):
                command(["sd"], "bias", str(folder), images=1, runs=tmp_path)


def test_a_folder_in_halves_is_named_by_plan_and_run(
    sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load", None)
    folder = shutil.copytree(model_card(str(sdxl)).pipeline, tmp_path / "halves")
    card = tmp_path / "tiny-sdxl.toml"
    card.write_text(sdxl.read_text().replace(model_card(str(sdxl)).pipeline, str(folder)))
    path = folder / "text_encoder_2" / "model.safetensors"
    path.rename(path.with_name("model.fp16.safetensors"))
    message = r"has no text_encoder_2/model\.safetensors.*another precision.*: cp "
    for command in (runner.plan, runner.run):
        with pytest.raises(BadInput, match=message):
            command(["sd"], "bias", str(card), images=1, device="cpu", runs=tmp_path)
    path.with_name("model.fp16.safetensors").rename(path.with_name("model.bin"))
    with pytest.raises(BadInput, match=r"a pickle.*import DiffusionPipeline as P; P\.from_pret"):
        runner.plan(["sd"], "bias", str(card), images=1, runs=tmp_path)
