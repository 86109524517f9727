"""Damage made up from seeds, and the law of all readers: whatever lies there, an error of ours.

A campaign hands its inputs to `survive`, which counts what was read, what was refused and what came
out as any other exception, which is a fault. The whole, as the table in docs/security.md:

    pytest --slow -s -q tests/attack | grep '^|'
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pytest

from livo_bench.errors import LivoBenchError

Made = TypeVar("Made")

COUNTS = pytest.mark.parametrize(
    "count", [100, pytest.param(5000, marks=pytest.mark.slow)], ids="{} inputs".format
)
"""Inputs of a campaign: some always, all with --slow."""

STRINGS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "./",
    ".",
    "~",
    "con",
    "nul.toml",
    "-rf",
    "--help",
    "a" * 300,
    "a/" * 3000,
    "\x1b[31m",
    "\u202eabc",
    "one\u2028two",
    "\ud800",
    "\ufffe",
    "é",
    "e\u0301",
    "\U0001f600",
    "\r\n",
    "a\nb",
    "[red]x[/red]",
    "<img src=x onerror=alert(1)>",
    "a|b`c`",
    "=1+1",
    "$\\frac$",
    "{0.__class__}",
    "{}",
    "%s%n",
    "nan",
    "inf",
    "-1",
    "1e999",
    "9" * 5000,
    "0x10",
    "True",
    "null",
    "owner/name",
    "owner/name@main",
    "hub:owner/name/../x",
    "bias/gender",
    "bias/",
    "livo:wo-m",
    ":",
    "mini",
    "mini@released",
    "@",
    "*",
    "[",
    "]",
)
"""Texts and names that have been trouble somewhere."""

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    -(10**30),
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"": {}},
    ["a", 1],
)
_LITERALS = (
    "0",
    "-1",
    "9223372036854775808",
    "1e999",
    "nan",
    "-inf",
    "true",
    '""',
    '"x"',
    "[]",
    '["a", "a"]',
    "[1, true]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
    "07:32:00",
    "[" * 5000,
    "[" * 3000 + "]" * 3000,
    "'''\n\n'''",
    '"\\u0000"',
    '"{prompt}"',
    '"{}{prompt"',
)


class Outcome(NamedTuple):
    """What became of the inputs of a campaign."""

    inputs: int
    read: int
    refused: int


def survive(
    name: str, inputs: Iterable[Made], read: Callable[[Made], object], least_refused: float = 0.0
) -> Outcome:
    """Have a reader look at inputs, and see that nothing comes out but errors of ours.

    Args:
        name: Of the campaign, for the table.
        inputs: Made up, in an order that a seed decides.
        read: The reader, with what uses its result.
        least_refused: Share of the inputs that have to be refused, so that a campaign whose damage
            never reaches its reader fails.
    """
    counts = {"read": 0, "refused": 0}
    uncaught: list[str] = []
    total = 0
    for total, made in enumerate(inputs, 1):
        try:
            read(made)
        except LivoBenchError:
            counts["refused"] += 1
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            uncaught.append(
                f"{type(error).__name__}: {error!s:.200} ({where.filename}:{where.lineno}) for "
                f"input {total}: {str(made)[:300]!r}"
            )
        else:
            counts["read"] += 1
    print(
        f"\n| {name} | {total:,} | {counts['read']:,} | {counts['refused']:,} | {len(uncaught):,} |"
    )
    kinds = {said.partition(" for input")[0]: said for said in reversed(uncaught)}
    assert not uncaught, f"{len(uncaught)} of {total}:\n" + "\n".join(kinds.values())
    assert counts["refused"] >= least_refused * total, (
        f"only {counts['refused']} of {total} refused"
    )
    return Outcome(total, **counts)


def string(draw: random.Random) -> str:
    """A text out of `STRINGS`, or pieces of several."""
    if draw.random() < 0.7:
        return draw.choice(STRINGS)
    pieces = (draw.choice(STRINGS)[: draw.randrange(1, 9)] for _ in range(draw.randrange(1, 5)))
    return "".join(pieces)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bytes cut short, with bits turned, a part lost, doubled, moved or overwritten; or others."""
    made = bytearray(data)
    start = draw.randrange(len(made) + 1)
    end = min(len(made), start + draw.randrange(1, 64))
    match draw.randrange(9):
        case 0:
            del made[start:]
        case 1 | 2:
            for _ in range(draw.randrange(1, 9)):
                if made:
                    made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
        case 3:
            del made[start:end]
        case 4:
            made[start:start] = made[start:end] * draw.randrange(1, 40)
        case 5:
            made[start:end] = draw.randbytes(end - start)
        case 6:
            made[start:start] = string(draw).encode("utf-8", "surrogatepass")
        case 7:
            other = draw.randrange(len(made) + 1)
            made[start:end] = made[other : other + end - start]
        case _:
            made[:] = draw.choice((b"", b"\x00" * 64, draw.randbytes(64), b"PAR1" * 4, b"[" * 9999))
    return bytes(made)


def mutated(value: Any, draw: random.Random) -> Any:
    """Plain data with one of its values replaced, lost, renamed or nested too deep."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        made = dict(value)
        name = draw.choice(list(made))
        match draw.randrange(6):
            case 0:
                del made[name]
            case 1:
                made[string(draw)] = made.pop(name)
            case _:
                made[name] = mutated(made[name], draw)
        return made
    if isinstance(value, list) and value and draw.random() < 0.85:
        place = draw.randrange(len(value))
        others = [] if draw.random() < 0.1 else [mutated(value[place], draw)]
        return [*value[:place], *others, *value[place + 1 :]]
    if draw.random() < 0.5:
        return string(draw)
    return draw.choice(_VALUES)


def as_json(value: Any, draw: random.Random) -> bytes:
    """Mutated data as JSON, sometimes damaged in its bytes besides."""
    data = json.dumps(mutated(value, draw)).encode()
    return damaged(data, draw) if draw.random() < 0.3 else data


def mutated_toml(data: bytes, draw: random.Random) -> bytes:
    """TOML with a value replaced, a line lost, doubled or moved, or its bytes damaged."""
    if draw.random() < 0.3:
        return damaged(data, draw)
    lines = data.decode().splitlines()
    place = draw.randrange(len(lines))
    match draw.randrange(6):
        case 0:
            del lines[place]
        case 1:
            lines.insert(draw.randrange(len(lines)), lines[place])
        case 2:
            lines.insert(place, f"{draw.choice(STRINGS[:20])!r} = 1")
        case _:
            fields = [number for number, line in enumerate(lines) if " = " in line]
            place = draw.choice(fields)
            name = lines[place].partition(" = ")[0]
            text = json.dumps(string(draw))
            lines[place] = f"{name} = {draw.choice((*_LITERALS, text, text, text))}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def changed_table(frame: pd.DataFrame, draw: random.Random) -> pd.DataFrame:
    """A frame with cells, a column or rows that are wrong."""
    made = frame.copy()
    text = string(draw).encode("utf-8", "replace").decode()  # no file holds half a surrogate pair
    column = draw.choice(list(made.columns))
    match draw.randrange(6):
        case 0:
            made = made.drop(columns=column)
        case 1:
            made = made.rename(columns={column: text})
        case 2:
            made = made.iloc[: draw.randrange(len(made))]
        case 3:
            made = pd.concat([made, made.iloc[:3]])
        case 4:
            values = [
                None,
                text,
                draw.randrange(-9, 9),
                draw.choice((np.nan, np.inf, 1e308)),
            ]
            made[column] = pd.Series([draw.choice(values)] * len(made), index=made.index)
        case _:
            cells = made[column].astype(object)
            value = draw.choice((None, text, -1, 0.5, np.nan, np.inf, True, 10**20))
            cells.iloc[draw.randrange(len(cells))] = value
            made[column] = cells
    return made
