"""What a training would take, from its settings and the model's card: `livo-bench train --plan`.

Time is counted in evaluations of the network, of which the card says how many there are a second:
those of a sampled image, times its images a second, and how many times slower they are in training.
A backward pass counts like a forward one, and like two where the UNet's own parameters learn.
Memory is what the model, what learns and what autograd keeps take, all as if at once, by the card's
`[memory]` (`benchmarks/memory.py` counts it); the states of texts and LiVO's annotator are not in
it, and an allocator takes more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rich.filesize import decimal

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.readable import PIPELINE
from livo_bench.errors import BadInput
from livo_bench.runs.plan import duration

OF_ANY = (
    *("denoiser", "text", "vae", "value_encoder", "latents"),
    *("value_encoder_learns", "context_learns", "context_learns_checkpointed"),
)
"""What the table `[memory]` says in the card of every model that something trains on."""
OF_DIFFUSION = (
    *("attn", "cross-attn", "xattn"),
    *("denoiser_learns", "denoiser_learns_checkpointed"),
)
"""What it says besides of Stable Diffusion 1.x and 2.x, whose UNet may learn."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
MOMENTS = 8
"""Bytes of AdamW's two moments of a parameter, in float32."""
LEARNING = 4 + MOMENTS
"""Bytes of a parameter that learns besides itself: of its gradient, and of these."""


Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training would take; `str()` says it with its arithmetic."""

    title: str
    data_seconds: tuple[float, float]
    """Least and most seconds for the images that are made for it, if none of them is stored."""
    disk: tuple[int, int]
    """Least and most bytes of these images on disk; 0 where no image is stored."""
    arithmetic: tuple[str, ...]
    seconds: float = 0
    """Seconds of training alone, on one device."""
    dev_seconds: float = 0
    """Seconds for the images that the first process looks at on the way, while others wait."""
    memory: int = 0
    """Bytes on a device; 0 where nothing learns by gradients."""

    def __str__(self) -> str:
        said = [f"{self.title}. Images for it: about {_span(self.data_seconds, duration)}."]
        said += [f"Training: about {duration(self.seconds)}."] if self.seconds else []
        said += [f"Dev images: about {duration(self.dev_seconds)}."] if self.dev_seconds else []
        said += [f"Memory: about {decimal(self.memory)}."] if self.memory else []
        said += [f"Disk: about {_span(self.disk, decimal)}."] if self.disk[1] else []
        return "\n".join([" ".join(said), *(f"    {line}" for line in self.arithmetic)])


@dataclass(frozen=True, slots=True)
class Planned:
    """The training that is asked about."""

    method: str
    """Name of the method, as `--method` takes it."""
    card: ModelCard
    rate: float
    """Images sampled and judged per second."""
    steps: int | None
    """Steps of a value encoder; the training settings' when None."""
    data_settings: Path
    """Settings of the preference data."""

    @property
    def title(self) -> str:
        """What is trained on what, as the plan begins."""
        return f"{self.method} on {self.card.name}"


@dataclass(frozen=True, slots=True)
class Images:
    """Images that are made to learn from."""

    count: tuple[int, int]
    """Least and most images."""
    counted: Sequence[str]
    """How the count comes about, a line each."""
    each: int
    """Bytes on disk of one image."""
    latents: int = 0
    """Bytes on disk of what is computed from one image."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of learning by gradients, and what all of them need."""

    pictures: int
    passes: str
    """What the UNet does with each, in words."""
    evaluations: int
    """Number of evaluations of the network for each picture."""
    steps: int
    memory: Sequence[tuple[str, int]]
    """Memory, in words how it comes about, and in bytes."""
    checkpoints: tuple[str, int]
    """Checkpoints on disk, in words how they come about, and in bytes."""
    dev: tuple[str, int] | None = None
    """Images that are looked at on the way, in words how they come about, and their number."""


def of_images(planned: Planned, images: Images) -> TrainingPlan:
    """The plan of a training that looks at images, or solves for what it learns."""
    rate = planned.rate
    least, most = images.count
    lines = [*images.counted, f"images: at {rate:g} a second"]
    size = images.each + images.latents
    disk = (least * size, most * size)
    if size:
        each = f"{images.each:,} bytes"
        if images.latents:
            each = f"({images.each:,} bytes + {images.latents:,} of latents)"
        counted = _span(images.count, "{:,}".format)
        lines.append(f"disk: {counted} images x {each} = {_span(disk, decimal)}")
    return TrainingPlan(planned.title, (least / rate, most / rate), disk, tuple(lines))


def of_step(planned: Planned, images: Images, step: Step) -> TrainingPlan:
    """The plan of a training that learns by gradients, from images that are made for it first."""
    without = of_images(planned, images)
    a_step = step.pictures * step.evaluations
    lines = [
        *without.arithmetic,
        f"disk: {step.checkpoints[0]} = {decimal(step.checkpoints[1])}",
        f"a step: {step.pictures} pictures x ({step.passes}) = {a_step} evaluations of the network",
        f"time: {step.steps:,} steps x {a_step} / {in_training(planned)}; n processes take an n-th "
        "of it",
    ]
    if step.dev:
        lines.append(f"dev images: {step.dev[0]} = {step.dev[1]:,}, by the first process alone")
    lines += [f"memory: {said} = {decimal(size)}" for said, size in step.memory]
    least, most = without.disk
    return replace(
        without,
        title=f"{planned.title}: {step.steps:,} steps of {step.pictures} pictures",
        disk=(least + step.checkpoints[1], most + step.checkpoints[1]),
        arithmetic=tuple(lines),
        seconds=step.steps * a_step / evaluations_a_second(planned),
        dev_seconds=step.dev[1] / planned.rate if step.dev else 0,
        memory=sum(size for _, size in step.memory),
    )


def evaluations_of(card: ModelCard) -> int:
    """How often the network is evaluated for one image."""
    return card.steps * (2 if card.guidance != 1 else 1)


def evaluations_a_second(planned: Planned) -> float:
    """How often the network is evaluated a second in training."""
    return planned.rate * evaluations_of(planned.card) / planned.card.slower


def in_training(planned: Planned) -> str:
    """Say how the evaluations a second of training come about."""
    card = planned.card
    slower = f" / {card.slower:g}, for training is slower" if card.slower != 1 else ""
    return f"({planned.rate:g} images a second x {evaluations_of(card)} evaluations{slower})"


def checkpoints(count: int, parameters: int, learns: int) -> tuple[str, int]:
    """What checkpoints take on disk, in words and bytes; one is replaced when the next is there."""
    said = (
        f"checkpoints, ({count} + 1 in writing) x ({parameters:,} x 4 bytes + "
        f"{learns:,} x {MOMENTS})"
    )
    return said, (count + 1) * (parameters * 4 + learns * MOMENTS)


def learnt_from(card: ModelCard, count: tuple[int, int], counted: Sequence[str]) -> Images:
    """Images that stay on disk, with their latents."""
    return Images(count, counted, card.bytes_per_image, memory_of(card)["latents"])


def memory_of(card: ModelCard) -> dict[str, int]:
    """What a card says of memory.

    Raises:
        BadInput: It says nothing, or not all of it.
    """
    wanted = OF_ANY + OF_DIFFUSION * (card.kind == PIPELINE)
    if lacking := [name for name in wanted if name not in card.memory]:
        what = f"fields {', '.join(lacking)} in its" if card.memory else "table"
        raise BadInput(
            f"The card of model {card.name!r} has no {what} [memory], so what a training would "
            "take is not known.",
            "Count it as benchmarks/memory.py does, and add it (see livo-bench show sd15).",
        )
    return dict(card.memory)


def frozen(card: ModelCard) -> list[tuple[str, int]]:
    """What the model itself takes in memory, in words and in bytes."""
    memory = memory_of(card)
    size = BYTES[card.dtype]
    count = memory["denoiser"] + memory["text"] + memory["vae"]
    return [(f"the model, {count:,} parameters x {size} bytes", count * size)]


def weight_of(precision: str) -> int:
    """Bytes of a float32 parameter: itself, and the copy that mixed precision computes with."""
    return 4 if precision == "no" else 6


def activations(network: str, count: int, each: int, full: bool) -> tuple[str, int]:
    """What autograd keeps, which the card gives in mixed precision; in full it is at most twice
    as much."""
    each *= 1 + full
    return f"activations of the {network}, {count} x {each:,} bytes", count * each


def _span(ends: tuple[Number, Number], say: Callable[[Number], str]) -> str:
    least, most = (say(end) for end in ends)
    return least if least == most else f"{least} to {most}"
