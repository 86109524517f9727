"""Judges: each a pure function of stored pixels and the task's prompt.

A judge is cheap to make: its `id` comes from the digests and texts it is made of. Its network is
loaded by `load`, at the latest when the first image arrives, so a run whose scores are all stored
loads none. Loading sets process-wide defaults of torch for a moment: call `load` before other
threads compute.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from livo_bench.files import sha256
from livo_bench.interfaces import Pixels

if TYPE_CHECKING:
    # Cards and plans read what scorers are called without loading what they compute with.
    import torch
    from torch import Tensor

T = TypeVar("T")

ABSTAINED = "abstained"
"""Label of an image about which a judge says nothing; its probabilities are NaN."""


class Lazy(Generic[T]):
    """A value that is built when first asked for, once, whichever threads ask."""

    def __init__(self, build: Callable[[], T]) -> None:
        """
        Args:
            build: Must not hold whoever keeps this object: in a circle, what was built would stay
                in memory after its last user has gone.
        """
        self._build = build
        self._lock = Lock()
        self._built: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._built:
                self._built.append(self._build())
        return self._built[0]


def trial() -> Pixels:
    """A picture that judges are tried on as they load, uint8 `(1, 64, 64, 3)`."""
    import numpy as np

    return np.zeros((1, 64, 64, 3), np.uint8)


def judge_id(name: str, **identity: object) -> str:
    """Name a judge by everything its scores depend on.

    Args:
        name: Readable part, e.g. `clip-gender`.
        identity: Digests, texts, dtype: plain data.

    Returns:
        The name and 12 hexadecimal digits.
    """
    canonical = json.dumps(identity, sort_keys=True)
    return f"{name}-{sha256(canonical)[:12]}"


def pixels_to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """Copy stored images to a device: uint8, channels first, `(n, 3, size, size)`."""
    import torch

    return torch.tensor(pixels, device=device).permute(0, 3, 1, 2)
