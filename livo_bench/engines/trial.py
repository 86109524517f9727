"""A pipeline tried as it loads: one text, one step and one corner of a picture, as small as can be.

What a configuration says and no network needs as it is built shows when it runs: here, as one error
that names the model, and not as a traceback in the first batch. One step at the smallest size costs
a fraction of one at a picture's, and less than a hundredth of the smallest run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor

from livo_bench.cards.weights import loading
from livo_bench.engines import networks
from livo_bench.engines.schedule import TRIED
from livo_bench.engines.spelling import PROBE
from livo_bench.errors import BadInput

Embed = Callable[[str], Tensor]
"""A text to the text encoder's states, `(tokens, d)`."""


@torch.no_grad()
def text(pipeline: str | Path, embed: Embed) -> None:
    """See that a text can be embedded.

    Raises:
        BadInput: It cannot, or not to numbers.
    """
    with loading("text encoder", pipeline):
        states = embed(PROBE)
    networks.refuse_not_finite("text encoder", pipeline, {"states of a text": states})


# Not in inference mode: what networks keep of it would be of no use where they are trained.
@torch.no_grad()
def first_step(
    pipeline: str | Path,
    embed: Embed,
    unet: UNet2DConditionModel,
    sampler: DPMSolverMultistepScheduler,
    vae: AutoencoderKL,
) -> None:
    """See that noise becomes a picture: one step of the smallest latents, one of which is decoded.

    Raises:
        BadInput: The parts raise, or do not give numbers of the shape that they should.
    """
    scaling = vae.config.scaling_factor
    if type(scaling) not in (int, float) or not 0 < scaling < math.inf:
        raise BadInput(
            f"The VAE of {pipeline} has scaling_factor = {scaling!r:.40} in its config.json; "
            "expected a positive number, such as 0.18215 of Stable Diffusion 1.5.",
            "Copy the model again.",
        )
    side = 2 ** (len(unet.config.block_out_channels) - 1)
    shape = (1, unet.config.in_channels, side, side)
    with loading("pipeline", pipeline):
        context = embed(PROBE)
        latents = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).to(context)
        sampler.set_timesteps(TRIED, device=latents.device)
        t = sampler.timesteps[0]
        predicted = unet(latents, t, context[None], return_dict=False)[0]
        stepped = sampler.step(predicted, t, latents, return_dict=False)[0]
        picture = vae.decode(stepped[..., :1, :1] / scaling, return_dict=False)[0]
        if predicted.shape != shape or stepped.shape != shape or picture.shape[:2] != (1, 3):
            raise ValueError(
                f"Of latents {shape} its UNet predicts {tuple(predicted.shape)}, its sampler makes "
                f"{tuple(stepped.shape)}, and of one its VAE makes {tuple(picture.shape)}."
            )
    answers = {"noise of the UNet": predicted, "step": stepped, "picture of the VAE": picture}
    networks.refuse_not_finite("first step", pipeline, answers)
