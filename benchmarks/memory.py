"""Count what a training step keeps in memory of a picture: `python benchmarks/memory.py`.

No weights and no accelerator are needed: the UNets run on meta tensors, which have shapes and no
numbers, and autograd's hooks see what it would keep for the backward pass. Prints the table
`[memory]` of each model card. What an allocator wastes is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import CLIPTextConfig, CLIPTextModel

from livo_bench.catalog import model_card

TOKENS = 77
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
        {"num_attention_heads": 16},
    ),
}
"""Of UNet and text encoder, as they are published; other fields are the libraries' defaults."""
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}


class Kept:
    """Bytes of tensors that are not parameters, each storage once."""

    def __init__(self, network: torch.nn.Module) -> None:
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


def activations(config: Mapping[str, Any], trained: bool, checkpointed: bool) -> int:
    """Bytes that one picture takes in half precision, in one pass of a UNet with gradients.

    Args:
        config: Of the UNet.
        trained: Whether its own parameters learn, or only what it attends to.
        checkpointed: Whether blocks are computed again in the backward pass.
    """
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).half().train().requires_grad_(trained)
        side = config["sample_size"]
        latents = torch.randn(1, unet.config.in_channels, side, side).half()
        context = torch.randn(1, TOKENS, unet.config.cross_attention_dim).half()
    outside, inside = Kept(unet), [0]
    if checkpointed:
        unet.enable_gradient_checkpointing()

    def block(call: Callable[..., Any], *arguments: Any) -> Any:
        for value in arguments:
            for each in value if isinstance(value, tuple | list) else [value]:
                if isinstance(each, Tensor):
                    outside.add(each)
        kept = Kept(unet)
        with saved_tensors_hooks(kept.add, lambda tensor: tensor):
            result = call(*arguments)
        inside.append(kept.bytes)
        return result

    for module in unet.modules():
        if hasattr(module, "_gradient_checkpointing_func"):
            module._gradient_checkpointing_func = block
    with (
        patch("torch.nn.functional.scaled_dot_product_attention", flash),
        saved_tensors_hooks(outside.add, lambda tensor: tensor),
    ):
        unet(latents, torch.zeros(1, device="meta"), context.requires_grad_())
    return outside.bytes + max(inside)


def parameters(network: Callable[[], torch.nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in network().parameters())


def table(
    unet: Mapping[str, Any], text: Mapping[str, Any], vae: Mapping[str, Any]
) -> dict[str, int]:
    """What the card says of a model's memory."""
    return {
        "unet": parameters(lambda: UNet2DConditionModel(**unet)),
        "text": parameters(lambda: CLIPTextModel(CLIPTextConfig(**text))),
        "vae": parameters(lambda: AutoencoderKL(**vae)),
        "context_learns": activations(unet, trained=False, checkpointed=False),
        "context_learns_checkpointed": activations(unet, trained=False, checkpointed=True),
        "unet_learns": activations(unet, trained=True, checkpointed=False),
        "unet_learns_checkpointed": activations(unet, trained=True, checkpointed=True),
    }


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
    configs = {"mini": (unet, text, vae)}
    configs |= {
        name: (unet, {**text, **heads}, VAE) for name, (unet, text, heads) in CONFIGS.items()
    }
    for name, parts in configs.items():
        print(f"# {name}\n[memory]")
        print("\n".join(f"{field} = {value:_}" for field, value in table(*parts).items()))


if __name__ == "__main__":
    main()
