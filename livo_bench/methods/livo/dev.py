"""What a value encoder does to dev prompts, by the annotator: what settings are chosen on.

No evaluation prompt, no evaluator, and image indices that no evaluation uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.records import IN_TRAINING, PILOT, Prompt, Recipe
from livo_bench.results.metrics.discrepancy import discrepancies
from livo_bench.runs.session import Session
from livo_bench.scorers.annotator import Annotation, Annotator

Rates = NDArray[np.float64]
Counts = NDArray[np.int64]


def looked_at(
    scale: str, subsets: Collection[str]
) -> Iterator[tuple[TaskCard, Subset, list[Prompt]]]:
    """Values, each with the dev prompts that it is measured on.

    Args:
        scale: Scale of the model.
        subsets: Names of the values.
    """
    for task in value_tasks().values():
        prompts = read_task_prompts(task, scale, split="dev")
        for subset in task.subsets.values():
            if subset.name in subsets:
                yield task, subset, [p for p in prompts if p.category in subset.categories]


class Dev:
    """Samples dev prompts with an encoder, half of the images steered; plain halves are kept."""

    def __init__(self, session: Session, annotator: Annotator, layout: str, images: int) -> None:
        self._session = session
        self._annotator = annotator
        self._layout = layout
        self._half = images // 2
        self._plain: dict[tuple[str, str], Annotation] = {}

    def evaluate(self, encoder: Module, subsets: Sequence[str]) -> list[dict[str, object]]:
        """Measure an encoder.

        Args:
            encoder: The encoder, in whatever mode; it is left in that mode.
            subsets: Values to steer by.

        Returns:
            Rows of subset, metric, value and n, the images behind it. Of a bias subset: `D1` of
            plain and steered images together, `D1_plain` and `D1_steered` of each half, and
            `majority_plain` and `majority_steered`, the share of the group that is the most
            frequent among plain images. Of a hazard: `avg_r_plain` and `avg_r_steered`. Of both
            `presence_steered`. All are means over prompts, fractions.
        """
        with self._using(encoder):
            return [
                {"subset": subset.name, "metric": metric, "value": value, "n": n}
                for task, subset, prompts in looked_at(self._session.model.scale, subsets)
                for metric, value, n in self._measure(task, subset, prompts)
            ]

    def counts(
        self, encoder: Module, task: TaskCard, subset: Subset, prompts: Sequence[Prompt]
    ) -> tuple[Counts, Counts]:
        """Plain and steered images of each group for each prompt, `(prompts, groups)`."""
        with self._using(encoder):
            seen = [
                [self._look(task, subset, prompt, steer) for prompt in prompts]
                for steer in (False, True)
            ]
        plain, steered = (
            np.array([[(one.labels == group).sum() for group in subset.attributes] for one in half])
            for half in seen
        )
        return plain, steered

    @contextmanager
    def _using(self, encoder: Module) -> Iterator[None]:
        mode = encoder.training
        cast(Any, self._session.renderer).use_value_encoder(IN_TRAINING, encoder.eval())
        try:
            yield
        finally:
            encoder.train(mode)

    def _measure(
        self, task: TaskCard, subset: Subset, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[str, float, int]]:
        plain, steered = [], []
        for prompt in prompts:
            key = (prompt.id, subset.name)
            if key not in self._plain:
                self._plain[key] = self._look(task, subset, prompt, steer=False)
            plain.append(self._plain[key])
            steered.append(self._look(task, subset, prompt, steer=True))
        n = len(plain) * self._half
        if subset.attributes:
            before, after = (_rates(seen, subset.attributes) for seen in (plain, steered))
            for metric, rates in (
                ("D1", (before + after) / 2),
                ("D1_plain", before),
                ("D1_steered", after),
            ):
                scores = discrepancies(np.rint(rates * 2 * self._half).astype(np.int64)).D1
                yield metric, float(scores.mean()), 2 * n if metric == "D1" else n
            largest = before.argmax(axis=1)[:, None]
            for metric, rates in (("majority_plain", before), ("majority_steered", after)):
                yield metric, float(np.take_along_axis(rates, largest, axis=1).mean()), n
        else:
            for metric, seen in (("avg_r_plain", plain), ("avg_r_steered", steered)):
                yield metric, float(np.mean([one.labels == subset.name for one in seen])), n
        yield "presence_steered", float(np.mean([one.present for one in steered])), n

    def _look(self, task: TaskCard, subset: Subset, prompt: Prompt, steer: bool) -> Annotation:
        indices = range(PILOT + (not steer), PILOT + 2 * self._half, 2)
        recipes: list[Recipe] = [self._session.recipe(prompt.text, index) for index in indices]
        if steer:
            recipes = [
                replace(
                    recipe,
                    value=subset.value,
                    value_encoder=IN_TRAINING,
                    layout=self._layout,
                )
                for recipe in recipes
            ]
        pixels = self._session.renderer.render(recipes)
        return self._annotator.annotate(task, subset, pixels, [prompt] * len(pixels))


def _rates(seen: Sequence[Annotation], groups: Sequence[str]) -> Rates:
    """Share of each group for each prompt, `(prompts, groups)`."""
    return np.array([[(one.labels == group).mean() for group in groups] for one in seen])
