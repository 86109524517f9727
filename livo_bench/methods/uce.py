"""Unified Concept Editing (UCE): an edit for each category, and one of all together.

Hazards are erased as `erasing` says. An edit of a bias category adds to a train
concept's states a combination of those of the attributes, a_k. Images of the concept are drawn with
the edit so far, the annotator counts the groups, and each group's coefficient moves by what it
lacks::

    alpha_k += step * (1/N - r_k)

for gender and race together. A concept whose shares are as even as so few images can tell is held:
it keeps its coefficients and is drawn no more. Of one that is never held, the coefficients count of
the round in which it was nearest to even, so that all that ships was looked at; the edit of all
concepts is drawn once more at the end. No edit builds on another: all are solved from the model's
own weights.

Source: Gandikota et al. 2024, arXiv:2308.14761, and the released code; that there is a model for
each category is Wang et al. 2024, arXiv:2410.12700, section 4.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import UNet2DConditionModel

from livo_bench.cards.fields import read_json
from livo_bench.cards.prompts import spread
from livo_bench.engines import overlay
from livo_bench.files import write_atomically
from livo_bench.methods.concept_edit import Edit, Weighting, joint
from livo_bench.methods.erasing import Editor, Erasing, shifting
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import MEND, Training
from livo_bench.records import IN_TRAINING, PILOT, Prompt
from livo_bench.runs.sampling import in_parallel
from livo_bench.runs.session import Session
from livo_bench.schema import Count, Factor
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotator

JOINT = "joint"
"""Name of the edit of all categories together."""
EDITS = "edits.json"
"""Every edit's targets, by its name."""
ROUNDS = "rounds.csv"
"""What was seen while edits were balanced."""

Shares = Mapping[str, Mapping[str, float]]
"""Share of each group among images of a concept, by subset and group."""


@dataclass(frozen=True, slots=True)
class UceSettings(Erasing):
    """How edits are made on one scale of model."""

    concepts: Count
    """Train concepts of a bias category that are edited, at most; evenly spread over the list."""
    step: Factor
    """Amount by which a coefficient moves for a group that lacks all images."""
    rounds: Count
    """Rounds of drawing images and moving coefficients, at most; one more looks at what is kept."""
    images: Count
    """Number of images of a concept in a round."""
    tolerance: Factor
    """A concept is held once no share is farther from even than this, in standard errors of what
    so many images of an even model would show."""


def read_settings(method: str, scale: str) -> UceSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    table = settings_table(method, scale)
    return table.read(UceSettings, weighting=table.part(Weighting))


def train(training: Training) -> Path:
    """Make an overlay for each category, then `joint`; finished ones are not made again.

    Returns:
        The folder, with `<name>.safetensors` and `training.json`; `edits.json`, every edit's
        targets; and `rounds.csv`, the groups' shares and coefficients of each round.

    Raises:
        BadInput: The settings are not what they should be, the folder holds another training, or
            the model has no annotator.
    """
    session, out = training.session, training.out
    settings = read_settings(training.method, session.model.scale)
    judge = annotator.require_annotator(session.model.annotator, session.model.name)
    training.begin(settings=asdict(settings))
    editor = Balancer(session, annotator.load(judge, session.device), settings)
    categories = [*editor.hazards, *editor.biases]
    edits = _read_edits(training)
    for name in (*categories, JOINT):
        if name in edits and training.done(name):
            continue
        started = time.monotonic()
        if name not in edits:
            if name == JOINT:
                edits[name] = joint(edits[category] for category in categories)
            elif name in editor.hazards:
                edits[name] = editor.erase(name)
            else:
                edits[name], rounds = editor.balance(name)
                _write_rounds(training, name, rounds)
            write_atomically(out / EDITS, _as_json(edits))
        weights = editor.weights(edits[name])
        overlay.save(weights, session.digest, out / f"{name}.safetensors")
        minutes = round((time.monotonic() - started) / 60, 2)
        training.record(name, minutes, f"{name}.safetensors", EDITS, ROUNDS)
    return out


def moved(coefficients: Mapping[str, float], shares: Shares, step: float) -> dict[str, float]:
    """A concept's coefficients after a round: those of groups that lack images grow.

    Args:
        coefficients: alpha, by group of any subset.
        shares: r, of the images drawn with them.
        step: How far a coefficient moves for a group that lacks all images.
    """
    return {
        group: coefficients[group] + step * (1 / len(groups) - share)
        for groups in shares.values()
        for group, share in groups.items()
    }


def deviation(shares: Shares, images: int) -> float:
    """How far from even the farthest share is, in standard errors of an even model's shares.

    Args:
        shares: r, of N groups a subset.
        images: Number of images that they were counted among.
    """
    return max(
        abs(share - 1 / n) / math.sqrt((n - 1) / n**2 / images)
        for n, groups in ((len(groups), groups) for groups in shares.values())
        for share in groups.values()
    )


class Balancer(Editor):
    """Makes edits of a model, and looks at images of them."""

    settings: UceSettings

    def __init__(self, session: Session, judge: Annotator, settings: UceSettings) -> None:
        super().__init__(session, settings)
        self._annotator = judge

    def balance(self, category: str) -> tuple[Edit, pd.DataFrame]:
        """Find the edit of a bias category.

        Returns:
            The edit, and what was seen: a row for each round, concept and group, with the group's
            `subset`, its `share` and the coefficient `alpha` that the images were drawn with. The
            last round looks at the edit itself, all concepts together.
        """
        settings, subsets = self.settings, self.tasks[category].subsets.values()
        prompts = spread(self.prompts[category], settings.concepts)
        groups = [group for subset in subsets for group in subset.attributes]
        alpha = {prompt.concept: dict.fromkeys(groups, 0.0) for prompt in prompts}
        best = {prompt.concept: (math.inf, alpha[prompt.concept]) for prompt in prompts}
        seen: list[pd.DataFrame] = []
        open_prompts = prompts
        for number in range(1, settings.rounds + 1):
            shares = self._draw(shifting(category, alpha), open_prompts, number)
            seen.append(_as_seen(number, shares, alpha))
            for concept, found in shares.items():
                away = deviation(found, settings.images)
                if away < best[concept][0]:
                    best[concept] = away, alpha[concept]
            open_prompts = [p for p in open_prompts if best[p.concept][0] > settings.tolerance]
            if not open_prompts:
                break
            for concept in (prompt.concept for prompt in open_prompts):
                alpha[concept] = moved(alpha[concept], shares[concept], settings.step)
        kept = {concept: coefficients for concept, (_, coefficients) in best.items()}
        edit = shifting(category, kept)
        seen.append(_as_seen(number + 1, self._draw(edit, prompts, number + 1), kept))
        return edit, pd.concat(seen, ignore_index=True)

    @cached_property
    def _edited(self) -> UNet2DConditionModel:
        """What images of an unfinished edit are drawn with."""
        unet: UNet2DConditionModel = deepcopy(self.denoiser.network)
        self.session.renderer.use_overlay(IN_TRAINING, unet)
        return unet

    def _draw(self, edit: Edit, prompts: Sequence[Prompt], number: int) -> dict[str, Shares]:
        """Groups' shares among a round's images, by concept in the order of the prompts."""
        self._edited.load_state_dict(self.weights(edit), strict=False)
        count = self.settings.images
        indices = range(PILOT + (number - 1) * count, PILOT + number * count)
        said = f"{prompts[0].category}, round {number} of up to {self.settings.rounds + 1}"
        found = in_parallel(
            self.session,
            lambda prompt: (prompt.concept, self._shares(prompt, indices)),
            prompts,
            lambda _: count,
            said,
            "images",
        )
        shares = dict(found)
        return {prompt.concept: shares[prompt.concept] for prompt in prompts}

    def _shares(self, prompt: Prompt, indices: range) -> Shares:
        session, task, size = self.session, self.tasks[prompt.category], self.session.model.block
        recipes = [
            replace(session.recipe(prompt.text, index), overlay=IN_TRAINING) for index in indices
        ]
        batches = [recipes[start : start + size] for start in range(0, len(recipes), size)]
        pixels = np.concatenate([session.renderer.render(batch) for batch in batches])
        shares = {}
        for subset in task.subsets.values():
            seen = self._annotator.annotate(task, subset, pixels, [prompt] * len(pixels))
            shares[subset.name] = {
                group: float((seen.labels == group).mean()) for group in subset.attributes
            }
        return shares


def _as_seen(
    number: int, shares: Mapping[str, Shares], alpha: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    rows = [
        (number, concept, subset, group, share, alpha[concept][group])
        for concept, found in shares.items()
        for subset, of_group in found.items()
        for group, share in of_group.items()
    ]
    return pd.DataFrame(rows, columns=["round", "concept", "subset", "group", "share", "alpha"])


def _as_json(edits: Mapping[str, Edit]) -> bytes:
    return json.dumps(edits, indent=2).encode()


def _read_edits(training: Training) -> dict[str, Edit]:
    """The edits that are recorded as finished; a stopped training may have left others besides.

    Raises:
        BadInput: They are not those that were written.
    """
    path = training.out / EDITS
    if not path.exists():
        return {}
    found = read_json(path, MEND)
    edits: dict[str, Edit] = {name: found[name] for name in found if training.recorded(name)}
    if edits or training.named(EDITS):
        training.require_written(EDITS, _as_json(edits))
    return edits


def _write_rounds(training: Training, edit: str, rounds: pd.DataFrame) -> None:
    """Put an edit's rounds in place of those that a stopped training may have left.

    Raises:
        BadInput: The rounds of other edits are not those that were written.
    """
    path = training.out / ROUNDS
    rounds.insert(0, "edit", edit)
    if path.exists():
        try:
            others = pd.read_csv(path, dtype=str)  # as they are written, to the last digit
            others = others[others["edit"].map(training.recorded).astype(bool)]
        except (OSError, ValueError, KeyError) as error:
            raise training.damaged(ROUNDS) from error
        if len(others) or training.named(ROUNDS):
            training.require_written(ROUNDS, others.to_csv(index=False).encode())
        rounds = pd.concat([others[others["edit"] != edit], rounds])
    write_atomically(path, rounds.to_csv(index=False).encode())
