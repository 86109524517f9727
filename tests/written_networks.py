"""Small networks of every kind in folders, and the ways in for their tensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Module
from transformers import CLIPTextModel

from livo_bench.cards.weights import find_weights
from livo_bench.engines import diffusion, networks, overlay, value_encoder
from livo_bench.engines.tensor_files import CLIP_TEXT, DIFFUSERS, Spelling, files_of
from livo_bench.methods.livo.train import new_encoder
from livo_bench.methods.retrieval import embeddings
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.featurenet import FeatureNet
from livo_bench.scorers.features import FeatureNetwork
from livo_bench.scorers.hazards import Llava

Tensors = dict[str, Tensor]


class Loader(NamedTuple):
    """One way for tensors into a network."""

    what: str
    """As errors name it."""
    weights: str
    """The file, in the folder of all models."""
    load: Callable[[Path], Module | None]
    """Reads them, given that folder; the network, where it is at hand."""


def _encoder(root: Path) -> CLIPTextModel:
    text_encoder = _part("text_encoder", CLIPTextModel, CLIP_TEXT, "text encoder")(root)
    return value_encoder.load(root / "value_encoder", text_encoder)


def _part(folder: str, kind: type[Any], spelling: Spelling, what: str) -> Callable[[Path], Any]:
    load = networks.transformer if kind is CLIPTextModel else networks.diffuser

    def read(root: Path) -> Any:
        files = files_of(what, root / "sd" / folder, spelling)
        return load(kind, files, torch.float32, "cpu")

    return read


def _laid_over(root: Path) -> Module:
    unet = _part("unet", UNet2DConditionModel, DIFFUSERS, "UNet")(root)
    return overlay.lay_over({"unet": unet}, root / "overlay.safetensors")["unet"]


UNET = "sd/unet/diffusion_pytorch_model.safetensors"
VAE = "sd/vae/diffusion_pytorch_model.safetensors"
LOADERS = {
    "text encoder": Loader(
        "text encoder",
        "sd/text_encoder/model.safetensors",
        _part("text_encoder", CLIPTextModel, CLIP_TEXT, "text encoder"),
    ),
    "unet": Loader("UNet", UNET, _part("unet", UNet2DConditionModel, DIFFUSERS, "UNet")),
    "vae": Loader("VAE", VAE, _part("vae", AutoencoderKL, DIFFUSERS, "VAE")),
    "retriever": Loader(
        "text encoder",
        "sd/text_encoder/model.safetensors",
        lambda root: embeddings._load(find_weights(root / "sd", "model_index.json")).model,
    ),
    "llava": Loader(
        "LLaVA",
        "llava/model.safetensors",
        lambda root: Llava(str(root / "llava"), "cpu", "float32")._model().llava,
    ),
    "clip": Loader(
        "CLIP",
        "clip/open_clip_model.safetensors",
        lambda root: ClipEncoder(str(root / "clip"), "cpu", "float32")._model().clip,
    ),
    "features": Loader(
        "feature network",
        "features/model.safetensors",
        lambda root: FeatureNetwork(str(root / "features"), "cpu").load(),
    ),
    "annotator": Loader(
        "feature network",
        "features/model.safetensors",
        lambda root: FeatureNet.load(root / "features"),
    ),
    "value encoder": Loader("value encoder", "value_encoder/model.safetensors", _encoder),
    "overlay": Loader("overlay", "overlay.safetensors", _laid_over),
}


def make_models(tiny_weights: Path, root: Path) -> Path:
    """`tiny_weights` with a value encoder and an overlay."""
    shutil.copytree(tiny_weights, root, dirs_exist_ok=True)
    engine = diffusion.load(root / "sd", "cpu", "float32")
    encoder = new_encoder(deepcopy(engine.text_encoder), ["embeddings."])
    value_encoder.save(encoder, ["embeddings."], "0" * 64, root)
    changed = {n: t + 1 for n, t in engine.unet.state_dict().items() if "attn2.to_" in n}
    overlay.save(changed, "0" * 64, root / "overlay.safetensors")
    return root


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    # Removed first: a network that was loaded before may still read the old file in place.
    path.unlink()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
