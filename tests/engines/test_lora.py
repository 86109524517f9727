"""LoRA files: merged they draw what they drew where they were trained, and what has no place is
refused by name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from handed_over import KINDS, changed, diffusers_lora, kohya_lora, networks_of, trained
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from livo_bench.cards.catalog import model_card
from livo_bench.engines import diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.methods import overlaid


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


def predicted(unet: torch.nn.Module, context: Tensor) -> Tensor:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: Tensor = unet(latents, torch.tensor([500]), context[None], return_dict=False)[0]
    return found


def states(engine: Diffusion, text_encoder: torch.nn.Module) -> Tensor:
    ids = engine.tokenizer("a photo of a doctor", return_tensors="pt").input_ids
    with torch.inference_mode():
        found: Tensor = text_encoder(ids).last_hidden_state[0]
    return found


@pytest.mark.parametrize("write", [diffusers_lora, kohya_lora])
def test_merged_it_says_what_it_said_where_it_was_trained(
    engine: Diffusion, tmp_path: Path, write: Callable[[Diffusion, Path], Path]
) -> None:
    unet, text_encoder = trained(engine)
    before = {name: tensor.clone() for name, tensor in engine.unet.state_dict().items()}
    laid = overlay.lay_over(networks_of(engine), write(engine, tmp_path))
    context = states(engine, text_encoder)
    read = states(engine, laid["text_encoder"])
    torch.testing.assert_close(read, context, rtol=1e-4, atol=1e-5)
    plain = states(engine, engine.text_encoder)
    expected = predicted(unet, plain)
    torch.testing.assert_close(predicted(laid["unet"], plain), expected, rtol=1e-4, atol=1e-5)
    # What it says is something else than the model's own, which is as it was.
    assert (expected - predicted(engine.unet, plain)).abs().max() > 1e-2
    assert (context - plain).abs().max() > 1e-2
    assert all(torch.equal(before[n], t) for n, t in engine.unet.state_dict().items())
    assert laid["unet"].state_dict().keys() == before.keys()


def test_names_of_attention_processors_are_read_too(engine: Diffusion, tmp_path: Path) -> None:
    """As `unet.save_attn_procs` once wrote them: of the UNet alone, and without saying so."""
    place = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    weight = engine.unet.state_dict()[f"{place}.to_out.0.weight"]
    down, up = torch.randn(3, weight.shape[1]), torch.randn(weight.shape[0], 3)
    names = (f"{place}.processor.to_out_lora.{half}.weight" for half in ("down", "up"))
    path = tmp_path / overlay.LORA
    save_file(dict(zip(names, (down, up), strict=True)), path)
    laid = overlay.lay_over(networks_of(engine), path)
    merged = laid["unet"].state_dict()[f"{place}.to_out.0.weight"]
    torch.testing.assert_close(merged, weight + up @ down, rtol=1e-5, atol=1e-5)
    assert laid.keys() == {"unet"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_found_for_its_model_and_drawn_with(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    found = overlaid.find(KINDS[kind](engine, tmp_path), model_card(str(tiny_model)))
    laid = overlay.lay_over(networks_of(engine), found.path)
    assert re.fullmatch("[0-9a-f]{64}", found.digest)
    plain = states(engine, engine.text_encoder)
    if "LoRA" not in kind:
        expected = {**engine.unet.state_dict(), **changed(engine)}
        assert all(torch.equal(expected[n], t) for n, t in laid["unet"].state_dict().items())
    assert not torch.allclose(
        predicted(laid["unet"], plain), predicted(engine.unet, plain), atol=1e-3
    )


def longer(tensors: dict[str, Tensor], name: str) -> None:
    tensors[name] = torch.zeros(*tensors[name].shape[:-1], tensors[name].shape[-1] + 1)


def moved(tensors: dict[str, Tensor], name: str) -> None:
    """Put a weight, or both halves of its change, where the model has none."""
    place = re.sub(r"(lora_A|lora_B|lora|lora_linear_layer|lora_down|lora_up)\..*", "", name)
    for other in [other for other in tensors if other.startswith(place)]:
        tensors[re.sub(r"(blocks|layers)([._])\d", r"\1\g<2>7", other)] = tensors.pop(other)


DAMAGE = {
    "elsewhere": (moved, r"(blocks|layers)[._]7"),
    "longer": (longer, r"\(.+\)(, for|; expected) \("),
    "half": (lambda tensors, name: tensors.pop(name), "without its other half|lora_(up|down)"),
    "NaN": (lambda tensors, name: tensors[name].fill_(float("nan")), "holds NaN"),
}
"""What is done to one tensor, and what is said then."""


@pytest.mark.parametrize("kind", ["UNet tensors", "diffusers LoRA", "kohya LoRA"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_fit_is_refused_by_name_before_a_tensor_of_the_model_is_read(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, kind: str, damage: str
) -> None:
    path = KINDS[kind](engine, tmp_path)
    if kind == "UNet tensors" and damage == "half":
        pytest.skip("tensors of a UNet have no halves")
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    spoil, says = DAMAGE[damage]
    spoil(tensors, next(n for n in sorted(tensors) if tensors[n].ndim > 1))
    save_file(tensors, path)
    with pytest.raises(BadInput, match=says) as refused:
        overlaid.find(path, model_card(str(tiny_model)))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("part", ["lora_down.weight", "lora_up.weight", "both"])
def test_a_place_of_a_kohya_file_has_both_matrices(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, part: str
) -> None:
    path = KINDS["kohya LoRA"](engine, tmp_path)
    tensors = load_file(path)
    place = min(tensors).partition(".")[0]
    for name in [n for n in tensors if n.startswith(f"{place}.") and (part in n or part == "both")]:
        del tensors[name]
    save_file({**tensors, f"{place}.alpha": torch.tensor(4.0)}, path)
    with pytest.raises(BadInput, match=rf"has {place}\.\w+(\.weight)? without its lora_down"):
        overlaid.find(path, model_card(str(tiny_model)))


@pytest.mark.parametrize("kind", ["diffusers LoRA", "kohya LoRA"])
@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (lambda half: half.new_zeros(*(n * (n > 4) for n in half.shape)), "a rank of at least 1"),
        (lambda half: half.to(torch.int8), "another kind of number; expected real ones of 16"),
        (lambda half: half.to(torch.float8_e4m3fn), "another kind of number; expected real ones"),
    ],
)
def test_matrices_have_a_rank_and_real_numbers(
    engine: Diffusion,
    tiny_model: Path,
    tmp_path: Path,
    kind: str,
    odd: Callable[[Tensor], Tensor],
    says: str,
) -> None:
    path = KINDS[kind](engine, tmp_path)
    halves = {name: tensor for name, tensor in load_file(path).items() if tensor.ndim > 1}
    name = min(halves)
    place = re.sub(r"lora_.*", "", name.removeprefix("lora_"))
    both = {n: odd(tensor) for n, tensor in halves.items() if place in n}
    assert len(both) == 2
    save_file({**load_file(path), **both}, path)
    with pytest.raises(BadInput, match=f"has {re.escape(name)} .*{says}"):
        overlaid.find(path, model_card(str(tiny_model)))


@pytest.mark.parametrize("alpha", [0.0, float("nan"), float("inf")])
def test_an_alpha_is_finite_and_not_0_which_programs_read_differently(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, alpha: float
) -> None:
    path = KINDS["kohya LoRA"](engine, tmp_path)
    name = f"{min(load_file(path)).partition('.')[0]}.alpha"
    save_file({**load_file(path), name: torch.tensor(alpha)}, path)
    with pytest.raises(BadInput, match=re.escape(f"has {name} = {alpha:g}; expected a finite")):
        overlaid.find(path, model_card(str(tiny_model)))


def test_an_alpha_is_one_number(engine: Diffusion, tiny_model: Path, tmp_path: Path) -> None:
    path = KINDS["kohya LoRA"](engine, tmp_path)
    name = f"{min(load_file(path)).partition('.')[0]}.alpha"
    for shape in ((2,), (0,), (1, 3)):
        save_file({**load_file(path), name: torch.ones(shape)}, path)
        with pytest.raises(BadInput, match=re.escape(f"has {name} of shape {shape}; expected one")):
            overlaid.find(path, model_card(str(tiny_model)))
    save_file({**load_file(path), name: torch.ones(1, 1)}, path)
    overlaid.find(path, model_card(str(tiny_model)))


def test_an_alpha_may_be_a_whole_number(
    engine: Diffusion, tiny_model: Path, tmp_path: Path
) -> None:
    path = KINDS["kohya LoRA"](engine, tmp_path)
    held = load_file(path)
    whole = {n: t.long() for n, t in held.items() if n.endswith(".alpha")}
    save_file({**held, **whole}, path)
    overlaid.find(path, model_card(str(tiny_model)))
    drawn = overlay.lay_over(networks_of(engine), path)
    save_file({**held, **{name: tensor.float() for name, tensor in whole.items()}}, path)
    alike = overlay.lay_over(networks_of(engine), path)
    for name, network in drawn.items():
        other = alike[name].state_dict()
        assert all(torch.equal(t, other[n]) for n, t in network.state_dict().items())


def test_a_lora_of_peft_itself_is_merged_by_the_command_that_its_refusal_prints(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LoraConfig(r=2, lora_alpha=8, target_modules=["to_q"], init_lora_weights=False)
    saved = get_peft_model(deepcopy(engine.unet), settings)
    saved.save_pretrained(str(tmp_path / "an adapter"))
    path = tmp_path / "an adapter" / "adapter_model.safetensors"
    with pytest.raises(BadInput, match=r"base_model\.model\.\S+, which .* alpha is in") as refused:
        overlaid.find(path, model_card(str(tiny_model)))
    said = re.search(r"python -c ('.*'), and pass --weights merged", str(refused.value))
    assert said is not None
    monkeypatch.chdir(tmp_path)
    exec(shlex.split(said[1])[0], {})
    found = overlaid.find(tmp_path / "merged", model_card(str(tiny_model)))
    laid = overlay.lay_over(networks_of(engine), found.path)["unet"].state_dict()
    merged = saved.merge_and_unload().state_dict()
    for name, tensor in laid.items():
        torch.testing.assert_close(tensor, merged[name])


def test_what_is_no_plain_lora_is_named(
    engine: Diffusion, tiny_model: Path, tmp_path: Path
) -> None:
    path = KINDS["kohya LoRA"](engine, tmp_path)
    name = f"{min(load_file(path)).partition('.')[0]}.lora_mid.weight"
    save_file({**load_file(path), name: torch.zeros(2, 2, 3, 3)}, path)
    with pytest.raises(BadInput, match=re.escape(f"has {name}, which is none of a plain LoRA")):
        overlaid.find(path, model_card(str(tiny_model)))


@pytest.mark.parametrize("kind", ["UNet tensors", "diffusers LoRA", "kohya LoRA"])
def test_a_file_that_is_cut_is_refused(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    path = KINDS[kind](engine, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=re.escape(str(path))):
        overlaid.find(path, model_card(str(tiny_model)))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lora_unet_x.dora_scale", "has lora_unet_x.dora_scale"),
        ("lora_unet_x.hada_w1_a", "has lora_unet_x.hada_w1_a"),
        ("unet.x.to_q.lokr_w1", "has unet.x.to_q.lokr_w1"),
        ("text_encoder_2.x.lora_A.weight", "it has no text_encoder_2.x.lora_A.weight"),
        ("transformer.x.lora_A.weight", "it has no transformer.x.lora_A.weight"),
    ],
)
def test_other_kinds_of_changes_are_named(
    engine: Diffusion, tiny_model: Path, tmp_path: Path, name: str, says: str
) -> None:
    path = diffusers_lora(engine, tmp_path)
    save_file({**load_file(path), name: torch.zeros(2, 2)}, path)
    with pytest.raises(BadInput, match=re.escape(says)):
        overlaid.find(path, model_card(str(tiny_model)))


def test_a_whole_model_is_not_laid_over_another(tiny_weights: Path, tiny_model: Path) -> None:
    with pytest.raises(BadInput, match="whole model") as refused:
        overlaid.find(tiny_weights / "sd", model_card(str(tiny_model)))
    assert f"livo-bench run --model {tiny_weights / 'sd'}" in refused.value.hint
