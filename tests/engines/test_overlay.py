"""Overlays: what is written, shared and refused, and that the engine draws with them."""

import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from handed_over import networks_of
from safetensors.torch import load_file, save_file

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.engines import diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods import overlaid
from livo_bench.methods.training.parameters import names_in
from livo_bench.records import Principle, Prompt, Recipe, Request

BASE = Recipe(
    model="tiny",
    text="a photo of a doctor",
    seed=3,
    negative="",
    guidance=3.0,
    sampler="dpmsolver++",
    steps=3,
    size=64,
    dtype="float32",
)


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


@pytest.fixture
def card(tiny_model: Path) -> ModelCard:
    return model_card(str(tiny_model))


@pytest.fixture
def doubled(engine: Diffusion, card: ModelCard, tmp_path: Path) -> Path:
    """Keys and values of cross-attention times two."""
    own = engine.unet.state_dict()
    path = tmp_path / "career.safetensors"
    names = names_in("cross-attn", own)
    overlay.save({name: 2 * own[name] for name in names}, model_digest(card), path)
    return path


def test_an_overlay_replaces_its_tensors_and_shares_the_others(
    engine: Diffusion, doubled: Path
) -> None:
    own = engine.unet.state_dict()
    names = names_in("cross-attn", own)
    laid_over = overlay.lay_over(networks_of(engine), doubled)["unet"].state_dict()
    for name in own:
        if name in names:
            expected = (2 * own[name]).half().float()
            assert torch.equal(laid_over[name], expected)
        else:
            assert laid_over[name].data_ptr() == own[name].data_ptr()
    assert load_file(doubled)[names[0]].dtype == torch.float16


def test_the_engine_draws_with_the_overlay_that_a_recipe_names(
    engine: Diffusion, doubled: Path, card: ModelCard
) -> None:
    found = overlay.find(doubled, card)
    with_files = Diffusion(
        engine.tokenizer,
        engine.text_encoder,
        engine.unet,
        engine.vae,
        engine.scheduler_config,
        {found.digest: found.path},
    )
    plain = engine.render([BASE])
    changed = with_files.render([replace(BASE, overlay=found.digest)])
    assert not np.array_equal(plain, changed)
    assert np.array_equal(with_files.render([BASE]), plain)
    with pytest.raises(BadInput, match="names the weights 000000"):
        engine.render([replace(BASE, overlay="0" * 64)])


def test_weights_of_another_model_or_another_shape_are_refused(
    engine: Diffusion, card: ModelCard, tmp_path: Path
) -> None:
    name = names_in("cross-attn", engine.unet.state_dict())[0]
    path = tmp_path / "x.safetensors"
    overlay.save({name: torch.zeros(2, 3)}, "f" * 64, path)
    with pytest.raises(BadInput, match=r"digest ffffffffffff.*train --method NAME --model .*tiny"):
        overlay.find(path, card)

    def refused(says: str) -> None:
        for look in (
            partial(overlaid.find, path, card),
            partial(overlay.lay_over, networks_of(engine), path),
        ):
            with pytest.raises(BadInput, match=says):
                look()

    overlay.save({name: torch.zeros(2, 3)}, model_digest(card), path)
    refused(r"another shape, e\.g\. \S+attn2\S+ \(2, 3\); expected \(")
    overlay.save({"conv_9": torch.zeros(2)}, model_digest(card), path)
    refused(r"has 1 that it should not have, e\.g\. conv_9")
    own = engine.unet.state_dict()
    said = {overlay.BASE: f"{model_digest(card)} conv_in.bias {name}"}
    save_file({name: own[name]}, path, said)
    refused(r"lacks 1 of \d+ tensors, e\.g\. conv_in\.bias")
    save_file({"conv_in.bias": torch.zeros(2)}, path)  # says no model, so names and shapes count
    refused(r"another shape, e\.g\. conv_in\.bias \(2,\)")
    save_file({"conv_9": torch.zeros(2)}, path, {overlay.BASE: f"{model_digest(card)} conv_9"})
    refused(r"overlay of \S+ has 1 that it should not have, e\.g\. conv_9")
    for metadata in (None, {overlay.BASE: model_digest(card)}):
        save_file({}, path, metadata)
        refused("is empty: no tensor. Expected a LoRA, or tensors of the model's UNet")
    path.write_bytes(b"no tensors")
    with pytest.raises(BadInput, match="Cannot read the weights"):
        overlay.find(path, card)


@pytest.mark.parametrize("before", ["unet.", "module.", "denoiser.unet."])
@pytest.mark.parametrize("count", [1, 40])
def test_what_stands_before_the_names_of_some_tensors_is_taken_off_by_the_command_that_is_told(
    engine: Diffusion, card: ModelCard, before: str, count: int, tmp_path: Path
) -> None:
    own = dict(list(engine.unet.state_dict().items())[:count])
    path = tmp_path / "tuned's.safetensors"
    save_file({before + name: tensor for name, tensor in own.items()}, path)
    with pytest.raises(BadInput, match=rf"Names begin with '{before}'") as refused:
        overlay.require_fit(path, card)
    command = shlex.split(str(refused.value).partition("anew: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    overlay.require_fit(path, card)
    assert load_file(path).keys() == own.keys()


def test_a_pickle_is_not_opened(card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "fine-tuned.ckpt"
    torch.save({"conv_in.bias": torch.zeros(2)}, path)
    with pytest.raises(BadInput, match=r"fine-tuned\.ckpt are a pickle, which may run code"):
        overlay.find(path, card)


def test_groups_of_parameters_have_the_sizes_of_stable_diffusion(engine: Diffusion) -> None:
    names = list(engine.unet.state_dict())
    blocks = sum(name.endswith("attn2.to_k.weight") for name in names)
    assert len(names_in("cross-attn", names)) == 2 * blocks
    # q, k, v and the output with its bias, of two attentions
    assert len(names_in("attn", names)) == 10 * blocks
    # q, k, v and the output with its bias, of one attention
    assert len(names_in("xattn", names)) == 5 * blocks
    assert set(names_in("noxattn", names)) == {*names} - {*names_in("xattn", names)}
    assert names_in("full-weight", names) == names
    with pytest.raises(BadInput, match="'heads'; expected one of: cross-attn, attn, xattn, noxat"):
        names_in("heads", names)


def request(category: str) -> Request:
    prompt = Prompt("p-1", "a photo of a doctor", "doctor", category, "", "eval")
    return Request(prompt, 0, Principle("bias", "gender", "gender equality", ("male", "female")))


def test_the_adapter_takes_the_overlay_of_the_category_or_one_for_all(
    doubled: Path, card: ModelCard, tmp_path: Path
) -> None:
    def method(edit: str, weights: str) -> overlaid.Overlaid:
        settings = {"edit": edit, "weights": weights}
        return overlaid.load(MethodContext(tmp_path, settings, card, "uce"))

    digest = overlay.find(doubled, card).digest
    by_category = method("category", str(doubled.parent))
    assert by_category.resolve(request("career"), BASE) == replace(BASE, overlay=digest)
    assert by_category.files == {digest: str(doubled)}
    with pytest.raises(BadInput, match=r"no weights for category .positive.*some for: career"):
        by_category.resolve(request("positive"), BASE)
    assert method("career", str(doubled.parent)).resolve(request("x"), BASE).overlay == digest
    told = replace(request("male"), principle=Principle("fair", "gender", "", (), "career"))
    assert by_category.resolve(told, BASE).overlay == digest
    with pytest.raises(BadInput, match=r"no weights of .*joint\.safetensors(?s:.)*-bench train"):
        method("joint", "")
