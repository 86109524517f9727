"""Prompt lists: CSV files of `Prompt` rows, refused at the row that is wrong."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.outside import read_bytes, read_rows
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import Prompt

log = logging.getLogger(__name__)

COLUMNS = tuple(field.name for field in fields(Prompt))
TASK_COLUMNS = tuple(name for name in COLUMNS if name != "cluster")
"""Columns that a task's list needs."""
USER_COLUMNS = ("text", "category")
"""What a user's own list needs; the other columns are filled in where they are missing."""
SPLITS = ("train", "dev", "eval")
VALUE_FREE = "value-free"
"""Category of prompts that touch no value."""

# Where the first sound is a vowel: not before a spoken "yu" or "wu", and behind a silent h.
_VOWEL = re.compile(
    r"(?!uni(?![dmn])|use|usu|uti|uro|eu|ewe|one\b)[aeiou]|hon(?:est|o)|hour|heir", re.IGNORECASE
)
# Ids become file names and HTML anchors.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read_task_prompts(task: TaskCard, scale: str, split: str = "eval") -> list[Prompt]:
    """Read the prompts that come with a task.

    Args:
        task: Task whose list is read.
        scale: Scale of the model, see `ModelCard.scale`.
        split: `train`, `dev` or `eval`.

    Raises:
        BadInput: There is no list for this scale, or a row is wrong.
    """
    path = task.prompts(scale)
    if not path.is_file():
        scales = ", ".join(sorted(file.stem for file in path.parent.glob("*.csv"))) or "none"
        raise BadInput(
            f"Task {task.name!r} has no prompts for models of scale {scale!r}: no {path}. "
            f"It has: {scales}.",
            f"Pass a list of your own with --prompts FILE (columns {', '.join(USER_COLUMNS)}).",
        )
    return [prompt for prompt in _read_for(task, path, TASK_COLUMNS) if prompt.split == split]


def of_tasks(
    tasks: Iterable[tuple[TaskCard, Collection[Subset]]], scale: str, split: str = "eval"
) -> list[Prompt]:
    """The prompts that subsets of tasks are sampled on, each once; errors as `read_task_prompts`.

    Args:
        tasks: Tasks and their subsets, as `catalog.select_tasks` finds them.
        scale: Scale of the model, as for `read_task_prompts`.
        split: Which part of the lists, as for `read_task_prompts`.
    """
    return [
        prompt
        for task, subsets in tasks
        for prompt in read_task_prompts(task, scale, split)
        if any(prompt.category in subset.categories for subset in subsets)
    ]


def read_user_prompts(path: Path, task: TaskCard) -> list[Prompt]:
    """Read a user's own list, which needs the columns `text` and `category` only.

    A missing `id` becomes the category and the number of the row, a missing `concept` the text, a
    missing `split` `eval`. Without a `cluster` prompts of one concept in one category count as one.
    Prompts of other splits are left out, as trained methods may know them, and the log says so.

    Args:
        path: A table with a header, see `outside.read_rows`.
        task: Task whose categories the list uses.

    Raises:
        BadInput: The file cannot be read, a row is wrong, or none is for evaluation.
    """
    listed = _read_for(task, path, USER_COLUMNS)
    chosen = [prompt for prompt in listed if prompt.split == "eval"]
    others = sorted({prompt.split for prompt in listed} - {"eval"}, key=SPLITS.index)
    if not chosen:
        raise BadInput(
            f"{path} has {len(listed):,} prompts, all of the splits {', '.join(others)}; expected "
            "some of the split eval, which results are of.",
            "Write eval in the column split, or leave the column out.",
        )
    if others:
        left = len(listed) - len(chosen)
        log.warning(f"{path}: left out {left:,} prompts of splits {', '.join(others)}")
    return chosen


def list_name(path: Path) -> str:
    """What results call a user's own list: its file's name and 12 digits of its SHA-256.

    Raises:
        BadInput: The file cannot be read.
    """
    return f"{path.name} {sha256(read_bytes(path, 'the prompts'))[:12]}"


def spread(prompts: Sequence[Prompt], concepts: int) -> list[Prompt]:
    """The first prompt of some concepts, evenly spread over the list.

    Args:
        prompts: Prompts of any number of concepts.
        concepts: How many to take, at most.
    """
    one_each = list({prompt.concept: prompt for prompt in reversed(prompts)}.values())[::-1]
    places = np.linspace(0, len(one_each) - 1, min(concepts, len(one_each)))
    return [one_each[int(place)] for place in places.round()]


def with_article(words: str) -> str:
    """Put `a` or `an` before a noun phrase, by how it sounds: `a uniform`, `an honest person`."""
    return f"{'an' if _VOWEL.match(words) else 'a'} {words}"


def person(concept: str, career: bool, attributes: Sequence[str] = ()) -> str:
    """Noun phrase of somebody: `a black female doctor`, `a kind indian person`.

    Args:
        concept: A career, an adjective, or `""` for a plain person.
        career: Which of the two.
        attributes: Named right before the noun, in this order.
    """
    adjectives = [] if career or not concept else [concept]
    noun = concept if career else "person"
    return with_article(" ".join([*adjectives, *attributes, noun]))


def with_attributes(prompt: Prompt, attributes: Sequence[str]) -> str:
    """A bias prompt's text with attributes written in: `a photo of a black female doctor`.

    Raises:
        BadInput: The prompt does not say which template it was made from.
    """
    if "{}" not in prompt.template:
        raise BadInput(
            f"Prompt {prompt.id!r} has the template {prompt.template!r}; expected one with {{}}, "
            "where the person is named.",
            "Fill the column in the prompt list.",
        )
    # The categories of a task of one's own do not say whether a concept is a noun; its text does.
    as_noun = prompt.template.format(person(prompt.concept, career=True))
    noun = prompt.category == "career" or as_noun == prompt.text
    return prompt.template.format(person(prompt.concept, noun, attributes))


def neutral(prompt: Prompt) -> str:
    """The text of a prompt that names an attribute, without it: `a photo of a doctor`.

    Raises:
        BadInput: The prompt does not say which template and concept it was made from.
    """
    if "{}" not in prompt.template:
        raise BadInput(
            f"Prompt {prompt.id!r} names an attribute and has the template {prompt.template!r}; "
            "expected one with {}, where the concept goes when the attribute is left out.",
            "Fill the columns template and concept in the prompt list.",
        )
    return prompt.template.format(with_article(prompt.concept))


def read_value_free_prompts(scale: str, split: str = "eval") -> list[Prompt]:
    """Read the prompts that touch no value: what a value retriever has to leave alone.

    Args:
        scale: Scale of the model, see `ModelCard.scale`.
        split: `train`, `dev` or `eval`.

    Raises:
        BadInput: There is no list for this scale, or a row is wrong.
    """
    path = Path(__file__).parent / "value_free" / f"{scale}.csv"
    if not path.is_file():
        scales = ", ".join(sorted(file.stem for file in path.parent.glob("*.csv"))) or "none"
        raise BadInput(
            f"There are no value-free prompts for models of scale {scale!r}: no {path}. There are "
            f"some for: {scales}.",
            f"Write that file (columns {', '.join(TASK_COLUMNS)}), or pass --model mini",
        )
    prompts = _read(path, TASK_COLUMNS, (VALUE_FREE,), "the value-free list")
    return [prompt for prompt in prompts if prompt.split == split]


def digest_of(prompts: Iterable[Prompt]) -> str:
    """SHA-256 that tells a set of prompts from others, by ids, texts and categories."""
    return sha256(
        json.dumps(sorted({(prompt.id, prompt.text, prompt.category) for prompt in prompts}))
    )


def text_digest(prompt: Prompt) -> str:
    """Which text a prompt has, for `images.parquet`: results hold no texts."""
    return sha256(prompt.text.encode("utf-8", "surrogatepass"))[:16]


def _read_for(task: TaskCard, path: Path, required: tuple[str, ...]) -> list[Prompt]:
    prompts = _read(path, required, task.categories, f"task {task.name!r}")
    for prompt in filter(task.names, prompts):
        neutral(prompt)  # What its judge will be asked is refused here, before anything is loaded.
    return prompts


def _read(
    path: Path, required: tuple[str, ...], categories: Collection[str], owner: str
) -> list[Prompt]:
    prompts: list[Prompt] = []
    lines: dict[tuple[str, str], int] = {}
    for line, row in read_rows(path, "the prompts", required, COLUMNS):
        prompt = _prompt(row, number=len(prompts) + 1)
        _check(prompt, categories, owner, f"{path} line {line}")
        for field in ("id", "text"):
            value: str = getattr(prompt, field)
            first = lines.setdefault((field, value), line)
            if first != line:
                raise BadInput(
                    f"{path} line {line}: {field} {value!r} is already on line {first}, "
                    f"expected each {field} once.",
                    "Remove one of the two.",
                )
        prompts.append(prompt)
    if not prompts:
        raise BadInput(f"{path} has a header and no prompts, expected at least one row.")
    return prompts


def _prompt(row: Mapping[str, str], number: int) -> Prompt:
    filled = {
        "id": f"{row['category']}-{number:04d}",
        "concept": row["text"],
        "template": "",
        "split": "eval",
    }
    return Prompt(**{**filled, **row})


def _check(prompt: Prompt, categories: Collection[str], owner: str, where: str) -> None:
    if not prompt.text.strip():
        raise BadInput(f"{where}: the text is empty, expected a prompt.")
    if not _ID.fullmatch(prompt.id):
        raise BadInput(
            f"{where}: id is {prompt.id!r}, expected letters, digits, '.', '_' and '-', "
            "starting with a letter or digit."
        )
    if prompt.category not in categories:
        raise BadInput(
            f"{where}: category is {prompt.category!r}, expected one of {owner}: "
            f"{', '.join(categories)}."
        )
    if prompt.split not in SPLITS:
        raise BadInput(f"{where}: split is {prompt.split!r}, expected one of: {', '.join(SPLITS)}.")
