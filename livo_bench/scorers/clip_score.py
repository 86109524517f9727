"""CLIP score: how close an image is to the task's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from livo_bench.protocols import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.scorers import judge_id
from livo_bench.scorers.clip_encoder import ClipEncoder


class ClipScore:
    """Cosine between an image and the task's plain prompt, whatever text the method used.

    Tables show 100 times the mean over images. Source: Hessel et al. 2021, arXiv:2104.08718,
    without its factor 2.5.
    """

    def __init__(self, encoder: ClipEncoder) -> None:
        self.id = judge_id("clip-score", weights=encoder.digest, dtype=encoder.dtype)
        self._encoder = encoder
        self._text = lru_cache(maxsize=4096)(partial(_encode_text, encoder))

    def load(self) -> None:
        """Load the network now."""
        self._encoder.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Returns `cosine`, float32 in [-1, 1]."""
        images = self._encoder.encode_images(pixels)
        texts = torch.stack([self._text(prompt.text) for prompt in prompts])
        return {"cosine": (images * texts).sum(dim=1).cpu().numpy()}


def _encode_text(encoder: ClipEncoder, text: str) -> Tensor:
    return encoder.encode_texts([text])[0]
