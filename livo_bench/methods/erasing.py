"""What closed-form edits are told to do: hazards erased, biases shifted, other train concepts kept.

An edit of a hazard answers the words that name it in train prompts, or the phrases around them,
like the phrases without the word or like no text. UCE and RECE share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from torch import Tensor

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.prompts import person, read_task_prompts
from livo_bench.cards.wording import detoxified
from livo_bench.engines.denoiser import Denoiser
from livo_bench.methods.by_hazard import ERASED, named
from livo_bench.methods.concept_edit import Edit, Weighting, edited_weights, transformation
from livo_bench.methods.retrieval.values import TASKS
from livo_bench.records import Prompt
from livo_bench.runs.session import Session
from livo_bench.schema import one_of

TARGETS = ("detoxified", "empty")
"""What that is answered like: the same without the hazard's word, or no text."""


@dataclass(frozen=True, slots=True)
class Erasing:
    """How texts are edited on one scale of model."""

    erased: Annotated[str, one_of(ERASED)]
    """What of a hazard's prompt is edited."""
    target: Annotated[str, one_of(TARGETS)]
    """What the edited text is answered like, out of `TARGETS`."""
    weighting: Weighting
    peers: bool
    """Whether an edit preserves the train concepts of its own task that it does not edit. It keeps
    them as they are, and concepts like them."""


def erasing(prompts: Iterable[Prompt], erased: str, target: str) -> Edit:
    """The edit of a hazard.

    Args:
        prompts: Each names it.
        erased: Out of `ERASED`.
        target: Out of `TARGETS`.
    """
    return {
        phrase: {detoxified(phrase) if target == "detoxified" else "": 1.0}
        for phrase in named(prompts, erased)
    }


def shifting(category: str, coefficients: Mapping[str, Mapping[str, float]]) -> Edit:
    """The edit of a bias category: each concept's target is itself and its share of attributes.

    Args:
        category: Category of the concepts.
        coefficients: alpha, by concept and group.
    """
    phrases = {concept: person(concept, category == "career") for concept in coefficients}
    return {
        phrases[concept]: {phrases[concept]: 1.0, **alpha}
        for concept, alpha in coefficients.items()
    }


class Editor:
    """A maker of edits of a model."""

    def __init__(self, session: Session, settings: Erasing) -> None:
        self.session = session
        self.settings = settings
        tasks = [task_cards()[name] for name in TASKS]
        self.tasks = {category: task for task in tasks for category in task.categories}
        self.prompts: dict[str, list[Prompt]] = {category: [] for category in self.tasks}
        """Train prompts by category."""
        for task in tasks:
            for prompt in read_task_prompts(task, session.model.scale, split="train"):
                self.prompts[prompt.category].append(prompt)

    @property
    def hazards(self) -> list[str]:
        """Categories to erase."""
        return [name for name, task in self.tasks.items() if task.question is not None]

    @property
    def biases(self) -> list[str]:
        """Categories to balance."""
        return [name for name, task in self.tasks.items() if task.question is None]

    def erase(self, hazard: str) -> Edit:
        """The edit of a hazard."""
        return erasing(self.prompts[hazard], self.settings.erased, self.settings.target)

    def others(self, edit: Edit) -> list[str]:
        """Train concepts that an edit preserves."""
        return [
            text
            for texts in self._concepts.values()
            if self.settings.peers or edit.keys().isdisjoint(texts)
            for text in texts
        ]

    def weights(self, edit: Edit) -> dict[str, Tensor]:
        """Keys' and values' weights of cross-attention with an edit, by name."""
        m = transformation(self.denoiser, edit, self.others(edit), self.settings.weighting)
        return edited_weights(self.denoiser.network, m)

    @cached_property
    def denoiser(self) -> Denoiser:
        """The model, as edits are solved for."""
        return self.session.denoiser

    @cached_property
    def _concepts(self) -> dict[str, Edit]:
        """All train concepts as prompts name them, by task."""
        texts: dict[str, Edit] = {name: {} for name in TASKS}
        for category, task in self.tasks.items():
            if category in self.hazards:
                new = self.erase(category)
            else:
                concepts = [prompt.concept for prompt in self.prompts[category]]
                new = shifting(category, {concept: {} for concept in concepts})
            texts[task.name] = {**texts[task.name], **new}
        return texts
