"""What a training would take, from its recipe and the model's card: `livo-bench train --plan`.

Time is counted in evaluations of the UNet, of which the card says how many there are a second:
those of a sampled image, times its images a second. A backward pass counts like a forward one, and
like two where the UNet's own parameters learn. Memory is what tensors hold, by the card's
`[memory]` (`benchmarks/memory.py` counts it); an allocator takes more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from livo_bench.baselines import concept_ablation, dapt, fair_diffusion, uce
from livo_bench.baselines.recipe import objective_of
from livo_bench.cards import ModelCard
from livo_bench.catalog import model_card, value_tasks
from livo_bench.errors import BadInput
from livo_bench.livo import preference, recipe
from livo_bench.plan import duration
from livo_bench.prompts import read_task_prompts

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
LEARNING = 16
"""Bytes of a parameter that learns: itself, its gradient and AdamW's two moments, in float32."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training would take; `str()` says it with its arithmetic."""

    title: str
    seconds: float
    """Of training alone, on one device."""
    data_seconds: tuple[float, float]
    """Least and most, of the images that are made for it, if none of them is stored."""
    bytes: int
    """Of memory on a device; 0 where nothing learns by gradients."""
    arithmetic: tuple[str, ...]

    def __str__(self) -> str:
        least, most = (duration(seconds) for seconds in self.data_seconds)
        data = least if least == most else f"{least} to {most}"
        said = [f"{self.title}."]
        said += [f"Images for it: about {data}."] if self.data_seconds[1] else []
        said += [f"Training: about {duration(self.seconds)}."] if self.seconds else []
        said += [f"Memory: about {decimal(self.bytes)}."] if self.bytes else []
        return "\n".join([" ".join(said), *(f"    {line}" for line in self.arithmetic)])


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of learning by gradients."""

    pictures: int
    passes: str
    """What the UNet does with each, in words."""
    evaluations: int
    """The same, counted."""
    steps: int
    memory: Sequence[tuple[str, int]]
    """Bytes, and how they come about."""


def plan(
    method: str,
    model: str = "mini",
    steps: int | None = None,
    settings: Path = preference.SETTINGS,
    rate: float | None = None,
) -> TrainingPlan:
    """Say what `train` with the same arguments would take; loads no model.

    Args:
        method: Name, variant or folder of a method with a recipe.
        model: Name or card.
        steps: Of a value encoder; the recipe's when None.
        settings: Of the preference data, for methods that learn from it.
        rate: Images sampled and judged per second; the card's when None.

    Raises:
        BadInput: The method does not train, or the card does not say what the model takes.
    """
    card = model_card(model)
    rate = rate or card.rate
    objective = objective_of(method)
    if objective == "uce":
        made = uce.read_recipe(method, card.scale)
        biases = [c for task in value_tasks().values() if task.class_text for c in task.categories]
        most = made.rounds * made.images * made.concepts * len(biases)
        said = (
            f"images: at most {made.rounds} rounds x {made.images} images x {made.concepts} "
            f"concepts x {len(biases)} categories = {most:,}, fewer when groups are even earlier"
        )
        return _of_images(method, card, rate, (0, most), [said])
    if objective == "fd":
        prompts = sum(_count(card, "bias", split) for split in ("dev", "eval"))
        count = fair_diffusion.PILOTS * prompts
        said = f"images: {fair_diffusion.PILOTS} of each of {prompts:,} prompts = {count:,}"
        return _of_images(method, card, rate, (count, count), [said])
    if objective == "ca":
        step, images, data = _ablation(method, card)
    elif objective == "dapt":
        images, data = _preferences(card, settings, tuple(value_tasks()))
        step = _adaptation(method, card)
    else:
        chosen = recipe.read(method, card.scale)
        images, data = _preferences(card, settings, preference.tasks_of(chosen.coefficients))
        step = _value_encoder(chosen, card, steps or chosen.steps)
    return _of_step(method, card, rate, images, data, step)


def _of_images(
    method: str, card: ModelCard, rate: float, images: tuple[int, int], said: Sequence[str]
) -> TrainingPlan:
    least, most = images
    lines = (*said, f"time: {most:,} images / {rate:g} images a second")
    return TrainingPlan(f"{method} on {card.name}", 0, (least / rate, most / rate), 0, lines)


def _of_step(
    method: str,
    card: ModelCard,
    rate: float,
    images: tuple[int, int],
    data: Sequence[str],
    step: _Step,
) -> TrainingPlan:
    evaluations = card.steps * (2 if card.guidance != 1 else 1)
    a_step = step.pictures * step.evaluations
    seconds = step.steps * a_step / (rate * evaluations)
    held = sum(size for _, size in step.memory)
    lines = (
        *data,
        f"images: at {rate:g} a second",
        f"a step: {step.pictures} pictures x ({step.passes}) = {a_step} evaluations of the UNet",
        f"time: {step.steps:,} steps x {a_step} / ({rate:g} images a second x {evaluations} "
        f"evaluations an image); n processes take an n-th of it",
        *(f"memory: {said} = {decimal(size)}" for said, size in step.memory),
    )
    least, most = images
    title = f"{method} on {card.name}: {step.steps:,} steps of {step.pictures} pictures"
    return TrainingPlan(title, seconds, (least / rate, most / rate), held, lines)


def _value_encoder(chosen: recipe.TrainingRecipe, card: ModelCard, steps: int) -> _Step:
    """Preferred and dispreferred pictures, with the value token and, without gradients, without."""
    again = chosen.gradient_checkpointing
    memory = _memory(card)
    kept = _kept(card, "context_learns", again, chosen.precision)
    pictures = 2 * chosen.batch
    return _Step(
        pictures=pictures,
        passes="reference + forward + backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=steps,
        memory=[
            _frozen(card),
            (f"value encoder, {memory['text']:,} x {LEARNING} bytes", memory["text"] * LEARNING),
            (f"activations, {pictures} pictures x {kept:,} bytes", pictures * kept),
        ],
    )


def _adaptation(method: str, card: ModelCard) -> _Step:
    settings = dapt.read_recipe(method, card.scale).settings
    again = settings.gradient_checkpointing
    return _Step(
        pictures=settings.batch,
        passes="forward + 2 backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=settings.steps,
        memory=[_frozen(card), *_finetuned(card, settings.batch, again, settings.precision)],
    )


def _ablation(method: str, card: ModelCard) -> tuple[_Step, tuple[int, int], list[str]]:
    made = concept_ablation.read_recipe(method, card.scale)
    settings, again = made.settings, made.settings.gradient_checkpointing
    hazards = [c for task in value_tasks().values() if task.question for c in task.categories]
    prompts = _count(card, "toxicity", "train")
    images = made.anchors * prompts
    step = _Step(
        pictures=2 * settings.batch,
        passes="forward + 2 backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=settings.steps * len(hazards),
        memory=[_frozen(card), *_finetuned(card, 2 * settings.batch, again, settings.precision)],
    )
    said = f"images: {made.anchors} anchors of each of {prompts:,} prompts = {images:,}"
    return step, (images, images), [said]


def _preferences(
    card: ModelCard, path: Path, tasks: Iterable[str]
) -> tuple[tuple[int, int], list[str]]:
    """Images of the preference data, least and most."""
    settings = preference.read_settings(card.scale, path)
    least, most, lines = 0, 0, []
    for name in tasks:
        prompts = _count(card, name, "train")
        if value_tasks()[name].class_text is not None:
            each = settings.plain + settings.attributed
            count = prompts * each
            least, most = least + count, most + count
            lines.append(
                f"images: {prompts:,} {name} prompts x ({settings.plain} plain + "
                f"{settings.attributed} with attributes) = {count:,}"
            )
        else:
            count, tries = prompts * settings.hazardous, len(settings.strengths)
            least, most = least + count, most + count * (1 + tries)
            lines.append(
                f"images: {prompts:,} {name} prompts x {settings.hazardous}, and up to {tries} "
                f"twins of each = {count:,} to {count * (1 + tries):,}"
            )
    return (least, most), lines


def _count(card: ModelCard, task: str, split: str) -> int:
    return len(read_task_prompts(value_tasks()[task], card.scale, split))


def _memory(card: ModelCard) -> dict[str, int]:
    if not card.memory:
        raise BadInput(
            f"The card of model {card.name!r} has no table [memory], so what a training would take "
            "is not known. Count it as benchmarks/memory.py does, and add it (see livo-bench show "
            "sd15)."
        )
    return dict(card.memory)


def _frozen(card: ModelCard) -> tuple[str, int]:
    memory = _memory(card)
    size = BYTES[card.dtype]
    count = memory["unet"] + memory["text"] + memory["vae"]
    return f"the model, {count:,} parameters x {size} bytes", count * size


def _finetuned(
    card: ModelCard, pictures: int, again: bool, precision: str
) -> list[tuple[str, int]]:
    unet = _memory(card)["unet"]
    kept = _kept(card, "unet_learns", again, precision)
    return [
        (f"its copy that learns, at most {unet:,} x {LEARNING} bytes", unet * LEARNING),
        (f"activations, {pictures} pictures x {kept:,} bytes", pictures * kept),
    ]


def _kept(card: ModelCard, name: str, again: bool, precision: str) -> int:
    """Bytes of activations of a picture, which the card gives in half precision."""
    half = _memory(card)[f"{name}_checkpointed" if again else name]
    full = precision == "no" and (name == "unet_learns" or card.dtype == "float32")
    return 2 * half if full else half
