"""From a command's arguments to resolved requests: one job for each method and task.

Whatever can be wrong with cards, prompts, adapters or arguments is found here, before a model is
loaded; what is wrong with judges, when a job is asked for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from livo_bench.cards import OURS, ModelCard, Subset, TaskCard
from livo_bench.catalog import (
    LoadedMethod,
    load_method,
    model_card,
    protocol_card,
    select_methods,
    select_tasks,
)
from livo_bench.errors import BadInput
from livo_bench.prompts import read_task_prompts, read_user_prompts
from livo_bench.protocols import Scorer
from livo_bench.records import Prompt, Recipe, Request
from livo_bench.session import Session, find_device


@dataclass(frozen=True)
class Job:
    """One method on one task."""

    session: Session
    method: LoadedMethod
    task: TaskCard
    subsets: Sequence[Subset]
    """Those of the task that were asked for and that the method is made for."""
    wanted: Sequence[tuple[Request, Recipe]]
    reference: Sequence[tuple[Request, Recipe]]
    """The unaligned model's images of the same requests, which FID compares with."""

    @cached_property
    def judges(self) -> Mapping[tuple[str, str], Scorer]:
        """By subset and category of prompts; the feature network for the harmless of a control."""
        return _judges(self.session, self.task, self.subsets)

    @cached_property
    def own(self) -> Sequence[tuple[Request, Recipe]]:
        """What is not in the reference, whose batches make what the two share."""
        shared = {recipe.key for _, recipe in self.reference}
        return [(request, recipe) for request, recipe in self.wanted if recipe.key not in shared]

    @property
    def subset(self) -> str | None:
        """The one subset of several that this is; None where it is all or some of them."""
        return self.subsets[0].name if len(self.subsets) == 1 < len(self.task.subsets) else None

    @property
    def place(self) -> str:
        """Folder name of the results: `bias`, or `bias.gender` for a subset alone."""
        return self.task.name if self.subset is None else f"{self.task.name}.{self.subset}"


def prepare(
    methods: Sequence[str],
    task: str,
    model: str,
    images: int,
    prompts: Path | None,
    seed: int,
    device: str,
    dtype: str | None,
    runs: Path,
    weights: str | None = None,
    protocol: str = OURS,
) -> tuple[Session, list[Job]]:
    """Read cards, prompts and adapters, and resolve every request; loads no model.

    Raises:
        LivoBenchError: Whatever is wrong with the arguments.
    """
    card = model_card(model)
    tasks = select_tasks(task)
    methods = select_methods(methods)
    if weights is not None and len(methods) > 1:
        raise BadInput(
            f"Weights {weights!r} were given to {len(methods)} methods: {', '.join(methods)}; "
            "expected one. Run them one by one."
        )
    conventions = protocol_card(protocol)
    if conventions.images and images != conventions.images:
        raise BadInput(
            f"The protocol {protocol!r} makes {conventions.images} images of a prompt, asked for "
            f"are {images}. Pass --images {conventions.images}, or leave --protocol out."
        )
    loaded = [load_method(spec, card, weights, conventions) for spec in methods]
    files = {digest: place for method in loaded for digest, place in method.files.items()}
    device, dtype = find_device(device), dtype or card.dtype
    session = Session(card, seed, device, dtype, runs, files, conventions)
    jobs = []
    for task_card, subsets in tasks:
        listed = _prompts(task_card, card, prompts)
        requests = list(_requests(task_card, subsets, listed, images))
        # Subsets that ask for the same image share its recipe.
        recipe_of = lru_cache(maxsize=None)(session.recipe)
        base = [(request, recipe_of(request.prompt.text, request.index)) for request in requests]
        for method in loaded:
            own = [s for s in subsets if method.card.is_for(task_card.name, s.name)]
            if own:
                names = {subset.name for subset in own}
                reference = [(r, recipe) for r, recipe in base if r.principle.subset in names]
                wanted = [(r, method.resolve(r, recipe)) for r, recipe in reference]
                jobs.append(Job(session, method, task_card, own, wanted, reference))
    if not jobs:
        made_for = {method.name: ", ".join(method.card.tasks) for method in loaded}
        raise BadInput(
            f"None of the methods is made for task {task!r}. They are made for: "
            + "; ".join(f"{name}: {names}" for name, names in made_for.items())
            + ". See what there is: livo-bench list"
        )
    return session, jobs


def _judges(
    session: Session, task: TaskCard, subsets: Iterable[Subset]
) -> dict[tuple[str, str], Scorer]:
    judges: dict[tuple[str, str], Scorer] = {}
    for subset in subsets:
        judge = session.judge(task, subset)
        for category in subset.categories:
            harmless = task.control and category not in subset.attributes
            judges[subset.name, category] = session.features if harmless else judge
    return judges


def _prompts(task: TaskCard, model: ModelCard, own: Path | None) -> list[Prompt]:
    if own is None:
        return read_task_prompts(task, model.scale)
    return read_user_prompts(own, task)


def _requests(
    task: TaskCard, subsets: Iterable[Subset], prompts: Sequence[Prompt], images: int
) -> Iterator[Request]:
    for subset in subsets:
        principle = task.principle(subset.name)
        chosen = [prompt for prompt in prompts if prompt.category in subset.categories]
        if not chosen:
            raise BadInput(
                f"No prompt for {task.name}/{subset.name}: the list has none in its categories "
                f"({', '.join(subset.categories)}). Add some, or name the subsets that it is for: "
                f"--task {task.name}/SUBSET"
            )
        for prompt in chosen:
            for index in range(images):
                yield Request(prompt, index, principle)
