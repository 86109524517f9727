"""LoRA files, merged into the networks that they change.

Read are the files of diffusers and peft, `unet.<place>.lora_A.weight`, and those of the kohya
scripts, `lora_unet_<place>.lora_down.weight`; both may change CLIP's text encoders, too. diffusers
brings their names to one form and peft merges them::

    W' = W + alpha / rank * B A

What a file names is held against the networks before that, for both libraries leave out what they
do not know.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.loaders import (
    FluxLoraLoaderMixin,
    SD3LoraLoaderMixin,
    StableDiffusionLoraLoaderMixin,
    StableDiffusionXLLoraLoaderMixin,
)
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
from torch.nn import Module

from livo_bench.cards.weights import loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import headers
from livo_bench.errors import BadInput
from livo_bench.files import write_atomically

UNET = "unet"
DENOISERS = (UNET, "transformer")
"""Names of the network that a pipeline denoises with, by its kind; the others are text encoders."""
READERS: Mapping[type[Any], Any] = {
    UNet2DConditionModel: StableDiffusionXLLoraLoaderMixin,
    SD3Transformer2DModel: SD3LoraLoaderMixin,
    FluxTransformer2DModel: FluxLoraLoaderMixin,
}
"""What brings the names of a file to one form, by the class of the denoiser that it is for."""
OF_PEFT = "base_model.model."
"""Begins names in the files of peft itself, whose alpha is in the configuration beside them."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Ends of peft's names for the matrices A and B."""
HALVES = ((".lora_down.weight", ".lora_up.weight"), (DOWN, UP))
"""Ends of the names of both matrices in files whose alphas are tensors: of kohya, and of peft."""
KOHYA = re.compile(r"lora_(unet|te|te1|te2|te3)_")
LEARNT = re.compile(r"lora[_.]")
"""What marks the tensors of a LoRA that learn."""
UNREAD = ("lora_mid", "dora_scale", "lora_magnitude_vector", "hada_w", "lokr_w", ".diff")
"""What marks kinds of files that are no plain LoRA."""
MERGE = (
    "Merge it into its model with the program that trained it, save_pretrained, and pass that "
    "folder with --model."
)


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA in which nothing is that its networks do not have."""

    path: Path
    tensors: Mapping[str, Tensor]
    """Tensors by name: the network's part, then peft's."""
    metadata: Mapping[str, Any] | None
    """Settings of peft, among them alpha; where there are none, alpha is the rank."""

    def changes(self, network: str) -> bool:
        """Whether it changes the network of a name."""
        return any(name.startswith(f"{network}.") for name in self.tensors)


def is_lora(names: Iterable[str]) -> bool:
    """Whether the tensors of a file, by their names, are those of a LoRA."""
    return any(networks.LORA.fullmatch(name) for name in names)


def denoiser_of(parts: Iterable[str]) -> str:
    """The name of the network that a pipeline denoises with, among those of its parts."""
    return next(name for name in DENOISERS if name in {*parts})


def read(path: Path, own: Mapping[str, Module]) -> Lora:
    """Read a LoRA and see that it fits.

    Args:
        path: A safetensors file.
        own: Networks that it may change, by their names in the pipeline: the denoiser and CLIP's
            text encoders. The values of their tensors do not count.

    Raises:
        BadInput: It is a LoRA of a kind that is not read, or changes something that the networks
            do not have, or have in another shape; names the first.
    """
    held = headers("LoRA", [path])
    names = sorted(held)
    for mark in UNREAD:
        if odd := next((name for name in names if mark in name), None):
            raise BadInput(f"The LoRA {path} has {odd}, which is none of a plain LoRA.", MERGE)
    if odd := _halved(names):
        raise BadInput(
            f"The LoRA {path} has {odd} without {_HALVES}. Expected both of each place, as the "
            "program that trained it wrote them.",
            "Copy it again.",
        )
    for name in names:
        shape, alpha = held[name].shape, name.endswith(".alpha")
        if math.prod(shape) != 1 if alpha else 0 in shape:
            wanted = "one number" if alpha else "a rank of at least 1"
            raise _odd(path, name, f"of shape {shape}", wanted)
        if not held[name].floating and not alpha and LEARNT.search(name):
            raise _odd(path, name, "of another kind of number", "real ones of 16 to 64 bits")
    denoiser = denoiser_of(own)
    kind = type(own[denoiser])
    if kind is SD3Transformer2DModel and (odd := next(filter(KOHYA.match, names), None)):
        raise BadInput(
            f"The LoRA {path} has {odd}, which is named as the kohya scripts name places; of "
            "Stable Diffusion 3 those of diffusers are read.",
            MERGE,
        )
    with loading("LoRA", path), _unsaid():
        tensors, metadata = _in_one_form(path, names, READERS[kind], own[denoiser])
        found = Lora(path, _placed(_as_peft(tensors), own), metadata)
        misfit = _misfit(found, own)
    if misfit:
        raise BadInput(
            f"The LoRA {path} does not fit the model: {misfit}. Expected one that was trained on "
            "this model, or on one of the same architecture.",
            "Name that model with --model.",
        )
    networks.refuse_not_finite("LoRA", path, found.tensors)
    return found


def refuse_peft(path: Path, names: Iterable[str], denoiser: Module, source: Path) -> None:
    """See that a LoRA is none as peft saves it, whose file does not say its alpha.

    Args:
        path: Path of the file.
        names: Names of its tensors.
        denoiser: The network that the pipeline denoises with.
        source: Folder of that network.

    Raises:
        BadInput: It is one.
    """
    name = min((name for name in names if name.startswith(OF_PEFT)), default=None)
    if name is None:
        return
    fitting = f"{_place(name.removeprefix(OF_PEFT))}.weight" in denoiser.state_dict()
    kind, own, said = type(denoiser).__name__, str(source), str(path.absolute().parent)
    merge = (
        f"from diffusers import {kind} as N; from peft import PeftModel as P; "
        f"P.from_pretrained(N.from_pretrained({own!r}), {said!r}).merge_and_unload()"
        ".save_pretrained('merged')"
    )
    raise BadInput(
        f"The LoRA {path} has {name}, which is named as peft saves it: its alpha is in the "
        "adapter_config.json beside it and not in the file. Expected a LoRA as diffusers or the "
        "kohya scripts save it, or a UNet that it is merged into.",
        f"Merge it: python -c {shlex.quote(merge)}, and pass --weights merged"
        if fitting
        else MERGE,
    )


def _in_one_form(
    path: Path, names: Sequence[str], reader: Any, denoiser: Module
) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None]:
    """The tensors of a file as diffusers names them, alphas in B, and its settings of peft."""
    settings: dict[str, Any] = {"return_lora_metadata": True}
    if isinstance(denoiser, UNet2DConditionModel):
        # What diffusers numbers anew depends on how many layers the blocks have.
        settings["unet_config"] = denoiser.config
    if not any(KOHYA.match(name) or name.endswith(".alpha") for name in names):
        where = {"weight_name": path.name, "local_files_only": True, "use_safetensors": True}
        found = reader.lora_state_dict(str(path.parent), **where, **settings)
        return found[0], found[-1]
    places: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _scaled(path).items():
        place = name.partition(".")[0] if KOHYA.match(name) else ""
        places.setdefault(place, {})[name] = tensor
    tensors: dict[str, Tensor] = {}
    for held in places.values():
        # One after another, as diffusers leaves some out that it does not know, and of others says
        # no name.
        try:
            known = reader.lora_state_dict(held.copy(), **settings)[0]
        except (ValueError, AssertionError, RuntimeError):
            known = {}
        tensors |= known or held
    return tensors, None


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


def merge(lora: Lora, own: Mapping[str, Module]) -> None:
    """Merge a LoRA into the networks that it changes, in their own precision."""
    load: Any = StableDiffusionLoraLoaderMixin
    settings = {"network_alphas": None, "metadata": lora.metadata}
    with loading("LoRA", lora.path), _unsaid():
        for name in filter(lora.changes, own):
            network: Any = own[name]
            if name in DENOISERS:
                network.load_lora_adapter(dict(lora.tensors), prefix=name, **settings)
                network.fuse_lora()
                network.unload_lora()
            else:
                # Of peft's names diffusers knows those of attention alone, of its own all.
                tensors = {
                    held.replace(DOWN, ".lora_linear_layer.down.weight").replace(
                        UP, ".lora_linear_layer.up.weight"
                    ): tensor
                    for held, tensor in lora.tensors.items()
                }
                load.load_lora_into_text_encoder(
                    tensors, text_encoder=network, prefix=name, **settings
                )
                fuse_text_encoder_lora(network)
                recurse_remove_peft_layers(network)


_HALVES = "its lora_down.weight and lora_up.weight beside it"


def _halved(names: Sequence[str]) -> str | None:
    """The first name of a kohya file whose place lacks one of its matrices; None if none does."""
    for name in filter(KOHYA.match, names):
        place, _, part = name.partition(".")
        halves = {f"{place}.lora_down.weight", f"{place}.lora_up.weight"}
        if (part == "alpha" or name in halves) and not halves <= {*names}:
            return name
    return None


def _odd(path: Path, name: str, found: str, wanted: str) -> BadInput:
    return BadInput(f"The LoRA {path} has {name} {found}; expected {wanted}.", "Copy it again.")


def _scaled(path: Path) -> dict[str, Tensor]:
    """The tensors of a file with alpha / rank in B: of alphas that differ from place to place
    diffusers loses those of attention.

    Raises:
        BadInput: An alpha is no finite number, or 0, which some programs read as the rank.
    """
    tensors = load_file(path)
    scaled = dict(tensors)
    for name in sorted(name for name in tensors if name.endswith(".alpha")):
        place, alpha = name.removesuffix(".alpha"), tensors[name].item()
        if alpha == 0 or not math.isfinite(alpha):
            raise _odd(path, name, f"= {alpha:g}", "a finite number other than 0")
        for down, up in HALVES:
            if place + down in tensors and place + up in tensors:
                rank = len(tensors[place + down])
                scaled[place + up] = tensors[place + up].float() * (alpha / rank)
                del scaled[name]
    return scaled


def _misfit(lora: Lora, own: Mapping[str, Module]) -> str | None:
    """The first tensor that has no place, and why; None where all have one."""
    weights = _weights(own)
    for name in sorted(lora.tensors):
        place = _place(name)
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


def _placed(tensors: Mapping[str, Tensor], own: Mapping[str, Module]) -> dict[str, Tensor]:
    """Tensors with the name of their network first: files that are of the denoiser alone need not
    say so, and of some places diffusers leaves it out."""
    weights, denoiser = _weights(own), denoiser_of(own)
    return {
        f"{denoiser}.{name}" if f"{denoiser}.{_place(name)}.weight" in weights else name: tensor
        for name, tensor in tensors.items()
    }


def _weights(own: Mapping[str, Module]) -> dict[str, Tensor]:
    """The tensors of networks, by the network's name and their own."""
    return {
        _plain(f"{network}.{name}"): tensor
        for network, module in own.items()
        for name, tensor in module.state_dict().items()
    }


def _place(name: str) -> str:
    return name.removesuffix(DOWN).removesuffix(UP)


def _plain(name: str) -> str:
    """Names of text encoders begin with `text_model.` or not, by the version of transformers."""
    return re.sub(r"^(text_encoder(_\d)?\.)text_model\.", r"\1", name)


def _as_peft(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # diffusers does so itself, but guesses the kind of names from the first, or from one layer.
    text = {name: tensor for name, tensor in tensors.items() if name.startswith("text_encoder")}
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
