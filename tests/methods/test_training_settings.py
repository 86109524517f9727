"""Settings of trainings: odd ones, made up anew for every field of every method, are refused by
name as they are read, which is before anything is loaded."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from livo_bench.cards.catalog import method_cards
from livo_bench.cards.kinds import FLOWS
from livo_bench.errors import BadInput, UnknownName
from livo_bench.methods.livo import encoder_settings
from livo_bench.methods.training import settings
from livo_bench.methods.training.objectives import objective_of
from livo_bench.methods.training.training import plan
from livo_bench.schema import MOST

Path_ = tuple[str, ...]
FILES = {
    name: tomllib.loads(file.read_text("utf-8"))
    for name, card in method_cards().items()
    if (file := card.folder / settings.FILE).is_file()
}
MADE_UP = 4
"""Odd values of each field."""


def leaves(table: Mapping[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Where a table holds what is no table."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


FIELDS = [(method, path) for method, table in FILES.items() for path in leaves(table) if path[1:]]


def changed(table: Mapping[str, Any], path: Path_, value: object) -> dict[str, Any]:
    made = inner = deepcopy(dict(table))
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return made


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(n)} = {as_toml(v)}" for n, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, bool | str) else str(value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A copy of each method, without weights and under a name of its own."""
    root = tmp_path_factory.mktemp("methods")
    copies = {}
    for name in FILES:
        place = copies[name] = root / f"my-{name}"
        (place / "weights").mkdir(parents=True)
        card = (method_cards()[name].folder / "card.toml").read_text("utf-8")
        text = re.sub(r"^name = .*$", f'name = "my-{name}"', card, flags=re.MULTILINE)
        (place / "card.toml").write_text(text, encoding="utf-8")
    return copies


def read(folder: Path, table: Mapping[str, Any], variant: str = "", scale: str = "mini") -> None:
    lines = [f"{json.dumps(name)} = {as_toml(value)}" for name, value in table.items()]
    (folder / settings.FILE).write_text("\n".join(lines), encoding="utf-8")
    _, objective = objective_of(f"{folder}{variant}")
    objective.require_settings(f"{folder}{variant}", scale)
    if "flow" in table.get(scale, {}):
        for kind in FLOWS:
            encoder_settings.read(f"{folder}{variant}", scale, kind)


def odd(value: object, rng: random.Random) -> object:
    """A value that no field can have whose own one is this."""
    text = "".join(rng.choices("abcdefghij ", k=rng.randint(1, 9)))
    number = rng.uniform(0.01, 1) * 10 ** rng.randint(0, 20)
    unlike: list[object] = [[], [text], {text: number}, float("nan")]
    if isinstance(value, bool):
        return rng.choice([*unlike, 0, 1, number, text, str(value)])
    if isinstance(value, str):
        return rng.choice([*unlike, number, True, " " * rng.randint(0, 3), f"{text}?"])
    if isinstance(value, list):
        return rng.choice([text, number, True, {text: number}, ["a", "a"], [number], [text, ""]])
    beyond = [float("inf"), MOST * (1 + number), int(MOST * (2 + number)), 10**400]
    return rng.choice([*unlike, *beyond, -number, -int(1 + number), text, str(value), True])


@pytest.mark.parametrize(("method", "path"), FIELDS)
def test_an_odd_setting_is_refused_by_name_and_with_what_was_expected(
    method: str, path: Path_, folders: Mapping[str, Path]
) -> None:
    *_, field = path
    variant, scale = ("", path[0])
    if path[0] == "variants":
        variant, scale = f":{path[1]}", path[2] if path[2:3] and path[3:] else "mini"
    table, rng = FILES[method], random.Random(f"{method} {path}")
    value: Any = table
    for name in path:
        value = value[name]
    for _ in range(MADE_UP):
        made_up = odd(value, rng)
        with pytest.raises(BadInput, match=rf"{settings.FILE}: (no )?\S*{field}\b.*expected") as no:
            read(folders[method], changed(table, path, made_up), variant, scale)
        assert "\n" not in str(no.value), made_up
    read(folders[method], table, variant, scale)


@pytest.mark.parametrize("method", FILES)
def test_what_nobody_reads_is_refused(method: str, folders: Mapping[str, Path]) -> None:
    table = FILES[method]
    own = {name: table[name] for name in ("mini", "sd") if name in table}
    for path in [("minii",), ("note",), *((scale, "note") for scale in own)]:
        with pytest.raises(BadInput, match=f"unknown field {re.escape('.'.join(path))} "):
            read(folders[method], changed(table, path, 1), scale=path[0] if path[1:] else "mini")
    with pytest.raises(BadInput, match=r"variants\.nobody, expected a variant that card.toml has"):
        read(folders[method], changed(table, ("variants", "nobody", "mini"), {}))
    with pytest.raises(UnknownName, match="no variant 'nobody'"):
        read(folders[method], table, ":nobody")


@pytest.mark.parametrize(
    ("method", "field", "value", "says"),
    [
        ("ca", "lr", 0, "expected a number from 1e-12 to 1"),
        ("dapt", "lr", 1.5, "expected a number from 1e-12 to 1"),
        ("diffusion-dpo", "warmup", 500, "fewer than the 500 steps"),
        ("diffusion-dpo", "draws", {"horrors": 1}, "of horrors, expected some out of: gender"),
        ("esd", "rank", 0, "from 1 to 1024"),
        ("livo", "adam_beta_2", 1.0, "from 0 to 0.999999"),
        ("prompt-tuning", "tokens", 70, "from 1 to 69"),
        ("selective-amnesia", "times", 5000, "from 1 to 1000"),
        ("uce", "images", 2.5, "a whole number from 1"),
    ],
)
def test_a_setting_past_its_limit_is_refused_with_the_limit(
    method: str, field: str, value: object, says: str, folders: Mapping[str, Path]
) -> None:
    with pytest.raises(BadInput, match=says):
        read(folders[method], changed(FILES[method], ("mini", field), value))


@pytest.mark.parametrize(
    "asked", [{"gamma_1": float("nan")}, {"gamma_2": -1.0}, {"steps": 0}, {"steps": 10**12}]
)
def test_an_option_out_of_range_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=rf"{next(iter(asked))} is .*; expected a "):
        plan("livo", **asked)
