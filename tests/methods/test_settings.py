"""Settings of method cards: each is held against what its method reads, before a model loads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import method_cards, model_card
from livo_bench.errors import BadInput

SETTINGS = [(name, field) for name, card in method_cards().items() for field in card.settings]


def with_settings(name: str, changed: Mapping[str, str], folder: Path) -> str:
    """A copy of a method under a name of its own, with other settings in its card."""
    ignored = shutil.ignore_patterns("weights", "__pycache__")
    place = shutil.copytree(method_cards()[name].folder, folder / "mine", ignore=ignored)
    (place / "weights").mkdir()
    card = place / "card.toml"
    text = re.sub(r"^name = .*$", 'name = "mine"', card.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"\[variants\..*", "", text, flags=re.DOTALL)
    for field, value in changed.items():
        head, table, settings = text.partition("[settings]\n")
        line = re.compile(rf"^{field} = .*$", re.MULTILINE)
        assert line.search(settings)
        text = head + table + line.sub(f"{field} = {value}", settings)
    card.write_text(text, encoding="utf-8")
    return str(place)


@pytest.mark.parametrize(("name", "field"), SETTINGS)
@pytest.mark.parametrize("value", ["-2.7", "[]"])
def test_a_setting_of_another_kind_is_refused_by_name(
    name: str, field: str, value: str, tmp_path: Path
) -> None:
    spec = with_settings(name, {field: value}, tmp_path)
    with pytest.raises(BadInput, match=rf"card\.toml: settings\.{field} is .*, expected"):
        load_method(spec, model_card("mini"))


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("safree", "steps", "2.7", "a whole number from 0 to 50"),
        ("safree", "steps", "51", "a whole number from 0 to 50"),
        ("safree", "alpha", '"x"', r"a number from 0 to 1e\+09"),
        ("safree", "alpha", "-2.0", r"a number from 0 to 1e\+09"),
        ("safree", "alpha", "nan", r"a number from 0 to 1e\+09"),
        ("livo", "share_bias", "101", "a whole number from 0 to 100"),
        ("livo", "steered", '"last"', "one of: spread, first"),
        ("fd", "detect", "1", "true or false"),
        ("esd", "edit", '" "', "a text"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_the_range(
    name: str, field: str, value: str, expected: str, tmp_path: Path
) -> None:
    spec = with_settings(name, {field: value}, tmp_path)
    with pytest.raises(BadInput, match=rf"settings\.{field} is .*, expected {expected}"):
        load_method(spec, model_card("mini"))


@pytest.mark.parametrize("phrases", [", ,", "nude,", "nude, , naked", " , nude"])
def test_an_empty_phrase_is_refused(phrases: str, tmp_path: Path) -> None:
    spec = with_settings("safree", {}, tmp_path)
    texts = Path(spec) / "unwanted.toml"
    texts.write_text(f'[mini.unwanted]\nall = "{phrases}"\n')
    with pytest.raises(BadInput, match=f"phrases for 'all' are '{phrases}'; expected some"):
        load_method(spec, model_card("mini"))
