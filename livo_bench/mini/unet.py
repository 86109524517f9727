"""The world's denoiser: diffusers' `UNet2DConditionModel` in Stable Diffusion's noise schedule."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import compute_snr
from torch import Tensor
from transformers import CLIPTextModel

from livo_bench.methods.training.fitting import Step
from livo_bench.mini.vae import CHANNELS

CAPTION_DROPOUT = 0.1
"""Share of captions replaced by the empty text, for classifier-free guidance."""
SNR_GAMMA = 5.0
"""Loss weight min(SNR, gamma) / SNR (Hang et al. 2023, arXiv 2303.09556)."""

SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def build(text_width: int) -> UNet2DConditionModel:
    """An untrained denoiser of 8x8 latents with cross-attention at both resolutions."""
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(96, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    # The backward pass of fused bf16 attention is several times slower on a CPU.
    unet.set_attn_processor(AttnProcessor())
    return unet


def scheduler() -> DPMSolverMultistepScheduler:
    """The sampler saved with the pipeline, in the settings SD 1.5's config resolves to."""
    return DPMSolverMultistepScheduler(**SCHEDULE, steps_offset=1)


@torch.no_grad()
def encode_texts(text: CLIPTextModel, ids: Tensor, batch: int = 512) -> Tensor:
    """Token states of padded texts, float16 `(n, length, width)` on the CPU."""
    device = text.device
    return torch.cat([text(part.to(device))[0].half().cpu() for part in ids.split(batch)])


@torch.no_grad()
def moments(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior mean and standard deviation, stacked: float32 `(n, 2, channels, 8, 8)`."""
    posterior = vae.encode(images).latent_dist
    return torch.stack([posterior.mean, posterior.std], dim=1)


Context = Callable[[Tensor, Tensor], Tensor]
"""Rows of a batch, int64 `(b,)`, and which of them go without caption, bool `(b,)`, to text states
`(b, length, width)`."""


def cached(states: Tensor, caption_of: Tensor, empty: Tensor) -> Context:
    """Text states computed beforehand, by a frozen tower.

    Args:
        states: States of the distinct captions, `(m, length, width)`.
        caption_of: Which caption belongs to each image, int64 `(n,)`.
        empty: States of the empty text, `(length, width)`.
    """
    return lambda rows, dropped: torch.where(
        dropped[:, None, None], empty, states[caption_of[rows]]
    ).float()


def live(text: CLIPTextModel, ids: Tensor, empty: Tensor) -> Context:
    """Text states of a tower that is being trained.

    Args:
        ids: Tokens of each image's caption, int64 `(n, length)`.
        empty: Token ids of the empty text, int64 `(length,)`.
    """
    return lambda rows, dropped: (
        text(torch.where(dropped[:, None], empty, ids[rows]).to(text.device)).last_hidden_state
    )


def step(
    unet: UNet2DConditionModel, latents: Tensor, scaling: float, context: Context, batch: int
) -> Step:
    """Loss of one step: noise prediction from cached latents.

    Args:
        latents: Moments of all images, `(n, 2, channels, 8, 8)`.
        scaling: The autoencoder's scaling factor.
        context: What the captions say.
    """
    noise_schedule = DDPMScheduler(**SCHEDULE)
    device = unet.device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (batch,), generator=generator)
        mean, std = latents[rows].unbind(1)
        clean = scaling * (mean + std * torch.randn(mean.shape, generator=generator))
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(1000, (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < CAPTION_DROPOUT
        noisy = noise_schedule.add_noise(clean, noise, times)
        with torch.autocast(device.type, torch.bfloat16):
            said = context(rows, dropped).to(device)
            predicted = unet(noisy.to(device), times.to(device), said).sample
        error = (predicted.float() - noise.to(device)).square().mean(dim=(1, 2, 3))
        snr = compute_snr(noise_schedule, times).to(device)
        return (error * snr.clamp(max=SNR_GAMMA) / snr).mean()

    return loss
