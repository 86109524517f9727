"""Weights as others hand them over, made for a model: the kinds that `--weights` takes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from livo_bench.engines import overlay
from livo_bench.engines.diffusion import Diffusion

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
OF_TEXTS = ["q_proj", "v_proj", "fc1"]


def trained(engine: Diffusion, text: bool = True) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The model's networks with a LoRA of peft on top, as a training leaves them."""
    torch.manual_seed(0)
    unet, text_encoder = deepcopy(engine.unet), deepcopy(engine.text_encoder)
    # Two ranks in one network, as many trainings have.
    of_unet = LoraConfig(
        r=4,
        lora_alpha=6,
        rank_pattern={"to_q": 2},
        target_modules=ATTENTION,
        init_lora_weights=False,
    )
    unet.add_adapter(of_unet)
    if text:
        text_encoder.add_adapter(
            LoraConfig(r=2, lora_alpha=3, target_modules=OF_TEXTS, init_lora_weights=False)
        )
    return unet, text_encoder


def networks_of(engine: Diffusion) -> dict[str, torch.nn.Module]:
    """The networks that overlays may change."""
    return {"unet": engine.unet, "text_encoder": engine.text_encoder}


def layers_of(network: torch.nn.Module) -> dict[str, Tensor]:
    """A and B by peft's names, without a look for the base model's vocabulary on the network."""
    layers: dict[str, Tensor] = get_peft_model_state_dict(network, save_embedding_layers=False)
    return layers


def diffusers_lora(engine: Diffusion, folder: Path) -> Path:
    """As the training scripts of diffusers save it."""
    unet, text_encoder = trained(engine)
    layers = {
        name: convert_state_dict_to_diffusers(layers_of(network))
        for name, network in (("unet", unet), ("text_encoder", text_encoder))
    }
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=layers["unet"],
        text_encoder_lora_layers=layers["text_encoder"],
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=text_encoder.peft_config["default"].to_dict(),  # type: ignore[attr-defined]  # a LoraConfig
    )
    return folder / overlay.LORA


def kohya_lora(engine: Diffusion, folder: Path) -> Path:
    """As the kohya scripts save it; one layer of attention has an alpha of its own."""
    tensors: dict[str, Tensor] = {}
    for prefix, network, alpha in zip(
        ("unet", "te_text_model"), trained(engine), (6, 3), strict=True
    ):
        for name, tensor in layers_of(network).items():
            place, _, half = (
                name.removesuffix(".weight").removeprefix("text_model.").rpartition(".")
            )
            place = f"lora_{prefix}_{place.replace('.', '_')}"
            tensors[f"{place}.{dict(lora_A='lora_down', lora_B='lora_up')[half]}.weight"] = tensor
            tensors[f"{place}.alpha"] = torch.tensor(float(alpha))
    own = next(name for name in sorted(tensors) if name.endswith("to_q.alpha"))
    up = own.replace(".alpha", ".lora_up.weight")
    tensors[own], tensors[up] = tensors[own] / 3, tensors[up] * 3
    path = folder / "kohya.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, path, {"ss_network_dim": "4"})
    return path


def changed(engine: Diffusion) -> dict[str, Tensor]:
    """Keys and values of cross-attention of a fine-tuned UNet."""
    own = engine.unet.state_dict()
    generator = torch.Generator().manual_seed(1)
    return {
        name: tensor * (1 + 0.3 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in own.items()
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }


def unet_tensors(engine: Diffusion, folder: Path) -> Path:
    """As the released scripts of UCE and ESD save an edit: some tensors by the UNet's names."""
    path = folder / "erased.safetensors"
    save_file(changed(engine), path)
    return path


def unet_folder(engine: Diffusion, folder: Path) -> Path:
    """A whole UNet, as `save_pretrained` leaves it."""
    unet = deepcopy(engine.unet)
    unet.load_state_dict(changed(engine), strict=False)
    unet.save_pretrained(folder / "unet-tuned")
    return folder / "unet-tuned"


KINDS: dict[str, Callable[[Diffusion, Path], Path]] = {
    "UNet tensors": unet_tensors,
    "UNet folder": unet_folder,
    "diffusers LoRA": diffusers_lora,
    "kohya LoRA": kohya_lora,
}
"""By kind, what writes it into a folder; the fifth is an overlay of this project."""
