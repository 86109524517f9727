"""A pipeline's call with a value token: what it is told instead of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from livo_bench.engines import hearing, towers
from livo_bench.engines.hearing import Told
from livo_bench.engines.towers import Towers
from livo_bench.records import Recipe

Arguments = dict[str, Tensor]
"""What a pipeline takes as `prompt_embeds` and its like, n along the first axis of each."""


class ValueCalls:
    """The value encoders at hand, and what they and their pipelines said last. Several threads may
    ask at once, each with a pipeline of its own."""

    def __init__(self) -> None:
        self._encoders: dict[str, Towers] = {}
        self._tell = lru_cache(maxsize=64)(_tell)
        self._token = lru_cache(maxsize=1024)(partial(_token, self._encoders))

    def __contains__(self, digest: str) -> bool:
        return digest in self._encoders

    def use(self, digest: str, encoders: Towers) -> None:
        """Answer recipes that name `digest` with these encoders from now on."""
        self._encoders[digest] = encoders
        self._token.cache_clear()

    def told(self, pipeline: Any, recipes: Sequence[Recipe], most: int, guided: bool) -> Arguments:
        """What a pipeline is to be called with for recipes of one family that have values.

        Args:
            pipeline: Of a kind out of `hearing.HEARINGS`.
            recipes: Recipes in the order of the images.
            most: Tokens that T5 reads, where there is one.
            guided: Whether it guides away from a negative text.
        """
        seats = hearing.seats(pipeline, most)
        rows = []
        for recipe in recipes:
            context, pooled = self._tell(pipeline, recipe.overlay, recipe.text, most)
            token = self._token(pipeline, recipe.value_encoder, recipe.value, recipe.text)
            kept = towers.kept(recipe.layout, pipeline, recipe.text, most)
            rows.append(Told(towers.lay(token, context, pipeline, kept, seats), pooled))
        arguments = _named("", Told(*(torch.cat(each) for each in zip(*rows, strict=True))))
        if guided:
            context, pooled = self._tell(
                pipeline, recipes[0].overlay, recipes[0].negative or None, most
            )
            negative = Told(towers.beside(context, kept, seats), pooled)
            arguments |= _named(
                "negative_", Told(*(each.repeat_interleave(len(rows), 0) for each in negative))
            )
        return arguments


def _named(which: str, told: Told) -> Arguments:
    return {f"{which}prompt_embeds": told.context, f"{which}pooled_prompt_embeds": told.pooled}


def _tell(pipeline: Any, overlay: str | None, text: str | None, most: int) -> Told:
    """What a pipeline that has an overlay makes of a text; its name tells it from others."""
    return hearing.tell(pipeline, text, most)


def _token(
    encoders: dict[str, Towers], pipeline: Any, digest: str, value: str, text: str
) -> Tensor:
    return towers.tokens(encoders[digest], pipeline, [value], [text])
