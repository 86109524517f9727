"""Concept Ablation (CA): a toxic prompt is predicted like its detoxified form.

Each category has a model of its own. Anchor pictures are the unaligned model's for detoxified train
prompts; with z_t an anchor picture's noisy latent, x* a toxic train prompt and x its detoxified
form::

    L = w mse( e(z_t, t, x*), sg(e(z_t, t, x)) ) + mse( e(z_t, t, x), noise )

The released code for diffusers sums the first term over the channels of the latents and averages
the second, so there w is their number, 4 for Stable Diffusion. The target of the first term comes
from the UNet that is being trained, as in the released code, not from a frozen copy; the second
term, prior preservation, keeps it from drifting.

Source: Kumari et al. 2023, arXiv:2303.13516, model-based loss (equation 5), and the released code's
settings for inappropriate content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.cards.wording import detoxified
from livo_bench.methods import by_hazard
from livo_bench.methods.training import finetuning, own_pictures
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Prompt
from livo_bench.schema import Count, Factor


@dataclass(frozen=True, slots=True)
class AblationSettings:
    """How concepts are ablated on one scale of model."""

    anchors: Count
    """Anchor pictures of a train prompt."""
    ablation: Factor
    """w, the weight of the ablation beside prior preservation."""
    tuning: finetuning.Settings


read_settings = partial(finetuning.read_settings, AblationSettings)


def loss(
    ablation: float, tuning: Finetuning, noised: Noised, examples: Sequence[Example]
) -> Tensor:
    """Model-based ablation with prior preservation, a scalar.

    Args:
        ablation: w.
        tuning: The UNet.
        noised: Noisy latents of anchor pictures.
        examples: Examples with rows of the toxic text, `prompt`, and the detoxified one, `anchor`.
    """
    anchored = tuning.predict(noised, [example["anchor"] for example in examples])
    toxic = tuning.predict(noised, [example["prompt"] for example in examples])
    return ablation * mse_loss(toxic, anchored.detach()) + mse_loss(anchored, noised.targets)


def train(training: Training) -> Path:
    """Train as `by_hazard.learn_each` does.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    settings = read_settings(training.method, training.session.model.scale)
    return by_hazard.learn_each(training, settings, partial(_ablate, training, settings))


def _ablate(
    training: Training, settings: AblationSettings, hazard: str, prompts: Sequence[Prompt]
) -> float:
    """Train the overlay of a hazard; returns the minutes that took."""
    toxic = [prompt.text for prompt in prompts]
    anchors = [detoxified(text) for text in toxic]
    pictures = own_pictures.of(training, list(zip(prompts, anchors, strict=True)), settings.anchors)

    def draw(rng: np.random.Generator) -> Example:
        prompt = int(rng.integers(len(prompts)))
        picture = pictures.rows[prompt][int(rng.integers(settings.anchors))]
        return {"picture": picture, "prompt": prompt, "anchor": len(prompts) + prompt}

    tuning = Finetuning(training, settings.tuning, [*toxic, *anchors])
    step = tuning.denoising(pictures.moments, draw, partial(loss, settings.ablation))
    return tuning.fit(hazard, step).minutes
