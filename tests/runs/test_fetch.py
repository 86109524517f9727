"""What a model needs is named, found in the caches, and checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import tiny_models
import tiny_pipelines
import torch
from click.testing import CliRunner
from huggingface_hub.utils import filter_repo_objects
from serving import Quiet, served

from livo_bench.cards.catalog import method_cards, model_card, model_cards
from livo_bench.cards.weights import Need, pipeline_need, repository_of
from livo_bench.cli import main
from livo_bench.errors import BadInput
from livo_bench.runs import fetch as fetching
from livo_bench.runs.fetch import Wanted, fetch, wanted
from livo_bench.runs.runner import run
from livo_bench.scorers import features

CONTENT = b"stands for Inception's weights"
URL = f"https://example.org/weights-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture(scope="module")
def mirror(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another machine fetched; the pipeline with a second copy of its weights."""
    folder = tmp_path_factory.mktemp("mirror")
    sd = shutil.copytree(tiny_weights / "sd", tmp_path_factory.mktemp("sd") / "sd")
    (sd / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"again")
    (sd / "safety_checker").mkdir()
    (sd / "safety_checker" / "model.safetensors").write_bytes(b"unused")
    for source, name in (
        (sd, "sd"),
        (tiny_weights / "clip", "clip"),
        (tiny_weights / "llava", "llava"),
    ):
        tiny_models.cached(source, f"stand-in/{name}", folder / "hub")
    (folder / "hub" / "checkpoints").mkdir()
    (folder / "hub" / "checkpoints" / Path(URL).name).write_bytes(CONTENT)
    return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of a machine without network, empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(features, "inception_url", lambda: URL)
    return tmp_path


def carry(mirror: Path, machine: Path) -> None:
    """Bring over what another machine fetched, as `rsync -a` does."""
    shutil.rmtree(machine / "hub", ignore_errors=True)
    shutil.copytree(mirror / "hub", machine / "hub", symlinks=True)


@pytest.fixture
def card(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that names repositories throughout."""
    text = tiny_model.read_text(encoding="utf-8")
    for name in ("sd", "clip", "llava"):
        text = text.replace(f'"./{name}"', f'"stand-in/{name}@{tiny_models.COMMIT}"')
    text = text.replace('"./features"', f'"{features.INCEPTION}"')
    path = tmp_path / "tiny.toml"
    path.write_text(f'licence = "Free for tests"\n{text}', encoding="utf-8")
    return path


def test_what_is_missing_is_named_with_the_command_before_anything_loads(
    machine: Path, card: Path
) -> None:
    with pytest.raises(BadInput) as error:
        run(["sd"], "bias/gender", str(card), images=2, device="cpu", runs=machine / "runs")
    [paragraph, command] = str(error.value).splitlines()
    assert command == f"    livo-bench fetch --model {card}"
    for said in ("stand-in/sd@0123", "model_index.json", "stand-in/clip@0123", Path(URL).name):
        assert said in paragraph
    assert "stand-in/llava" not in paragraph  # nobody asks it about bias
    assert not list(machine.glob("runs/store/*/samples/*"))


def test_what_another_machine_fetched_is_taken_as_it_is(
    machine: Path, card: Path, mirror: Path
) -> None:
    carry(mirror, machine)
    rows = fetch(str(card))
    assert [row["what"] for row in rows] == ["pipeline", "CLIP", "LLaVA", "Inception"]
    assert rows[0]["licence"] == "Free for tests"
    fetching.require("tiny", fetching.wanted(model_card(str(card)), model_card(str(card)).judges))


def test_a_judge_that_is_asked_for_is_fetched_too(
    machine: Path, card: Path, mirror: Path, tmp_path: Path
) -> None:
    carry(mirror, machine)
    judge = tmp_path / "other.toml"
    judge.write_text(
        'kind = "zero_shot"\nrole = "hazards"\ndtype = "float32"\nlicence = "Free, too"\n'
        f'weights = "stand-in/clip@{tiny_models.COMMIT}"\nsubsets = ["nudity"]\n'
        '[labels]\nbad = "yes"\ngood = "no"\n',
        "utf-8",
    )
    rows = fetch(str(card), scorer=[str(judge)])
    assert (rows[-1]["what"], rows[-1]["licence"]) == ("CLIP", "Free, too")


def test_only_what_is_loaded_is_asked_for(
    machine: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = mirror / "hub" / "models--stand-in--sd" / "snapshots" / tiny_models.COMMIT
    names = [str(path.relative_to(root)) for path in root.rglob("*")]
    asked: list[str] = []
    monkeypatch.setattr(fetching, "_size", lambda need: 0)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *_, allow_patterns, **__: asked.extend(
            filter_repo_objects(names, allow_patterns=allow_patterns)
        ),
    )
    with pytest.raises(BadInput, match=r"stand-in/sd.* has no model_index\.json"):
        fetch("stand-in/sd")
    repository = repository_of("stand-in/sd")
    assert repository is not None
    fetching._get_one(pipeline_need(repository))
    assert "unet/diffusion_pytorch_model.safetensors" in asked
    assert "unet/diffusion_pytorch_model.fp16.safetensors" not in asked
    assert not [name for name in asked if name.startswith("safety_checker")]


def test_a_damaged_file_is_found_by_its_name_and_deleted(
    machine: Path, card: Path, mirror: Path
) -> None:
    carry(mirror, machine)
    snapshot = machine / "hub" / "models--stand-in--sd" / "snapshots" / tiny_models.COMMIT
    weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match=rf"{blob.name} is damaged.*run the command again"):
        fetch(str(card))
    assert not weights.exists()
    carry(mirror, machine)
    fetch(str(card))

    inception = machine / "hub" / "checkpoints" / Path(URL).name
    inception.write_bytes(b"something else")
    with pytest.raises(BadInput, match=r"weights-\w{8}\.pth is damaged"):
        fetch(str(card))


def test_no_room_and_no_network_are_said(
    machine: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"Cannot get stand-in/sd@0123.*\. Check.*docs/sd15\.md"):
        fetch(str(card))
    monkeypatch.setattr(fetching, "_size", lambda need: 5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 0, 1000))
    with pytest.raises(BadInput, match=r"hub has 1\.0 kB free, this needs .*HF_HOME"):
        fetch(str(card))
    assert not list((machine / "hub").rglob("*.safetensors"))


def test_a_repository_of_ones_own_has_the_settings_and_judges_of_sd15(
    machine: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"stand-in/sd@{tiny_models.COMMIT}"
    with pytest.raises(BadInput, match=r"stand-in/sd@0123.* is not on this machine"):
        model_card(name)
    monkeypatch.setattr(fetching, "wanted", lambda *_, **__: [])  # its judges are not in the mirror
    carry(mirror, machine)
    fetch(name)
    card, sd15 = model_card(name), model_card("sd15")
    assert (card.name, card.size, card.pipeline) == ("stand-in--sd", 64, name)
    assert (card.judges, card.guidance, card.steps) == (sd15.judges, 7.5, 25)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda sd: change_index(sd, _class_name="StableVideoDiffusionPipeline"),
            r"odd is a StableVideoDiffusionPipeline; expected a StableD.*--images-from DIR",
        ),
        (
            lambda sd: (sd / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            r"has no unet/.* weights in safetensors\. Name .*from_pretrained\('stand-in/odd'\)",
        ),
    ],
)
def test_repositories_that_cannot_be_read_are_named(
    spoil: Callable[..., object],
    message: str,
    tiny_weights: Path,
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sd = shutil.copytree(tiny_weights / "sd", machine / "odd")
    spoil(sd)
    tiny_models.cached(sd, "stand-in/odd", machine / "hub")
    monkeypatch.setattr(fetching, "_size", lambda need: 0)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: None)
    with pytest.raises(BadInput, match=message):
        fetch("stand-in/odd")


def change_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_of_another_pipeline_what_its_parts_are_read_from_is_asked_for(
    machine: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of parts first, then these without second copies, pickles and checkers."""
    sdxl = tiny_pipelines.save("sdxl", tmp_path / "sdxl")
    wanted_files = {str(path.relative_to(sdxl)) for path in sdxl.rglob("*") if path.is_file()}
    unet = sdxl / "unet" / "diffusion_pytorch_model.safetensors"
    for extra in (
        "sd_xl_base_1.0.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder_2/flax_model.msgpack",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae_1_0/diffusion_pytorch_model.safetensors",
        "safety_checker/model.safetensors",
    ):
        (sdxl / extra).parent.mkdir(exist_ok=True)
        (sdxl / extra).write_bytes(b"again")
    change_index(sdxl, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    # As large networks are saved.
    unet.rename(unet.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    index = {"weight_map": {"any": "diffusion_pytorch_model-00001-of-00001.safetensors"}}
    unet.with_name(f"{unet.name}.index.json").write_text(json.dumps(index))
    wanted_files -= {"unet/diffusion_pytorch_model.safetensors"}
    wanted_files |= {
        "unet/diffusion_pytorch_model-00001-of-00001.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    }
    name = "stand-in/sdxl"
    tiny_models.cached(sdxl, name, tmp_path / "theirs")
    theirs = tmp_path / "theirs" / "models--stand-in--sdxl"
    ours = machine / "hub" / "models--stand-in--sdxl"
    names = [str(path.relative_to(sdxl)) for path in sdxl.rglob("*") if path.is_file()]
    asked: list[list[str]] = []

    def download(_: str, *, allow_patterns: list[str], **__: object) -> None:
        asked.append(sorted(filter_repo_objects(names, allow_patterns=allow_patterns)))
        shutil.copytree(theirs / "refs", ours / "refs", dirs_exist_ok=True)
        for one in asked[-1]:
            place = ours / "snapshots" / tiny_models.COMMIT / one
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(theirs / "snapshots" / tiny_models.COMMIT / one, place)

    monkeypatch.setattr(fetching, "_size", lambda need: 0)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    text = tiny_pipelines.card("sdxl", tiny_model, Path("nowhere"))
    card = machine / "tiny-sdxl.toml"
    card.write_text(text.replace('"nowhere"', f'"{name}@{tiny_models.COMMIT}"'))
    with pytest.raises(BadInput, match=r"stand-in/sdxl@0123.* model_index\.json\. Nothing is down"):
        run(["sd"], "bias/gender", str(card), images=1, device="cpu", runs=machine / "runs")
    [row] = fetch(str(card))
    assert asked == [["model_index.json"], sorted(wanted_files)]
    assert row["from"] == f"{name}@{tiny_models.COMMIT}"
    assert not fetching.wanted(model_card(str(card)), ())[0].need.missing()
    (ours / "snapshots" / tiny_models.COMMIT / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"stand-in/sdxl@0123.* text_encoder_2/model\.safe"):
        run(["sd"], "bias/gender", str(card), images=1, device="cpu", runs=machine / "runs")


class Gate(Quiet):
    """A hub that lists a repository's files to all, and gives them to nobody."""

    def do_GET(self) -> None:
        repository = "black-forest-labs/FLUX.1-schnell"
        siblings = [{"rfilename": "model_index.json"}]
        listed = {"id": repository, "sha": "7" * 40, "siblings": siblings, "gated": "auto"}
        file = {"type": "file", "path": "model_index.json", "size": 500, "oid": "7" * 40}
        body = json.dumps([file] if "/tree/" in self.path else listed)
        self.send(200, "application/json", body.encode())

    def do_HEAD(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to this model is restricted.")
        self.end_headers()


def test_a_repository_behind_a_gate_is_said_to_be(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "livo_bench.cli", "fetch", "--model", "flux1-schnell"]
    caches = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_TOKEN": ""}
    with served(Gate) as port:
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(words, env=os.environ | caches | hub, capture_output=True, text=True)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "Cannot get black-forest-labs/FLUX.1-schnell@741f" in said
    assert "Accept them on https://huggingface.co/black-forest-labs/FLUX.1-schnell, and" in said
    assert "Traceback" not in said


def test_published_weights_and_those_asked_for_come_with_the_model(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Wanted] = []
    monkeypatch.setattr(fetching, "_get", asked.extend)
    fetch("sd15")
    places = [one.place for one in asked]
    assert "hub:adstellaria/LiVO/value_encoder".removeprefix("hub:") in places
    assert [one.licence for one in asked if not one.licence] == []
    assert len(places) == len(set(places)) == 6
    asked.clear()
    fetch("sd15", methods=["sd"], weights="hub:someone/livo/encoder")
    assert [one.place for one in asked][-1] == "someone/livo/encoder"
    assert len(asked) == 6


def test_the_command_prints_a_table_and_says_when_there_is_nothing_to_fetch(
    machine: Path, card: Path, mirror: Path
) -> None:
    carry(mirror, machine)
    words = ["fetch", "--model", str(card), "--format", "csv"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert lines[0] == "what,from,size,licence"
    assert lines[1].startswith(f"pipeline,stand-in/sd@{tiny_models.COMMIT},")
    result = CliRunner().invoke(main, ["fetch"], catch_exceptions=False)
    assert "nothing to fetch" in result.stdout


UNPINNED = {
    "adstellaria/LiVO/value_encoder": "its page shows the first 7 digits of commits, no more",
}
"""Repositories that a card of this package may name without a commit, and why."""


def test_cards_of_this_package_name_commits() -> None:
    places = [place for card in method_cards().values() for place in card.published.values()]
    listed = [
        (one.place, one.need.repository)
        for card in model_cards().values()
        for one in wanted(card, card.judges, annotator=True, weights=places)
        if isinstance(one.need, Need) and one.need.repository is not None
    ]
    assert {place for place, repository in listed if repository.pinned is None} == set(UNPINNED)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "stand-in/sd",
            f"stand-in/sd is not pinned: main .* name stand-in/sd@{tiny_models.COMMIT}",
        ),
        ("hub:a/b/c", "a/b/c is not pinned: main .* unknown here.* name hub:a/b/c@COMMIT"),
        ("hub:a/b/c@v1", "a/b/c@v1 is not pinned: v1 .* name hub:a/b/c@COMMIT"),
        (f"stand-in/sd@{tiny_models.COMMIT}", None),
    ],
)
def test_a_repository_without_a_commit_is_said(
    machine: Path,
    mirror: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spec: str,
    said: str | None,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(mirror / "hub"))
    repository = repository_of(spec)
    assert repository is not None
    listed = [Wanted(pipeline_need(repository), "")]
    fetching.warn_of_unpinned(listed)
    assert bool(caplog.messages) == (said is not None)
    assert said is None or re.search(said, caplog.messages[0])
    known = fetching.repositories(listed)
    assert known == {listed[0].place: tiny_models.COMMIT if "stand-in" in spec else None}
