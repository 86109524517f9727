"""Annotations of data classes: what they let through, and what they say of the rest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest

from livo_bench.cards.fields import Table
from livo_bench.errors import BadInput
from livo_bench.schema import Place, Share, Text, at_least, kind_of, one_of, template

COLOUR = Annotated[str, one_of(("red", "{green}"))]
COUNT = Annotated[int, at_least(1)]


@pytest.mark.parametrize(
    ("annotation", "right", "wrong", "said"),
    [
        (str, "", 1, "a text"),
        (Text, "a", " ", "a text"),
        (COUNT, 1, 0, "a whole number from 1 up"),
        (COUNT, 10**400, True, "a whole number from 1 up"),
        (float, 1, 10**400, "a number"),
        (float, -0.5, float("inf"), "a number"),
        (Annotated[float, at_least(1e-6)], 1e-6, float("nan"), "a number from 1e-06 up"),
        (Share, 1, 1.5, "a number from 0 to 1"),
        (bool, False, 0, "true or false"),
        (str | int | float | bool, True, [1], "a text, a number, true or false"),
        (COLOUR, "{green}", "green", "one of: red, {green}"),
        (Annotated[str, template("a", "b")], "{b}{a}", "{a}{a}", "a text with {a} and {b}, each "),
        (tuple[Text, ...], ["a", "b"], ["a", "a"], "a list of distinct texts"),
        (tuple[COLOUR, ...], [], ["blue"], "a list of distinct texts, each one of: red, {green}"),
        (tuple[Text, ...], ["a"], [["a"]], "a list of distinct texts"),
    ],
)
def test_an_annotation_says_what_it_asks_for(
    annotation: Any, right: object, wrong: object, said: str
) -> None:
    kind = kind_of(annotation)
    assert kind.holds(right)
    assert not kind.holds(wrong)
    assert kind.expected.startswith(said)
    assert not kind.holds(None)
    assert kind_of(annotation | None).holds(None)


def test_fields_become_what_records_have(tmp_path: Path) -> None:
    values = {"lr": 2, "names": ["a"], "sizes": {"x": 1}, "at": "./a", "hub": "owner/name"}
    table = Table(tmp_path / "card.toml", values)
    assert repr(table.get("lr", float)) == "2.0"
    assert table.get("names", tuple[Text, ...]) == ("a",)
    assert table.get("sizes", Mapping[str, COUNT]) == {"x": 1}
    assert table.get("at", Place) == str(tmp_path / "a")
    assert table.get("at", Path | None) == tmp_path / "a"
    assert table.get("hub", Place) == "owner/name"
    assert table.get("other", Text, "absent") == "absent"
    values["sizes"] = {"x": 0}
    with pytest.raises(
        BadInput, match=r"card\.toml: sizes\.x is 0, expected a whole number from 1"
    ):
        table.get("sizes", Mapping[str, COUNT])
