"""Where a value token enters a model, as the training of its encoders takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module

from livo_bench.engines import hearing, towers, value_encoder
from livo_bench.engines.denoiser import Conditions, stack

if TYPE_CHECKING:
    from livo_bench.engines.diffusion import Diffusion

Tokens = Callable[[Any, Sequence[str], Sequence[str]], Tensor]
"""Value tokens `(n, d)` by value encoders, of values and texts."""


@dataclass(frozen=True)
class ValueSeam:
    """How value encoders are made for a model, and what becomes of what they say."""

    new: Callable[[], Module]
    """Value encoders before their first step, float32: a text encoder, or several by name."""
    tokens: Tokens
    beside: Callable[[Sequence[str], Conditions, str], Conditions]
    """What a token will stand beside: of texts, what the network hears of them alone, and a
    layout."""
    lay: Callable[[Tensor, Conditions, str], Conditions]
    """Tokens before what they stand beside, in a layout."""


def of_diffusion(engine: Diffusion) -> ValueSeam:
    """The seam of a Stable Diffusion 1.x or 2.x."""

    def beside(texts: Sequence[str], alone: Conditions, layout: str) -> Conditions:
        length = [value_encoder.tokens_of_prompt(layout, engine.tokenizer, t) for t in texts]
        embedded = [engine.embed(*each)[None] for each in zip(texts, length, strict=True)]
        return stack([Conditions(states) for states in embedded])

    def lay(token: Tensor, told: Conditions, layout: str) -> Conditions:
        context = told.context
        return Conditions(torch.cat([token[:, None].to(context.dtype), context], dim=1))

    def tokens(encoder: Any, values: Sequence[str], texts: Sequence[str]) -> Tensor:
        return value_encoder.value_tokens(encoder, engine.tokenizer, values, texts)

    return ValueSeam(lambda: deepcopy(engine.text_encoder).float(), tokens, beside, lay)


def of_pipeline(pipeline: Any, most: int) -> ValueSeam:
    """The seam of a pipeline.

    Args:
        pipeline: Of a kind out of `hearing.HEARINGS`.
        most: Tokens that T5 reads, where there is one.
    """
    seats = hearing.seats(pipeline, most)

    def lay(token: Tensor, told: Conditions, layout: str) -> Conditions:
        kept = towers.kept(layout, pipeline, "", most)
        return Conditions(towers.lay(token, told.context, pipeline, kept, seats), told.others)

    def tokens(encoders: Any, values: Sequence[str], texts: Sequence[str]) -> Tensor:
        return towers.tokens(encoders, pipeline, values, texts)

    # The states that give way are left out where a token is laid, so nothing is kept twice.
    return ValueSeam(lambda: towers.new(pipeline), tokens, lambda texts, alone, layout: alone, lay)
