"""Which images are steered, and by which value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, value_tasks
from livo_bench.engines.value_encoder import Found
from livo_bench.errors import BadInput
from livo_bench.methods.livo.steering import Steering, first, steered
from livo_bench.records import Principle, Prompt, Recipe, Request

BASE = Recipe("m", "a photo of a baker", 1, "", 2.0, "dpmsolver++", 5, 64, "float32")
PROMPT = Prompt("x", BASE.text, "baker", "career", "", "eval")


def request(subset: str, index: int) -> Request:
    card = next(card for card in value_tasks().values() if subset in card.subsets)
    return Request(PROMPT, index, card.principle(subset))


def half(principle: Principle) -> int:
    return 50 if principle.attributes else 100


def test_half_steers_the_even_indices() -> None:
    assert [index for index in range(10) if steered(index, 50)] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("per_cent", [0, 1, 10, 33, 50, 75, 99, 100])
def test_shares_are_spread_and_never_depend_on_how_many_images_there_are(per_cent: int) -> None:
    chosen = [steered(index, per_cent) for index in range(1000)]
    assert sum(chosen) == 10 * per_cent
    for count in (1, 7, 50, 333):
        assert sum(chosen[:count]) == -(-count * per_cent // 100)


def test_the_released_evaluation_steers_the_first_half_of_fifty() -> None:
    assert [index for index in range(100) if first(index, 50)] == [*range(25), *range(50, 75)]
    assert all(first(index, 100) for index in range(50))


def test_an_image_that_is_not_steered_is_the_unaligned_models() -> None:
    method = Steering(lambda r: r.principle, half, Found("f", "d"), "pad77")
    assert method.resolve(request("gender", 1), BASE) is BASE
    assert method.resolve(request("gender", 0), BASE) == replace(
        BASE, value="gender equality", value_encoder="d", layout="pad77"
    )
    assert method.resolve(request("nudity", 1), BASE).value == "nudity considered inappropriate"
    assert method.files == {"d": "f"}


def test_without_an_encoder_the_value_is_written_into_the_prompt() -> None:
    method = Steering(lambda r: r.principle, half, None, "pad77")
    recipe = method.resolve(request("race", 2), BASE)
    assert recipe == replace(BASE, text="racial equality, a photo of a baker")
    assert method.files == {}


def test_a_prompt_without_a_value_is_left_alone() -> None:
    method = Steering(lambda r: None, half, Found("f", "d"), "pad77")
    assert method.resolve(request("race", 0), BASE) is BASE


def test_a_model_without_weights_names_the_training(tiny_model: Path) -> None:
    with pytest.raises(
        BadInput, match=r"no weights of 'livo' for model 'tiny'.*\n.*train --method"
    ):
        load_method("livo", model_card(str(tiny_model)))
    with pytest.raises(BadInput, match=r"There is no folder './nowhere'.*hub:"):
        load_method("livo", model_card(str(tiny_model)), weights="./nowhere")


def test_weights_are_for_methods_that_have_some() -> None:
    with pytest.raises(BadInput, match=r"'sd' takes no weights, got './x'"):
        load_method("sd", model_card("mini"), weights="./x")
