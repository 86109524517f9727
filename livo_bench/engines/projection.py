"""Projections: a matrix by which all states of a text are multiplied, before the UNet sees them.

On disk a projection is one safetensors file in float32, which names the model it belongs to as an
overlay does. Recipes name it by the digest of the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from livo_bench.cards.declared import ModelCard
from livo_bench.engines import networks, overlay
from livo_bench.engines.tensor_files import Files

NAME = "projection"
"""Name of the file's one tensor."""
EXPECTED = f"Expected one tensor, {NAME!r}, as livo-bench train writes it."


def save(projection: Tensor, base: str, path: Path) -> None:
    """Write a projection, whole or not at all.

    Args:
        projection: P, `(d, d)`; a state z becomes P z.
        base: Digest of the model it belongs to.
        path: Path of the file.
    """
    overlay.save({NAME: projection}, base, path, torch.float32)


def require_fit(path: Path, model: ModelCard) -> None:
    """See that a file holds a finite projection for the states of a model, of which none is loaded.

    Raises:
        BadInput: It does not.
    """
    _, width = overlay.context_shape(model)
    networks.changes(_files(path), _like(width), [NAME])


def load(path: str | Path, like: Tensor) -> Tensor:
    """Read a projection for states, in their precision and on their device.

    Raises:
        BadInput: The file does not load, or holds no finite projection of their width.
    """
    return networks.changes(_files(Path(path)), _like(like.shape[-1]), [NAME])[NAME].to(like)


def _files(path: Path) -> Files:
    return Files("projection", path, [path], expected=EXPECTED)


def _like(width: int) -> dict[str, Tensor]:
    """What such a file holds, without values."""
    return {NAME: torch.empty(width, width, device="meta")}
