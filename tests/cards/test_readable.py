"""Models that cannot be read as they lie: `--plan` and `run` say the same, and what to type."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from written_inputs import Chosen

from livo_bench.cards import readable
from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.cards.weights import find_weights
from livo_bench.errors import BadInput
from livo_bench.runs import runner

WEIGHTS = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")


@pytest.fixture
def pipeline(tiny_weights: Path, tmp_path: Path) -> Path:
    """A folder as `save_pretrained` writes it."""
    return shutil.copytree(tiny_weights / "sd", tmp_path / "my model")


def rename(pipeline: Path, suffix: str) -> None:
    for stem in WEIGHTS:
        path = pipeline / f"{stem}.safetensors"
        path.rename(pipeline / f"{stem}{suffix}")


def change_index(pipeline: Path, **changes: object) -> None:
    path = pipeline / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def halve(pipeline: Path) -> None:
    rename(pipeline, ".fp16.safetensors")


def pickle(pipeline: Path) -> None:
    rename(pipeline, ".bin")


def lose(pipeline: Path) -> None:
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def make_film(pipeline: Path) -> None:
    change_index(pipeline, _class_name="StableVideoDiffusionPipeline")


def make_foreign(pipeline: Path) -> None:
    change_index(pipeline, unet=["my_code", "MyUNet"])


def make_lora(pipeline: Path) -> None:
    shutil.rmtree(pipeline)
    pipeline.mkdir()
    (pipeline / "pytorch_lora_weights.safetensors").touch()


def make_one_file(pipeline: Path) -> None:
    shutil.rmtree(pipeline)
    pipeline.mkdir()
    (pipeline / "v1-5-pruned.safetensors").touch()


def nest(pipeline: Path) -> None:
    pipeline.rename(pipeline.with_name("inner"))
    pipeline.mkdir()
    pipeline.with_name("inner").rename(pipeline / "inner")


SPOILT = [
    (halve, r"no text_encoder/model\.safetensors, unet/.*another precision\. Give .*: cp '"),
    (pickle, r"text_encoder/model\.bin, a pickle.*P\.from_pretrained.*save_pretrained"),
    (lose, r"has no unet/diffusion_pytorch_model\.safetensors, which it is read from\. Copy"),
    (make_film, r"is a StableVideoDiffusionPipeline; expected a StableD.*--images-from DIR"),
    (make_foreign, r"\['my_code', 'MyUNet'\] as its unet; expected a UNet2DConditionModel"),
    (make_lora, r"no model_index\.json\. It is a LoRA \(pytorch_lora.*fuse_lora"),
    (make_one_file, r"has v1-5-pruned\.safetensors.*P\.from_single_file.*save_pretrained"),
    (nest, r"no model_index\.json\. Pass the folder that holds it: .*my model/inner"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_plan_and_run_say_the_same(
    spoil: Callable[[Path], None], message: str, pipeline: Path, tmp_path: Path
) -> None:
    spoil(pipeline)
    asked: Chosen = {"task": "bias", "model": str(pipeline), "images": 1, "runs": tmp_path / "runs"}
    said = []
    for command in (runner.plan, runner.run):
        with pytest.raises(BadInput, match=message) as caught:
            command(["sd"], **asked)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_pipeline_of_parts_and_an_index_is_read(pipeline: Path) -> None:
    path = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    (pipeline / "unet" / f"{path.name}.index.json").write_text("{}")
    readable.require_weights(pipeline, json.loads((pipeline / readable.INDEX).read_text()))


def command_in(message: object) -> str:
    """What an error ends with."""
    found = re.search(r"(cp |python -c ).*$", str(message), re.DOTALL)
    assert found is not None
    return found.group()


def test_the_command_for_another_precision_works(pipeline: Path) -> None:
    digest = find_weights(pipeline, readable.INDEX).digest()
    halve(pipeline)
    with pytest.raises(BadInput) as caught:
        model_digest(model_card(str(pipeline)))
    subprocess.run(command_in(caught.value), shell=True, check=True)
    for path in pipeline.rglob("*.fp16.safetensors"):
        path.unlink()
    assert model_digest(model_card(str(pipeline))) == digest


@pytest.mark.slow
def test_the_command_for_pickles_works(pipeline: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    loaded = StableDiffusionPipeline.from_pretrained(pipeline)
    shutil.rmtree(pipeline)
    loaded.save_pretrained(pipeline, safe_serialization=False)
    with pytest.raises(BadInput) as caught:
        model_digest(model_card(str(pipeline)))
    _, *words = shlex.split(command_in(caught.value))
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, capture_output=True)
    assert model_digest(model_card(str(tmp_path / "converted")))


@pytest.mark.parametrize("name", ["sd-v1-5.safetensors", "it's.ckpt"])
def test_a_file_is_told_how_to_become_a_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    for spec in (name, f"./{name}", str(tmp_path / name)):
        with pytest.raises(BadInput, match=r"is a file; expected a folder.*--model \./conv") as no:
            model_card(spec)
        assert ("trust" in str(no.value)) == name.endswith("ckpt")
        _, _, code = shlex.split(command_in(no.value))
        compile(code, name, "exec")


@pytest.mark.parametrize(
    ("judge", "marker", "held", "message"),
    [
        ("clip", "open_clip_config.json", "open_clip_model.bin", r"open_clip_model\.bin, a pickle"),
        ("features", "config.json", "model.fp16.safetensors", r"another precision.*: cp "),
    ],
)
def test_judges_are_looked_at_before_anything_loads(
    judge: str,
    marker: str,
    held: str,
    message: str,
    tiny_weights: Path,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(tiny_weights / judge, tmp_path / "judge")
    [weights] = folder.glob("*.safetensors")
    weights.rename(folder / held)
    assert (folder / marker).is_file()
    options: Chosen = {
        "task": "bias",
        "model": str(tiny_model),
        "images": 1,
        "runs": tmp_path,
        "scorer": str(folder),
    }
    for command in (runner.plan, runner.run):
        with pytest.raises(BadInput, match=message):
            command(["sd"], **options)
