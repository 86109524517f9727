"""Fine-tuning a group of the UNet's parameters: what CA and DAPT share.

The parameters learn in float32 in a copy of the UNet; VAE and text encoder are frozen, so latents
and text states are computed once. What changed is kept as an overlay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from livo_bench.engines import overlay
from livo_bench.methods.training import latents, processes
from livo_bench.methods.training.fitting import Fit, Schedule, fit
from livo_bench.methods.training.loop import mixed
from livo_bench.methods.training.parameters import GROUPS, names_in
from livo_bench.runs.session import Session
from livo_bench.schema import at_least, one_of


@dataclass(frozen=True, slots=True)
class Settings:
    """How a group of parameters is fine-tuned."""

    parameters: Annotated[str, one_of(GROUPS)]
    """A group of them."""
    steps: Annotated[int, at_least(1)]
    batch: Annotated[int, at_least(1)]
    """Pictures a step."""
    lr: Annotated[float, at_least(0)]
    """Constant."""
    weight_decay: Annotated[float, at_least(0)]
    precision: Annotated[str, one_of(("no", "bf16"))]
    """Of the forward pass: `no` for float32, `bf16` for mixed."""
    gradient_checkpointing: bool


class Noised(NamedTuple):
    """Noisy latents of n pictures, and what the UNet is to say of them."""

    latents: Tensor
    """`(n, channels, height, width)`, float32."""
    times: Tensor
    """`(n,)`."""
    targets: Tensor
    """Like the latents."""


Example = Mapping[str, int]
"""A picture, by row of the moments as `picture`, and rows of texts by role, such as `prompt`."""

Loss = Callable[["Finetuning", Noised, Sequence[Example]], Tensor]
"""Scalar loss of a batch."""
Draw = Callable[[np.random.Generator], Example]
"""Draws one example."""


class Finetuning:
    """A copy of a model's UNet of which one group of parameters learns."""

    def __init__(self, session: Session, settings: Settings, texts: Sequence[str]) -> None:
        """
        Args:
            session: Of the model.
            settings: What learns, and how.
            texts: That examples name by row.
        """
        engine = session.engine
        self.session = session
        self.settings = settings
        self.unet: UNet2DConditionModel = deepcopy(engine.unet).float().train()
        self._names = names_in(settings.parameters, (n for n, _ in self.unet.named_parameters()))
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_(name in set(self._names))
        if self.unet.device.type == "cpu":
            # The backward pass of fused bf16 attention is several times slower on a CPU.
            self.unet.set_attn_processor(AttnProcessor())
        if settings.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        self._noising = DDPMScheduler.from_config(engine.scheduler_config)
        self._scaling: float = engine.vae.config.scaling_factor
        with torch.no_grad():
            self._states = torch.stack([engine.embed(text) for text in texts]).float()

    def fit(
        self,
        name: str,
        moments: latents.Moments,
        draw: Draw,
        loss: Loss,
        seed: int,
        folder: Path,
        of: str,
    ) -> Fit:
        """Train, or go on where a checkpoint lies.

        Args:
            name: Of the checkpoint and of the overlay.
            moments: Of all pictures.
            draw: Draws the examples of a batch, one by one.
            loss: Of a batch.
            seed: Of examples and noise.
            folder: For the checkpoint, and for the finished overlay `<name>.safetensors`.
            of: Digest of the training, which its checkpoint carries.
        """
        settings = self.settings
        part = processes.part(settings.batch)

        def step(number: int, generator: torch.Generator) -> Tensor:
            rng = np.random.default_rng([seed, number])
            examples = [draw(rng) for _ in range(settings.batch)]
            rows = [example["picture"] for example in examples]
            noised = self._noised(latents.draw(moments, rows, self._scaling, generator), generator)
            # Drawn whole by every process, so that how many there are changes no draw.
            with mixed(self.unet.device.type, settings.precision):
                return loss(self, Noised(*(each[part] for each in noised)), examples[part])

        schedule = Schedule(
            settings.steps,
            settings.batch,
            settings.lr,
            weight_decay=settings.weight_decay,
            constant=True,
            adam_beta_2=0.999,
        )
        place = folder / "checkpoints"
        made = fit(name, self.unet, step, schedule, seed=seed, folder=place, of=of)
        state = self.unet.state_dict()
        changed = {name: state[name] for name in self._names}
        if processes.first():
            overlay.save(changed, self.session.digest, folder / f"{name}.safetensors")
        return made

    def predict(self, noised: Noised, rows: Sequence[int]) -> Tensor:
        """The UNet's prediction under texts, float32, like `noised.targets`.

        Args:
            noised: Noisy latents.
            rows: Of the texts, one a picture.
        """
        states = self._states[list(rows)]
        predicted: Tensor = self.unet(noised.latents, noised.times, states, return_dict=False)[0]
        return predicted.float()

    def _noised(self, clean: Tensor, generator: torch.Generator) -> Noised:
        noise = torch.randn(clean.shape, generator=generator)
        steps = self._noising.config.num_train_timesteps
        times = torch.randint(steps, (len(clean),), generator=generator)
        device = self.unet.device
        return Noised(
            self._noising.add_noise(clean, noise, times).to(device),
            times.to(device),
            latents.target(self._noising, clean, noise, times).to(device),
        )
