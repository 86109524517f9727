"""Count what a training step keeps in memory of a picture: `python benchmarks/memory.py`.

No weights and no accelerator are needed: networks run on fake tensors, which have a device and
shapes and no numbers, under torch's own autocast of that device, so its lists of what computes in
half precision and what in float32 are not copied here. Autograd's hooks see what it would keep for
the backward pass. Prints the table `[memory]` of each model card. What the backward pass itself
holds for a moment and what an allocator wastes are not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import Module
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from livo_bench.cards.catalog import model_card
from livo_bench.cards.readable import PIPELINE
from livo_bench.engines.denoiser import Conditions, ask_unet
from livo_bench.engines.hearing import HEARINGS
from livo_bench.methods.training.parameters import names_in

Config = Mapping[str, Any]
_L: Config = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12} | {
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_G: Config = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32} | {
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_T5: Config = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64} | {
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}
_VAE: Config = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
_VAE_16: Config = {**_VAE, "latent_channels": 16} | {
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


@dataclass(frozen=True)
class Model:
    """A model as it is published; fields that are left out are the libraries' defaults."""

    kind: str
    """Out of `HEARINGS`; `PIPELINE` for Stable Diffusion 1.x and 2.x."""
    network: type[Any]
    """UNet or transformer."""
    config: Config
    towers: Sequence[tuple[type[Any], Config]]
    """CLIP text encoders, of which a value encoder is a copy."""
    tokens: int
    """Of a context."""
    wide: int
    """Numbers of a token of a context."""
    vae: Config = field(default_factory=lambda: _VAE)
    t5: Config | None = None
    others: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of what the network is told besides, for one picture."""
    device: str = "cuda"
    """That it trains on."""

    @property
    def latents(self) -> tuple[int, int, int]:
        """Shape of the latents of a picture."""
        # FLUX takes squares of four latents as one token, and its configuration names no size.
        channels = self.config.get("in_channels", 4) // (4 if self.kind == FLUX else 1)
        side = self.config.get("sample_size", 128)
        return channels, side, side


FLUX = "FluxPipeline"
MODELS = {
    "sd15": Model(
        PIPELINE,
        UNet2DConditionModel,
        {"sample_size": 64, "cross_attention_dim": 768},
        [(CLIPTextModel, _L)],
        *(77, 768),
    ),
    "sd21": Model(
        PIPELINE,
        UNet2DConditionModel,
        {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        [
            (
                CLIPTextModel,
                {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}
                | {"num_attention_heads": 16, "hidden_act": "gelu"},
            )
        ],
        *(77, 1024),
    ),
    "sdxl": Model(
        "StableDiffusionXLPipeline",
        UNet2DConditionModel,
        {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        [(CLIPTextModel, _L), (CLIPTextModelWithProjection, _G)],
        *(77, 2048),
        others={"text_embeds": (1280,), "time_ids": (6,)},
    ),
    "sd35-medium": Model(
        "StableDiffusion3Pipeline",
        SD3Transformer2DModel,
        {
            "sample_size": 128,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "num_attention_heads": 24,
            "attention_head_dim": 64,
            "caption_projection_dim": 1536,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 2048,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
            "pos_embed_max_size": 384,
        },
        [(CLIPTextModelWithProjection, _L), (CLIPTextModelWithProjection, _G)],
        *(77 + 256, 4096),
        vae=_VAE_16,
        t5=_T5,
        others={"pooled_projections": (2048,)},
    ),
    "flux1-dev": Model(
        FLUX,
        FluxTransformer2DModel,
        {"in_channels": 64, "guidance_embeds": True},
        [(CLIPTextModel, _L)],
        *(512, 4096),
        vae=_VAE_16,
        t5=_T5,
        others={"pooled_projections": (768,), "guidance": ()},
    ),
    "flux1-schnell": Model(
        FLUX,
        FluxTransformer2DModel,
        {"in_channels": 64},
        [(CLIPTextModel, _L)],
        *(256, 4096),
        vae=_VAE_16,
        t5=_T5,
        others={"pooled_projections": (768,)},
    ),
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


def flash(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> Tensor:
    """Attention as a GPU computes it, which keeps no matrix of weights."""
    out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
    return out


def kept(network: Any, run: Callable[[], object], checkpointed: bool = False) -> int:
    """Bytes that a pass with gradients in mixed precision keeps, besides parameters.

    Args:
        network: Whose parameters learn where they require gradients.
        run: Runs the network on what it is to see.
        checkpointed: Whether its blocks are computed again in the backward pass.
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
        network.enable_gradient_checkpointing(block)
    with (
        saved_tensors_hooks(outside.add, lambda tensor: tensor),
        torch.autocast(next(network.parameters()).device.type),
    ):
        run()
    return outside.bytes + max(inside)


def of_a_picture(count: Callable[[int], int], device: str) -> int:
    """Bytes that a picture adds to a batch.

    What all pictures share is left out: autocast's copies of the parameters in half precision.

    Args:
        count: Bytes of a batch, by its pictures.
        device: Whose autocast and attention there are; it need not be at hand.
    """
    attends = patch("torch.nn.functional.scaled_dot_product_attention", flash)
    with (
        patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        nullcontext() if device == "cpu" else attends,
        torch.device(device),
    ):
        with FakeTensorMode():
            few = count(PICTURES)
        with FakeTensorMode():
            return (count(2 * PICTURES) - few) // PICTURES


def in_network(model: Model, learns: bool, checkpointed: bool) -> int:
    """Bytes of activations of a picture in the UNet or transformer, as the trainers run it.

    Args:
        model: The model.
        learns: Whether the network's own parameters learn, or only what it attends to.
        checkpointed: Whether blocks are computed again in the backward pass.
    """
    ask = ask_unet if model.kind == PIPELINE else HEARINGS[model.kind].ask

    def count(pictures: int) -> int:
        network = model.network(**model.config).train().requires_grad_(learns)
        if model.device == "cpu" and isinstance(network, UNet2DConditionModel):
            network.set_attn_processor(AttnProcessor())
        latents = torch.randn(pictures, *model.latents)
        context = torch.randn(pictures, model.tokens, model.wide, requires_grad=not learns)
        others = {name: torch.randn(pictures, *shape) for name, shape in model.others.items()}
        told = Conditions(context, others)
        return kept(
            network,
            lambda: ask(network, latents, torch.zeros(pictures), told),
            checkpointed=checkpointed,
        )

    return of_a_picture(count, model.device)


def in_tower(kind: type[Any], config: Config, device: str) -> int:
    """Bytes of activations of a text in a value encoder of one tower, as the trainer runs it."""

    def count(texts: int) -> int:
        network = kind(CLIPTextConfig(**config)).train()
        network.set_attn_implementation("eager")
        ids = torch.zeros(texts, network.config.max_position_embeddings, dtype=torch.long)
        return kept(network, lambda: network(ids))

    return of_a_picture(count, device)


def parameters(network: Module) -> int:
    return sum(p.numel() for p in network.parameters())


def table(model: Model) -> dict[str, int]:
    """What the card says of a model's memory."""
    with torch.device("meta"):
        network = model.network(**model.config)
        towers = [kind(CLIPTextConfig(**config)) for kind, config in model.towers]
        if model.kind == FLUX:
            projecting = CLIPTextConfig(**{**model.towers[0][1], "projection_dim": model.wide})
            encoders = [CLIPTextModelWithProjection(projecting)]
        else:
            encoders = towers
        t5 = [T5EncoderModel(T5Config(**model.t5))] if model.t5 else []
        found = {
            # A transformer is saved with the table of its places, which does not learn.
            "denoiser": parameters(network) + sum(b.numel() for b in network.buffers()),
            "text": sum(map(parameters, [*towers, *t5])),
            "vae": parameters(AutoencoderKL(**model.vae)),
            "value_encoder": sum(map(parameters, encoders)),
        }
    # Mean and deviation in float16, as livo_bench.methods.training.latents keeps them.
    found["latents"] = 2 * 2 * math.prod(model.latents)
    of_text = [in_tower(kind, config, model.device) for kind, config in model.towers]
    found["value_encoder_learns"] = sum(of_text)
    found["context_learns"] = in_network(model, False, False)
    found["context_learns_checkpointed"] = in_network(model, False, True)
    if model.kind == PIPELINE:
        of_name = {name: p.numel() for name, p in network.named_parameters()}
        for group in ("cross-attn", "attn", "xattn"):
            found[group] = sum(of_name[name] for name in names_in(group, of_name))
        found["denoiser_learns"] = in_network(model, True, False)
        found["denoiser_learns_checkpointed"] = in_network(model, True, True)
    return found


def miniature(name: str, network: type[Any]) -> Model:
    """A miniature model, from its folder; it trains where there is no GPU."""
    card = model_card(name)
    folder = Path(card.pipeline)
    parts = ("transformer" if card.kind != PIPELINE else "unet", "vae")
    config, vae = (
        {
            name: value
            for name, value in json.loads((folder / part / "config.json").read_text()).items()
            if not name.startswith("_")
        }
        for part in parts
    )
    towers = []
    for path in sorted(folder.glob("text_encoder*/config.json")):
        said = json.loads(path.read_text())
        towers.append((getattr(transformers, said["architectures"][0]), said))
    tokens = towers[0][1]["max_position_embeddings"]
    told = card.kind != PIPELINE
    return Model(
        card.kind,
        network,
        config,
        towers,
        tokens,
        config["joint_attention_dim" if told else "cross_attention_dim"],
        vae,
        others={"pooled_projections": (config["pooled_projection_dim"],)} if told else {},
        device="cpu",
    )


def main() -> None:
    miniatures = {
        "mini": miniature("mini", UNet2DConditionModel),
        "mini-flow": miniature("mini-flow", SD3Transformer2DModel),
    }
    for name, model in {**miniatures, **MODELS}.items():
        print(f"# {name}\n[memory]")
        print("\n".join(f"{said} = {value:_}" for said, value in table(model).items()))


if __name__ == "__main__":
    main()
