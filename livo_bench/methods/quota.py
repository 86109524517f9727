"""An exact quota: each group the same number of images, in an order that a prompt keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from livo_bench.engines.seeds import seed_of


def group_of(text: str, index: int, groups: Sequence[str]) -> str:
    """The group that an image is made for.

    Every run of N indices from a multiple of N holds each of the N groups once, so 50 images of 2
    or 5 groups are exactly even. It depends on the prompt's text and the index alone.

    Args:
        text: The task's prompt, which seeds the permutation of the groups.
        index: Which of the prompt's images.
        groups: To be even among.
    """
    return groups[_order(text, len(groups))[index % len(groups)]]


# Remembered, because a prompt's images ask one after the other.
@lru_cache(maxsize=64)
def _order(text: str, groups: int) -> tuple[int, ...]:
    return tuple(map(int, np.random.default_rng(seed_of(0, text, 0)).permutation(groups)))
