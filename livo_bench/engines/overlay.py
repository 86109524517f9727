"""Weights laid over a model's own: what a method changed, or what somebody fine-tuned elsewhere.

The overlays that are written here are one safetensors file each, in half precision, with the
tensors of the denoiser, a UNet or a transformer, that changed and, in its metadata, the digest of
the model they belong to. Others need not say what they belong to, and are held against the model by
names and shapes: files with some or all of a denoiser's tensors, as the authors' scripts of UCE and
ESD write them, whole denoisers in a folder of diffusers, and LoRA files (see `lora`). Recipes name
them by their digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from livo_bench.cards.catalog import model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.readable import INDEX, PICKLES, parts_of
from livo_bench.cards.weights import digest_folder, find_weights, loading
from livo_bench.errors import BadInput
from livo_bench.files import digest_file, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

    from livo_bench.engines.tensor_files import Files

LORA = "pytorch_lora_weights.safetensors"
"""Name of a LoRA in a folder, as diffusers saves it."""
CONFIG = "config.json"
"""Name of a single network's configuration."""

EXPECTED = (
    "Expected a LoRA, or tensors of the model's UNet or transformer, all or some and no others, by "
    "the names that diffusers has for them."
)

BASE = "base"
"""The one field of the metadata, as several would be written in any order: digest of the model
whose other tensors stay as they are, then the names of those that were written, which older
overlays lack."""


@dataclass(frozen=True, slots=True)
class Found:
    """An overlay that fits a model, not loaded yet."""

    path: str
    digest: str


def is_whole(path: Path) -> bool:
    """Whether a path is one overlay, and no folder of several."""
    return path.is_file() or any((path / name).exists() for name in (LORA, CONFIG, INDEX))


def find(path: Path, model: ModelCard) -> Found:
    """Look up an overlay, or another file that names its model as one does.

    Args:
        path: Path of a safetensors file, of a folder of diffusers with a denoiser, or of one with a
            LoRA.
        model: What it is to be laid over. Whether the tensors fit it is for `require_fit`.

    Raises:
        BadInput: There is no such file, it is no safetensors file, or it belongs to another model.
    """
    if (path / LORA).is_file():
        path = path / LORA
    if path.is_dir():
        if any((path / name).exists() for name in (INDEX, "unet", "transformer")):
            raise BadInput(
                f"{path} is a whole model, expected weights to lay over {model.name!r}.",
                f"Compare whole models by running both: livo-bench run --model {path}",
            )
        return Found(str(path), digest_folder(path))
    try:
        with safe_open(path, framework="np") as file:
            base, _ = _said(file.metadata())
    except (OSError, SafetensorError) as error:
        if path.suffix in PICKLES:
            raise BadInput(
                f"The weights {path} are a pickle, which may run code and is never read; expected "
                "a safetensors file.",
                "Where you trust it, load it and write its tensors with "
                "safetensors.torch.save_file.",
            ) from error
        raise BadInput(
            f"Cannot read the weights {path}: {error}. Expected a whole safetensors file; copy it "
            "again."
        ) from error
    if base and base != model_digest(model):
        raise BadInput(
            f"The weights {path} were made for a model with digest {base[:12]}, and "
            f"{model.name!r} has {model_digest(model)[:12]}.",
            f"Make them for this model: livo-bench train --method NAME --model {model.spec}",
        )
    return Found(str(path), digest_file(path))


def place(what: str, digest: str, files: Mapping[str, str]) -> str:
    """Where the file lies that a recipe names by its digest.

    Args:
        what: Names the file in messages.
        digest: Of the file.
        files: Those at hand, by digest.

    Raises:
        BadInput: It is none of them.
    """
    if digest not in files:
        raise BadInput(
            f"A recipe names the {what} {digest[:12]}, which is none of those at hand: "
            f"{', '.join(d[:12] for d in files) or 'none'}.",
            "Pass them: --method NAME --weights PLACE",
        )
    return files[digest]


def save(
    changed: Mapping[str, Tensor], base: str, path: Path, dtype: torch.dtype | None = None
) -> None:
    """Write changed tensors, whole or not at all.

    Args:
        changed: Changed tensors by their name in the UNet.
        base: Digest of the model they belong to.
        path: Path of the file.
        dtype: To write them in; half precision when None.
    """
    import torch
    from safetensors.torch import save as as_bytes

    dtype = dtype or torch.float16
    plain = {name: tensor.detach().to("cpu", dtype) for name, tensor in changed.items()}
    contiguous = {name: tensor.contiguous() for name, tensor in plain.items()}
    said = " ".join([base, *sorted(changed)])
    write_atomically(path, as_bytes(contiguous, metadata={BASE: said}))


def _said(metadata: Mapping[str, str] | None) -> tuple[str, list[str]]:
    """Digest of the model, and the tensors that were written."""
    base, *written = (metadata or {}).get(BASE, "").split(" ")
    return base, written


def require_fit(path: Path, model: ModelCard) -> None:
    """See that all tensors of an overlay have a place in a model, of which none is loaded, and are
    finite.

    Raises:
        BadInput: Names the first that is not so; or one is missing that was written.
    """
    from livo_bench.engines import lora, networks
    from livo_bench.engines.tensor_files import headers

    found = find_weights(model.pipeline, INDEX)
    source = Path(found.source)
    own: dict[str, Module] = {
        name: networks.empty(getattr(import_module(library), kind), source / name)
        for name, (library, kind) in parts_of(found.config).items()
        if changeable(name, kind)
    }
    part = lora.denoiser_of(own)
    files = _files(path)
    held = headers(files.what, files.paths)
    if lora.is_lora(held):
        lora.refuse_peft(path, held, own[part], source / part)
        lora.read(path, own)
    else:
        denoiser = own[part].state_dict()
        networks.changes(files, denoiser, denoiser if path.is_dir() else _written(path))


def changeable(name: str, kind: str) -> bool:
    """Whether a part of a pipeline is one that overlays may change: the denoiser, or a text encoder
    of CLIP's.

    Args:
        name: Name of the part.
        kind: Name of its class.
    """
    from livo_bench.engines.lora import DENOISERS

    return name in DENOISERS or kind.startswith("CLIPTextModel")


def context_shape(model: ModelCard) -> tuple[int, int]:
    """Tokens of a model's text, and the width of their states, by its configuration alone.

    Raises:
        BadInput: The model is not at hand, or has no such configuration.
    """
    from transformers import CLIPTextConfig

    folder = Path(find_weights(model.pipeline, INDEX).source) / "text_encoder"
    with loading("configuration", folder):
        config = CLIPTextConfig.from_pretrained(folder, local_files_only=True)
    return config.max_position_embeddings, config.hidden_size


def _written(path: Path) -> list[str]:
    """The tensors that a file says it was written with; none where it does not say so."""
    with loading("weights", path), safe_open(path, framework="np") as file:
        return _said(file.metadata())[1]


def _files(path: Path) -> Files:
    from livo_bench.engines.tensor_files import DIFFUSERS, Files, files_of

    if path.is_dir():
        return files_of("denoiser", path, DIFFUSERS)
    return Files("overlay", path, [path], DIFFUSERS, EXPECTED)


def lay_over(own: Mapping[str, Module], path: str | Path) -> dict[str, Module]:
    """Lay an overlay over a model's networks, which stay as they are.

    Args:
        own: The networks that it may change, see `changeable`, by their names in the pipeline.
        path: Where the overlay is.

    Returns:
        The networks that it changes. A denoiser with the overlay's tensors shares all others with
        the model's own; what a LoRA changes is copied, and it is merged.

    Raises:
        BadInput: The file does not load, lacks a tensor that was written, or holds one that is not
            the model's.
    """
    from livo_bench.engines import lora, networks
    from livo_bench.engines.tensor_files import headers

    files = _files(Path(path))
    if lora.is_lora(headers(files.what, files.paths)):
        found = lora.read(Path(path), own)
        merged = {name: deepcopy(own[name]) for name in own if found.changes(name)}
        lora.merge(found, merged)
        return merged
    name = lora.denoiser_of(own)
    tensors = own[name].state_dict(keep_vars=True)
    written = _written(Path(path)) if Path(path).is_file() else []
    changed = networks.changes(files, tensors, written)
    # What the memo already knows is not copied, and changed tensors get their values right after.
    shared = {id(tensor): tensor for held, tensor in tensors.items() if held not in changed}
    laid_over: Module = deepcopy(own[name], shared)
    laid_over.load_state_dict(changed, strict=False)
    return {name: laid_over}
