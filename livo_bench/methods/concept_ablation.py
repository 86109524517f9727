"""Concept Ablation (CA): a toxic prompt is predicted like its detoxified form.

Each category has a model of its own. Anchor pictures are the unaligned model's for detoxified train
prompts; with z_t an anchor picture's noisy latent, x* a toxic train prompt and x its detoxified
form::

    L = w mse( e(z_t, t, x*), sg(e(z_t, t, x)) ) + mse( e(z_t, t, x), noise )

The released code for diffusers sums the first term over the channels of the latents and averages
the second, so there w is their number, 4 for Stable Diffusion. The target of the first term comes
from the UNet that is being trained, as in the released code, not from a frozen copy; the second
term, prior preservation, keeps it from drifting.

Source: Kumari et al. 2023, arXiv:2303.13516, model-based loss (equation 5), and the released code's
recipe for inappropriate content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cards.wording import detoxified
from livo_bench.methods.training import finetuning, processes
from livo_bench.methods.training.finetuning import Example, Finetuning, Noised
from livo_bench.methods.training.latents import moments_of
from livo_bench.methods.training.recipes import recipe_table
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Prompt, Recipe, Request
from livo_bench.runs.plan import form_blocks, make_plan, part_of
from livo_bench.runs.sampling import images_of, in_parallel
from livo_bench.runs.session import Session
from livo_bench.schema import at_least


@dataclass(frozen=True, slots=True)
class AblationRecipe:
    """How concepts are ablated on one scale of model."""

    anchors: Annotated[int, at_least(1)]
    """Anchor pictures of a train prompt."""
    ablation: Annotated[float, at_least(0)]
    """w, the weight of the ablation beside prior preservation."""
    settings: finetuning.Settings


def read_recipe(method: str, scale: str) -> AblationRecipe:
    """Read a method's recipe.

    Raises:
        BadInput: It is not what it should be.
    """
    table = recipe_table(method, scale)
    return table.read(AblationRecipe, settings=table.part(finetuning.Settings))


def loss(
    ablation: float, tuning: Finetuning, noised: Noised, examples: Sequence[Example]
) -> Tensor:
    """Model-based ablation with prior preservation, a scalar.

    Args:
        ablation: w.
        tuning: The UNet.
        noised: Noisy latents of anchor pictures.
        examples: With rows of the toxic text, `prompt`, and the detoxified one, `anchor`.
    """
    anchored = tuning.predict(noised, [example["anchor"] for example in examples])
    toxic = tuning.predict(noised, [example["prompt"] for example in examples])
    return ablation * mse_loss(toxic, anchored.detach()) + mse_loss(anchored, noised.targets)


def train(training: Training) -> Path:
    """Train one overlay for each hazard; finished ones are not made again.

    Returns:
        The folder, with `<category>.safetensors` and `training.json`.

    Raises:
        BadInput: The recipe is not what it should be, or the folder holds another training.
    """
    session = training.session
    recipe = read_recipe(training.method, session.model.scale)
    training.begin(recipe=asdict(recipe))
    for task, subset, prompts in _hazards(session.model.scale):
        if not training.done(subset.name):
            texts = [prompt.text for prompt in prompts]
            texts += [detoxified(text) for text in texts]
            wanted = _anchors(session, task, subset, prompts, recipe.anchors)
            _sample(session, wanted)
            processes.wait()
            # Prompts that differ in their hazard word alone share their anchors.
            keys = sorted({anchor.key for _, anchor in wanted})
            row_of = {key: row for row, key in enumerate(keys)}
            pictures = [row_of[anchor.key] for _, anchor in wanted]
            with processes.first_goes_first():
                moments = moments_of(session, keys, training.out / "checkpoints")

            def draw(
                rng: np.random.Generator,
                pictures: Sequence[int] = pictures,
                n: int = len(prompts),
            ) -> Example:
                prompt = int(rng.integers(n))
                place = prompt * recipe.anchors + int(rng.integers(recipe.anchors))
                return {"picture": pictures[place], "prompt": prompt, "anchor": n + prompt}

            tuning = Finetuning(session, recipe.settings, texts)
            fit = tuning.fit(
                subset.name,
                moments,
                draw,
                partial(loss, recipe.ablation),
                training.seed,
                training.out,
                training.digest,
            )
            training.record(subset.name, fit.minutes, f"{subset.name}.safetensors")
    return training.out


def _hazards(scale: str) -> Iterator[tuple[TaskCard, Subset, list[Prompt]]]:
    for task in task_cards().values():
        if task.question is not None:
            train = read_task_prompts(task, scale, "train")
            for subset in task.subsets.values():
                yield task, subset, [p for p in train if p.category in subset.categories]


def _anchors(
    session: Session, task: TaskCard, subset: Subset, prompts: Sequence[Prompt], count: int
) -> list[tuple[Request, Recipe]]:
    """The unaligned model's pictures of detoxified prompts, `count` after another of each."""
    return [
        (
            Request(prompt, index, task.principle(subset.name)),
            session.recipe(detoxified(prompt.text), index),
        )
        for prompt in prompts
        for index in range(count)
    ]


def _sample(session: Session, wanted: Sequence[tuple[Request, Recipe]]) -> None:
    """Make the pictures that are not stored yet, or this process's part of them."""
    blocks = part_of(form_blocks(wanted, session.model.block), processes.shard())
    plan = make_plan(blocks, session.store.sample_keys(blocks))
    if todo := plan.todo:
        session.store.require_room(round(len(plan.missing) * session.model.bytes_per_image))
        session.load_engine()
        done = in_parallel(
            session,
            lambda block: images_of(session, block),
            todo,
            lambda block: len(block.keys),
            "sampling anchors",
            "images",
        )
        for _ in done:
            pass
