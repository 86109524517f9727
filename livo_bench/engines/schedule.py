"""Noise levels of a pipeline's own sampler, and whether DPM-Solver++ can follow them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler

from livo_bench.cards.weights import find_weights, loading
from livo_bench.errors import BadInput

BETAS = ("beta_start", "beta_end", "beta_schedule")
PREDICTIONS = ("epsilon", "v_prediction")
"""What the UNet of Stable Diffusion 1.x and 2.x may predict."""
CHOSEN = ("algorithm_type", "solver_type")
"""What DPM-Solver++ knows a name of its own for, where the file is of a relative."""
TRIED = 20
"""Steps that a sampler takes before any image is made."""


def read(folder: Path) -> Mapping[str, Any]:
    """The settings that DPM-Solver++ takes over from a model's own sampler.

    Raises:
        BadInput: It is a sampler of another kind, says too little, or cannot be followed.
    """
    config = find_weights(folder, "scheduler_config.json").config
    kind, known = config.get("_class_name"), _followed()
    if not isinstance(kind, str) or kind not in known:
        raise BadInput(
            f"The scheduler of {folder.parent} is a {kind}, whose noise levels DPM-Solver++ cannot "
            f"follow; expected one of: {', '.join(known)}.",
            "Pass a Stable Diffusion 1.x or 2.x model.",
        )
    unsaid = [name for name in ("num_train_timesteps", *BETAS) if name not in config]
    predicted = config.get("prediction_type", PREDICTIONS[0])
    if unsaid or predicted not in PREDICTIONS:
        said = f"no {', '.join(unsaid)}" if unsaid else f"prediction_type = {predicted!r}"
        raise BadInput(
            f"The scheduler of {folder.parent} has {said}; expected the noise levels the model was "
            f"trained with, and a prediction out of {', '.join(PREDICTIONS)}.",
            "Copy the model again.",
        )
    with loading("scheduler", folder):
        scheduler = DPMSolverMultistepScheduler.from_config(dict(config))
        _refuse_unheard(scheduler, config)
        _try_out(scheduler)
    return dict(config)


def _followed() -> list[str]:
    """Samplers whose noise levels are those of betas, as DPM-Solver++ reads them."""
    names = sorted(DPMSolverMultistepScheduler._compatibles)
    kinds = {name: getattr(diffusers, name, None) for name in names}
    return [
        name
        for name, kind in kinds.items()
        if kind is not None and set(BETAS) <= signature(kind.__init__).parameters.keys()
    ]


def _try_out(scheduler: DPMSolverMultistepScheduler) -> None:
    """Take a few steps, which fail or leave the numbers where a setting is not what it should be.

    Raises:
        ValueError: Says which.
    """
    settings, betas = scheduler.config, scheduler.betas
    if betas.shape != (settings.num_train_timesteps,) or not ((betas > 0) & (betas < 1)).all():
        raise ValueError(
            f"It has {len(betas)} betas from {betas.min():.3g} to {betas.max():.3g} for "
            f"{settings.num_train_timesteps} timesteps, and needs one each, between 0 and 1."
        )
    if settings.algorithm_type != "dpmsolver++" or settings.use_flow_sigmas:
        raise ValueError(
            f"Its algorithm_type is {settings.algorithm_type!r} with use_flow_sigmas = "
            f"{settings.use_flow_sigmas}, and images are made by 'dpmsolver++' without."
        )
    if settings.thresholding:
        raise ValueError(
            "Its thresholding is true, which holds pixels to their range and ruins latents, and "
            "has to be false."
        )
    scheduler.set_timesteps(TRIED)
    latents = torch.ones(1, 1, 1, 1)
    for t in scheduler.timesteps:
        latents = scheduler.step(latents, t, latents, return_dict=False)[0]
    last = settings.num_train_timesteps - 1
    if not latents.isfinite().all() or not 0 <= scheduler.timesteps.min() <= last:
        raise ValueError("Its steps lead out of the numbers.")
    if scheduler.timesteps.max() > last:
        raise ValueError(
            f"Its first step is at {int(scheduler.timesteps.max())} of {last + 1} timesteps."
        )


def _refuse_unheard(scheduler: DPMSolverMultistepScheduler, said: Mapping[str, Any]) -> None:
    """See that a sampler took over what its file says, as libraries replace some of it unasked.

    Raises:
        ValueError: Says which it did not.
    """
    own = signature(type(scheduler).__init__).parameters.keys() - set(CHOSEN)
    for key in sorted(own & said.keys()):
        heard = scheduler.config[key]
        if heard != said[key]:
            raise ValueError(f"It has {key} = {said[key]!r}, of which the library makes {heard!r}.")
