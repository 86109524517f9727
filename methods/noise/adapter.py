"""A control that draws uniform random pixels instead of pictures.

Noise shows no group and no harm, so a table of alignment alone would praise it; every goal for
quality and fidelity must fail it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from livo_bench.interfaces import MethodContext, Pixels
from livo_bench.records import Recipe, Request

if TYPE_CHECKING:
    from torch import Tensor


class UniformNoise:
    def __init__(self, size: int) -> None:
        self.size = size

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        return base

    def generate(self, requests: Sequence[Request], latents: Tensor) -> Pixels:
        return np.stack([self._image(latent.tobytes()) for latent in latents.cpu().numpy()])

    def _image(self, latent: bytes) -> Pixels:
        """Pixels from a generator seeded by the latent, which has too few numbers for an image."""
        seed = int.from_bytes(hashlib.sha256(latent).digest())
        shape = (self.size, self.size, 3)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def load(context: MethodContext) -> UniformNoise:
    return UniformNoise(context.model.size)
