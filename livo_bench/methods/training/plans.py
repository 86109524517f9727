"""What the trainings of this package would take, each by its settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.filesize import decimal

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import read_task_prompts, read_value_free_prompts, spread
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
from livo_bench.methods.livo import calibration, dev, encoder_settings, preference
from livo_bench.methods.livo.encoder_settings import EncoderSettings
from livo_bench.methods.training import finetuning
from livo_bench.methods.training.training_plan import (
    LEARNING,
    Images,
    Planned,
    Step,
    TrainingPlan,
    activations,
    checkpoints,
    evaluations_a_second,
    frozen,
    learnt_from,
    memory_of,
    of_images,
    of_step,
    weight_of,
)
from livo_bench.records import BIAS
from livo_bench.runs.plan import duration


def edits(planned: Planned) -> TrainingPlan:
    """What UCE's edits take, which are solved and balanced by looking at images."""
    made = uce.read_settings(planned.method, planned.card.scale)
    biases = [c for task in value_tasks().values() if task.kind == BIAS for c in task.categories]
    of_round = made.images * made.concepts * len(biases)
    least, most = 2 * of_round, (made.rounds + 1) * of_round
    said = (
        f"images: 2 to {made.rounds + 1} rounds x {made.images} images x {made.concepts} concepts "
        f"x {len(biases)} categories = {least:,} to {most:,}; a concept that is as even as "
        f"{made.images} images can tell is left out until the last round, which looks at the edit"
    )
    return of_images(planned, Images((least, most), [said], each=0))


def solved(planned: Planned) -> TrainingPlan:
    """What RECE and DebiasVL take, which are solved from text states in seconds."""
    return of_images(planned, Images((0, 0), ["images: none, for it is solved for"], each=0))


def majorities(planned: Planned) -> TrainingPlan:
    """What finding FD's majorities takes."""
    card = planned.card
    prompts = sum(_count(card, "bias", split) for split in ("dev", "eval"))
    count = fair_diffusion.PILOTS * prompts
    said = f"images: {fair_diffusion.PILOTS} of each of {prompts:,} prompts = {count:,}"
    return of_images(planned, Images((count, count), [said], card.bytes_per_image))


def ablation(planned: Planned) -> TrainingPlan:
    """What CA takes: anchor pictures, and one fine-tuning a hazard."""
    step, images = _ablation(planned.method, planned.card)
    return of_step(planned, images, step)


def adaptation(planned: Planned) -> TrainingPlan:
    """What DAPT takes: the preference data of all values, and one fine-tuning."""
    images = _preferences(planned.card, planned.data_settings, tuple(value_tasks()))
    return of_step(planned, images, _adaptation(planned.method, planned.card))


def preferring(planned: Planned) -> TrainingPlan:
    """What Diffusion-DPO takes: the preference data of all values, and one fine-tuning in which the
    frozen UNet sees both pictures of a pair, too."""
    card = planned.card
    images = _preferences(card, planned.data_settings, tuple(value_tasks()))
    settings = diffusion_dpo.read_settings(planned.method, card.scale).tuning
    step = _finetuning(settings, card, 2 * settings.batch, overlays=1)
    passes, evaluations = f"reference + {step.passes}", 1 + step.evaluations
    return of_step(planned, images, replace(step, passes=passes, evaluations=evaluations))


def steering_away(planned: Planned) -> TrainingPlan:
    """What ESD takes: one fine-tuning a hazard, on pictures that are drawn on the way."""
    card = planned.card
    settings = esd.read_settings(planned.method, card.scale).tuning
    step = _finetuning(settings, card, settings.batch, overlays=len(_hazards()))
    drawn = f"half of {card.steps} steps with guidance + 2 of the frozen UNet"
    step = replace(
        step,
        passes=f"{drawn} + {step.passes}",
        evaluations=card.steps + 2 + step.evaluations,
    )
    none = "images: none but those that are drawn within the steps"
    return of_step(planned, Images((0, 0), [none], each=0), step)


def reward_weighted(planned: Planned) -> TrainingPlan:
    """What RWFT takes: the preference data of all values, own pictures, and one fine-tuning."""
    card = planned.card
    made = rwft.read_settings(planned.method, card.scale)
    found = _preferences(card, planned.data_settings, tuple(value_tasks()))
    prompts = len(read_value_free_prompts(card.scale, "train"))
    own = made.images * prompts
    said = f"images: {made.images} of each of {prompts:,} prompts that touch no value = {own:,}"
    least, most = found.count
    images = replace(found, count=(least + own, most + own), counted=[*found.counted, said])
    return of_step(
        planned, images, _finetuning(made.tuning, card, 2 * made.tuning.batch, overlays=1)
    )


def soft_tokens(planned: Planned) -> TrainingPlan:
    """What prompt tuning takes: pictures of groups, and for each value its tokens."""
    card = planned.card
    made = prompt_tuning.read_settings(planned.method, card.scale)
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
    memory, full = memory_of(card), made.precision == "no"
    unet, weight = memory["denoiser"], weight_of(made.precision)
    kept = memory["context_learns" + "_checkpointed" * again]
    step = Step(
        pictures=made.batch,
        passes="reference + 2 forward + 2 backward" + " + 2 forward again" * again,
        evaluations=5 + 2 * again,
        steps=made.steps * values,
        memory=[
            *frozen(card),
            (f"a copy of its UNet, {unet:,} x {weight} bytes", unet * weight),
            activations("UNet", 2 * made.batch, kept, full),
        ],
        checkpoints=("checkpoints of a few tokens", 0),
    )
    return of_step(planned, learnt_from(card, (count, count), lines), step)


def resteering(planned: Planned) -> TrainingPlan:
    """What Forget-Me-Not takes: pictures of hazards, and one fine-tuning a hazard."""
    card = planned.card
    made = forget_me_not.read_settings(planned.method, card.scale)
    count, said = _of_prompts(card, made.pictures, "toxicity")
    step = _finetuning(made.tuning, card, made.tuning.batch, overlays=len(_hazards()))
    return of_step(planned, learnt_from(card, (count, count), [said]), step)


def amnesia(planned: Planned) -> TrainingPlan:
    """What Selective Amnesia takes: surrogates and replayed pictures, one Fisher pass, and one
    fine-tuning a hazard."""
    card = planned.card
    made = selective_amnesia.read_settings(planned.method, card.scale)
    surrogates, of_hazards = _of_prompts(card, made.anchors, "toxicity")
    replayed, of_people = _of_prompts(card, made.replayed, "bias")
    count = surrogates + replayed
    images = learnt_from(card, (count, count), [of_hazards, of_people])
    step = _finetuning(made.tuning, card, 2 * made.tuning.batch, overlays=len(_hazards()))
    learns = _learns(made.tuning, card)
    held = f"Fisher information and the weights at the start, {learns:,} x 8 bytes"
    found = of_step(planned, images, replace(step, memory=[*step.memory, (held, learns * 8)]))
    passed = replayed * made.times * step.evaluations
    seconds = passed / evaluations_a_second(planned)
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
    chosen = encoder_settings.read(planned.method, planned.card.scale, planned.card.kind)
    tasks = preference.tasks_of(chosen.coefficients)
    images = _preferences(planned.card, planned.data_settings, tasks)
    chosen = replace(chosen, steps=planned.steps or chosen.steps)
    return of_step(planned, images, _value_encoder(chosen, planned.card))


def _value_encoder(chosen: EncoderSettings, card: ModelCard) -> Step:
    """Preferred and dispreferred pictures, with the value token and, without gradients, without."""
    again = chosen.gradient_checkpointing
    memory = memory_of(card)
    network, encoder = memory["denoiser"], memory["value_encoder"]
    weight = weight_of(chosen.precision) + LEARNING
    full = chosen.precision == "no"
    held = frozen(card)
    if card.dtype == "float32" and not full:
        held.append((f"its network in half precision, {network:,} x 2 bytes", network * 2))
    pictures = 2 * chosen.batch
    kept = memory["context_learns" + "_checkpointed" * again]
    return Step(
        pictures=pictures,
        passes="reference + forward + backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=chosen.steps,
        memory=[
            *held,
            (f"value encoder, {encoder:,} x {weight} bytes", encoder * weight),
            activations("value encoder", chosen.batch, memory["value_encoder_learns"], full),
            activations("network", pictures, kept, full and card.dtype == "float32"),
        ],
        checkpoints=checkpoints(1, encoder, encoder),
        dev=_looked_at(chosen, card),
    )


def _looked_at(chosen: EncoderSettings, card: ModelCard) -> tuple[str, int]:
    """Images of dev prompts, of which the plain halves are kept, and of the calibration."""
    half, subsets, times = chosen.dev_images // 2, chosen.coefficients, chosen.times
    looked, calibrated = (
        sum(len(prompts) for *_, prompts in found.looked_at(card.scale, subsets))
        for found in (dev, calibration)
    )
    said = (
        f"{half} images x ({looked:,} pairs of value and dev prompt x (1 plain + {times} steered) "
        f"+ {calibrated:,} to calibrate x (1 plain + 1 steered))"
    )
    return said, half * (looked * (1 + times) + calibrated * 2)


def _adaptation(method: str, card: ModelCard) -> Step:
    settings = dapt.read_settings(method, card.scale).tuning
    return _finetuning(settings, card, settings.batch, overlays=1)


def _ablation(method: str, card: ModelCard) -> tuple[Step, Images]:
    made = concept_ablation.read_settings(method, card.scale)
    count, said = _of_prompts(card, made.anchors, "toxicity")
    step = _finetuning(made.tuning, card, 2 * made.tuning.batch, overlays=len(_hazards()))
    return step, learnt_from(card, (count, count), [said])


def _finetuning(
    settings: finetuning.Settings, card: ModelCard, pictures: int, overlays: int
) -> Step:
    """A group of the UNet's parameters learns, for one overlay after another.

    Args:
        settings: Settings of the fine-tuning.
        card: Card of the model.
        pictures: Pictures that are seen at once.
        overlays: How many there are.
    """
    again = settings.gradient_checkpointing
    memory = memory_of(card)
    unet, weight = memory["denoiser"], weight_of(settings.precision)
    learns = _learns(settings, card)
    at_most = "at most " if settings.rank is not None else ""
    kept = memory["denoiser_learns" + "_checkpointed" * again]
    return Step(
        pictures=pictures * settings.accumulation,
        passes="forward + 2 backward" + " + forward again" * again,
        evaluations=3 + again,
        steps=settings.steps * overlays,
        memory=[
            *frozen(card),
            (f"a copy of its UNet, {unet:,} x {weight} bytes", unet * weight),
            (f"what of that learns, {at_most}{learns:,} x {LEARNING} bytes", learns * LEARNING),
            activations("UNet", pictures, kept, settings.precision == "no"),
        ],
        checkpoints=checkpoints(overlays, unet, learns),
    )


def _learns(settings: finetuning.Settings, card: ModelCard) -> int:
    """Count the parameters of the group that learns."""
    memory = memory_of(card)
    unet = memory["denoiser"]
    groups = {**memory, "full-weight": unet, "noxattn": unet - memory["xattn"]}
    return groups[settings.parameters]


def _preferences(card: ModelCard, path: Path, tasks: Iterable[str]) -> Images:
    """Images of the preference data."""
    settings = preference.read_settings(card.scale, path)
    least, most, lines = 0, 0, []
    for name in tasks:
        task, prompts = value_tasks()[name], _count(card, name, "train")
        few, many = (prompts * each for each in settings.images_of(task, card))
        least, most = least + few, most + many
        if task.kind == BIAS:
            lines.append(
                f"images: {prompts:,} {name} prompts x ({settings.plain} plain + "
                f"{settings.attributed} with attributes) = {few:,}"
            )
        else:
            lines.append(
                f"images: {prompts:,} {name} prompts x {settings.hazardous}, and up to "
                f"{len(settings.cleanings(card, ''))} twins of each = {few:,} to {many:,}"
            )
    return learnt_from(card, (least, most), lines)


def _of_prompts(card: ModelCard, each: int, task: str) -> tuple[int, str]:
    """Images of the train prompts of a task, counted and in words."""
    prompts = _count(card, task, "train")
    said = f"images: {each} of each of {prompts:,} {task} prompts = {each * prompts:,}"
    return each * prompts, said


def _hazards() -> list[str]:
    return [name for task in value_tasks().values() if task.question for name in task.subsets]


def _count(card: ModelCard, task: str, split: str) -> int:
    return len(read_task_prompts(value_tasks()[task], card.scale, split))
