"""The world's autoencoder: diffusers' `AutoencoderKL`, 64x64 pixels to 8x8 latents."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from livo_bench.methods.training.fitting import Step

CHANNELS = 8
"""Channels of a latent: with SD's 4 the small badges did not survive 8x downsampling."""

KL_WEIGHT = 1e-3
"""Per latent dimension; the evidence bound under Laplace noise of the reconstruction's size."""


def build() -> AutoencoderKL:
    """An untrained autoencoder; thin at full resolution, where time goes."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
    )


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 `(n, h, w, 3)` to float32 `(n, 3, h, w)` in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def step(vae: AutoencoderKL, pixels: NDArray[np.uint8], batch: int) -> Step:
    """Loss of one step: absolute and squared error, edges, and the divergence from the prior."""
    device = next(vae.parameters()).device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pixels), (batch,), generator=generator).numpy()
        target = to_tensor(pixels[np.sort(rows)]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(target).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
            output = vae.decode(posterior.mean + posterior.std * noise).sample
        output = output.float()
        edges = sum((output.diff(dim=axis) - target.diff(dim=axis)).abs().mean() for axis in (2, 3))
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        error = F.l1_loss(output, target) + 2 * F.mse_loss(output, target)
        return error + 0.5 * edges + KL_WEIGHT * kl

    return loss
