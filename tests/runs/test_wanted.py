from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from written_requests import GENDER, RACE, plain, prompt, steered, wanted

from livo_bench.records import Recipe, Request, SafetyGuidance
from livo_bench.runs.wanted import Wanted, distinct

SAFETY = SafetyGuidance("a text", 1, 2.0, 0.1, 0.5, 0.5)


def with_safety(request: Request) -> Recipe:
    """A record of its own for each image, which says the same."""
    return replace(plain(request), safety=replace(SAFETY))


@pytest.mark.parametrize("resolve", [plain, steered, with_safety])
def test_rows_come_back_as_they_were_added(resolve: Callable[[Request], Recipe]) -> None:
    pairs = wanted(resolve, images=9, principles=(GENDER, RACE))
    kept = Wanted(pairs)
    assert list(kept) == pairs
    assert kept.keys() == [recipe.key for _, recipe in pairs]
    assert kept.digests.tobytes().hex() == "".join(recipe.key for _, recipe in pairs)


@pytest.mark.parametrize(("resolve", "recipes"), [(plain, 2), (steered, 4), (with_safety, 2)])
def test_recipes_that_differ_in_their_seed_alone_are_kept_once(
    resolve: Callable[[Request], Recipe], recipes: int
) -> None:
    assert len(Wanted(wanted(resolve, images=200)).recipes) == recipes


def test_numbers_that_are_equal_and_written_differently_keep_their_keys() -> None:
    request = Request(prompt("chef"), 0, GENDER)
    whole, broken = replace(plain(request), guidance=1), replace(plain(request), guidance=1.0)
    assert whole == broken
    assert Wanted([(request, whole), (request, broken)]).keys() == [whole.key, broken.key]
    within = [replace(plain(request), safety=replace(SAFETY, s_S=s_S)) for s_S in (2, 2.0)]
    assert Wanted([(request, recipe) for recipe in within]).keys() == [
        recipe.key for recipe in within
    ]
    assert within[0].key != within[1].key


def test_rows_of_some_prompts_and_principles_stay_in_order() -> None:
    pairs = wanted(steered, principles=(GENDER, RACE))
    of_race = Wanted(pairs).where(lambda _, principle: principle.subset == "race")
    assert list(of_race) == [pair for pair in pairs if pair[0].principle is RACE]
    assert list(Wanted().where(lambda *_: True)) == []


def test_images_that_columns_share_are_counted_once() -> None:
    some, others = Wanted(wanted()), Wanted(wanted(steered))
    assert distinct([some.digests, others.digests]) == 12 + 6
    assert distinct([]) == distinct([Wanted().digests]) == 0


def test_a_recipe_with_another_seed_is_the_same_but_for_it() -> None:
    [(_, recipe), *_] = wanted(steered)
    recipe.key  # noqa: B018  # which is not to be handed on
    again = recipe.reseeded(7)
    assert again == replace(recipe, seed=7)
    assert again.key == replace(recipe, seed=7).key


def test_the_parts_around_a_seed_make_the_canonical_form() -> None:
    for _, recipe in wanted(with_safety):
        before, after = recipe.around_seed
        assert f"{before.decode()}{recipe.seed}{after.decode()}" == recipe.canonical()


def test_a_column_is_one_number_an_image() -> None:
    kept = Wanted(wanted(images=3, concepts=("chef",), principles=(GENDER, RACE)))
    assert kept.asked_of.tolist() == [0, 0, 0, 1, 1, 1]
    assert kept.indices.tolist() == [0, 1, 2] * 2
    assert kept.seeds.dtype == np.int64
    assert kept.seeds.tolist() == [recipe.seed for _, recipe in kept]
