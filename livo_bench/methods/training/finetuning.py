"""Fine-tuning a group of the UNet's parameters: what CA, DAPT, ESD and their like share.

The parameters learn in float32 in a copy of the UNet; VAE and text encoder are frozen, so latents
and text states are computed once. What changed is kept as an overlay, or as a LoRA where one learns
in the group's place. The model's own UNet is at hand as `frozen`, for methods that learn from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from livo_bench.cards.fields import Table
from livo_bench.engines import lora, noising, overlay
from livo_bench.engines.denoiser import Conditions
from livo_bench.engines.noising import Noised
from livo_bench.methods.training import latents, loop, processes
from livo_bench.methods.training.fitting import Fit, Schedule, Step, fit
from livo_bench.methods.training.loop import mixed
from livo_bench.methods.training.parameters import GROUPS, names_in
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import MOST, Count, Rate, Share, between, one_of


@dataclass(frozen=True, slots=True)
class Settings:
    """How a group of parameters is fine-tuned."""

    parameters: Annotated[str, one_of(GROUPS)]
    """Group of the parameters that learn, out of `GROUPS`."""
    steps: Count
    batch: Count
    """Pictures that are seen at once."""
    lr: Rate
    """Constant, after the warm-up."""
    weight_decay: Share
    precision: Annotated[str, one_of(("no", "fp16", "bf16"))]
    """Precision of the forward pass: `no` for float32, the others for mixed."""
    gradient_checkpointing: bool
    warmup: Annotated[int, between(0, MOST)] = 0
    """Steps over which the rate rises to `lr`."""
    accumulation: Count = 1
    """Batches whose gradients make one step."""
    rank: Annotated[int, between(1, 1024)] | None = None
    """Rank of a LoRA that learns in place of the group's matrices and convolutions; None for no
    LoRA."""


SettingsKind = TypeVar("SettingsKind")


def read_settings(kind: type[SettingsKind], method: str, scale: str) -> SettingsKind:
    """Read the training settings of a method that fine-tunes.

    Args:
        kind: The data class to read; its field `tuning` is of the same table as the others.
        method: Name of the method, as `--method` takes it.
        scale: Scale of the model.

    Raises:
        BadInput: It is not what it should be.
    """
    table = settings_table(method, scale)
    return table.read(kind, tuning=tuning_in(table))


def tuning_in(table: Table) -> Settings:
    """Read how a group is fine-tuned out of a table that holds more.

    Raises:
        BadInput: It is not what it should be, or the warm-up never ends.
    """
    found = table.part(Settings)
    if found.warmup >= found.steps:
        raise table.wrong("warmup", f"fewer than the {found.steps} steps, for the rate rises in it")
    return found


Example = Mapping[str, int]
"""A picture, by row of the moments as `picture`, and rows of texts by role, such as `prompt`."""

Loss = Callable[["Finetuning", Noised, Sequence[Example]], Tensor]
"""Scalar loss of a batch."""
Draw = Callable[[np.random.Generator], Example]
"""Draws one example."""


class Finetuning:
    """A copy of a model's UNet of which one group of parameters learns."""

    def __init__(self, training: Training, settings: Settings, texts: Sequence[str]) -> None:
        """
        Args:
            training: The training that this is part of; of its model a copy learns.
            settings: What learns, and how.
            texts: Texts that examples name by row.
        """
        self.training = training
        self.settings = settings
        self.part = processes.part(settings.batch)
        """Which pictures of a batch are this process's."""
        self.denoiser = training.session.denoiser
        self.frozen = self.denoiser.network
        self.unet: UNet2DConditionModel = deepcopy(self.frozen).float().train()
        self._names = names_in(settings.parameters, (n for n, _ in self.unet.named_parameters()))
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_(name in set(self._names))
        if self.unet.device.type == "cpu":
            # The backward pass of fused bf16 attention is several times slower on a CPU.
            self.unet.set_attn_processor(AttnProcessor())
        if settings.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if settings.rank is not None:
            lora.add(self.unet, self._names, settings.rank, training.seed)
        self._noising = self.denoiser.noising()
        self._conditions = self.denoiser.conditions(texts).to(torch.float32)

    def fit(self, name: str, step: Step) -> Fit:
        """Train, or go on where a checkpoint lies.

        Args:
            name: Name of the checkpoint, and of the finished `<name>.safetensors` in the training's
                folder.
            step: The loss of a batch, see `fitting.fit`.
        """
        settings, training = self.settings, self.training
        schedule = Schedule(
            settings.steps,
            settings.batch,
            settings.lr,
            weight_decay=settings.weight_decay,
            constant=True,
            warmup=settings.warmup,
            accumulation=settings.accumulation,
            adam_beta_2=0.999,
            precision=settings.precision,
        )
        place = training.out / "checkpoints"
        made = fit(
            name, self.unet, step, schedule, seed=training.seed, folder=place, of=training.digest
        )
        if processes.first():
            path = training.out / f"{name}.safetensors"
            if settings.rank is None:
                state = self.unet.state_dict()
                changed = {name: state[name] for name in self._names}
                overlay.save(changed, training.session.digest, path)
            else:
                lora.save(self.unet, path)
        return made

    def denoising(self, moments: latents.Moments, draw: Draw, loss: Loss) -> Step:
        """Steps that learn from stored pictures, noised.

        Args:
            moments: Moments of all pictures.
            draw: Draws the examples of a batch, one by one.
            loss: Loss of a batch.
        """

        def step(number: int, generator: torch.Generator) -> Tensor:
            examples = self.examples(number, draw)
            # Drawn whole by every process, so that how many there are changes no draw.
            clean = self.clean(moments, [example["picture"] for example in examples], generator)
            noised = self.noised(clean, generator)
            mine = Noised(*(each[self.part] for each in noised))
            with self.mixed():
                return loss(self, mine, examples[self.part])

        return step

    def examples(self, number: int, draw: Draw) -> list[Example]:
        """The examples of a batch, all of them, for every process."""
        rng = np.random.default_rng([self.training.seed, number])
        return [draw(rng) for _ in range(self.settings.batch)]

    def clean(
        self, moments: latents.Moments, rows: Sequence[int], generator: torch.Generator
    ) -> Tensor:
        """Latents of stored pictures, float32, `(n, channels, height, width)`."""
        return self.denoiser.scaled(latents.draw(moments, rows, generator))

    @property
    def diffusion_steps(self) -> int:
        """Number of steps of the model's own training; times are from 0 up to one less."""
        return self._noising.steps

    @property
    def learning(self) -> dict[str, Tensor]:
        """The parameters that learn, by name."""
        return {n: p for n, p in self.unet.named_parameters() if p.requires_grad}

    def noised(self, clean: Tensor, generator: torch.Generator, alike: int = 1) -> Noised:
        """Noise latents at times drawn evenly.

        Args:
            clean: `(n, channels, height, width)`.
            generator: Generator of noise and times.
            alike: Parts of the batch, one after another, that get the same noise and times.
        """
        parts = noising.noised(self._noising, clean, generator, alike)
        return Noised(*(part.to(self.unet.device) for part in parts))

    def noised_at(self, clean: Tensor, noise: Tensor, times: Tensor) -> Noised:
        """Noise latents at given times.

        Args:
            clean: `(n, channels, height, width)`.
            noise: Like them.
            times: `(n,)`, out of `diffusion_steps`.
        """
        parts = self._noising.noised_at(clean, noise, times)
        return Noised(*(part.to(self.unet.device) for part in parts))

    def predict(
        self, noised: Noised, rows: Sequence[int], unet: UNet2DConditionModel | None = None
    ) -> Tensor:
        """A UNet's prediction under texts, float32, like `noised.targets`.

        Args:
            noised: Noisy latents.
            rows: Rows of the texts, one a picture.
            unet: The one that learns when None.
        """
        return self.denoiser.predict(noised, self.conditions(rows), unet or self.unet)

    def conditions(self, rows: Sequence[int]) -> Conditions:
        """What the UNet hears of texts, float32, n rows."""
        return self._conditions[rows]

    def mixed(self) -> loop.Block:
        """A block that computes in the precision of the settings."""
        return mixed(self.unet.device.type, self.settings.precision)
