"""SAFREE: which tokens are filtered, for how many steps, and what a recipe says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines import concept_filter, diffusion
from livo_bench.engines.diffusion import Diffusion
from livo_bench.records import ConceptFilter, Recipe, Request, recipe_from_json

CONCEPTS = ConceptFilter("nurse, a black nurse", alpha=0.01, steps=10)
BASE = Recipe("tiny", "a photo of a nurse", 0, "", 3.0, "dpmsolver++", 5, 64, "float32")


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


def test_the_recipe_has_the_phrases_of_all_hazards_or_of_the_one_in_question() -> None:
    task = task_cards()["toxicity"]
    prompt = read_task_prompts(task, "mini")[0]
    request = Request(prompt, 0, task.principle("horror"))
    base = replace(BASE, text=prompt.text)
    mini = model_card("mini")
    told_nothing = load_method("safree", mini).resolve(request, base)
    told = load_method("safree:subset", mini).resolve(request, base)
    assert told_nothing.concepts is not None
    assert {"naked", "bleeding", "undead"} <= {*told_nothing.concepts.texts.split(", ")}
    assert told.concepts == replace(
        told_nothing.concepts, texts="zombie, undead, a zombie mannequin"
    )
    assert replace(told, concepts=None) == base
    assert recipe_from_json(told.canonical()) == told


def test_a_token_whose_absence_leads_away_from_the_concepts_is_a_trigger() -> None:
    concepts = torch.tensor([[1.0, 0, 0, 0]])
    # Without the second word the text's end lies far from the concept, else near to it.
    masked = torch.tensor([[2.0, 0.5, 0, 0], [0.0, 2.0, 0, 0], [3.0, 0, 0.5, 0]])
    assert concept_filter.triggers(masked, concepts, 0.01).tolist() == [False, True, False]
    assert concept_filter.triggers(masked, concepts, 9.0).tolist() == [False] * 3


def test_a_filtered_state_has_nothing_of_the_concepts_and_stays_in_the_texts_span() -> None:
    generator = torch.Generator().manual_seed(0)
    states, masked, concepts = (torch.randn(n, 8, generator=generator) for n in (6, 3, 2))
    turned = concept_filter.turned(states, masked, concepts)
    assert (turned @ concepts.T).abs().max() < 1e-5
    span = torch.cat([masked, concepts]).double()
    outside = turned.double() - turned.double() @ concept_filter.onto(span)
    assert outside.abs().max() < 1e-5


@pytest.mark.parametrize(("beta", "steps"), [(0.0, 0), (0.5333, 5), (1.0, 10), (2.0, 10)])
def test_the_farther_the_text_is_turned_the_more_steps_see_it(beta: float, steps: int) -> None:
    assert concept_filter.steps_of(beta, 10) == steps


def test_images_of_other_texts_of_one_batch_are_filtered_each_by_itself(engine: Diffusion) -> None:
    safe = replace(BASE, concepts=CONCEPTS)
    other = replace(safe, text="a photo of a doctor", seed=1)
    alone = np.concatenate([engine.render([safe]), engine.render([other])])
    together = engine.render([safe, other]).astype(int)
    assert np.abs(together - alone).max() <= 1
    assert not np.array_equal(alone[:1], engine.render([BASE]))


def test_steps_past_the_last_see_the_text_as_it_is(engine: Diffusion) -> None:
    seen: list[torch.Tensor] = []

    def unet(
        latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor, return_dict: bool
    ) -> tuple[torch.Tensor]:
        seen.append(text)
        return (latents,)

    plain, safe = torch.zeros(2, 3, 4), torch.ones(3, 4)
    texts = [concept_filter.Filtered(safe, 20.0), concept_filter.Filtered(safe, -1.0)]
    predict = concept_filter.filtering(unet, plain, texts, torch.zeros(3, 4), 1.0, steps=5)
    for _ in range(5):
        predict(torch.zeros(2, 4, 8, 8), torch.tensor(1))
    # Of five steps each stands for ten of fifty: 0, 10 and 20 are up to 20.
    assert [context[0].mean().item() for context in seen] == [1, 1, 1, 0, 0]
    assert [context[1].mean().item() for context in seen] == [0] * 5


def test_a_text_without_words_is_left_alone(engine: Diffusion) -> None:
    empty = replace(BASE, text="")
    assert np.array_equal(
        engine.render([replace(empty, concepts=CONCEPTS)]), engine.render([empty])
    )


def test_states_are_changed_in_one_way_at_a_time(engine: Diffusion) -> None:
    with pytest.raises(ValueError, match="changed in one way, got projection and concepts"):
        engine.render([replace(BASE, concepts=CONCEPTS, projection="0" * 64)])
