"""The generator's text tower: a `CLIPTextModel`, trained against a throw-away image tower.

As in Stable Diffusion the tower is trained before the diffusion model and then frozen. It sees
what diffusers' stock pipeline gives it: padded text, no attention mask.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from livo_bench.methods.training.fitting import Step
from livo_bench.mini.vae import to_tensor

WIDTH = 128


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text tower for the world's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_vision() -> CLIPVisionModel:
    """The image tower the text is trained against."""
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
        )
    )


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Padded and cut to the model's length, int64 `(n, length)`."""
    tokens = tokenizer(
        texts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return tokens["input_ids"]


class Towers(nn.Module):
    """Both towers with their projections into the shared space."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = build(tokenizer)
        self.vision = build_vision()
        self.text_projection = nn.Linear(WIDTH, WIDTH, bias=False)
        self.vision_projection = nn.Linear(WIDTH, WIDTH, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
        for tower in (self.text, self.vision):
            # The backward pass of fused bf16 attention is several times slower on a CPU.
            tower.set_attn_implementation("eager")

    def forward(self, ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of texts `(n, length)` and images `(n, 3, 64, 64)` in [-1, 1]."""
        text = self.text_projection(self.text(ids).pooler_output)
        image = self.vision_projection(self.vision(pixels).pooler_output)
        return F.normalize(text, dim=-1), F.normalize(image, dim=-1)


def contrastive(text: Tensor, image: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric contrastive loss in which equal captions count as each other's positives.

    Args:
        text: Unit vectors `(n, d)`.
        image: Unit vectors `(n, d)`.
        scale: Inverse temperature.
        same: Which rows carry equal captions, bool `(n, n)`.
    """
    logits = scale.clamp(max=100) * text.float() @ image.float().T
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def step(towers: Towers, ids: Tensor, pixels: NDArray[np.uint8], batch: int) -> Step:
    """Loss of one step over captioned renders."""
    device = towers.log_scale.device

    def loss(number: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pixels), (batch,), generator=generator).sort().values
        chosen = ids[rows]
        images = to_tensor(pixels[rows.numpy()]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            text, image = towers(chosen.to(device), images)
        same = (chosen[:, None] == chosen[None]).all(-1).float().to(device)
        return contrastive(text, image, towers.log_scale.exp(), same)

    return loss
