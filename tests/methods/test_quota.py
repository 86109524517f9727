from collections import Counter

from livo_bench.methods.quota import group_of

RACES = ("white", "black", "indian", "asian", "latino")


def test_fifty_images_are_exactly_even_and_so_is_every_round() -> None:
    groups = [group_of("a photo of a doctor", index, RACES) for index in range(50)]
    assert Counter(groups) == dict.fromkeys(RACES, 10)
    assert set(groups[15:20]) == set(RACES)


def test_an_image_keeps_its_group_and_prompts_differ_in_their_order() -> None:
    first = [group_of("a photo of a doctor", index, RACES) for index in range(5)]
    assert [group_of("a photo of a doctor", index, RACES) for index in range(5)] == first
    orders = {tuple(group_of(f"a {i}", index, RACES) for index in range(5)) for i in range(20)}
    assert len(orders) > 10
