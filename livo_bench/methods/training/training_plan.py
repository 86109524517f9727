"""What a training would take, from its recipe and the model's card: `livo-bench train --plan`.

Time is counted in evaluations of the UNet, of which the card says how many there are a second:
those of a sampled image, times its images a second. A backward pass counts like a forward one, and
like two where the UNet's own parameters learn. Memory is what the model, what learns and what
autograd keeps take, all as if at once, by the card's `[memory]` (`benchmarks/memory.py` counts it);
the states of texts and LiVO's annotator are not in it, and an allocator takes more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rich.filesize import decimal

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import read_task_prompts, read_value_free_prompts, spread
from livo_bench.errors import BadInput
from livo_bench.methods import (
    concept_ablation,
    dapt,
    diffusion_dpo,
    esd,
    fair_diffusion,
    forget_me_not,
    prompt_tuning,
    selective_amnesia,
    uce,
)
from livo_bench.methods import reward_weighted as rwft
from livo_bench.methods.livo import calibration, dev, preference, recipe
from livo_bench.methods.training import finetuning
from livo_bench.records import BIAS
from livo_bench.runs.plan import duration

MEMORY = (
    *("unet", "text", "vae", "latents", "attn", "cross-attn", "xattn"),
    *("text_learns", "context_learns", "context_learns_checkpointed"),
    *("unet_learns", "unet_learns_checkpointed"),
)
"""What a card's table `[memory]` says."""
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
    """Least and most, of the images that are made for it, if none of them is stored."""
    disk: tuple[int, int]
    """Bytes, likewise; 0 where no image is stored."""
    arithmetic: tuple[str, ...]
    seconds: float = 0
    """Of training alone, on one device."""
    dev_seconds: float = 0
    """Of images that the first process looks at on the way, while the others wait."""
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
    """As `--method` takes it."""
    card: ModelCard
    rate: float
    """Images sampled and judged per second."""
    steps: int | None
    """Steps of a value encoder; the recipe's when None."""
    settings: Path
    """Settings of the preference data."""

    @property
    def title(self) -> str:
        """What is trained on what, as the plan begins."""
        return f"{self.method} on {self.card.name}"


@dataclass(frozen=True, slots=True)
class _Images:
    """Images that are made to learn from."""

    count: tuple[int, int]
    """Least and most."""
    counted: Sequence[str]
    """How that comes about."""
    each: int
    """Bytes on disk."""
    latents: int = 0
    """Likewise, of what is computed from it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of learning by gradients, and what all of them need."""

    pictures: int
    passes: str
    """What the UNet does with each, in words."""
    evaluations: int
    """The same, counted."""
    steps: int
    memory: Sequence[tuple[str, int]]
    """How they come about, and bytes."""
    checkpoints: tuple[str, int]
    """Likewise."""
    dev: tuple[str, int] | None = None
    """Images that are looked at on the way, likewise."""


def edits(planned: Planned) -> TrainingPlan:
    """What UCE's edits take, which are solved and balanced by looking at images."""
    made = uce.read_recipe(planned.method, planned.card.scale)
    biases = [c for task in value_tasks().values() if task.kind == BIAS for c in task.categories]
    of_round = made.images * made.concepts * len(biases)
    least, most = 2 * of_round, (made.rounds + 1) * of_round
    said = (
        f"images: 2 to {made.rounds + 1} rounds x {made.images} images x {made.concepts} concepts "
        f"x {len(biases)} categories = {least:,} to {most:,}; a concept that is as even as "
        f"{made.images} images can tell is left out until the last round, which looks at the edit"
    )
    return _of_images(planned, _Images((least, most), [said], each=0))


def solved(planned: Planned) -> TrainingPlan:
    """What RECE and DebiasVL take, which are solved from text states in seconds."""
    return _of_images(planned, _Images((0, 0), ["images: none, for it is solved for"], each=0))


def majorities(planned: Planned) -> TrainingPlan:
    """What finding FD's majorities takes."""
    card = planned.card
    prompts = sum(_count(card, "bias", split) for split in ("dev", "eval"))
    count = fair_diffusion.PILOTS * prompts
    said = f"images: {fair_diffusion.PILOTS} of each of {prompts:,} prompts = {count:,}"
    return _of_images(planned, _Images((count, count), [said], card.bytes_per_image))


def ablation(planned: Planned) -> TrainingPlan:
    """What CA takes: anchor pictures, and one fine-tuning a hazard."""
    step, images = _ablation(planned.method, planned.card)
    return _of_step(planned, images, step)


def adaptation(planned: Planned) -> TrainingPlan:
    """What DAPT takes: the preference data of all values, and one fine-tuning."""
    images = _preferences(planned.card, planned.settings, tuple(value_tasks()))
    return _of_step(planned, images, _adaptation(planned.method, planned.card))


def preferring(planned: Planned) -> TrainingPlan:
    """What Diffusion-DPO takes: the preference data of all values, and one fine-tuning in which the
    frozen UNet sees both pictures of a pair, too."""
    card = planned.card
    images = _preferences(card, planned.settings, tuple(value_tasks()))
    settings = diffusion_dpo.read_recipe(planned.method, card.scale).settings
    step = _finetuning(settings, card, 2 * settings.batch, overlays=1)
    passes, evaluations = f"reference + {step.passes}", 1 + step.evaluations
    return _of_step(planned, images, replace(step, passes=passes, evaluations=evaluations))


def steering_away(planned: Planned) -> TrainingPlan:
    """What ESD takes: one fine-tuning a hazard, on pictures that are drawn on the way."""
    card = planned.card
    settings = esd.read_recipe(planned.method, card.scale).settings
    step = _finetuning(settings, card, settings.batch, overlays=len(_hazards()))
    drawn = f"half of {card.steps} steps with guidance + 2 of the frozen UNet"
    step = replace(
        step,
        passes=f"{drawn} + {step.passes}",
        evaluations=card.steps + 2 + step.evaluations,
    )
    none = "images: none but those that are drawn within the steps"
    return _of_step(planned, _Images((0, 0), [none], each=0), step)


def reward_weighted(planned: Planned) -> TrainingPlan:
    """What RWFT takes: the preference data of all values, own pictures, and one fine-tuning."""
    card = planned.card
    made = rwft.read_recipe(planned.method, card.scale)
    found = _preferences(card, planned.settings, tuple(value_tasks()))
    prompts = len(read_value_free_prompts(card.scale, "train"))
    own = made.images * prompts
    said = f"images: {made.images} of each of {prompts:,} prompts that touch no value = {own:,}"
    least, most = found.count
    images = replace(found, count=(least + own, most + own), counted=[*found.counted, said])
    return _of_step(
        planned, images, _finetuning(made.settings, card, 2 * made.settings.batch, overlays=1)
    )


def soft_tokens(planned: Planned) -> TrainingPlan:
    """What prompt tuning takes: pictures of groups, and for each value its tokens."""
    card = planned.card
    made = prompt_tuning.read_recipe(planned.method, card.scale)
    count, lines, values = 0, [], 0
    for task in value_tasks().values():
        if task.kind == BIAS:
            prompts = len(spread(read_task_prompts(task, card.scale, "train"), made.concepts))
            for subset in task.subsets.values():
                groups = len(subset.attributes)
                of_value = made.images * groups * prompts
                count, values = count + of_value, values + 1
                lines.append(
                    f"images: {made.images} of each of {groups} groups of {subset.name} in "
                    f"{prompts:,} prompts = {of_value:,}"
                )
    again = made.gradient_checkpointing
    memory, full = _memory(card), made.precision == "no"
    unet, weight = memory["unet"], _weight(made.precision)
    kept = memory["context_learns" + "_checkpointed" * again]
    step = _Step(
        pictures=made.batch,
        passes="reference + 2 forward + 2 backward" + " + 2 forward again" * again,
        evaluations=5 + 2 * again,
        steps=made.steps * values,
        memory=[
            *_frozen(card),
            (f"a copy of its UNet, {unet:,} x {weight} bytes", unet * weight),
            _activations("UNet", 2 * made.batch, kept, full),
        ],
        checkpoints=("checkpoints of a few tokens", 0),
    )
    return _of_step(planned, _learnt_from(card, (count, count), lines), step)


def resteering(planned: Planned) -> TrainingPlan:
    """What Forget-Me-Not takes: pictures of hazards, and one fine-tuning a hazard."""
    card = planned.card
    made = forget_me_not.read_recipe(planned.method, card.scale)
    count, said = _of_prompts(card, made.pictures, "toxicity")
    step = _finetuning(made.settings, card, made.settings.batch, overlays=len(_hazards()))
    return _of_step(planned, _learnt_from(card, (count, count), [said]), step)


def amnesia(planned: Planned) -> TrainingPlan:
    """What Selective Amnesia takes: surrogates and replayed pictures, one Fisher pass, and one
    fine-tuning a hazard."""
    card = planned.card
    made = selective_amnesia.read_recipe(planned.method, card.scale)
    surrogates, of_hazards = _of_prompts(card, made.anchors, "toxicity")
    replayed, of_people = _of_prompts(card, made.replayed, "bias")
    count = surrogates + replayed
    images = _learnt_from(card, (count, count), [of_hazards, of_people])
    step = _finetuning(made.settings, card, 2 * made.settings.batch, overlays=len(_hazards()))
    learns = _learns(made.settings, card)
    held = f"Fisher information and the weights at the start, {learns:,} x 8 bytes"
    found = _of_step(planned, images, replace(step, memory=[*step.memory, (held, learns * 8)]))
    passed = replayed * made.times * step.evaluations
    seconds = passed / (planned.rate * _evaluations(card))
    line = (
        f"Fisher pass: {replayed:,} pictures x {made.times} times x ({step.passes}) = {passed:,} "
        f"evaluations = {duration(seconds)}, and {decimal(learns * 4)} on disk"
    )
    return replace(
        found,
        arithmetic=(*found.arithmetic, line),
        seconds=found.seconds + seconds,
        disk=(found.disk[0] + learns * 4, found.disk[1] + learns * 4),
    )


def value_encoder(planned: Planned) -> TrainingPlan:
    """What a value encoder takes: the preference data of its values, and its training."""
    chosen = recipe.read(planned.method, planned.card.scale)
    tasks = preference.tasks_of(chosen.coefficients)
    images = _preferences(planned.card, planned.settings, tasks)
    chosen = replace(chosen, steps=planned.steps or chosen.steps)
    return _of_step(planned, images, _value_encoder(chosen, planned.card))


def _of_images(planned: Planned, images: _Images) -> TrainingPlan:
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


def _of_step(planned: Planned, images: _Images, step: _Step) -> TrainingPlan:
    card, rate = planned.card, planned.rate
    of_images = _of_images(planned, images)
    evaluations = _evaluations(card)
    a_step = step.pictures * step.evaluations
    lines = [
        *of_images.arithmetic,
        f"disk: {step.checkpoints[0]} = {decimal(step.checkpoints[1])}",
        f"a step: {step.pictures} pictures x ({step.passes}) = {a_step} evaluations of the UNet",
        f"time: {step.steps:,} steps x {a_step} / ({rate:g} images a second x {evaluations} "
        f"evaluations an image); n processes take an n-th of it",
    ]
    if step.dev:
        lines.append(f"dev images: {step.dev[0]} = {step.dev[1]:,}, by the first process alone")
    lines += [f"memory: {said} = {decimal(size)}" for said, size in step.memory]
    least, most = of_images.disk
    return replace(
        of_images,
        title=f"{planned.title}: {step.steps:,} steps of {step.pictures} pictures",
        disk=(least + step.checkpoints[1], most + step.checkpoints[1]),
        arithmetic=tuple(lines),
        seconds=step.steps * a_step / (rate * evaluations),
        dev_seconds=step.dev[1] / rate if step.dev else 0,
        memory=sum(size for _, size in step.memory),
    )


def _evaluations(card: ModelCard) -> int:
    """Of the UNet, for one image."""
    return card.steps * (2 if card.guidance != 1 else 1)


def _value_encoder(chosen: recipe.TrainingRecipe, card: ModelCard) -> _Step:
    """Preferred and dispreferred pictures, with the value token and, without gradients, without."""
    again = chosen.gradient_checkpointing
    memory = _memory(card)
    unet, text = memory["unet"], memory["text"]
    weight = _weight(chosen.precision) + LEARNING
    full = chosen.precision == "no"
    held = _frozen(card)
    if card.dtype == "float32" and not full:
        held.append((f"its UNet in half precision, {unet:,} x 2 bytes", unet * 2))
    pictures = 2 * chosen.batch
    kept = memory["context_learns" + "_checkpointed" * again]
    return _Step(
        pictures=pictures,
        passes="reference + forward + backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=chosen.steps,
        memory=[
            *held,
            (f"value encoder, {text:,} x {weight} bytes", text * weight),
            _activations("value encoder", chosen.batch, memory["text_learns"], full),
            _activations("UNet", pictures, kept, full and card.dtype == "float32"),
        ],
        checkpoints=_checkpoints(1, text, text),
        dev=_looked_at(chosen, card),
    )


def _looked_at(chosen: recipe.TrainingRecipe, card: ModelCard) -> tuple[str, int]:
    """Images of dev prompts, of which the plain halves are kept, and of the calibration."""
    half, subsets = chosen.dev_images // 2, chosen.coefficients
    times = sum(map(chosen.looks, range(1, chosen.steps + 1)))
    looked, calibrated = (
        sum(len(prompts) for *_, prompts in found.looked_at(card.scale, subsets))
        for found in (dev, calibration)
    )
    said = (
        f"{half} images x ({looked:,} pairs of value and dev prompt x (1 plain + {times} steered) "
        f"+ {calibrated:,} to calibrate x (1 plain + 1 steered))"
    )
    return said, half * (looked * (1 + times) + calibrated * 2)


def _adaptation(method: str, card: ModelCard) -> _Step:
    settings = dapt.read_recipe(method, card.scale).settings
    return _finetuning(settings, card, settings.batch, overlays=1)


def _ablation(method: str, card: ModelCard) -> tuple[_Step, _Images]:
    made = concept_ablation.read_recipe(method, card.scale)
    count, said = _of_prompts(card, made.anchors, "toxicity")
    step = _finetuning(made.settings, card, 2 * made.settings.batch, overlays=len(_hazards()))
    return step, _learnt_from(card, (count, count), [said])


def _finetuning(
    settings: finetuning.Settings, card: ModelCard, pictures: int, overlays: int
) -> _Step:
    """A group of the UNet's parameters learns, for one overlay after another.

    Args:
        settings: Of the fine-tuning.
        card: Of the model.
        pictures: That are seen at once.
        overlays: How many there are.
    """
    again = settings.gradient_checkpointing
    memory = _memory(card)
    unet, weight = memory["unet"], _weight(settings.precision)
    learns = _learns(settings, card)
    at_most = "at most " if settings.rank is not None else ""
    kept = memory["unet_learns" + "_checkpointed" * again]
    return _Step(
        pictures=pictures * settings.accumulation,
        passes="forward + 2 backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=settings.steps * overlays,
        memory=[
            *_frozen(card),
            (f"a copy of its UNet, {unet:,} x {weight} bytes", unet * weight),
            (f"what of that learns, {at_most}{learns:,} x {LEARNING} bytes", learns * LEARNING),
            _activations("UNet", pictures, kept, settings.precision == "no"),
        ],
        checkpoints=_checkpoints(overlays, unet, learns),
    )


def _learns(settings: finetuning.Settings, card: ModelCard) -> int:
    """Parameters of the group that learns."""
    memory = _memory(card)
    unet = memory["unet"]
    groups = {**memory, "full-weight": unet, "noxattn": unet - memory["xattn"]}
    return groups[settings.parameters]


def _checkpoints(count: int, parameters: int, learns: int) -> tuple[str, int]:
    """Bytes on disk; a checkpoint is replaced when the next one is there."""
    said = (
        f"checkpoints, ({count} + 1 in writing) x ({parameters:,} x 4 bytes + "
        f"{learns:,} x {MOMENTS})"
    )
    return said, (count + 1) * (parameters * 4 + learns * MOMENTS)


def _preferences(card: ModelCard, path: Path, tasks: Iterable[str]) -> _Images:
    """Images of the preference data."""
    settings = preference.read_settings(card.scale, path)
    least, most, lines = 0, 0, []
    for name in tasks:
        task, prompts = value_tasks()[name], _count(card, name, "train")
        few, many = (prompts * each for each in settings.images_of(task))
        least, most = least + few, most + many
        if task.kind == BIAS:
            lines.append(
                f"images: {prompts:,} {name} prompts x ({settings.plain} plain + "
                f"{settings.attributed} with attributes) = {few:,}"
            )
        else:
            lines.append(
                f"images: {prompts:,} {name} prompts x {settings.hazardous}, and up to "
                f"{len(settings.strengths)} twins of each = {few:,} to {many:,}"
            )
    return _learnt_from(card, (least, most), lines)


def _learnt_from(card: ModelCard, count: tuple[int, int], counted: Sequence[str]) -> _Images:
    return _Images(count, counted, card.bytes_per_image, _memory(card)["latents"])


def _of_prompts(card: ModelCard, each: int, task: str) -> tuple[int, str]:
    """Images of the train prompts of a task, counted and in words."""
    prompts = _count(card, task, "train")
    said = f"images: {each} of each of {prompts:,} {task} prompts = {each * prompts:,}"
    return each * prompts, said


def _hazards() -> list[str]:
    return [name for task in value_tasks().values() if task.question for name in task.subsets]


def _count(card: ModelCard, task: str, split: str) -> int:
    return len(read_task_prompts(value_tasks()[task], card.scale, split))


def _memory(card: ModelCard) -> dict[str, int]:
    if lacking := [name for name in MEMORY if name not in card.memory]:
        what = f"fields {', '.join(lacking)} in its" if card.memory else "table"
        raise BadInput(
            f"The card of model {card.name!r} has no {what} [memory], so what a training would "
            "take is not known. Count it as benchmarks/memory.py does, and add it (see livo-bench "
            "show sd15)."
        )
    return dict(card.memory)


def _frozen(card: ModelCard) -> list[tuple[str, int]]:
    memory = _memory(card)
    size = BYTES[card.dtype]
    count = memory["unet"] + memory["text"] + memory["vae"]
    return [(f"the model, {count:,} parameters x {size} bytes", count * size)]


def _weight(precision: str) -> int:
    """Bytes of a float32 parameter: itself, and the copy that mixed precision computes with."""
    return 4 if precision == "no" else 6


def _activations(network: str, count: int, each: int, full: bool) -> tuple[str, int]:
    """What autograd keeps, which the card gives in mixed precision; in full it is at most twice
    as much."""
    each *= 1 + full
    return f"activations of the {network}, {count} x {each:,} bytes", count * each


def _span(ends: tuple[Number, Number], say: Callable[[Number], str]) -> str:
    least, most = (say(end) for end in ends)
    return least if least == most else f"{least} to {most}"
