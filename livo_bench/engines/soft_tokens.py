"""Soft tokens: learnt states that stand before those of every text, for the UNet to attend to.

On disk they are one safetensors file in float32, which names the model they belong to as an overlay
does. Recipes name them by the digest of the file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from livo_bench.cards.declared import ModelCard
from livo_bench.engines import networks, overlay
from livo_bench.engines.tensor_files import Files, headers
from livo_bench.errors import BadInput

NAME = "tokens"
"""Name of the file's one tensor."""
EXPECTED = f"Expected one tensor, {NAME!r}, as livo-bench train writes it."
WORDS = 3
"""Tokens that are left to a text at least: its start, its end and one word."""


def save(tokens: Tensor, base: str, path: Path) -> None:
    """Write soft tokens, whole or not at all.

    Args:
        tokens: k of them, `(k, d)`.
        base: Digest of the model they belong to.
        path: Path of the file.
    """
    overlay.save({NAME: tokens}, base, path, torch.float32)


def require_fit(path: Path, model: ModelCard) -> None:
    """See that a file holds finite soft tokens for the texts of a model, of which none is loaded.

    Raises:
        BadInput: It does not, or so many that a text has no room beside them.
    """
    length, width = overlay.context_shape(model)
    files = _files(path)
    networks.changes(files, _like(files, width), [NAME])
    _require_room(files, length)


def load(path: str | Path, like: Tensor) -> Tensor:
    """Read soft tokens, in the precision of a text's states and on their device.

    Args:
        path: Path of the file.
        like: States of a text, `(length, d)`.

    Returns:
        Shape `(k, d)`.

    Raises:
        BadInput: The file does not load, or holds no finite tokens of their width, or so many that
            a text has no room beside them.
    """
    files = _files(Path(path))
    length, width = like.shape
    read = networks.changes(files, _like(files, width), [NAME])
    _require_room(files, length)
    return read[NAME].to(like)


def _files(path: Path) -> Files:
    return Files("set of soft tokens", path, [path], expected=EXPECTED)


def _count(files: Files) -> int:
    """How many tokens a file holds, if it holds any."""
    held = headers(files.what, files.paths).get(NAME)
    return held.shape[0] if held and held.shape else 1


def _like(files: Files, width: int) -> dict[str, Tensor]:
    """What such a file holds, without values."""
    return {NAME: torch.empty(_count(files), width, device="meta")}


def _require_room(files: Files, length: int) -> None:
    if not 0 < (count := _count(files)) <= length - WORDS:
        raise BadInput(
            f"{files.place} holds {count} soft tokens; expected 1 to {length - WORDS}, for they "
            f"stand before a text of {length} tokens, which is cut to make room.",
            "Train so many: `tokens` in the method's training.toml",
        )
