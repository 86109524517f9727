"""The noise that a model was taught to take off: how pictures are noised, and what is to be said.

Two processes. Of the first, Stable Diffusion 1.x, 2.x and XL are::

    z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) e    to say: e, or v = sqrt(a_t) e - sqrt(1 - a_t) z_0

Of the second, the flow, Stable Diffusion 3.x and FLUX are::

    z_s = (1 - s) z_0 + s e                  to say: v = e - z_0

Source: Ho et al. 2020, arXiv:2006.11239; Salimans and Ho 2022, arXiv:2202.00512; Esser et al. 2024,
Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv:2403.03206.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

LOGIT_NORMAL, UNIFORM = "logit-normal", "uniform"
DENSITIES = (LOGIT_NORMAL, UNIFORM)
"""How the times of a flow are drawn: by the sigmoid of a unit normal, which the source found best,
or evenly."""


class Noised(NamedTuple):
    """Noisy latents of n pictures, and what a model is to say of them."""

    latents: Tensor
    """`(n, channels, height, width)`, float32."""
    times: Tensor
    """Time of each picture, `(n,)`, as the model is told it."""
    targets: Tensor
    """What the model is to say, with the shape of the latents."""


class Noising(Protocol):
    """A way to noise latents."""

    @property
    def steps(self) -> int:
        """Number of steps of the model's own training; times are from 0 up to that."""
        ...

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times drawn as a model is trained, `(count,)`."""
        ...

    def noised_at(self, clean: Tensor, noise: Tensor, times: Tensor) -> Noised:
        """Noise latents.

        Args:
            clean: `(n, channels, height, width)`, as the model sees them.
            noise: Unit-normal, like them.
            times: `(n,)`, between 0 and `steps`.
        """
        ...


class DiffusionNoise:
    """The process whose noise has a schedule of betas; times are whole numbers below `steps`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """
        Args:
            config: Configuration of the model's own sampler.
        """
        self._config = config
        self._schedule = DDPMScheduler.from_config(config)

    @property
    def steps(self) -> int:
        """See `Noising`."""
        steps: int = self._schedule.config.num_train_timesteps
        return steps

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times drawn evenly, int64, `(count,)`."""
        return torch.randint(self.steps, (count,), generator=generator)

    def noised_at(self, clean: Tensor, noise: Tensor, times: Tensor) -> Noised:
        """See `Noising`."""
        noisy: Tensor = self._schedule.add_noise(clean, noise, times)
        target = noise
        if self._schedule.config.prediction_type == "v_prediction":
            target = self._schedule.get_velocity(clean, noise, times)
        return Noised(noisy, times, target)

    def sampler(self, steps: int, device: torch.device) -> DPMSolverMultistepScheduler:
        """A sampler that takes the noise off again in so many steps, see `diffusion.denoise`."""
        sampler = DPMSolverMultistepScheduler.from_config(self._config)
        sampler.set_timesteps(steps, device=device)
        return sampler


class FlowNoise:
    """The process that goes straight from a picture to noise. A time is `steps` times the share of
    noise s, which is drawn and then shifted as the model's own sampler shifts it."""

    def __init__(self, config: Mapping[str, Any], density: str = LOGIT_NORMAL) -> None:
        """
        Args:
            config: Configuration of the model's own sampler, a `FlowMatchEulerDiscreteScheduler`.
            density: How times are drawn, out of `DENSITIES`.
        """
        self._steps = int(config.get("num_train_timesteps", 1000))
        # One that shifts by the size of each image has no shift of its own.
        dynamic = config.get("use_dynamic_shifting", False)
        self._shift = 1.0 if dynamic else float(config.get("shift", 1.0))
        self._density = density

    @property
    def steps(self) -> int:
        """See `Noising`."""
        return self._steps

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times as the source draws them, float32, `(count,)`."""
        if self._density == UNIFORM:
            share = torch.rand(count, generator=generator)
        else:
            share = torch.randn(count, generator=generator).sigmoid()
        return self._shift * share / (1 + (self._shift - 1) * share) * self._steps

    def noised_at(self, clean: Tensor, noise: Tensor, times: Tensor) -> Noised:
        """See `Noising`."""
        s = (times / self._steps).view(-1, 1, 1, 1).to(clean)
        return Noised((1 - s) * clean + s * noise, times, noise - clean)


def noised(noising: Noising, clean: Tensor, generator: torch.Generator, alike: int = 1) -> Noised:
    """Noise latents at times drawn as a model is trained.

    Args:
        noising: How the model's latents are noised.
        clean: `(n, channels, height, width)`.
        generator: Generator of noise and times.
        alike: Parts of the batch, one after another, that get the same noise and times.
    """
    count = len(clean) // alike
    noise = torch.randn(clean[:count].shape, generator=generator)
    times = noising.times(count, generator)
    return noising.noised_at(clean, noise.repeat(alike, 1, 1, 1), times.repeat(alike))
