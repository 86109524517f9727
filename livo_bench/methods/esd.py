"""ESD: a hazard is predicted as if guidance steered away from it.

With e the frozen model, e' the one that learns, c what names the hazard and x_t a picture of it
that the frozen model has drawn as far as to t::

    L = mse( e'(x_t, t, c), e(x_t, t) - eta (e(x_t, t, c) - e(x_t, t)) )

Source: Gandikota et al. 2023, Erasing Concepts from Diffusion Models, arXiv:2303.07345, equation 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.engines.denoiser import Conditions, Denoiser
from livo_bench.engines.diffusion import denoise
from livo_bench.engines.guidance import classifier_free
from livo_bench.engines.noising import DiffusionNoise, Noised
from livo_bench.methods import by_hazard
from livo_bench.methods.training import finetuning
from livo_bench.methods.training.finetuning import Finetuning
from livo_bench.methods.training.fitting import Step
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Prompt
from livo_bench.schema import Factor, one_of


@dataclass(frozen=True, slots=True)
class EsdSettings:
    """How hazards are erased on one scale of model."""

    erased: Annotated[str, one_of(by_hazard.ERASED)]
    """What of a hazard's prompts is c."""
    joined: bool
    """Whether c is all of them, joined by commas; else one is drawn for each picture."""
    eta: Factor
    """Strength of the steering away. The released code of today puts e(x_t, t, c) in place of the
    first e(x_t, t), so its `negative_guidance` is one more."""
    guidance: Factor
    """Guidance scale with which x_t is drawn."""
    tuning: finetuning.Settings


read_settings = partial(finetuning.read_settings, EsdSettings)


def target(told: Tensor, untold: Tensor, eta: float) -> Tensor:
    """What the UNet learns to say of a hazard.

    Args:
        told: What the frozen model says of it, `(n, channels, height, width)`.
        untold: What that says without a text, in the same shape.
        eta: Strength.
    """
    return untold - eta * (told - untold)


def train(training: Training) -> Path:
    """Train as `by_hazard.learn_each` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return by_hazard.learn_each(training, settings, partial(_erase, training, settings))


def _erase(
    training: Training, settings: EsdSettings, hazard: str, prompts: Sequence[Prompt]
) -> float:
    """Train the overlay of a hazard; returns the minutes that took."""
    texts = concepts(prompts, settings)
    tuning = Finetuning(training, settings.tuning, [*texts, ""])
    return tuning.fit(hazard, _steering_away(tuning, len(texts), settings)).minutes


def concepts(prompts: Sequence[Prompt], settings: EsdSettings) -> list[str]:
    """The texts c of a hazard."""
    found = by_hazard.named(prompts, settings.erased)
    return [", ".join(found)] if settings.joined else found


def _steering_away(tuning: Finetuning, texts: int, settings: EsdSettings) -> Step:
    """Steps that learn from pictures on their way.

    Args:
        tuning: Tuning whose texts are the concepts and, behind them, the empty one.
        texts: How many concepts there are.
        settings: Training settings of the method.
    """
    card, denoiser, frozen = tuning.training.session.model, tuning.denoiser, tuning.frozen
    shape, noising = denoiser.latent_shape(card.size), denoiser.noising()
    assert isinstance(noising, DiffusionNoise)

    def step(number: int, generator: torch.Generator) -> Tensor:
        examples = tuning.examples(number, lambda rng: {"concept": int(rng.integers(texts))})
        rows = [example["concept"] for example in examples[tuning.part]]
        until = int(torch.randint(card.steps, (), generator=generator))
        # Drawn whole by every process, so that how many there are changes no draw.
        noise = torch.randn((len(examples), *shape), generator=generator)[tuning.part]
        with torch.no_grad():
            empty = [texts] * len(rows)
            both = tuning.conditions([*empty, *rows]).to(frozen.dtype)
            negative, states = both.context.chunk(2)
            ask = partial(_ask, denoiser, both)
            drawing = classifier_free(ask, states, negative[0], settings.guidance)
            scheduler = noising.sampler(card.steps, frozen.device)
            latents = denoise(drawing, noise.to(states), scheduler, until)
            times = scheduler.timesteps[until].expand(len(rows))
            reached = Noised(latents.float(), times, latents)
            told, untold = (tuning.predict(reached, r, frozen) for r in (rows, empty))
        with tuning.mixed():
            return mse_loss(tuning.predict(reached, rows), target(told, untold, settings.eta))

    return step


def _ask(
    denoiser: Denoiser,
    both: Conditions,
    latents: Tensor,
    t: Tensor,
    context: Tensor,
    return_dict: bool,
) -> tuple[Tensor]:
    """Ask the frozen network as classifier-free guidance asks a UNet: of both branches, or of the
    latter alone."""
    others = {name: tensor[-len(latents) :] for name, tensor in both.others.items()}
    return (denoiser.ask(denoiser.network, latents, t, Conditions(context, others)),)
