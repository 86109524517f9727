"""Files of networks: whole or in parts, of other names, or something else in their place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from written_networks import LOADERS, VAE, Loader, make_models, save

from livo_bench.engines import diffusion
from livo_bench.engines.tensor_files import OLD_ATTENTION
from livo_bench.errors import BadInput


@pytest.fixture(scope="module")
def models(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tiny_weights, tmp_path_factory.mktemp("models") / "all")


@pytest.fixture
def root(models: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(models, tmp_path / "models")


def _in_parts(path: Path) -> Path:
    """Split a file in two, beside an index, as libraries save large networks."""
    tensors = load_file(path)
    names = sorted(tensors)
    half, stem = len(names) // 2, path.name.removesuffix(".safetensors")
    where: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), 1):
        file = f"{stem}-{number:05}-of-00002.safetensors"
        save_file({n: tensors[n].contiguous() for n in part}, path.parent / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    path.unlink()
    index = path.with_name(f"{path.name}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


IN_FOLDERS = {n: loader for n, loader in LOADERS.items() if loader.what != "overlay"}
every_folder = pytest.mark.parametrize("loader", IN_FOLDERS.values(), ids=IN_FOLDERS)


@every_folder
def test_parts_are_read_whole_or_not_at_all(loader: Loader, models: Path, root: Path) -> None:
    index = _in_parts(root / loader.weights)
    one, other = loader.load(models), loader.load(root)
    if one is not None and other is not None:
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name

    kept = index.read_text()
    where = json.loads(kept)["weight_map"]
    first = min(where)
    index.write_text(json.dumps({"weight_map": {n: f for n, f in where.items() if n != first}}))
    with pytest.raises(BadInput, match=rf"says of 1 tensors .*{re.escape(first)}"):
        loader.load(root)
    index.write_text(json.dumps({"weight_map": where | {first: "../elsewhere.safetensors"}}))
    with pytest.raises(BadInput, match=r"names 3 files .*of which 1 are not beside it"):
        loader.load(root)
    index.write_text(kept)
    (index.parent / where[first]).unlink()
    with pytest.raises(BadInput, match=r"names 2 files .*of which 1 are not beside it, e\.g\. "):
        loader.load(root)


def fp16_only(path: Path) -> None:
    path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


def pickle_only(path: Path) -> None:
    path.rename(path.with_name("pytorch_model.bin"))


def nothing(path: Path) -> None:
    path.unlink()


def pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n")


def lora(path: Path) -> None:
    names = ["q_proj.lora_A.weight", "q_proj.lora_B.weight"]
    save({f"base_model.model.{name}": torch.ones(2, 2) for name in names}, path)


def adapter(path: Path) -> None:
    (path.parent / "adapter_config.json").write_text("{}")


def single_file(path: Path) -> None:
    names = ["cond_stage_model.x.weight", "model.diffusion_model.input_blocks.0.0.weight"]
    save({name: torch.ones(2, 2) for name in names}, path)


def twice(path: Path) -> None:
    path.with_name(f"{path.name}.index.json").write_text('{"weight_map": {}}')


CAUSES: dict[Callable[[Path], None], str] = {
    fp16_only: r"another precision\. Give it the name that is expected: cp \S+fp16",
    pickle_only: r"It has pytorch_model\.bin, a pickle, .*livo-bench fetch --model",
    nothing: r"has no \w+\.safetensors, .*copy the model again",
    pointer: r"pointer of Git LFS.*lfs pull",
    lora: r"is a LoRA \(.*lora_A.*merge_and_unload",
    adapter: r"is a LoRA \(adapter_config\.json",
    single_file: r"one file for all parts\. Make it a folder: python -c .*from_single_file",
    twice: r"twice, as .* Remove what is not meant, e\.g\. rm ",
}


@every_folder
@pytest.mark.parametrize("change", CAUSES, ids=lambda change: change.__name__)
def test_what_lies_there_instead_is_named(
    loader: Loader, change: Callable[[Path], None], root: Path
) -> None:
    change(root / loader.weights)
    with pytest.raises(BadInput, match=CAUSES[change]):
        loader.load(root)


def test_older_names_and_whole_clips_load_alike(models: Path, root: Path) -> None:
    """What old versions saved, and a text tower that is kept with the rest of its CLIP."""
    text = root / LOADERS["text encoder"].weights
    tensors = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in load_file(text).items()}
    beside = {
        "text_model.embeddings.position_ids": torch.arange(24)[None],
        "vision_model.embeddings.class_embedding": torch.ones(4),
        "logit_scale": torch.tensor(1.0),
        "text_projection.weight": torch.ones(3, 3),
    }
    save(tensors | beside, text)
    pixels = root / VAE
    spelt = {new: old for old, new in OLD_ATTENTION.items()}
    save(
        {
            re.sub(r"(to_q|to_k|to_v|to_out\.0)(?=\.)", lambda found: spelt[found[0]], n)
            if "attentions" in n
            else n: t
            for n, t in load_file(pixels).items()
        },
        pixels,
    )
    assert "query" in str(load_file(pixels).keys())
    old, new = (diffusion.load(folder / "sd", "cpu", "float32") for folder in (root, models))
    for part in ("text_encoder", "vae"):
        expected = getattr(new, part).state_dict()
        for name, tensor in getattr(old, part).state_dict().items():
            assert torch.equal(tensor, expected[name]), name
