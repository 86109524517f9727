"""LoRA files, merged into the networks that they change.

Read are the files of diffusers and peft, `unet.<place>.lora_A.weight`, and those of the kohya
scripts, `lora_unet_<place>.lora_down.weight`; both may change the text encoder, too. diffusers
brings their names to one form and peft merges them::

    W' = W + alpha / rank * B A

What a file names is held against the networks before that, for both libraries leave out what they
do not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.loaders.lora_base import fuse_text_encoder_lora
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
    recurse_remove_peft_layers,
)
from diffusers.utils import logging as diffusers_logging
from diffusers.utils.state_dict_utils import StateDictType
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor
from transformers import CLIPTextModel

from livo_bench.cards.weights import loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import headers
from livo_bench.errors import BadInput
from livo_bench.files import write_atomically

UNET, TEXT = "unet", "text_encoder"
"""Networks that a file may change, by what stands before its names."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Ends of peft's names for the matrices A and B."""
KOHYA = re.compile(r"lora_(unet|te|te1)_")
UNREAD = (
    "lora_mid",
    "dora_scale",
    "lora_magnitude_vector",
    "hada_w",
    "lokr_w",
    "text_encoder_2.",
    "lora_te2_",
)
"""What marks kinds of files that are no plain LoRA of a Stable Diffusion 1.x or 2.x."""


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA in which nothing is that its networks do not have."""

    path: Path
    tensors: Mapping[str, Tensor]
    """Tensors by name: the network's part, then peft's."""
    metadata: Mapping[str, Any] | None
    """Settings of peft, among them alpha; where there are none, alpha is the rank."""

    def changes(self, network: str) -> bool:
        """Whether it changes `UNET` or `TEXT`."""
        return any(name.startswith(f"{network}.") for name in self.tensors)


def is_lora(names: Iterable[str]) -> bool:
    """Whether the tensors of a file, by their names, are those of a LoRA."""
    return any(networks.LORA.fullmatch(name) for name in names)


def read(path: Path, unet: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> Lora:
    """Read a LoRA and see that it fits.

    Args:
        path: A safetensors file.
        unet: `state_dict` of the UNet that it is for; the values do not count.
        text: `state_dict` of the text encoder that it is for; the values do not count.

    Raises:
        BadInput: It is a LoRA of a kind that is not read, or changes something that the networks
            do not have, or have in another shape; names the first.
    """
    held = headers("LoRA", [path])
    names = sorted(held)
    for mark in UNREAD:
        if odd := next((name for name in names if mark in name), None):
            raise BadInput(
                f"The LoRA {path} has {odd}, which is none of a plain LoRA of Stable Diffusion 1.x "
                "or 2.x.",
                "Merge it into its model with the program that trained it, save_pretrained, and "
                "pass that folder with --model.",
            )
    if odd := _halved(names):
        raise BadInput(
            f"The LoRA {path} has {odd} without {_HALVES}. Expected both of each place, as the "
            "program that trained it wrote them.",
            "Copy it again.",
        )
    if odd := next(
        (n for n in names if n.endswith(".alpha") and math.prod(held[n].shape) != 1), None
    ):
        raise BadInput(
            f"The LoRA {path} has {odd} of shape {held[odd].shape}; expected one number.",
            "Copy it again.",
        )
    with loading("LoRA", path), _unsaid():
        tensors, _, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
            _scaled(load_file(path)) if any(map(KOHYA.match, names)) else str(path.parent),
            weight_name=path.name,
            local_files_only=True,
            use_safetensors=True,
            return_lora_metadata=True,
        )
        # Files of `unet.save_attn_procs` are of the UNet alone, and do not say so.
        if not any(name.startswith((f"{UNET}.", f"{TEXT}.")) for name in tensors):
            tensors = {f"{UNET}.{name}": tensor for name, tensor in tensors.items()}
        found = Lora(path, _as_peft(tensors), metadata)
        misfit = _misfit(found, {UNET: unet, TEXT: text})
    if misfit:
        raise BadInput(
            f"The LoRA {path} does not fit the model: {misfit}. Expected one that was trained on "
            "this model, or on one of the same architecture.",
            "Name that model with --model.",
        )
    networks.refuse_not_finite("LoRA", path, found.tensors)
    return found


def add(unet: UNet2DConditionModel, names: Iterable[str], rank: int, seed: int) -> None:
    """Add a LoRA that learns, and freeze all else; at first it changes nothing. Its alpha is its
    rank.

    Args:
        unet: Gets it.
        names: Names of the parameters in whose place it learns; of matrices and convolutions, for
            it has none for others.
        rank: Rank of B and A.
        seed: Seed of A.
    """
    places = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    modules = [n for n, one in unet.named_modules() if n in places and isinstance(one, kinds)]
    # peft draws from torch's own generator.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=modules))


def save(unet: UNet2DConditionModel, path: Path) -> None:
    """Write the LoRA of a UNet as diffusers does, in half precision, whole or not at all."""
    held = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    tensors = {
        f"{UNET}.{name}": tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in held.items()
    }
    write_atomically(path, as_bytes(tensors, metadata={"format": "pt"}))


def merge(lora: Lora, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
    """Merge a LoRA into its networks, in their own precision."""
    load: Any = StableDiffusionLoraLoaderMixin
    settings = {"network_alphas": None, "metadata": lora.metadata}
    with loading("LoRA", lora.path), _unsaid():
        if lora.changes(UNET):
            load.load_lora_into_unet(dict(lora.tensors), unet=unet, **settings)
            unet.fuse_lora()
            unet.unload_lora()
        if lora.changes(TEXT):
            load.load_lora_into_text_encoder(
                dict(lora.tensors), text_encoder=text, prefix=TEXT, **settings
            )
            fuse_text_encoder_lora(text)
            recurse_remove_peft_layers(text)


_HALVES = "its lora_down.weight and lora_up.weight beside it"


def _halved(names: Sequence[str]) -> str | None:
    """The first name of a kohya file whose place lacks one of its matrices; None if none does."""
    for name in filter(KOHYA.match, names):
        place, _, part = name.partition(".")
        halves = {f"{place}.lora_down.weight", f"{place}.lora_up.weight"}
        if (part == "alpha" or name in halves) and not halves <= {*names}:
            return name
    return None


def _scaled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a kohya file with alpha / rank in B: of alphas that differ from place to place
    diffusers loses those of attention."""
    scaled = dict(tensors)
    for name in [name for name in tensors if name.endswith(".alpha")]:
        place = name.removesuffix(".alpha")
        up, rank = f"{place}.lora_up.weight", len(tensors[f"{place}.lora_down.weight"])
        scaled[up] = tensors[up].float() * (scaled.pop(name).item() / rank)
    return scaled


def _misfit(lora: Lora, own: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The first tensor that has no place, and why; None where all have one."""
    weights = {
        f"{network}.{_plain(name)}": tensor
        for network, tensors in own.items()
        for name, tensor in tensors.items()
    }
    for name in sorted(lora.tensors):
        place = name.removesuffix(DOWN).removesuffix(UP)
        weight = weights.get(f"{_plain(place)}.weight")
        if weight is None or place == name:
            return f"it has no {name}"
        down, up = lora.tensors.get(place + DOWN), lora.tensors.get(place + UP)
        if down is None or up is None:
            return f"{name} is there without its other half"
        held = (*up.shape[:1], *down.shape[1:])
        if held != tuple(weight.shape) or up.shape[1] != down.shape[0]:
            return f"{name} is {tuple(lora.tensors[name].shape)}, for {tuple(weight.shape)}"
    return None


def _plain(name: str) -> str:
    """Names of text encoders begin with `text_model.` or not, by the version of transformers."""
    return name.replace(f"{TEXT}.text_model.", f"{TEXT}.").removeprefix("text_model.")


def _as_peft(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # diffusers does so itself, but guesses the kind of names from the first, or from one layer.
    text = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{TEXT}.")}
    others = {name: tensor for name, tensor in tensors.items() if name not in text}
    text = convert_state_dict_to_peft(text, StateDictType.DIFFUSERS_OLD)
    return {**convert_unet_state_dict_to_peft(others), **text}


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep diffusers from warning, for what it warns of is refused here."""
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(verbosity)
