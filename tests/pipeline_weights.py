"""Weights as others hand them over, made for tiny pipelines: LoRAs of diffusers and of kohya, whole
denoisers in a folder or in one file."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from handed_over import ATTENTION, layers_of
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from livo_bench.engines import overlay

RANK, ALPHA = 4, 6
OF_TEXTS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]
"""Of a kohya file that lacks one of the first four, diffusers loses the others."""
READERS = {"sdxl": ("text_encoder", "text_encoder_2"), "sd3": ("text_encoder", "text_encoder_2")}
"""Text encoders of CLIP's, by kind of pipeline; of others `text_encoder` alone."""

Pipeline = Any
"""One of diffusers."""


def denoiser_of(pipe: Pipeline) -> str:
    """Its name."""
    return "unet" if hasattr(pipe, "unet") else "transformer"


def _with_loras(kind: str, pipe: Pipeline) -> dict[str, Any]:
    """Its networks with a LoRA of peft on top, as a training leaves them."""
    torch.manual_seed(0)
    networks = {}
    for name in (denoiser_of(pipe), *READERS.get(kind, ("text_encoder",))):
        targets = OF_TEXTS if name.startswith("text") else ATTENTION
        networks[name] = deepcopy(getattr(pipe, name))
        networks[name].add_adapter(
            LoraConfig(
                r=RANK,
                lora_alpha=ALPHA,
                target_modules=targets,
                init_lora_weights=False,
            )
        )
    return networks


def diffusers_lora(kind: str, pipe: Pipeline, folder: Path) -> Path:
    """As the training scripts of diffusers save it."""
    networks = _with_loras(kind, pipe)
    layers = {
        f"{name}_lora_layers": convert_state_dict_to_diffusers(layers_of(network))
        for name, network in networks.items()
    }
    metadata = {
        f"{name}_lora_adapter_metadata": network.peft_config["default"].to_dict()
        for name, network in networks.items()
    }
    type(pipe).save_lora_weights(folder, **layers, **metadata)
    return folder / overlay.LORA


def kohya_lora(kind: str, pipe: Pipeline, folder: Path) -> Path:
    """As the kohya scripts save it: one of SDXL in the names of its first release, one of FLUX with
    queries, keys and values in one."""
    tensors = _kohya_flux(pipe) if kind == "flux" else _kohya_sdxl(pipe)
    path = folder / "kohya.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, path, {"ss_network_dim": "4"})
    return path


def _kohya_sdxl(pipe: Pipeline) -> dict[str, Tensor]:
    tensors = {}
    names = {"unet": "unet", "text_encoder": "te1_text_model", "text_encoder_2": "te2_text_model"}
    for part, network in _with_loras("sdxl", pipe).items():
        for name, tensor in layers_of(network).items():
            place, _, half = (
                name.removesuffix(".weight").removeprefix("text_model.").rpartition(".")
            )
            place = f"lora_{names[part]}_{place.replace('.', '_')}"
            place = _first_release(place, pipe.unet.config.layers_per_block + 1)
            tensors[f"{place}.{dict(lora_A='lora_down', lora_B='lora_up')[half]}.weight"] = tensor
            tensors[f"{place}.alpha"] = torch.tensor(float(ALPHA))
    return tensors


def _first_release(place: str, layers: int) -> str:
    """Blocks as Stability's own code numbers them."""
    place = place.replace("mid_block_attentions_0", "middle_block_1")
    for of, to, first in (("down", "input", 1), ("up", "output", 0)):
        found = re.search(rf"{of}_blocks_(\d)_attentions_(\d)", place)
        if found:
            number = first + int(found[1]) * layers + int(found[2])
            place = place.replace(found[0], f"{to}_blocks_{number}_1")
    return place


def _kohya_flux(pipe: Pipeline) -> dict[str, Tensor]:
    torch.manual_seed(0)
    own = pipe.transformer.state_dict()
    d = own["transformer_blocks.0.attn.to_q.weight"].shape[0]
    wide = own["single_transformer_blocks.0.proj_out.weight"].shape[1]
    text = pipe.text_encoder.config
    tensors = {}
    for place, rows, columns in (
        ("unet_double_blocks_0_img_attn_qkv", 3 * d, d),
        ("unet_double_blocks_0_txt_attn_qkv", 3 * d, d),
        ("unet_double_blocks_0_img_attn_proj", d, d),
        ("unet_double_blocks_0_txt_mlp_2", d, 4 * d),
        ("unet_single_blocks_0_linear2", d, wide),
        ("te1_text_model_encoder_layers_0_mlp_fc1", text.intermediate_size, text.hidden_size),
    ):
        tensors[f"lora_{place}.lora_down.weight"] = torch.randn(RANK, columns) / 4
        tensors[f"lora_{place}.lora_up.weight"] = torch.randn(rows, RANK) / 4
        tensors[f"lora_{place}.alpha"] = torch.tensor(float(ALPHA))
    return tensors


def _changed(pipe: Pipeline) -> Any:
    """The denoiser, fine-tuned."""
    network = deepcopy(getattr(pipe, denoiser_of(pipe)))
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        tensor.mul_(1 + 0.2 * torch.randn(tensor.shape, generator=generator))
    return network


def whole_folder(kind: str, pipe: Pipeline, folder: Path) -> Path:
    """A whole denoiser, as `save_pretrained` leaves it."""
    _changed(pipe).save_pretrained(folder / "tuned")
    return folder / "tuned"


def whole_file(kind: str, pipe: Pipeline, folder: Path) -> Path:
    """A whole denoiser in one file."""
    path = folder / "tuned.safetensors"
    save_file(_changed(pipe).state_dict(), path)
    return path


WRITERS: dict[str, Callable[[str, Pipeline, Path], Path]] = {
    "diffusers LoRA": diffusers_lora,
    "kohya LoRA": kohya_lora,
    "folder": whole_folder,
    "file": whole_file,
}


def load_as_diffusers_does(pipe: Pipeline, written: str, place: Path) -> None:
    """Give a pipeline what was written by one of `WRITERS`."""
    if "LoRA" in written:
        pipe.load_lora_weights(str(place.parent), weight_name=place.name)
        return
    name = denoiser_of(pipe)
    if place.is_dir():
        setattr(pipe, name, type(getattr(pipe, name)).from_pretrained(place))
    else:
        from safetensors.torch import load_file

        getattr(pipe, name).load_state_dict(load_file(place))


def stock(pipeline: str) -> Pipeline:
    """diffusers' own pipeline of a folder."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    return pipe
