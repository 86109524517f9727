"""Which images keep their pixels: a share of them, chosen by their noise.

An image that is made again from its recipe is the same, so its pixels need not be kept. The same
prompts and indices keep theirs whatever the method, so that kept images stand side by side, and
asking for more images changes no choice.
"""

from __future__ import annotations

import re

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import Recipe

ALL, SCORES = "all", "scores"
AGAIN = "Make them again, and keep them: the same livo-bench run without --keep"
"""What to do where pixels are needed that were not kept."""
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s?%")
_DIGITS = 8
"""Hexadecimal digits of a digest that decide."""


def share_of(text: str) -> float:
    """The share of images whose pixels are kept, in [0, 1], from what `--keep` says.

    Raises:
        BadInput: It says something else.
    """
    found = _PERCENT.fullmatch(text)
    share = {ALL: 1.0, SCORES: 0.0}.get(text, float(found[1]) / 100 if found else -1)
    if not 0 <= share <= 1:
        raise BadInput(
            f"--keep is {text!r}; expected {ALL}, {SCORES}, or a share from 0% to 100%.",
            "Name one: --keep 1%",
        )
    return share


def is_kept(recipe: Recipe, share: float) -> bool:
    """Whether an image is one of those that keep their pixels; of a larger share it is, too."""
    named = recipe.key if recipe.noise is None else str(recipe.noise)
    return int(sha256(named)[:_DIGITS], 16) < share * 16**_DIGITS
