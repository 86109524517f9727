"""What learning takes of a model, whatever its kind: texts and noisy latents in, a prediction out.

    denoiser = session.denoiser
    told = denoiser.conditions(["a nurse", "a doctor"])
    noised = noising.noised(denoiser.noising(), denoiser.scaled(latents), generator)
    said = denoiser.predict(noised, told)            # float32, to be held against noised.targets

A network that learns goes in the place of the model's own: `denoiser.predict(noised, told, copy)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import Module

from livo_bench.engines.noising import LOGIT_NORMAL, DiffusionNoise, Noised, Noising

if TYPE_CHECKING:
    from livo_bench.engines.diffusion import Diffusion


@dataclass(frozen=True)
class Conditions:
    """What a network hears besides noisy latents and times; n rows, one a picture."""

    context: Tensor
    """`(n, tokens, d)`."""
    others: Mapping[str, Tensor] = field(default_factory=dict)
    """Further arguments of the network by name, n along the first axis of each; none of Stable
    Diffusion 1.x and 2.x."""

    def __getitem__(self, rows: Sequence[int]) -> Conditions:
        """The conditions of some rows, in their order."""
        return self._each(lambda tensor: tensor[list(rows)])

    def to(self, dtype: torch.dtype) -> Conditions:
        """The conditions in another dtype."""
        return self._each(lambda tensor: tensor.to(dtype))

    def repeat(self, times: int) -> Conditions:
        """The conditions several times, one after another."""
        return self._each(lambda tensor: torch.cat([tensor] * times))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        others = {name: change(tensor) for name, tensor in self.others.items()}
        return Conditions(change(self.context), others)


def stack(parts: Sequence[Conditions]) -> Conditions:
    """Conditions of several pictures, whose contexts are of one length."""
    names = parts[0].others
    return Conditions(
        torch.cat([part.context for part in parts]),
        {name: torch.cat([part.others[name] for part in parts]) for name in names},
    )


Ask = Callable[[Module, Tensor, Tensor, Conditions], Tensor]
"""Ask a network: noisy latents `(n, channels, height, width)`, times `(n,)` and conditions, all in
its dtype; the prediction has the shape of the latents."""


@dataclass(frozen=True)
class Denoiser:
    """A model's parts as learning takes them; its network is frozen and in the model's dtype."""

    network: Any
    """UNet or transformer."""
    vae: Any
    """Encodes pictures."""
    read: Callable[[str], Conditions]
    """Reads a text, one row."""
    ask: Ask
    noises: Callable[[str], Noising]
    """How latents are noised; takes how the times of a flow are drawn."""
    tokenizer: Any
    """Reads texts, whose tokens come first in the context."""

    def noising(self, density: str = LOGIT_NORMAL) -> Noising:
        """How latents are noised.

        Args:
            density: How the times of a flow are drawn, out of `noising.DENSITIES`; others' evenly.
        """
        return self.noises(density)

    @torch.no_grad()
    def conditions(self, texts: Sequence[str]) -> Conditions:
        """What the network hears of texts, a row each."""
        return stack([self.read(text) for text in texts])

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """Shape of the latents of an image of so many pixels a side."""
        side = size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, side, side

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents of the VAE as the network sees them."""
        config = self.vae.config
        if config.get("latents_mean") is not None and config.get("latents_std") is not None:
            mean, std = (
                torch.tensor(config[name]).view(1, -1, 1, 1).to(latents)
                for name in ("latents_mean", "latents_std")
            )
            return (latents - mean) * config.scaling_factor / std
        return (latents - (config.get("shift_factor") or 0.0)) * config.scaling_factor

    def predict(
        self, noised: Noised, conditions: Conditions, network: Module | None = None
    ) -> Tensor:
        """What a network says of noisy latents, float32, like `noised.targets`.

        Args:
            noised: Noisy latents and their times.
            conditions: A row for each.
            network: The model's own when None.
        """
        network = network or self.network
        dtype: torch.dtype = cast(Any, network).dtype
        said = self.ask(network, noised.latents.to(dtype), noised.times, conditions.to(dtype))
        return said.float()


def of_diffusion(engine: Diffusion) -> Denoiser:
    """What learning takes of a Stable Diffusion 1.x or 2.x."""
    return Denoiser(
        engine.unet,
        engine.vae,
        read=lambda text: Conditions(engine.embed(text)[None]),
        ask=ask_unet,
        noises=lambda _: DiffusionNoise(engine.scheduler_config),
        tokenizer=engine.tokenizer,
    )


def ask_unet(network: Module, noisy: Tensor, times: Tensor, conditions: Conditions) -> Tensor:
    said: Tensor = network(noisy, times, conditions.context, return_dict=False)[0]
    return said
