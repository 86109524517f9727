"""Switches, batches that do not fit, and what a device could do at most."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from livo_bench.engines import acceleration, diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.records import Recipe

BASE = Recipe(
    model="tiny",
    text="a photo of a doctor",
    seed=0,
    negative="",
    guidance=3.0,
    sampler="dpmsolver++",
    steps=3,
    size=64,
    dtype="float32",
)
FIVE = [replace(BASE, seed=seed) for seed in range(5)]
SAFE = ("channels-last", "fuse")
"""Switches that need no compiler."""


@pytest.fixture
def load(tiny_weights: Path) -> Callable[..., Diffusion]:
    def call(*switches: str) -> Diffusion:
        return diffusion.load(tiny_weights / "sd", "cpu", "float32", switches=switches)

    return call


def watched(engine: Diffusion, monkeypatch: pytest.MonkeyPatch, room: int = 100) -> list[int]:
    """Images of each batch the UNet is given; no more than `room` fit."""
    shapes: list[int] = []
    forward = engine.unet.forward

    def call(latents: torch.Tensor, *rest: object, **named: object) -> object:
        images = len(latents) // 2
        if images > room:
            raise torch.OutOfMemoryError("no room")
        shapes.append(images)
        return forward(latents, *rest, **named)

    monkeypatch.setattr(engine.unet, "forward", call)
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: None)
    return shapes


def test_switches_are_thrown_in_one_order_and_unknown_ones_named() -> None:
    assert acceleration.choose(["compile", "channels-last"]) == ("channels-last", "compile")
    with pytest.raises(BadInput, match=r"no switch 'turbo'.*channels-last, fuse, compile"):
        acceleration.choose(["turbo"])
    with pytest.raises(BadInput, match="exclude each other"):
        acceleration.choose(["compile", "cuda-graphs"])


@pytest.mark.parametrize("switch", SAFE)
def test_a_switch_of_class_b_makes_the_same_image_up_to_last_bits(
    load: Callable[..., Diffusion], switch: str
) -> None:
    assert acceleration.SWITCHES[switch].image == "B"
    plain, fast = load().render(FIVE[:2]), load(switch).render(FIVE[:2])
    assert np.abs(plain.astype(int) - fast).max() <= 1


def test_switches_reach_what_they_are_for(load: Callable[..., Diffusion]) -> None:
    unet = load(*SAFE).unet
    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    assert attention.fused_projections
    assert not load().unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_overlay_counts_under_fused_attention(
    load: Callable[..., Diffusion], tmp_path: Path
) -> None:
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight"
    changed = {name: 3 * load().unet.state_dict()[name]}
    save_file(changed, tmp_path / "changed.safetensors")
    images = []
    for switches in ((), SAFE):
        engine = load(*switches)
        path = tmp_path / "changed.safetensors"
        engine.use_overlay("changed", overlay.lay_over({"unet": engine.unet}, path)["unet"])
        images.append(engine.render([replace(FIVE[0], overlay="changed")]))
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert np.abs(images[0].astype(int) - load().render(FIVE[:1])).max() > 1


def test_a_batch_that_does_not_fit_is_halved_and_so_are_later_ones(
    load: Callable[..., Diffusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load()
    whole = engine.render(FIVE)
    shapes = watched(engine, monkeypatch, room=2)
    halved = engine.render(FIVE)
    assert np.abs(whole.astype(int) - halved).max() <= 1
    assert set(shapes) == {2, 1}
    shapes.clear()
    engine.render(FIVE[:4])
    assert set(shapes) == {2}


def test_not_even_one_image_fits(
    load: Callable[..., Diffusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load()
    watched(engine, monkeypatch, room=0)
    with pytest.raises(BadInput, match="One image of 64 pixels in float32 does not fit"):
        engine.render(FIVE)


def test_compiled_kernels_always_get_the_longest_batch_or_half_of_it(
    load: Callable[..., Diffusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods that steer every other image have batches of half the length."""
    thrown: list[str] = []
    switch = replace(acceleration.SWITCHES["compile"], apply=lambda unet: thrown.append("compile"))
    monkeypatch.setitem(acceleration.SWITCHES, "compile", switch)
    engine, plain = load("compile"), load()
    assert thrown == ["compile"]
    shapes = watched(engine, monkeypatch)
    engine.render(FIVE)
    images = engine.render(FIVE[:2])
    assert set(shapes) == {5, 3}
    assert np.abs(images.astype(int) - plain.render(FIVE[:2])).max() <= 1
    shapes.clear()
    engine.render(FIVE[:4])
    assert set(shapes) == {5}
