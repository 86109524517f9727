"""De-stereotyping by prompt tuning: behind soft tokens a plain prompt shows all groups evenly.

The soft tokens s stand before the states of a text. With e the frozen model, x a plain prompt, x_a
that with a group written in, which is drawn evenly, and z_t the noised latent of a picture that the
model itself made of x_a::

    L = mse( e(z_t, t, [s, x]), e(z_t, t, x_a) ) + lam mse( e(z_t, t, [s, x_a]), e(z_t, t, x_a) )

The first term is a regression over groups: at its least e(z_t, t, [s, x]) is the mean of what the
groups say of z_t, each weighed by how likely z_t is of it, which is what a model says that draws
all groups evenly. The second keeps prompts that name a group as they are.

Source: the method is that of Kim et al. 2023, De-stereotyping Text-to-image Models through Prompt
Tuning; the loss is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import Subset
from livo_bench.cards.prompts import read_task_prompts, spread, with_attributes
from livo_bench.engines import noising, overlay, soft_tokens
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods import by_value
from livo_bench.methods.by_value import ByValue
from livo_bench.methods.training import latents, own_pictures, processes
from livo_bench.methods.training.fitting import Schedule, Step, fit
from livo_bench.methods.training.loop import mixed
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.records import BIAS, Prompt
from livo_bench.schema import Count, Factor, Rate, between, one_of

LONGEST = 77
"""Tokens of the longest context that a model of Stable Diffusion has."""
ROOM = 8
"""Tokens of the context that are left to the text, its start and end included."""


@dataclass(frozen=True, slots=True)
class PromptTuningSettings:
    """How soft tokens learn on one scale of model."""

    tokens: Annotated[int, between(1, LONGEST - ROOM)]
    """k, the number of soft tokens."""
    concepts: Count
    """Number of concepts of a bias task's train prompts, one prompt each."""
    images: Count
    """Number of images of each of these prompts with each group written in."""
    lam: Factor
    """Weight of prompts that name a group."""
    steps: Count
    batch: Count
    lr: Rate
    """Peak of the learning rate, see `Schedule`."""
    precision: Annotated[str, one_of(("no", "bf16"))]
    """Precision of the pass that learns: `no` for float32, `bf16` for mixed."""
    gradient_checkpointing: bool


def read_settings(method: str, scale: str) -> PromptTuningSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    return settings_table(method, scale).read(PromptTuningSettings)


def loss(mixture: Tensor, kept: Tensor, told: Tensor, lam: float) -> Tensor:
    """Distance from what the frozen model says of a picture's group, a scalar.

    Args:
        mixture: Predictions under soft tokens and the plain prompt, `(n, channels, height, width)`.
        kept: Predictions under soft tokens and the prompt with the group, in the same shape.
        told: Predictions of the frozen model under the prompt with the group, in the same shape.
        lam: Weight of the prompts with groups.
    """
    return mse_loss(mixture, told) + lam * mse_loss(kept, told)


class SoftTokens(nn.Module):
    """Soft tokens that learn, `(k, d)`."""

    def __init__(self, initial: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(initial.clone())

    def forward(self, states: Tensor) -> Tensor:
        """Put them before states of texts `(n, length, d)`."""
        return torch.cat([self.tokens.expand(len(states), -1, -1), states], dim=1)


def train(training: Training) -> Path:
    """Train the soft tokens of each value of the bias tasks.

    Returns:
        The folder, with `<subset>.safetensors` and `training.json`.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    scale = training.session.model.scale
    settings = read_settings(training.method, scale)
    # By its configuration, before the model loads.
    context, _ = overlay.context_shape(training.session.model)
    if settings.tokens > context - ROOM:
        raise BadInput(
            f"The settings of {training.method!r} have {settings.tokens} soft tokens; the model's "
            f"context holds {context}, of which a text needs {ROOM}. Expected at most "
            f"{context - ROOM}."
        )
    training.begin(settings=asdict(settings))
    for task in value_tasks().values():
        if task.kind == BIAS:
            prompts = spread(read_task_prompts(task, scale, split="train"), settings.concepts)
            for subset in task.subsets.values():
                if not training.done(subset.name):
                    minutes = _tune(training, settings, subset, prompts)
                    training.record(subset.name, minutes, f"{subset.name}.safetensors")
    return training.out


def _tune(
    training: Training, settings: PromptTuningSettings, subset: Subset, prompts: Sequence[Prompt]
) -> float:
    """Train the soft tokens of a value; returns the minutes that took."""
    session = training.session
    # The padding that they stand in for, so that they begin as what the model knows.
    soft = SoftTokens(session.engine.embed("")[-settings.tokens :].float())
    schedule = Schedule(
        settings.steps, settings.batch, settings.lr, weight_decay=0, adam_beta_2=0.999
    )
    made = fit(
        subset.name,
        soft,
        _learning(training, settings, soft, prompts, subset.attributes),
        schedule,
        seed=training.seed,
        folder=training.out / "checkpoints",
        of=training.digest,
    )
    if processes.first():
        path = training.out / f"{subset.name}.safetensors"
        soft_tokens.save(soft.tokens, session.digest, path)
    return made.minutes


def _learning(
    training: Training,
    settings: PromptTuningSettings,
    soft: SoftTokens,
    prompts: Sequence[Prompt],
    groups: Sequence[str],
) -> Step:
    """Steps by which soft tokens learn."""
    engine = training.session.engine
    told_apart = [
        (prompt, with_attributes(prompt, [group])) for prompt in prompts for group in groups
    ]
    pictures = own_pictures.of(training, told_apart, settings.images)
    written = [text for _, text in told_apart]
    beside = engine.tokenizer.model_max_length - settings.tokens
    with torch.no_grad():
        whole = torch.stack([engine.embed(text) for text in written]).float()
        texts = [*written, *(prompt.text for prompt in prompts)]
        states = torch.stack([engine.embed(text, beside) for text in texts]).float()
    unet = deepcopy(engine.unet).float().train().requires_grad_(False)
    if unet.device.type == "cpu":
        # The backward pass of fused bf16 attention is several times slower on a CPU.
        unet.set_attn_processor(AttnProcessor())
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    denoiser = training.session.denoiser
    mine = processes.part(settings.batch)

    def step(number: int, generator: torch.Generator) -> Tensor:
        rng = np.random.default_rng([training.seed, number])
        # Drawn whole by every process, so that how many there are changes no draw.
        text = rng.integers(len(written), size=settings.batch)
        drawn = rng.integers(settings.images, size=settings.batch)
        rows = [pictures.rows[t][i] for t, i in zip(text, drawn, strict=True)]
        clean = denoiser.scaled(latents.draw(pictures.moments, rows, generator))
        noisy, times, _ = (
            each[mine].to(unet.device)
            for each in noising.noised(denoiser.noising(), clean, generator)
        )
        named, plain = text[mine], len(written) + text[mine] // len(groups)
        with torch.no_grad():
            told = unet(noisy, times, whole[named]).sample
        with mixed(unet.device.type, settings.precision):
            context = soft(states[np.concatenate([plain, named])])
            said = unet(noisy.repeat(2, 1, 1, 1), times.repeat(2), context).sample
        mixture, kept = said.float().chunk(2)
        return loss(mixture, kept, told, settings.lam)

    return step


def load(context: MethodContext) -> ByValue:
    """Make the method that a card's settings describe, see `by_value.find`."""
    return by_value.find(context, "tokens", "soft tokens", soft_tokens.require_fit)
