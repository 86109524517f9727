"""The world's flow transformer: diffusers' `SD3Transformer2DModel` with two CLIP towers.

It learns the straight path from pictures to noise (Esser et al. 2024, arXiv 2403.03206): at sigma
in [0, 1] a latent is (1 - sigma) x_0 + sigma epsilon, and its velocity epsilon - x_0 is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from livo_bench.methods.training.fitting import Step
from livo_bench.mini.unet import CAPTION_DROPOUT
from livo_bench.mini.vae import CHANNELS

HEADS, HEAD_WIDTH, LAYERS = 5, 32, 6
SECOND_WIDTH = 96
TIMES = 1000
"""What the transformer is told is sigma times this."""


def build(text_width: int) -> SD3Transformer2DModel:
    """An untrained transformer of 8x8 latents, one token a latent.

    Args:
        text_width: Width of both towers' states together, and of their pooled vectors.
    """
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=LAYERS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        caption_projection_dim=HEADS * HEAD_WIDTH,
        joint_attention_dim=text_width,
        pooled_projection_dim=text_width,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    # The backward pass of fused bf16 attention is several times slower on a CPU.
    transformer.set_attention_backend("_native_math")
    return transformer


def first_tower(text: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The text tower of the world's UNet in the form of SD 3, whose projection changes nothing."""
    tower = CLIPTextModelWithProjection(text.config)
    tower.text_model.load_state_dict(text.state_dict())
    nn.init.eye_(tower.text_projection.weight)
    return tower.eval().requires_grad_(False)


def second_tower(like: CLIPTextConfig) -> CLIPTextModelWithProjection:
    """An untrained smaller tower, which learns with the transformer; of the same tokenizer."""
    config = CLIPTextConfig(
        vocab_size=like.vocab_size,
        hidden_size=SECOND_WIDTH,
        intermediate_size=3 * SECOND_WIDTH,
        projection_dim=SECOND_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=like.max_position_embeddings,
        bos_token_id=like.bos_token_id,
        eos_token_id=like.eos_token_id,
        pad_token_id=like.pad_token_id,
    )
    tower = CLIPTextModelWithProjection(config)
    tower.set_attn_implementation("eager")
    return tower


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The sampler saved with the pipeline: Euler, times not shifted, as pictures are small."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMES, shift=1.0)


@dataclass(frozen=True, slots=True)
class Said:
    """What a tower makes of texts."""

    states: Tensor
    """Of its last layer but one, as SD 3 takes them, `(n, length, width)`."""
    pooled: Tensor
    """`(n, width)`."""

    @staticmethod
    def by(tower: CLIPTextModelWithProjection, ids: Tensor) -> Said:
        """Read token ids, int64 `(n, length)`."""
        read = tower(ids, output_hidden_states=True)
        return Said(read.hidden_states[-2], read.text_embeds)

    @staticmethod
    @torch.no_grad()
    def cached(tower: CLIPTextModelWithProjection, ids: Tensor, batch: int = 512) -> Said:
        """Read many texts with a frozen tower; float16 on the CPU."""
        parts = [Said.by(tower, part.to(tower.device)) for part in ids.split(batch)]
        return Said(
            torch.cat([part.states.half().cpu() for part in parts]),
            torch.cat([part.pooled.half().cpu() for part in parts]),
        )

    def beside(self, other: Said, rows: Tensor) -> tuple[Tensor, Tensor]:
        """States and pooled vectors of these texts' `rows`, and of the other tower behind them."""
        device = other.states.device
        return (
            torch.cat([self.states[rows].float().to(device), other.states], dim=-1),
            torch.cat([self.pooled[rows].float().to(device), other.pooled], dim=-1),
        )


def step(
    model: nn.ModuleDict,
    latents: Tensor,
    normal: tuple[float, float],
    ids: Tensor,
    first: Said,
    caption_of: Tensor,
    batch: int,
) -> Step:
    """Loss of one step: the velocity of latents at logit-normal sigmas.

    Args:
        model: `transformer` and `second`, the tower that learns with it.
        latents: Moments of all images, `(n, 2, channels, 8, 8)`.
        normal: What is subtracted from latents, and what they are then multiplied by.
        ids: Tokens of the distinct captions, then of the empty text, int64 `(m + 1, length)`.
        first: What the frozen tower makes of them.
        caption_of: Which caption belongs to each image, int64 `(n,)`.
        batch: Images of a step.
    """
    transformer = model["transformer"]
    second = cast(CLIPTextModelWithProjection, model["second"])
    device = next(transformer.parameters()).device
    shift, scaling = normal

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (batch,), generator=generator)
        mean, std = latents[rows].unbind(1)
        clean = scaling * (mean + std * torch.randn(mean.shape, generator=generator) - shift)
        noise = torch.randn(clean.shape, generator=generator)
        sigmas = torch.randn(batch, generator=generator).sigmoid()
        dropped = torch.rand(batch, generator=generator) < CAPTION_DROPOUT
        texts = torch.where(dropped, len(ids) - 1, caption_of[rows])
        at = sigmas[:, None, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            states, pooled = first.beside(Said.by(second, ids[texts].to(device)), texts)
            velocity = transformer(
                hidden_states=((1 - at) * clean + at * noise).to(device),
                timestep=(TIMES * sigmas).to(device),
                encoder_hidden_states=states,
                pooled_projections=pooled,
            ).sample
        return (velocity.float() - (noise - clean).to(device)).square().mean()

    return loss
