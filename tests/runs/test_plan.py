import random
from dataclasses import replace

import pytest
from written_requests import GENDER, RACE, steered, wanted

from livo_bench.records import Request
from livo_bench.runs.plan import Plan, estimate, form_blocks, id_of_keys, make_plan


def test_a_block_is_one_prompt_and_a_fixed_number_of_indices() -> None:
    blocks = form_blocks(wanted(images=6), size=4)
    described = [(b.prompt.concept, [request.index for request in b.requests]) for b in blocks]
    assert described == [
        ("chef", [0, 1, 2, 3]),
        ("chef", [4, 5]),
        ("nurse", [0, 1, 2, 3]),
        ("nurse", [4, 5]),
    ]


def test_keys_recipes_and_requests_of_a_block_belong_together() -> None:
    for block in form_blocks(wanted(steered), size=4):
        assert block.keys == tuple(recipe.key for recipe in block.recipes)
        assert block.recipes == tuple(steered(request) for request in block.requests)
        assert block.id == id_of_keys(block.keys)


def test_any_order_of_requests_gives_the_same_blocks() -> None:
    pairs = wanted(images=9, principles=(GENDER, RACE)) + wanted(steered, 9, principles=(RACE,))
    pairs += [(request, replace(recipe, seed=recipe.seed + 1)) for request, recipe in pairs]
    blocks = form_blocks(pairs, size=4)
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        assert form_blocks(pairs, size=4) == blocks


def test_adding_indices_keeps_full_blocks() -> None:
    few, many = form_blocks(wanted(images=8), 4), form_blocks(wanted(images=50), 4)
    assert set(few) <= set(many)


def test_adding_indices_keeps_the_keys_of_a_block_that_was_not_full() -> None:
    few, many = form_blocks(wanted(images=6), 4), form_blocks(wanted(images=8), 4)
    assert set(few[1].keys) < set(many[1].keys)


def test_images_that_subsets_share_are_made_once() -> None:
    both = form_blocks(wanted(principles=(GENDER, RACE)), 4)
    assert [b.keys for b in both] == [b.keys for b in form_blocks(wanted(), 4)]


def test_images_shared_by_prompts_of_the_same_text_are_made_once() -> None:
    twin = [
        (Request(replace(request.prompt, id="twin"), request.index, GENDER), recipe)
        for request, recipe in wanted()
    ]
    assert [b.keys for b in form_blocks(wanted() + twin, 4)] == [
        b.keys for b in form_blocks(wanted(), 4)
    ]


def test_recipes_of_different_families_never_share_a_block() -> None:
    slow = [(request, replace(recipe, steps=50)) for request, recipe in wanted()]
    blocks = form_blocks(wanted() + slow, 4)
    assert all(len({recipe.family for recipe in block.recipes}) == 1 for block in blocks)
    steps = [block.recipes[0].steps for block in blocks]
    assert steps in ([12] * 4 + [50] * 4, [50] * 4 + [12] * 4)


def test_methods_and_subsets_planned_together_never_exceed_the_batch() -> None:
    pairs = wanted(images=8) + wanted(steered, 8, principles=(GENDER, RACE))
    blocks = form_blocks(pairs, 4)
    # 2 prompts x (8 plain + 4 steered for gender + 4 steered for race), each once.
    assert sum(len(block.keys) for block in blocks) == 32
    for block in blocks:
        indices = [request.index for request in block.requests]
        assert len(indices) == len(set(indices)) <= 4


def test_planning_a_method_beside_the_plain_model_keeps_the_plain_blocks() -> None:
    together = form_blocks(wanted(images=8) + wanted(steered, 8), 4)
    assert set(form_blocks(wanted(images=8), 4)) <= set(together)


def test_blocks_do_not_depend_on_what_is_stored() -> None:
    pairs = wanted()
    keys = [recipe.key for _, recipe in pairs]
    assert (
        make_plan(form_blocks(pairs, 4), set()).blocks
        == make_plan(form_blocks(pairs, 4), set(keys[:5])).blocks
    )


def test_a_block_with_one_missing_key_is_done_whole() -> None:
    pairs = wanted(images=8, concepts=("chef",))
    stored = {recipe.key for _, recipe in pairs} - {pairs[5][1].key}
    plan = make_plan(form_blocks(pairs, 4), stored)
    [(block, rows)] = plan.lacking.items()
    assert [block] == [one.id for one in plan.todo]
    assert [plan.todo[0].keys[row] for row in rows] == [pairs[5][1].key]
    assert plan.missing == 1
    assert [[request.index for request in block.requests] for block in plan.todo] == [[4, 5, 6, 7]]


def test_nothing_is_left_to_do_when_all_is_stored() -> None:
    pairs = wanted()
    plan = make_plan(form_blocks(pairs, 4), {recipe.key for _, recipe in pairs})
    assert plan.missing == 0
    assert plan.todo == ()
    assert str(estimate(plan, 2, 10)) == "12 images wanted, all stored: nothing to make."


def test_nothing_wanted_is_an_empty_plan() -> None:
    assert make_plan([], {"stored"}) == Plan((), {})


def test_id_of_keys_does_not_depend_on_their_order() -> None:
    assert id_of_keys(["b", "a"]) == id_of_keys(["a", "b"]) != id_of_keys(["ab"])
    assert id_of_keys(["b", "a"]) == "7e18f737311b2dc3b2f269dd78396b03"  # of "a\nb"


def test_estimate_counts_whole_blocks_as_work_and_missing_images_as_bytes() -> None:
    pairs = wanted(images=8, concepts=("chef",))
    plan = make_plan(form_blocks(pairs, 4), {pairs[0][1].key, pairs[1][1].key})
    cost = estimate(plan, rate=0.05, bytes_per_image=1500)
    assert (cost.wanted, cost.missing, cost.rendered, cost.blocks) == (8, 6, 8, 2)
    assert cost.seconds == pytest.approx(160)
    assert cost.bytes == 9000
    assert str(cost) == (
        "8 images wanted, 2 stored. To make: 6 (and 2 again, to fill their blocks) in 2 blocks, "
        "about 3 min and 9.0 kB."
    )


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (100, "about 1 s "),
        (0.2, "about 40 s "),
        (0.01, "about 13 min "),
        (8e-4, "about 2 h 47 min "),
    ],
)
def test_estimate_says_durations_as_people_do(rate: float, said: str) -> None:
    pairs = wanted(images=8, concepts=("chef",))
    assert said in str(estimate(make_plan(form_blocks(pairs, 4), ()), rate, 1000))
