"""A call of Stable Diffusion XL's pipeline whose UNet joins several predictions.

The pipeline is called without classifier-free guidance of its own, and its UNet is one that asks
the real one for all branches in one batch and joins what it says as `guidance` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from inspect import signature
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from livo_bench.engines.guidance import NoisePrediction, safe_latent_diffusion, semantic_guidance
from livo_bench.engines.hearing import Told
from livo_bench.records import Recipe


def draw(
    pipeline: Any, family: Recipe, recipes: Sequence[Recipe], settings: Mapping[str, Any]
) -> Any:
    """Call a pipeline for recipes with a `safety` or an `edit`.

    Args:
        pipeline: A `StableDiffusionXLPipeline` that nobody else calls meanwhile.
        family: Family of the recipes.
        recipes: What to draw.
        settings: What it would be called with, besides the texts, for recipes with neither.

    Returns:
        What the pipeline does.
    """
    takes = signature(pipeline.encode_prompt).parameters
    reading = {k: v for k, v in json.loads(family.call or "{}").items() if k in takes}

    def read(texts: Sequence[str]) -> tuple[Told, Told]:
        """What the UNet is told of texts, and of what their images are guided away from."""
        # Without a negative text the pipeline has a state of its own.
        negative = [family.negative] * len(texts) if family.negative else None
        states, without, pooled, pooled_without = pipeline.encode_prompt(
            list(texts), negative_prompt=negative, **reading
        )
        return Told(states, pooled), Told(without, pooled_without)

    told, negative = read([recipe.text for recipe in recipes])
    if family.edit is not None:
        edits = [recipe.edit for recipe in recipes if recipe.edit is not None]
        others = [
            _unless_empty(texts, read(texts)[0], negative)
            for texts in ([edit.remove for edit in edits], [edit.add for edit in edits])
        ]
        guide = partial(
            semantic_guidance,
            context=told.context,
            negative=negative.context[0],
            removed=others[0].context,
            added=others[1].context,
            scale=family.guidance,
            settings=family.edit,
        )
    else:
        assert family.safety is not None
        others = [read([family.safety.text] * len(recipes))[0]]
        guide = partial(
            safe_latent_diffusion,
            context=told.context,
            negative=negative.context[0],
            unsafe=others[0].context[0],
            scale=family.guidance,
            settings=family.safety,
        )
    pooled = torch.cat([each.pooled for each in (negative, told, *others)])
    own = pipeline.unet
    pipeline.unet = joining(own, pooled, guide)
    kept = {k: v for k, v in settings.items() if k not in takes} | {"guidance_scale": 1.0}
    try:
        return pipeline(prompt_embeds=told.context, pooled_prompt_embeds=told.pooled, **kept)
    finally:
        pipeline.unet = own


def joining(
    unet: UNet2DConditionModel, pooled: Tensor, guide: Callable[..., NoisePrediction]
) -> UNet2DConditionModel:
    """The UNet of one call: it has all that the real one has, and answers as a guidance does.

    Args:
        unet: The real one.
        pooled: What it is told of all branches besides their states, in the order in which the
            guidance puts them into a batch, `(branches * n, p)`.
        guide: Makes the guidance, given what asks the real UNet.
    """
    given: dict[str, Tensor] = {}

    def ask(latents: Tensor, t: Tensor, states: Tensor, return_dict: bool) -> Any:
        sizes = given["time_ids"]
        sizes = sizes.repeat(len(latents) // len(sizes), 1)
        added = {"text_embeds": pooled, "time_ids": sizes}
        return unet(latents, t, states, added_cond_kwargs=added, return_dict=return_dict)

    predict = guide(ask)

    def forward(
        latents: Tensor, t: Tensor, *, added_cond_kwargs: Mapping[str, Tensor], **_: Any
    ) -> tuple[Tensor]:
        given.update(added_cond_kwargs)
        return (predict(latents, t),)

    one = copy(unet)
    one.forward = forward
    return one


def _unless_empty(texts: Sequence[str], told: Told, negative: Told) -> Told:
    """What is told of texts, and of empty ones what the negative is: they edit nothing."""
    empty = torch.tensor([not text for text in texts], device=told.context.device)
    states = torch.where(empty[:, None, None], negative.context, told.context)
    return Told(states, torch.where(empty[:, None], negative.pooled, told.pooled))
