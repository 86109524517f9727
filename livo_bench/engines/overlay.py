"""Weight overlays: the tensors of a UNet that a method changed, laid over the model's own.

On disk an overlay is one safetensors file in half precision, which names the model it belongs to
by digest in its metadata. Recipes name it by the digest of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from livo_bench.cards.catalog import model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.weights import loading
from livo_bench.errors import BadInput
from livo_bench.files import digest_file, write_atomically

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

BASE = "base"
"""The one field of the metadata, as several are written in any order: digest of the model whose
other tensors stay as they are, and names of those that were written; older overlays say none."""


@dataclass(frozen=True, slots=True)
class Found:
    """An overlay that fits a model, not loaded yet."""

    path: str
    digest: str


def find(path: Path, model: ModelCard) -> Found:
    """Look an overlay up and see that it belongs to a model; loads no tensor.

    Raises:
        BadInput: There is no such file, it is no overlay, or it belongs to another model.
    """
    try:
        with safe_open(path, framework="np") as file:
            base, _ = _said(file.metadata())
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"Cannot read the weights {path}: {error}. Expected a safetensors file as "
            "livo-bench train writes it."
        ) from error
    if base != model_digest(model):
        raise BadInput(
            f"The weights {path} were made for a model with digest {base[:12] or 'unknown'}, and "
            f"{model.name!r} has {model_digest(model)[:12]}.",
            f"Make them for this model: livo-bench train --method NAME --model {model.spec}",
        )
    return Found(str(path), digest_file(path))


def save(changed: Mapping[str, Tensor], base: str, path: Path) -> None:
    """Write changed tensors in half precision, whole or not at all.

    Args:
        changed: By their name in the UNet.
        base: Digest of the model they belong to.
        path: Of the file.
    """
    import torch
    from safetensors.torch import save as as_bytes

    half = {name: tensor.detach().to("cpu", torch.float16) for name, tensor in changed.items()}
    contiguous = {name: tensor.contiguous() for name, tensor in half.items()}
    said = " ".join([base, *sorted(changed)])
    write_atomically(path, as_bytes(contiguous, metadata={BASE: said}))


def _said(metadata: Mapping[str, str] | None) -> tuple[str, list[str]]:
    """Digest of the model, and the tensors that were written."""
    base, *written = (metadata or {}).get(BASE, "").split(" ")
    return base, written


def lay_over(unet: UNet2DConditionModel, path: str | Path) -> UNet2DConditionModel:
    """A UNet with an overlay's tensors, which shares all others with the one it is laid over.

    Raises:
        BadInput: The file does not load, lacks a tensor that was written, or holds one that is not
            the UNet's.
    """
    from livo_bench.engines import networks
    from livo_bench.engines.tensor_files import Files

    with loading("weights", path), safe_open(path, framework="np") as file:
        _, written = _said(file.metadata())
    own = unet.state_dict(keep_vars=True)
    changed = networks.changes(Files("overlay", Path(path), [Path(path)]), own, written)
    # What the memo already knows is not copied, and changed tensors get their values right after.
    shared = {id(tensor): tensor for name, tensor in own.items() if name not in changed}
    laid_over: UNet2DConditionModel = deepcopy(unet, shared)
    laid_over.load_state_dict(changed, strict=False)
    return laid_over
