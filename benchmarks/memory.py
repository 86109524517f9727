"""Count what a training step keeps in memory of a picture: `python benchmarks/memory.py`.

No weights and no accelerator are needed: networks run on fake tensors, which have a device and
shapes and no numbers, under torch's own autocast of that device, so its lists of what computes in
half precision and what in float32 are not copied here. Autograd's hooks see what it would keep for
the backward pass. Prints the table `[memory]` of each model card. What the backward pass itself
holds for a moment and what an allocator wastes are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import Module
from transformers import CLIPTextConfig, CLIPTextModel

from livo_bench.cards.catalog import model_card
from livo_bench.methods.training.parameters import names_in

CONFIGS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "sd15": (
        {"sample_size": 64, "cross_attention_dim": 768},
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
        {"num_attention_heads": 12},
    ),
    "sd21": (
        {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23},
        {"num_attention_heads": 16, "hidden_act": "gelu"},
    ),
}
"""Of UNet and text encoder, as they are published; other fields are the libraries' defaults."""
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
PICTURES = 8
"""In the smaller of two batches, whose difference is what pictures add."""


class Kept:
    """Bytes of tensors that are not parameters, each storage once."""

    def __init__(self, network: Module) -> None:
        self._parameters = {p.untyped_storage()._cdata for p in network.parameters()}
        self._seen: dict[int, Tensor] = {}

    def add(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in self._parameters:
            self._seen[place] = tensor
        return tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self._seen.values())


def flash(q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object) -> Tensor:
    """Attention as a GPU computes it, which keeps no matrix of weights."""
    out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    return out


def kept(network: Module, *inputs: Tensor, checkpointed: bool = False) -> int:
    """Bytes that a pass with gradients in mixed precision keeps, besides parameters.

    Args:
        network: Whose parameters learn where they require gradients.
        inputs: Likewise, on the network's device.
        checkpointed: Whether the blocks of a UNet are computed again in the backward pass.
    """
    outside, inside = Kept(network), [0]

    def block(call: Callable[..., Any], *arguments: Any) -> Any:
        for value in arguments:
            for each in value if isinstance(value, tuple | list) else [value]:
                if isinstance(each, Tensor):
                    outside.add(each)
        of_block = Kept(network)
        with saved_tensors_hooks(of_block.add, lambda tensor: tensor):
            result = call(*arguments)
        inside.append(of_block.bytes)
        return result

    if checkpointed:
        network.enable_gradient_checkpointing(block)  # type: ignore[operator]  # of a UNet
    with (
        saved_tensors_hooks(outside.add, lambda tensor: tensor),
        torch.autocast(inputs[0].device.type),
    ):
        network(*inputs)
    return outside.bytes + max(inside)


def of_a_picture(count: Callable[[int], int], device: str) -> int:
    """Bytes that a picture adds to a batch.

    What all pictures share is left out: autocast's copies of the parameters in half precision.

    Args:
        count: Bytes of a batch, by its pictures.
        device: Whose autocast and attention there are; it need not be at hand.
    """
    with (
        patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        patch("torch.nn.functional.scaled_dot_product_attention", flash),
        torch.device(device),
    ):
        with FakeTensorMode():
            few = count(PICTURES)
        with FakeTensorMode():
            return (count(2 * PICTURES) - few) // PICTURES


def in_unet(
    config: Mapping[str, Any], tokens: int, learns: bool, checkpointed: bool, device: str
) -> int:
    """Bytes of activations of a picture in a UNet, as the trainers run it.

    Args:
        config: Of the UNet.
        tokens: That it attends to.
        learns: Whether its own parameters learn, or only what it attends to.
        checkpointed: Whether blocks are computed again in the backward pass.
        device: That it trains on.
    """

    def count(pictures: int) -> int:
        network = UNet2DConditionModel(**config).train().requires_grad_(learns)
        if device == "cpu":
            network.set_attn_processor(AttnProcessor())
        side, width = config["sample_size"], network.config.cross_attention_dim
        latents = torch.randn(pictures, network.config.in_channels, side, side)
        context = torch.randn(pictures, tokens, width, requires_grad=not learns)
        return kept(network, latents, torch.zeros(pictures), context, checkpointed=checkpointed)

    return of_a_picture(count, device)


def in_value_encoder(config: CLIPTextConfig, device: str) -> int:
    """Bytes of activations of a text in a value encoder, as the trainer runs it."""

    def count(texts: int) -> int:
        network = CLIPTextModel(config).train()
        network.set_attn_implementation("eager")
        return kept(network, torch.zeros(texts, config.max_position_embeddings, dtype=torch.long))

    return of_a_picture(count, device)


def parameters(network: Module) -> int:
    return sum(p.numel() for p in network.parameters())


def table(
    unet: Mapping[str, Any], text: Mapping[str, Any], vae: Mapping[str, Any], device: str
) -> dict[str, int]:
    """What the card says of a model's memory, if it trains on a device."""
    text_config = CLIPTextConfig(**text)
    with torch.device("meta"):
        network = UNet2DConditionModel(**unet)
        of_name = {name: p.numel() for name, p in network.named_parameters()}
        found = {
            "unet": parameters(network),
            "text": parameters(CLIPTextModel(text_config)),
            "vae": parameters(AutoencoderKL(**vae)),
        }
    # Mean and deviation in float16, as livo_bench.methods.training.latents keeps them.
    found["latents"] = 2 * 2 * network.config.in_channels * network.config.sample_size**2
    for group in ("cross-attn", "attn", "xattn"):
        found[group] = sum(of_name[name] for name in names_in(group, of_name))
    found["text_learns"] = in_value_encoder(text_config, device)
    for name, learns in (("context_learns", False), ("unet_learns", True)):
        for suffix, checkpointed in (("", False), ("_checkpointed", True)):
            tokens = text_config.max_position_embeddings
            found[name + suffix] = in_unet(unet, tokens, learns, checkpointed, device)
    return found


def main() -> None:
    folder = Path(model_card("mini").pipeline)
    unet, text, vae = (
        {
            name: value
            for name, value in json.loads((folder / part / "config.json").read_text()).items()
            if not name.startswith("_")
        }
        for part in ("unet", "text_encoder", "vae")
    )
    # The miniature world trains where there is no GPU.
    found = {"mini": table(unet, text, vae, "cpu")}
    for name, (of_unet, of_text, heads) in CONFIGS.items():
        found[name] = table(of_unet, {**of_text, **heads}, VAE, "cuda")
    for name, fields in found.items():
        print(f"# {name}\n[memory]")
        print("\n".join(f"{field} = {value:_}" for field, value in fields.items()))


if __name__ == "__main__":
    main()
