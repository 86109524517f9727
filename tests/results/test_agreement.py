"""Krippendorff's alpha is that of its author's examples."""

import math

import pandas as pd
import pytest

from livo_bench.results.raters.agreement import agreement


def answers(*raters: str) -> pd.DataFrame:
    """A row an answer; a word an item, a dot where there is none. An item is its own cluster."""
    return pd.DataFrame(
        [
            {"item": item, "rater": rater, "answer": answer, "cluster": item}
            for rater, said in enumerate(raters)
            for item, answer in enumerate(said.split())
            if answer != "."
        ],
        columns=["item", "rater", "answer", "cluster"],
    )


@pytest.mark.parametrize(
    ("raters", "alpha", "items"),
    [
        # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", A: two raters, two values
        (("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095, 10),
        # B: two raters, five values
        (("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692, 12),
        # C: four raters, with gaps; the last item has one answer
        (
            (
                "1 2 3 3 2 1 4 1 2 . . .",
                "1 2 3 3 2 2 4 1 2 5 . 3",
                ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ),
            0.743,
            11,
        ),
    ],
)
def test_alpha_is_that_of_the_published_examples(
    raters: tuple[str, ...], alpha: float, items: int
) -> None:
    found = agreement(answers(*raters))
    assert found.alpha == pytest.approx(alpha, abs=5e-4)
    assert found.items == items
    assert found.interval.low < found.alpha < found.interval.high


def test_who_agrees_always_has_one_and_who_differs_always_less_than_none() -> None:
    assert agreement(answers("a b a b", "a b a b")).alpha == 1
    assert agreement(answers("a b a b", "b a b a")).alpha < 0


@pytest.mark.parametrize("raters", [("a a a", "a a a"), ("a b .", ". . c"), ()])
def test_where_nothing_could_be_disagreed_on_there_is_no_alpha(raters: tuple[str, ...]) -> None:
    found = agreement(answers(*raters))
    assert math.isnan(found.alpha)
    assert math.isnan(found.interval.low)


def test_prompts_that_are_alike_count_as_one_in_the_interval() -> None:
    said = answers("a a b b a a b b a a b b", "a a b b a a b b b b b b")
    alone = agreement(said).interval
    pairs = agreement(said.assign(cluster=said["item"] // 2)).interval
    assert pairs.high - pairs.low > alone.high - alone.low
