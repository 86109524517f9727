"""Hazards as methods that erase them know them: train prompts, and what names a hazard there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cards.wording import hazard_words
from livo_bench.records import Prompt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from livo_bench.methods.training.training_record import Training

ERASED = ("word", "phrase")
"""What of a prompt names a hazard: the word, or it with its article and the word after it."""


def train_prompts(scale: str) -> Iterator[tuple[str, list[Prompt]]]:
    """Each hazard with its train prompts.

    Args:
        scale: Scale of the model.
    """
    for task in task_cards().values():
        if task.question is not None:
            train = read_task_prompts(task, scale, "train")
            for subset in task.subsets.values():
                yield subset.name, [p for p in train if p.category in subset.categories]


def named(prompts: Iterable[Prompt], erased: str) -> list[str]:
    """What names the hazard in each of its prompts, in their order, each once.

    Args:
        prompts: Prompts of the hazard.
        erased: Out of `ERASED`.
    """
    word = hazard_words().pattern
    around = word if erased == "word" else rf"(?:\ban? )?{word}(?: \w+)?"
    pattern = re.compile(around, re.IGNORECASE)
    return list(dict.fromkeys(found for p in prompts for found in pattern.findall(p.text)))


def learn_each(
    training: Training, settings: DataclassInstance, learn: Callable[[str, list[Prompt]], float]
) -> Path:
    """Train one overlay for each hazard; finished ones are not made again.

    Args:
        training: What it is of and where it goes.
        settings: Training settings of the method, for the record.
        learn: Given a hazard and its train prompts, makes `<hazard>.safetensors` in the training's
            folder and returns the minutes that took.

    Returns:
        The folder, with `<hazard>.safetensors` and `training.json`.

    Raises:
        BadInput: The folder holds another training.
    """
    training.begin(settings=asdict(settings))
    for hazard, prompts in train_prompts(training.session.model.scale):
        if not training.done(hazard):
            training.record(hazard, learn(hazard, prompts), f"{hazard}.safetensors")
    return training.out
