"""What the networks of some pipelines hear of a text, and how each is asked.

Of these kinds the parts can be driven one by one, so that methods may put a token of their own
before a text, and learn; others are called as they are::

    kind                        context, d wide                           besides
    StableDiffusionXLPipeline   states of two CLIP towers, side by side   pooled text, sizes
    StableDiffusion3Pipeline    the same and zeros, then T5's states      pooled text
    FluxPipeline                T5's states                               pooled text, guidance

None of the networks knows the places of a text's tokens, so their order changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from diffusers import FluxPipeline
from torch import Tensor
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel

from livo_bench.cards.declared import ModelCard
from livo_bench.engines.denoiser import Ask, Conditions, Denoiser
from livo_bench.engines.noising import DiffusionNoise, FlowNoise, Noising


class Told(NamedTuple):
    """What a pipeline makes of a text."""

    context: Tensor
    """`(1, tokens, d)`."""
    pooled: Tensor
    """`(1, p)`."""


def _told_xl(pipeline: Any, text: str, most: int) -> Told:
    context, _, pooled, _ = pipeline.encode_prompt(
        text, device=pipeline._execution_device, do_classifier_free_guidance=False
    )
    return Told(context, pooled)


def _told_3(pipeline: Any, text: str, most: int) -> Told:
    context, _, pooled, _ = pipeline.encode_prompt(
        text,
        prompt_2=None,
        prompt_3=None,
        device=pipeline._execution_device,
        do_classifier_free_guidance=False,
        max_sequence_length=most,
    )
    return Told(context, pooled)


def _told_flux(pipeline: Any, text: str, most: int) -> Told:
    context, pooled, _ = pipeline.encode_prompt(
        text, device=pipeline._execution_device, max_sequence_length=most
    )
    return Told(context, pooled)


def _ask_xl(network: Module, noisy: Tensor, times: Tensor, told: Conditions) -> Tensor:
    others = dict(told.others)
    said: Tensor = network(noisy, times, told.context, added_cond_kwargs=others, return_dict=False)[
        0
    ]
    return said


def _ask_3(network: Module, noisy: Tensor, times: Tensor, told: Conditions) -> Tensor:
    with _attention(noisy.device):
        said: Tensor = network(
            noisy,
            encoder_hidden_states=told.context,
            timestep=times,
            return_dict=False,
            **told.others,
        )[0]
    return said


def _ask_flux(network: Module, noisy: Tensor, times: Tensor, told: Conditions) -> Tensor:
    """Ask FLUX, which takes squares of four latents as one token, and times in [0, 1]."""
    n, channels, height, width = noisy.shape
    places = FluxPipeline._prepare_latent_image_ids(
        n, height // 2, width // 2, noisy.device, noisy.dtype
    )
    with _attention(noisy.device):
        said = network(
            hidden_states=FluxPipeline._pack_latents(noisy, n, channels, height, width),
            encoder_hidden_states=told.context,
            timestep=times / 1000,
            txt_ids=torch.zeros(told.context.shape[1], 3).to(places),
            img_ids=places,
            return_dict=False,
            **told.others,
        )[0]
    unpacked: Tensor = FluxPipeline._unpack_latents(said, height, width, vae_scale_factor=1)
    return unpacked


def _attention(device: torch.device) -> AbstractContextManager[object]:
    """A block in which a transformer attends in the way that is fast where it is."""
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # The backward pass of fused bf16 attention is slower on a CPU.
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


class Hearing(NamedTuple):
    """How pipelines of one kind are told of a text."""

    tell: Callable[[Any, str, int], Told]
    """What a pipeline makes of a text, of which T5 reads so many tokens."""
    network: str
    """Name of the part that predicts."""
    pooled: str
    """Name of the pooled text, as the network takes it."""
    tokenizer: str
    """Name of the part whose tokens come first in the context."""
    clip: bool
    """Whether these are CLIP's."""
    ask: Ask


HEARINGS = {
    "StableDiffusionXLPipeline": Hearing(
        _told_xl, "unet", "text_embeds", "tokenizer", True, _ask_xl
    ),
    "StableDiffusion3Pipeline": Hearing(
        _told_3, "transformer", "pooled_projections", "tokenizer", True, _ask_3
    ),
    "FluxPipeline": Hearing(
        _told_flux, "transformer", "pooled_projections", "tokenizer_2", False, _ask_flux
    ),
}
"""Kinds whose parts can be driven one by one, besides Stable Diffusion 1.x and 2.x."""


def hearing_of(pipeline: Any) -> Hearing:
    """How a pipeline out of `HEARINGS` is told of a text."""
    return HEARINGS[type(pipeline).__name__]


def tell(pipeline: Any, text: str | None, most: int) -> Told:
    """What a pipeline makes of a text, by its own `encode_prompt`.

    Args:
        pipeline: Of a kind out of `HEARINGS`.
        text: None for what it guides away from where it is given no negative prompt.
        most: Tokens that T5 reads, where there is one.
    """
    told = hearing_of(pipeline).tell(pipeline, text or "", most)
    if text is None and getattr(pipeline.config, "force_zeros_for_empty_prompt", False):
        return Told(torch.zeros_like(told.context), torch.zeros_like(told.pooled))
    return told


def seats(pipeline: Any, most: int) -> int:
    """How many tokens of a text come first in the context, before what another encoder adds."""
    longest: int = pipeline.tokenizer.model_max_length
    return longest if hearing_of(pipeline).clip else most


def denoiser(pipeline: Any, card: ModelCard, most: int) -> Denoiser:
    """What learning takes of a pipeline.

    Args:
        pipeline: Of a kind out of `HEARINGS`, its networks on the device.
        card: Card of the model, whose size and guidance its network may be told.
        most: Tokens that T5 reads, where there is one.
    """
    hearing = hearing_of(pipeline)
    network = getattr(pipeline, hearing.network)
    besides = _besides(network, card)

    def read(text: str) -> Conditions:
        told = tell(pipeline, text, most)
        others = {name: value.to(told.context.device) for name, value in besides.items()}
        return Conditions(told.context, {hearing.pooled: told.pooled, **others})

    def noises(density: str) -> Noising:
        config = pipeline.scheduler.config
        return DiffusionNoise(config) if hearing.network == "unet" else FlowNoise(config, density)

    vae = pipeline.vae
    if hearing.network == "unet" and vae.dtype == torch.float16 and vae.config.force_upcast:
        # As the pipeline itself does: its numbers go past those of half precision.
        vae = copy.deepcopy(vae).float()
    return Denoiser(network, vae, read, hearing.ask, noises, pipeline.tokenizer)


def _besides(network: Any, card: ModelCard) -> Mapping[str, Tensor]:
    """What a network is told besides texts, one row."""
    if getattr(network.config, "addition_embed_type", None) == "text_time":
        size = float(card.size)
        return {"time_ids": torch.tensor([[size, size, 0.0, 0.0, size, size]])}
    if getattr(network.config, "guidance_embeds", False):
        return {"guidance": torch.tensor([card.guidance])}
    return {}
