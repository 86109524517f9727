"""Preference data, made with the model itself: which pictures of a prompt a value prefers.

For bias, pictures with attributes written into the prompt are preferred if their group is rarer
among pictures of the plain prompt than an even split, and dispreferred if it is more frequent. For
toxicity, a picture that shows the hazard is dispreferred and its cleaned twin, from the same noise,
is preferred: steered away from the hazard by Safe Latent Diffusion or, on a model whose predictions
cannot be joined so, by a negative prompt where one is heard, then by leaving its words out. The
annotator looks at every picture; the evaluators do not.

Only prompts of the train split are read. A build that was stopped goes on; a file of it that is
damaged is made again (`preference_data`).

Source: Wang et al. 2024, arXiv:2410.12700, section 3.4. Ours: a gap must exceed its error, and the
annotator must see the group that was written or, in a twin, no hazard and still somebody.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd

from livo_bench.bars import status
from livo_bench.cards.catalog import RUNS, model_card, task_cards, value_tasks
from livo_bench.cards.declared import ModelCard, Subset, TaskCard
from livo_bench.cards.fields import read_table
from livo_bench.cards.prompts import read_task_prompts, with_attributes
from livo_bench.cards.wording import detoxified
from livo_bench.errors import BadInput
from livo_bench.files import sha256, write_atomically
from livo_bench.interfaces import Pixels
from livo_bench.interrupt import Stopped
from livo_bench.methods.livo import preference_data
from livo_bench.methods.training.settings import of_scale
from livo_bench.records import BIAS, TOXICITY, Prompt, Recipe, Request, SafetyGuidance
from livo_bench.runs.plan import WHOLE, Shard, form_blocks, part_of
from livo_bench.runs.sampling import images_of, in_parallel
from livo_bench.runs.session import Session, find_device
from livo_bench.schema import MOST, Count, Text, between

if TYPE_CHECKING:
    from livo_bench.scorers.annotator import Annotator

log = logging.getLogger(__name__)

SETTINGS = Path(__file__).with_name("preference.toml")
Cleaning = Callable[[Recipe], Recipe]

IDENTITY = {
    "recipe": (
        "model",
        "text",
        "seed",
        "negative",
        "guidance",
        "sampler",
        "steps",
        "size",
        "dtype",
        "generator",
        "value",
        "value_encoder",
        "layout",
        "safety",
        "overlay",
        "edit",
    ),
    "subset": ("name", "value", "attributes", "word", "categories"),
    "prompt": ("id", "text", "concept", "category", "template", "split"),
}
"""Fields of recipes, subsets and prompts that name the data, version 1. A field that is new to a
recipe counts where it is not None, as it does in keys; another one that the rows depend on has to
be added here, and renames all data."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much data to make, and how strongly to clean."""

    plain: Annotated[int, between(2, MOST)]
    """Images of a plain bias prompt."""
    attributed: Annotated[int, between(2, MOST)]
    """Images of a bias prompt with attributes written in; each serves every bias subset."""
    hazardous: Count
    """Images of a toxicity prompt."""
    safety: Mapping[str, Text]
    """What the twins of each hazard are steered away from, by hazard."""
    strengths: tuple[SafetyGuidance, ...]
    """Strengths of the steering, tried in this order, without their text."""

    def images_of(self, task: TaskCard, model: ModelCard) -> tuple[int, int]:
        """How many images of a train prompt a model makes, at least and at most."""
        if task.kind == BIAS:
            return (self.plain + self.attributed,) * 2
        return self.hazardous, self.hazardous * (1 + len(self.cleanings(model, "")))

    def cleanings(self, model: ModelCard, hazard: str) -> list[Cleaning]:
        """How a model makes the clean twin of an image, in the order in which that is tried.

        Args:
            model: The model.
            hazard: Text that it is steered away from.
        """
        if "noise prediction" in model.offers:
            steered = [replace(strength, text=hazard) for strength in self.strengths]
            return [partial(replace, safety=safety) for safety in steered]
        against: list[Cleaning] = [partial(replace, negative=hazard)]
        return [*(against if "negative" in model.offers else ()), _without_words]


def _without_words(recipe: Recipe) -> Recipe:
    return replace(recipe, text=detoxified(recipe.text))


def read_settings(scale: str, path: Path = SETTINGS) -> Settings:
    """Read the settings for models of a scale.

    Raises:
        BadInput: The file is not what it should be.
    """
    table = of_scale(read_table(path), scale)
    strengths = tuple(one.read(SafetyGuidance, text="") for one in table.tables("strengths"))
    safety = table.get("safety", Mapping[str, Text])
    sizes = table.table("sizes")
    table.refuse_others()
    return sizes.read(Settings, safety=safety, strengths=strengths)


@dataclass(frozen=True)
class Unit:
    """The train prompts of one concept in one category: the unit of work and of storage."""

    task: TaskCard
    prompts: tuple[Prompt, ...]

    @property
    def subsets(self) -> list[Subset]:
        """The values that these prompts serve."""
        category = self.prompts[0].category
        return [subset for subset in self.task.subsets.values() if category in subset.categories]


def units(tasks: Iterable[TaskCard], scale: str) -> list[Unit]:
    """The train split of tasks, by category and concept."""
    found = []
    for task in tasks:
        of_concept: dict[tuple[str, str], list[Prompt]] = defaultdict(list)
        for prompt in read_task_prompts(task, scale, split="train"):
            of_concept[prompt.category, prompt.concept].append(prompt)
        found += [Unit(task, tuple(prompts)) for prompts in of_concept.values()]
    return found


@dataclass(frozen=True)
class Builder:
    """A maker of the rows of units."""

    session: Session
    annotator: Annotator
    settings: Settings

    @cached_property
    def folder(self) -> Path:
        """Where the files go: named by all that the rows depend on.

        The fields are those of `IDENTITY`, whatever else records and cards come to hold, so data
        that was made before goes by the same name.
        """
        tasks = value_tasks().values()
        scale = self.session.model.scale
        recipe = asdict(self.session.recipe("", 0))
        of_recipe = dict.fromkeys(IDENTITY["recipe"]) | {
            name: value for name, value in recipe.items() if value is not None
        }
        identity = [
            of_recipe,
            self.session.seed,
            self.annotator.id,
            asdict(self.settings),
            [_fields(subset, "subset") for task in tasks for subset in task.subsets.values()],
            [
                _fields(prompt, "prompt")
                for task in tasks
                for prompt in read_task_prompts(task, scale, "train")
            ],
        ]
        digest = sha256(json.dumps(identity, sort_keys=True))[:12]
        return preference_data.folder_of(self.session.runs, self.session.model.name) / digest

    def path(self, unit: Unit) -> Path:
        return self.folder / f"{unit.task.name}-{unit.prompts[0].id}.parquet"

    def there(self, unit: Unit) -> bool:
        """Whether a unit's file is there and whole."""
        try:
            preference_data.read_file(self.path(unit))
        except BadInput:
            return False
        return True

    def write(self, unit: Unit) -> None:
        """Make a unit's rows, unless its file is there and whole."""
        if self.there(unit):
            return
        path = self.path(unit)
        if path.exists():
            log.warning("%s is damaged or not of this data; it is made again.", path)
        hazard = unit.task.kind == TOXICITY
        rows = self._hazard_rows(unit) if hazard else self._bias_rows(unit)
        write_atomically(path, preference_data.sealed(preference_data.frame_of(rows), path))

    def _bias_rows(self, unit: Unit) -> list[dict[str, object]]:
        settings, task = self.settings, unit.task
        groups = list(product(*(subset.attributes for subset in task.subsets.values())))
        plain: list[tuple[Request, Recipe]] = []
        written: list[tuple[Request, Recipe]] = []
        named: list[tuple[str, ...]] = []
        for prompt in unit.prompts:
            plain += self._wanted(task, prompt, range(settings.plain))
            for request, recipe in self._wanted(task, prompt, range(settings.attributed)):
                group = groups[request.index % len(groups)]
                # Race before gender, as in the paper: the order of the task card, turned round.
                text = with_attributes(prompt, group[::-1])
                written.append((request, replace(recipe, text=text)))
                named.append(group)
        pixels, plain_pixels = self._images(written), self._images(plain)
        rows: list[dict[str, object]] = []
        for place, subset in enumerate(task.subsets.values()):
            shares, counted = self._shares(task, subset, plain, plain_pixels)
            asked = [request.prompt for request, _ in written]
            seen = self.annotator.annotate(task, subset, pixels, asked)
            for (request, recipe), group, label, there in zip(written, named, *seen, strict=True):
                preferred = prefers(shares[label], len(subset.attributes), counted)
                if there and label == group[place] and preferred is not None:
                    row = _row(subset, request.prompt, recipe, preferred, label)
                    rows.append({**row, "share": shares[label]})
        return rows

    def _shares(
        self,
        task: TaskCard,
        subset: Subset,
        plain: Sequence[tuple[Request, Recipe]],
        pixels: Pixels,
    ) -> tuple[dict[str, float], int]:
        """Share of each group among images of the plain prompts that show somebody, and how many
        do."""
        seen = self.annotator.annotate(task, subset, pixels, [r.prompt for r, _ in plain])
        labels = seen.labels[seen.present]
        shares = {
            name: float((labels == name).mean()) if len(labels) else float("nan")
            for name in subset.attributes
        }
        return shares, len(labels)

    def _hazard_rows(self, unit: Unit) -> list[dict[str, object]]:
        task = unit.task
        rows: list[dict[str, object]] = []
        for subset in unit.subsets:
            wanted = [
                pair
                for prompt in unit.prompts
                for pair in self._wanted(task, prompt, range(self.settings.hazardous))
            ]
            prompts = [request.prompt for request, _ in wanted]
            seen = self.annotator.annotate(task, subset, self._images(wanted), prompts)
            hazardous = [
                pair
                for pair, label, there in zip(wanted, *seen, strict=True)
                if label == subset.name and there
            ]
            for request, recipe, twin in self._twins(task, subset, hazardous):
                rows.append(_row(subset, request.prompt, recipe, False, subset.name))
                clean = _row(subset, request.prompt, twin, True, "none")
                rows.append({**clean, "twin": recipe.key})
        return rows

    def _twins(
        self, task: TaskCard, subset: Subset, left: Sequence[tuple[Request, Recipe]]
    ) -> list[tuple[Request, Recipe, Recipe]]:
        """Hazardous images with their clean twins; those that stay hazardous are left out."""
        found = []
        hazard = self.settings.safety[subset.name]
        for cleaned in self.settings.cleanings(self.session.model, hazard):
            if not left:
                break
            tried = [(request, cleaned(recipe)) for request, recipe in left]
            asked = [request.prompt for request, _ in tried]
            seen = self.annotator.annotate(task, subset, self._images(tried), asked)
            clean = (seen.labels == "none") & seen.present
            found += [
                (request, recipe, twin)
                for (request, recipe), (_, twin), ok in zip(left, tried, clean, strict=True)
                if ok
            ]
            left = [pair for pair, ok in zip(left, clean, strict=True) if not ok]
        return found

    def _wanted(
        self, task: TaskCard, prompt: Prompt, indices: Iterable[int]
    ) -> list[tuple[Request, Recipe]]:
        subset = next(s for s in task.subsets.values() if prompt.category in s.categories)
        requests = [Request(prompt, index, task.principle(subset.name)) for index in indices]
        return [(request, self.session.base_recipe(request)) for request in requests]

    def _images(self, wanted: Sequence[tuple[Request, Recipe]]) -> Pixels:
        """Images of recipes, in their order, `(n, size, size, 3)`."""
        made: dict[str, Pixels] = {}
        for block in form_blocks(wanted, self.session.model.block):
            made |= dict(zip(block.keys, images_of(self.session, block), strict=True))
        return np.stack([made[recipe.key] for _, recipe in wanted])


def _fields(record: Subset | Prompt, kind: str) -> dict[str, object]:
    values = asdict(record)
    return {name: values[name] for name in IDENTITY[kind]}


def prefers(share: float, groups: int, images: int) -> bool | None:
    """Whether a value prefers pictures of a group.

    Args:
        share: Share of the group among `images` pictures of the plain prompt.
        groups: N.
        images: How many pictures the share was read from.

    Returns:
        True if the share is under 1/N, False if it is over, None if it is nearer to 1/N than the
        standard error of a fair model's share.
    """
    even = 1 / groups
    error = (even * (1 - even) / images) ** 0.5 if images else float("inf")
    if not abs(share - even) > error:
        return None
    return share < even


def _row(
    subset: Subset, prompt: Prompt, recipe: Recipe, preferred: bool, group: str
) -> dict[str, object]:
    return {
        "scene": f"{prompt.id}.{subset.name}",
        "prompt": prompt.text,
        "concept": prompt.concept,
        "category": prompt.category,
        "subset": subset.name,
        "value": subset.value,
        "key": recipe.key,
        "preferred": preferred,
        "group": str(group),
        "share": float("nan"),
        "twin": "",
        "recipe": recipe.canonical(),
    }


def build(
    model: str = "mini",
    tasks: Sequence[str] = ("bias", "toxicity"),
    seed: int = 42,
    device: str = "auto",
    dtype: str | None = None,
    runs: Path = RUNS,
    settings: Path = SETTINGS,
    shard: Shard = WHOLE,
) -> tuple[Path, pd.DataFrame]:
    """Make preference data with a model, or what is missing of it.

    Args:
        model: Name, card or diffusers folder; its card names an annotator.
        tasks: Tasks whose train prompts are used.
        seed: Base seed of all noise.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: Precision of the generator; the card's when None.
        runs: Folder of images and data.
        settings: Sizes and strengths, in the form of `preference.toml`.
        shard: Part `k` of `n`, from 1, which processes and machines can make side by side.

    Returns:
        The folder, and the summary of `summarise` of all that is there.

    Raises:
        LivoBenchError: Something to fix first; nothing made is lost.
    """
    from livo_bench.runs import fetch
    from livo_bench.scorers import annotator

    card = model_card(model)
    judge = annotator.require_annotator(card.annotator, card.name)
    chosen = read_settings(card.scale, settings)
    session = Session(card, seed, find_device(device), dtype or card.dtype, runs)
    work = units([task_cards()[name] for name in tasks], card.scale)
    builder = Builder(session, annotator.load(judge, session.device), chosen)
    mine = part_of(work, shard)
    if left := [unit for unit in mine if not builder.there(unit)]:
        fetch.require(model, fetch.wanted(card, (), annotator=True))
        least = sum(len(unit.prompts) * chosen.images_of(unit.task, card)[0] for unit in left)
        session.store.require_room(round(least * card.bytes_per_image))
        with status("loading models"):
            session.load_engine()
        done = in_parallel(
            session, builder.write, left, lambda _: 1, "building preferences", "concepts"
        )
        try:
            for _ in done:
                pass
        except Stopped as stopped:
            there = sum(builder.there(unit) for unit in mine)
            stopped.add_note(f"{there} of {len(mine)} concepts are in {builder.folder}.")
            raise
    rows = preference_data.read(builder.folder)
    return builder.folder, preference_data.summarise(rows)


def tasks_of(subsets: Iterable[str]) -> list[str]:
    """The tasks that subsets belong to."""
    wanted = set(subsets)
    return [name for name, card in value_tasks().items() if wanted & card.subsets.keys()]


def groups_of(subset: str) -> int:
    """N, the number of groups of a bias subset; 0 for a hazard."""
    return next(
        len(card.subsets[subset].attributes)
        for card in value_tasks().values()
        if subset in card.subsets
    )
