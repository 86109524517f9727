"""Fair Diffusion: each image is edited, while it is sampled, towards the group it is made for.

With two groups the other one is steered away from, as published. With more, it is the one that is
most frequent among the unaligned model's images of the prompt: `detect` looks once, with the
annotator and at image indices that no evaluation uses, and resolving reads what it found.

Source: Friedrich et al. 2023, arXiv:2302.10893, and the released code, for gender; more than two
groups are ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from livo_bench.bars import status
from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import TaskCard
from livo_bench.cards.fields import read_table, settings_of
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.errors import BadInput
from livo_bench.files import write_atomically
from livo_bench.interfaces import MethodContext
from livo_bench.methods.livo.preference import prefers
from livo_bench.methods.quota import group_of
from livo_bench.methods.training.settings import of_scale
from livo_bench.methods.training.training_record import Training, digest_of, require_named
from livo_bench.records import BIAS, PILOT, Prompt, Recipe, Request, SemanticGuidance
from livo_bench.runs.plan import form_blocks
from livo_bench.runs.sampling import images_of, in_parallel
from livo_bench.runs.session import Session

if TYPE_CHECKING:
    from livo_bench.scorers.annotator import Annotator

GUIDANCE = "guidance.toml"
"""Name, in the method's folder, of how strongly images are edited."""
MAJORITIES = "majorities.csv"
"""Name, in a folder of weights, of what `detect` found."""
COLUMNS = {"prompt": "str", "subset": "str", "group": "str", "share": "float64", "images": "int64"}
"""Columns of that file: a prompt's text, a bias subset, the most frequent group, its share of the
images that show somebody, and how many do."""
PILOTS = 16
"""Images a prompt that `detect` looks at."""


@dataclass(frozen=True, slots=True)
class Majority:
    """The most frequent group among the unaligned model's images of a prompt."""

    group: str
    share: float
    """Share of the images that show the group, in [0, 1]."""
    images: int


Majorities = Mapping[tuple[str, str], Majority]
"""Majority of each prompt's images, by prompt text and subset."""


@dataclass(frozen=True)
class FairDiffusion:
    """Edits every image of a prompt, or those of prompts that were found uneven."""

    settings: SemanticGuidance
    """How far an image is edited, without the texts."""
    majorities: Majorities
    only_uneven: bool
    sources: Mapping[str, Path] = field(default_factory=dict)
    """Files that settings and majorities were read from, by name."""

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image; a prompt that was found even may stay the unaligned model's."""
        text, subset = request.prompt.text, request.principle.subset
        groups = request.principle.attributes
        found = self.majorities.get((text, subset))
        if self.only_uneven and found and prefers(found.share, len(groups), found.images) is None:
            return base
        target = group_of(text, request.index, groups)
        if len(groups) == 2:
            other = groups[1 - groups.index(target)]
        else:
            other = found.group if found else groups[0]
        remove = "" if other == target else _person(other)
        return replace(base, edit=replace(self.settings, remove=remove, add=_person(target)))


@dataclass(frozen=True, slots=True)
class _Settings:
    weights: str
    detect: bool


def _person(group: str) -> str:
    return f"{group} person"


def load(context: MethodContext) -> FairDiffusion:
    """Make the method that a card's settings describe.

    Settings:
        weights: A folder with the majorities instead of the own one; empty for the own one.
        detect: Whether prompts that were found even stay the unaligned model's.

    Raises:
        BadInput: Guidance or majorities are not what they should be, there are none for the
            model, or they are not those that the record beside them names.
    """
    settings = settings_of(context, _Settings)
    folder = Path(settings.weights or context.folder / "weights" / context.model.name)
    path = folder / MAJORITIES
    if not path.is_file():
        raise context.untrained("majorities", path)
    majorities = read_majorities(path)
    require_named(path, digest_of(path))
    guidance = read_guidance(context.folder / GUIDANCE, context.model.scale)
    sources = {MAJORITIES: path, GUIDANCE: context.folder / GUIDANCE}
    return FairDiffusion(guidance, majorities, settings.detect, sources)


def read_guidance(path: Path, scale: str) -> SemanticGuidance:
    """Read how strongly images are edited on models of a scale, without the texts.

    Raises:
        BadInput: The file is not what it should be.
    """
    return of_scale(read_table(path), scale).read(SemanticGuidance, remove="", add="")


def read_majorities(path: Path) -> Majorities:
    """Read what `detect` found.

    Raises:
        BadInput: The file is not what it should be.
    """
    try:
        rows = pd.read_csv(path, keep_default_na=False)
        if list(rows.columns) != list(COLUMNS):
            raise ValueError(f"its columns are {', '.join(rows.columns)}")
        rows = rows.astype(COLUMNS)
        if not (rows["share"].between(0, 1) & (rows["images"] > 0)).all():
            raise ValueError("a share is not from 0 to 1, or is of no image")
    except (OSError, ValueError, OverflowError) as error:
        raise BadInput(
            f"Cannot read {path}: {error}. Expected a CSV file with the columns "
            f"{', '.join(COLUMNS)}.",
            "Make it again: livo-bench train --method fd",
        ) from error
    return {
        (row["prompt"], row["subset"]): Majority(row["group"], row["share"], row["images"])
        for row in rows.to_dict("records")
    }


def train(training: Training) -> Path:
    """Find the majorities of a model's dev and evaluation prompts, all the training there is.

    Returns:
        The folder, with `majorities.csv` and `training.json`.

    Raises:
        BadInput: The model's card names no annotator, or the folder holds another training.
    """
    from livo_bench.scorers import annotator

    session = training.session
    card = session.model
    looking = annotator.load(annotator.require_annotator(card.annotator, card.name), session.device)
    training.begin(settings={"images": PILOTS, "annotator": looking.id})
    started = time.monotonic()
    text = detect(session, looking).to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_atomically(training.out / MAJORITIES, text.encode())
    training.record(MAJORITIES, round((time.monotonic() - started) / 60, 1), MAJORITIES)
    return training.out


def detect(session: Session, annotator: Annotator) -> pd.DataFrame:
    """Find the most frequent group of each dev and evaluation prompt, for each bias subset.

    The images are the unaligned model's, at indices from `records.PILOT` up; those that show nobody
    are not counted.

    Args:
        session: Session of the model.
        annotator: Looks at the images.

    Returns:
        `COLUMNS`, in the order of tasks, splits, prompts and subsets; of groups that are equally
        frequent the first. A prompt whose images all show nobody has no row.
    """
    work = [
        (task, prompt)
        for task in value_tasks().values()
        if task.kind == BIAS
        for split in ("dev", "eval")
        for prompt in read_task_prompts(task, session.model.scale, split)
    ]

    def look(item: tuple[TaskCard, Prompt]) -> tuple[str, list[dict[str, object]]]:
        return item[1].text, list(_majorities(session, annotator, *item))

    with status("loading models"):
        session.load_engine()
    done = in_parallel(session, look, work, lambda _: 1, "finding majorities", "prompts")
    found = dict(done)
    rows = [row for _, prompt in work for row in found[prompt.text]]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _majorities(
    session: Session, annotator: Annotator, task: TaskCard, prompt: Prompt
) -> Iterator[dict[str, object]]:
    subsets = [subset for subset in task.subsets.values() if prompt.category in subset.categories]
    requests = [
        Request(prompt, index, task.principle(subsets[0].name))
        for index in range(PILOT, PILOT + PILOTS)
    ]
    wanted = [(request, session.base_recipe(request)) for request in requests]
    blocks = form_blocks(wanted, session.model.block)
    pixels = np.concatenate([images_of(session, block) for block in blocks])
    for subset in subsets:
        seen = annotator.annotate(task, subset, pixels, [prompt] * len(pixels))
        labels = seen.labels[seen.present]
        if len(labels):
            group = max(subset.attributes, key=lambda name: (labels == name).sum())
            yield {
                "prompt": prompt.text,
                "subset": subset.name,
                "group": group,
                "share": float((labels == group).mean()),
                "images": len(labels),
            }
