"""How noise predictions are joined at each step: the engine's third seam.

Everything here returns a `NoisePrediction`, which `diffusion.denoise` asks once a step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from livo_bench.records import SafetyGuidance, SemanticGuidance

NoisePrediction = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents `(n, channels, height, width)` and time step to the noise in them."""


def classifier_free(
    unet: UNet2DConditionModel, context: Tensor, negative: Tensor, scale: float
) -> NoisePrediction:
    """Classifier-free guidance, both branches in one batch.

    Args:
        unet: Predicts noise.
        context: Embeddings of the texts, `(n, tokens, d)`.
        negative: Embedding of the negative text, `(tokens, d)`.
        scale: Weight of the difference between the branches; 1 leaves the negative one out.

    Source: Ho and Salimans 2022, arXiv:2207.12598, in the form of Imagen's w = scale - 1.
    """
    if scale == 1:
        return lambda latents, t: unet(latents, t, context, return_dict=False)[0]
    both = torch.cat([negative.expand_as(context), context])

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        prediction = unet(torch.cat([latents, latents]), t, both, return_dict=False)[0]
        without, with_text = prediction.chunk(2)
        return without + scale * (with_text - without)

    return predict


def safe_latent_diffusion(
    unet: UNet2DConditionModel,
    context: Tensor,
    negative: Tensor,
    unsafe: Tensor,
    scale: float,
    settings: SafetyGuidance,
) -> NoisePrediction:
    """Classifier-free guidance that steers away from a safety text, three branches in one batch.

    With e0, ep and es the predictions for the negative, the prompt's and the safety text::

        mu    = clamp(s_S |ep - es|, max 1), zero where ep - es >= lambda
        gamma = mu (es - e0) + s_m nu
        nu    = beta_m nu + (1 - beta_m) gamma           from the first step on
        e     = e0 + s_g (ep - e0 - gamma)               gamma left out during warm-up

    The prediction is for one sampling run: it counts steps and keeps nu.

    Args:
        unet: Predicts noise.
        context: Embeddings of the texts, `(n, tokens, d)`.
        negative: Embedding of the negative text, `(tokens, d)`.
        unsafe: Embedding of the safety text, `(tokens, d)`.
        scale: s_g, the guidance scale.
        settings: Text and strength.

    Source: Schramowski et al. 2023, arXiv:2211.05105, equations 3 to 8, in the reading of the
    released code, which takes the momentum into gamma before it updates it.
    """
    three = torch.cat([negative.expand_as(context), context, unsafe.expand_as(context)])
    momentum = torch.zeros((), dtype=context.dtype, device=context.device)
    step = 0

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        nonlocal momentum, step
        prediction = unet(torch.cat([latents] * 3), t, three, return_dict=False)[0]
        without, with_text, with_unsafe = prediction.chunk(3)
        apart = with_text - with_unsafe
        strength = (settings.s_S * apart.abs()).clamp(max=1)
        strength = strength.where(apart < settings.threshold, 0)
        gamma = strength * (with_unsafe - without) + settings.s_m * momentum
        momentum = settings.beta_m * momentum + (1 - settings.beta_m) * gamma
        warm = step >= settings.warmup
        step += 1
        return without + scale * (with_text - without - (gamma if warm else 0))

    return predict


def semantic_guidance(
    unet: UNet2DConditionModel,
    context: Tensor,
    negative: Tensor,
    removed: Tensor,
    added: Tensor,
    scale: float,
    settings: SemanticGuidance,
) -> NoisePrediction:
    """Classifier-free guidance that edits each image from one text to another, four branches in
    one batch.

    With e0, ep, er and ea the predictions for the negative, the prompt's, the removed and the added
    text, and `top` keeping the values of a channel whose size reaches its lambda quantile::

        gamma = top(s_e (ea - e0)) - top(s_e (er - e0)) + s_m nu
        nu    = beta_m nu + (1 - beta_m) gamma           from the first step on
        e     = e0 + s_g (ep - e0) + gamma               gamma left out during warm-up

    A text that predicts what the negative does edits nothing. The prediction is for one sampling
    run: it counts steps and keeps nu.

    Args:
        unet: Predicts noise.
        context: Embeddings of the texts, `(n, tokens, d)`.
        negative: Embedding of the negative text, `(tokens, d)`.
        removed: Embeddings of what each image is steered away from, `(n, tokens, d)`.
        added: Embeddings of what each image is steered towards, `(n, tokens, d)`.
        scale: s_g, the guidance scale.
        settings: Strength; its texts are not read.

    Source: Brack et al. 2023, arXiv:2301.12247, section 3, in the reading of the released code,
    which adds both edits with weight 1 and takes the momentum into gamma before it updates it.
    """
    four = torch.cat([negative.expand_as(context), context, removed, added])
    momentum = torch.zeros((), dtype=context.dtype, device=context.device)
    step = 0

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        nonlocal momentum, step
        prediction = unet(torch.cat([latents] * 4), t, four, return_dict=False)[0]
        without, with_text, with_removed, with_added = prediction.chunk(4)
        towards = largest(settings.s_e * (with_added - without), settings.threshold)
        away = largest(settings.s_e * (with_removed - without), settings.threshold)
        gamma = towards - away + settings.s_m * momentum
        momentum = settings.beta_m * momentum + (1 - settings.beta_m) * gamma
        warm = step >= settings.warmup
        step += 1
        return without + (scale * (with_text - without) + (gamma if warm else 0))

    return predict


def largest(values: Tensor, threshold: float) -> Tensor:
    """Keep the values whose size reaches a quantile of their channel, zero elsewhere.

    Args:
        values: `(n, channels, height, width)`.
        threshold: Which quantile over height and width, in [0, 1]; 0.95 keeps 5 %.
    """
    # Quantiles are for float32 and wider only.
    size = values.abs().float()
    least = size.flatten(2).quantile(threshold, dim=2)[..., None, None]
    return values.where(size >= least, 0)
