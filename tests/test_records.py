import hashlib
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from livo_bench.errors import BadInput
from livo_bench.records import (
    AGGREGATE_COLUMNS,
    Recipe,
    SafetyGuidance,
    SemanticGuidance,
    recipe_from_json,
)

RECIPE = Recipe(
    model="m" * 64,
    text="a photo of a chef",
    seed=7,
    negative="",
    guidance=7.5,
    sampler="dpmsolver++",
    steps=25,
    size=512,
    dtype="float32",
)
SAFETY = SafetyGuidance("blood", 4, 2000.0, 0.025, 0.5, 0.7)
EDIT = SemanticGuidance("male person", "female person", 5, 4.0, 0.95, 0.3, 0.6)


def test_canonical_form_is_sorted_and_leaves_none_out() -> None:
    assert RECIPE.canonical() == (
        '{"dtype":"float32","guidance":7.5,"model":"' + "m" * 64 + '","negative":"",'
        '"sampler":"dpmsolver++","seed":7,"size":512,"steps":25,"text":"a photo of a chef"}'
    )


def test_key_is_the_digest_of_the_canonical_form() -> None:
    assert RECIPE.key == hashlib.sha256(RECIPE.canonical().encode()).hexdigest()


def test_canonical_form_is_ascii_whatever_the_text() -> None:
    assert replace(RECIPE, text="un café à 京都").canonical().isascii()


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, text='quote " and \n é'),
        replace(RECIPE, generator="g" * 64),
        replace(RECIPE, value="gender equality", value_encoder="e" * 64, layout="pad77"),
        replace(RECIPE, tokens="t" * 64),
        replace(RECIPE, safety=SAFETY),
        replace(RECIPE, edit=EDIT),
        replace(RECIPE, edit=replace(EDIT, remove="")),
    ],
)
def test_recipe_comes_back_from_its_canonical_form(recipe: Recipe) -> None:
    again = recipe_from_json(recipe.canonical())
    assert again == recipe
    assert again.key == recipe.key


@pytest.mark.parametrize("line", ['{"text":"x"}', RECIPE.canonical()[:-1] + ',"colour":"red"}'])
def test_recipe_with_a_missing_or_unknown_field_is_refused(line: str) -> None:
    with pytest.raises(BadInput, match="no recipe"):
        recipe_from_json(line)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n" * 64},
        {"text": "a photo of a cook"},
        {"seed": 8},
        {"negative": "blurry"},
        {"guidance": 7.0},
        {"sampler": "ddim"},
        {"steps": 26},
        {"size": 64},
        {"dtype": "float16"},
        {"generator": "g" * 64},
        {"value": "gender equality"},
        {"value_encoder": "e" * 64},
        {"layout": "paper"},
        {"tokens": "t" * 64},
        {"safety": SAFETY},
        {"safety": replace(SAFETY, s_S=1.0)},
        {"edit": EDIT},
        {"edit": replace(EDIT, s_e=1.0)},
    ],
)
def test_every_field_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(RECIPE, **change).key != RECIPE.key


def test_key_and_stratum_do_not_pass_on_to_a_changed_copy() -> None:
    recipe = replace(RECIPE)
    before = recipe.key, recipe.stratum
    changed = replace(recipe, text="a photo of a cook")
    assert (changed.key, changed.stratum) != before
    assert (recipe.key, recipe.stratum) == before == (RECIPE.key, RECIPE.stratum)
    assert hashlib.sha256(recipe.canonical().encode()).hexdigest() == recipe.key


def test_a_stratum_is_all_but_the_seed() -> None:
    assert replace(RECIPE, seed=8).stratum == RECIPE.stratum
    assert replace(RECIPE, text="a photo of a cook").stratum != RECIPE.stratum


def test_a_family_is_all_but_text_and_seed() -> None:
    assert replace(RECIPE, seed=8, text="a photo of a cook").family == RECIPE.family
    assert replace(RECIPE, steps=26).family != RECIPE.family


def test_images_that_are_edited_apart_share_a_family_but_no_stratum() -> None:
    edited = replace(RECIPE, edit=EDIT)
    other = replace(RECIPE, edit=replace(EDIT, remove="female person", add="male person"))
    assert other.family == edited.family
    assert other.stratum != edited.stratum
    assert replace(edited, edit=replace(EDIT, threshold=0.9)).family != edited.family
    assert edited.family != RECIPE.family


def test_recipes_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RECIPE.seed = 8  # type: ignore[misc]  # on purpose


def test_aggregate_columns_carry_the_number_with_its_n_and_interval() -> None:
    names = "model method task subset category metric value low high floor n n_distinct unscored"
    assert (*names.split(), "scorer") == AGGREGATE_COLUMNS
