"""The page's first picture: how changes are ranked, placed and put in words."""

from dataclasses import replace

from livo_bench.report.page_answer import answers_of
from livo_bench.report.page_prompts import Changes
from livo_bench.results.compare import Difference

CHANGE = Difference(
    "m", "bias", "gender", "all", "D1", 9, 90, 0.5, 0.4, -0.1, -0.2, 0.0, 0.1, 0.5, "unclear"
)


def of(**changes: float | None) -> Changes:
    rows = tuple(
        (
            name,
            (
                None
                if change is None
                else replace(
                    CHANGE,
                    difference=change,
                    low=change - 0.1,
                    high=change + 0.1,
                    verdict="lower" if change < -0.1 else "unclear",
                ),
            ),
        )
        for name, change in changes.items()
    )
    return Changes("bias", "SD", (("gender", "D1"),), rows, ())


def test_methods_are_ranked_within_what_they_are_told_those_without_a_number_last() -> None:
    told = {"a": "nothing", "b": "nothing", "c": "value", "d": "nothing"}
    [answer] = answers_of([of(c=-0.9, d=None, a=0.0, b=-0.3, e=-0.5)], told)
    named = [(what, [line.method for line in lines]) for what, lines in answer.groups]
    assert named == [("nothing", ["b", "a", "d"]), ("value", ["c"]), ("-", ["e"])]


def test_dots_lie_where_their_change_is_and_only_sure_ones_are_named_lowest() -> None:
    [answer] = answers_of([of(a=0.1, b=-0.3)], {"a": "nothing", "b": "nothing"})
    [(_, (b, a))] = answer.groups
    assert a.dots[0] is not None
    assert b.dots[0] is not None
    # The strip goes from -0.4 to +0.2 with a margin of 3 % on either side.
    assert (b.dots[0].low, a.dots[0].high) == (3.0, 97.0)
    assert answer.zero == round(3 + 94 * 4 / 6, 2)
    assert answer.ends == ("-40.0", "+20.0")
    assert answer.said == (
        "gender D1: of 2 methods the test finds 1 lower and 0 higher; of 1 it cannot say. "
        "Lowest: b -30.0 [-40.0, -20.0] (told nothing).",
    )


def test_a_change_without_an_interval_is_a_dot_alone() -> None:
    nan = float("nan")
    table = of(a=-0.3)
    change = replace(CHANGE, difference=-0.3, low=nan, high=nan, verdict="undecided")
    [answer] = answers_of([replace(table, rows=(("a", (change,)),))], {})
    [(_, [line])] = answer.groups
    dot = line.dots[0]
    assert dot is not None
    assert dot.low == dot.at == dot.high
    assert "nan" not in dot.words


def test_a_task_without_a_metric_of_alignment_has_no_answer() -> None:
    assert answers_of([replace(of(a=-0.3), columns=(("gender", "changed"),))], {}) == []
