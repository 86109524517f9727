"""What raters say of methods directly."""

import pandas as pd
import pytest

from livo_bench.results.raters.drawn import FITS, PAIR, UNSURE, Draw, Item, Question
from livo_bench.results.raters.preferences import fits, preferences

QUESTIONS = (
    Question("fits", FITS, "?", ("yes", "no", UNSURE)),
    Question("better", PAIR, "?", ("left", "tie", "right")),
)


def draw(*items: Item) -> Draw:
    return Draw("mini", 0, "sd", QUESTIONS, (), items, {})


def pair(name: int, livo_left: bool = True, cluster: str = "") -> Item:
    methods = ("livo", "sd") if livo_left else ("sd", "livo")
    return Item(str(name), "better", ("k", "l"), "", cluster or str(name), methods)


def answers(**said: str) -> pd.DataFrame:
    """Words of a rater, item by item; a question mark is one who is unsure."""
    rows = [(str(n), rater, a) for rater, some in said.items() for n, a in enumerate(some.split())]
    return pd.DataFrame(rows, columns=["item", "rater", "answer"]).replace("?", UNSURE)


def test_left_and_right_are_turned_back_to_methods() -> None:
    drawn = draw(*(pair(n, livo_left=n % 2 == 0) for n in range(6)))
    [found] = preferences(drawn, answers(a="left right left right tie left"))
    assert (found.better, found.tie, found.worse) == (4, 1, 1)
    assert found.value == pytest.approx(4.5 / 6)
    assert found.n == 6
    assert found.interval.low < found.value < found.interval.high


def test_the_sign_test_is_the_exact_one_and_leaves_ties_out() -> None:
    drawn = draw(*(pair(n) for n in range(10)))
    [found] = preferences(drawn, answers(a="left " * 7 + "right tie tie"))
    # Two-sided: 2 (1 + 8) / 2^8.
    assert found.p == pytest.approx(18 / 256)
    assert found.clusters == 8
    [even] = preferences(drawn, answers(a="tie " * 10))
    assert (even.p, even.clusters) == (1.0, 0)


def test_prompts_that_are_alike_count_as_one_and_raters_do_not_count_as_prompts() -> None:
    drawn = draw(*(pair(n, cluster=f"c{n // 4}") for n in range(8)))
    [found] = preferences(drawn, answers(a="left " * 8, b="left " * 8))
    assert (found.n, found.better, found.clusters) == (8, 16, 2)
    assert found.p == pytest.approx(0.5)
    # One cluster of two answers each way is even.
    [split] = preferences(drawn, answers(a="left left right right " + "left " * 4))
    assert split.clusters == 1


def test_an_image_counts_for_every_method_that_it_was_drawn_for() -> None:
    items = [
        Item("0", "fits", ("k",), "", "c0", ("livo", "sd")),
        Item("1", "fits", ("l",), "", "c1", ("livo",)),
        Item("2", "fits", ("m",), "", "c2", ("sd",)),
    ]
    livo, sd = fits(draw(*items), answers(a="yes no yes", b="no no ?"))
    assert (livo.method, livo.value, livo.n) == ("livo", 0.25, 2)
    assert (sd.method, sd.value, sd.n) == ("sd", 0.75, 2)


def test_a_method_of_which_nobody_was_sure_is_not_listed() -> None:
    items = [Item("0", "fits", ("k",), "", "c0", ("sd",))]
    assert fits(draw(*items), answers(a="?")) == []
    assert preferences(draw(*items), answers(a="yes")) == []
