"""Models whose weights are whole and whose settings are not: refused as they load, by one error."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from livo_bench.cards.sizes import MOST
from livo_bench.cards.weights import refuse_code, settings
from livo_bench.engines import diffusion, schedule, value_encoder
from livo_bench.errors import BadInput
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.hazards import Llava

LOADERS: dict[str, Callable[[Path], object]] = {
    "pipeline": lambda root: diffusion.load(root / "sd", "cpu", "float32"),
    "retriever": lambda root: diffusion.load_text(root / "sd", torch.float32, "cpu"),
    "clip": lambda root: ClipEncoder(str(root / "clip"), "cpu", "float32").load(),
    "llava": lambda root: Llava(str(root / "llava"), "cpu", "float32").load(),
}
TOKENIZERS = {"pipeline": "sd/tokenizer", "retriever": "sd/tokenizer"}
SEEDS = range(2)


@pytest.fixture
def root(tiny_weights: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_weights, tmp_path / "models")


def _set(path: Path, *keys: str, **changes: Any) -> None:
    config = json.loads(path.read_text())
    table = config
    for key in keys:
        table = table.setdefault(key, {})
    table.update(changes)
    path.write_text(json.dumps(config))


# Vocabularies


def _gone(folder: Path, draw: random.Random) -> None:
    path = folder / "tokenizer.json"
    if draw.random() < 0.5:
        path.rename(folder / f"tokenizer.{draw.randrange(9)}.0.0.json")
    else:
        path.unlink()


def _elsewhere(folder: Path, draw: random.Random) -> None:
    names = [f"tokenizer.{draw.randrange(5)}.{draw.randrange(9)}.0.json"]
    _set(folder / "tokenizer_config.json", fast_tokenizer_files=names)


def _cut(folder: Path, draw: random.Random) -> None:
    """Few words are left, and what texts begin, end and are filled up with."""
    path = folder / "tokenizer.json"
    held = json.loads(path.read_text())
    words = held["model"]["vocab"]
    special = [word for word in words if word.startswith("<")]
    kept = draw.sample(sorted(words), int(draw.uniform(0, 0.6) * len(words)))
    held["model"]["vocab"] = {word: words[word] for word in (*kept, *special)}
    if "merges" in held["model"]:
        held["model"]["merges"] = []
    path.write_text(json.dumps(held))


def _grown(folder: Path, draw: random.Random) -> None:
    path = folder / "tokenizer.json"
    held = json.loads(path.read_text())
    words = held["model"]["vocab"]
    # Before the special tokens, which keep the ids that the settings name.
    more = {f"zz{number}": len(words) + 9 + number for number in range(len(words))}
    held["model"]["vocab"] = more | words
    path.write_text(json.dumps(held))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", [_gone, _elsewhere, _cut, _grown])
@pytest.mark.parametrize("loader", LOADERS)
def test_a_tokenizer_that_cannot_spell_is_refused(
    loader: str, damage: Callable[[Path, random.Random], None], seed: int, root: Path
) -> None:
    folder = root / TOKENIZERS.get(loader, loader)
    damage(folder, random.Random(f"{loader} {damage.__name__} {seed}"))
    with pytest.raises(BadInput, match=str(root)):
        LOADERS[loader](root)


def test_merges_belong_to_a_vocabulary(root: Path) -> None:
    path = root / "sd" / "tokenizer" / "tokenizer.json"
    held = json.loads(path.read_text())["model"]
    path.unlink()
    path.with_name("vocab.json").write_text(json.dumps(held["vocab"]))
    with pytest.raises(BadInput, match="tokenizer"):
        LOADERS["retriever"](root)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in held["merges"])]
    path.with_name("merges.txt").write_text("\n".join(lines) + "\n")
    LOADERS["retriever"](root)


@pytest.mark.parametrize("name", ["padding_side", "truncation_side"])
@pytest.mark.parametrize("loader", ["pipeline", "retriever", "clip"])
def test_texts_are_filled_up_and_cut_at_their_end(loader: str, name: str, root: Path) -> None:
    folder = root / TOKENIZERS.get(loader, loader)
    _set(folder / "tokenizer_config.json", **{name: "left"})
    with pytest.raises(BadInput, match=f"has {name} = 'left'; expected 'right'"):
        LOADERS[loader](root)


# Pipelines


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        *(
            ("vae/config.json", {"scaling_factor": value}, "has scaling_factor = .*positive number")
            for value in (None, "x", 0, -1.5, float("nan"), float("inf"), True, [0.18])
        ),
        ("vae/config.json", {"out_channels": 4}, "VAE"),
        ("tokenizer/tokenizer_config.json", {"pad_token": None}, "text encoder .* to pad"),
        ("text_encoder/config.json", {"eos_token_id": None}, "Cannot load the text encoder"),
        ("text_encoder/config.json", {"hidden_act": "xx"}, "hidden_act = 'xx' in config.json"),
        ("unet/config.json", {"class_embed_type": "identity"}, "the pipeline .*class_labels"),
        ("unet/config.json", {"mid_block_scale_factor": 0}, "noise of the UNet"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, "the pipeline"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned_range"}, "the pipeline"),
        ("scheduler/scheduler_config.json", {"thresholding": True}, "thresholding is true"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_would_end_in_the_first_batch_ends_the_load(
    file: str, changes: dict[str, object], said: str, root: Path
) -> None:
    _set(root / "sd" / file, **changes)
    with pytest.raises(BadInput, match=said):
        LOADERS["pipeline"](root)


@pytest.mark.parametrize("part", ["scheduler/scheduler_config", "unet/config", "vae/config"])
def test_values_of_a_file_are_not_replaced_by_the_library_s(part: str, root: Path) -> None:
    path = root / "sd" / f"{part}.json"
    named = [key for key in json.loads(path.read_text()) if not key.startswith("_")]
    for seed in SEEDS:
        dropped = random.Random(seed).sample(named, 2)
        _set(path, _use_default_values=dropped)
        with pytest.raises(BadInput, match="has its own values replaced"):
            LOADERS["pipeline"](root)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sampler_that_did_not_hear_its_file_is_refused(seed: int) -> None:
    draw = random.Random(seed)
    said = dict(DPMSolverMultistepScheduler().config)
    schedule._refuse_unheard(DPMSolverMultistepScheduler(), said)
    numbers = [key for key, value in said.items() if type(value) in (int, float)]
    key = draw.choice(numbers)
    said[key] += draw.randrange(1, 9)
    with pytest.raises(ValueError, match=f"It has {key} = "):
        schedule._refuse_unheard(DPMSolverMultistepScheduler(), said)


def test_samplers_of_relatives_are_taken_by_their_own_names(root: Path) -> None:
    path = root / "sd" / "scheduler" / "scheduler_config.json"
    _set(path, _class_name="UniPCMultistepScheduler", solver_type="bh2")
    schedule.read(path.parent)


@pytest.mark.parametrize("end", [None, 7, 10**5, -1])
def test_a_value_encoder_that_hears_no_value_is_refused(end: int | None, root: Path) -> None:
    text_encoder = diffusion.load_text(root / "sd", torch.float32, "cpu")[1]
    folder = root / "sd" / "text_encoder"
    value_encoder.load(folder, text_encoder)
    _set(folder / "config.json", eos_token_id=2)
    value_encoder.load(folder, text_encoder)
    _set(folder / "config.json", eos_token_id=end)
    with pytest.raises(BadInput, match="value encoder"):
        value_encoder.load(folder, text_encoder)


# Judges


@pytest.mark.parametrize("name", ["random", "x", "nearest", "lanczos", "", 3])
def test_a_picture_is_resized_as_open_clip_does_or_not_at_all(name: object, root: Path) -> None:
    _set(root / "clip" / "open_clip_config.json", "preprocess_cfg", interpolation=name)
    with pytest.raises(BadInput, match=f"interpolation is {name!r}.*bicubic, bilinear"):
        LOADERS["clip"](root)


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize(
    "value", [None, [], [0.5], [0.5, None, 0.5], "x", [0.5] * 4, [float("nan")] * 3, 0.5], ids=str
)
def test_a_judge_says_how_it_sees_pictures(name: str, value: object, root: Path) -> None:
    path = root / "clip" / "open_clip_config.json"
    _set(path, "preprocess_cfg", **{name: value})
    with pytest.raises(BadInput, match=f"has {name} = .*three numbers"):
        LOADERS["clip"](root)


@pytest.mark.parametrize("value", [None, {}, [], "gone"])
def test_a_judge_without_preparation_is_refused(value: object, root: Path) -> None:
    path = root / "clip" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"] = value
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))
    with pytest.raises(BadInput, match="has mean = null in its preprocess_cfg"):
        LOADERS["clip"](root)


@pytest.mark.parametrize("name", ["model.safetensors", "open_clip_pytorch_model.safetensors"])
def test_a_judge_with_two_files_of_weights_is_refused(name: str, root: Path) -> None:
    shutil.copy(root / "sd" / "text_encoder" / "model.safetensors", root / "clip" / name)
    with pytest.raises(BadInput, match=f"has its CLIP twice.*rm .*{name}"):
        LOADERS["clip"](root)


def test_an_error_that_says_nothing_is_told_by_its_line(root: Path) -> None:
    _set(root / "clip" / "open_clip_config.json", "model_cfg", "text_cfg", pool_type="x")
    with pytest.raises(BadInput, match=r"AssertionError.*pool_type in") as refused:
        LOADERS["clip"](root)
    assert "local-dir" not in str(refused.value)


# Sizes


def test_a_size_that_no_model_has_is_refused_before_anything_is_built(root: Path) -> None:
    draw, tried = random.Random("sizes"), set()
    for path in sorted(root.rglob("*config*.json")):
        whole = path.read_text()
        for key, value in settings(json.loads(whole)):
            sized = any(form.search(key) for form in MOST) and key != "model_max_length"
            number = isinstance(value, int) and not isinstance(value, bool)
            if not sized or not (number or isinstance(value, list)):
                continue
            large = draw.choice((10**8, 10**9, 2**40, 1e12, float("inf")))
            config = json.loads(whole)
            _replace(config, key, [large] if isinstance(value, list) else large)
            path.write_text(json.dumps(config))
            with pytest.raises(BadInput, match=f"has {key} = .*expected at most"):
                refuse_code(path.parent)
            path.write_text(whole)
            tried.add(key)
    assert {"num_train_timesteps", "vocab_size", "width", "block_out_channels"} <= tried


def _replace(table: Any, key: str, value: object) -> None:
    for name, held in table.items():
        if name == key:
            table[name] = value
        elif isinstance(held, dict):
            _replace(held, key, value)


def test_sizes_of_published_models_are_let_in(tmp_path: Path) -> None:
    sizes = {
        "vocab_size": 262_144,
        "hidden_size": 16_384,
        "intermediate_size": 53_248,
        "num_hidden_layers": 126,
        "max_position_embeddings": 1_048_576,
        "model_max_length": 10**30,
        "image_size": 1024,
        "num_train_timesteps": 1000,
        "block_out_channels": [320, 640, 1280, 1280],
        "rope_theta": 500_000_000,
        "size": {"shortest_edge": 448},
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    refuse_code(tmp_path)
