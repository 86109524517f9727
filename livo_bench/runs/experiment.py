"""An experiment as a file: `livo-bench.toml` says what commands of its folder are asked for.

Its one table, `[run]`, holds model, methods, tasks and the options of a run, by the names that
`RunOptions` has. Paths begin in the folder that the command is typed in, which is the file's.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from livo_bench.cards.fields import read_table
from livo_bench.errors import BadInput
from livo_bench.files import write_atomically
from livo_bench.runs.options import Option, RunOptions, options_of
from livo_bench.schema import Kind, kind_of

FILE = Path("livo-bench.toml")
TABLE = "run"

_Texts = tuple[str, ...]
_WHAT: Mapping[str, tuple[object, Option]] = {
    "model": (str, Option("mini", "Name, card, folder or repository of the model.")),
    "methods": (_Texts, Option((), "Names, variants or folders of methods.")),
    "tasks": (_Texts, Option((), "Names, NAME/SUBSET or folders of tasks.")),
}
FIELDS: Mapping[str, tuple[object, Option]] = {**_WHAT, **options_of(RunOptions)}
"""What `[run]` may hold: the type and the rest of each field."""


def read(path: Path = FILE) -> dict[str, Any]:
    """Read what an experiment's file asks for, by the names of `run`'s arguments and options.

    Args:
        path: The file.

    Returns:
        Values as TOML has them; what the file leaves out is left out.

    Raises:
        BadInput: It is no TOML, or names its line, what stands there and what was expected.
    """
    tables = read_table(path).plain()
    for name, held in tables.items():
        if name != TABLE or not isinstance(held, dict):
            hint = f" It belongs under [{TABLE}]." if name in FIELDS else ""
            raise BadInput(
                f"{_line(path, name)}: {name} is no table of an experiment; "
                f"expected [{TABLE}] alone.{hint}"
            )
    asked: dict[str, Any] = tables.get(TABLE, {})
    for name, value in asked.items():
        _require(path, name, value)
    return asked


def _require(path: Path, name: str, value: object) -> None:
    if name not in FIELDS:
        close = difflib.get_close_matches(name, FIELDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BadInput(
            f"{_line(path, name)}: unknown option {name}; "
            f"expected one of: {', '.join(FIELDS)}.{hint}"
        )
    of, option = FIELDS[name]
    kind = _kind(of)
    least, choices = option.least, option.choices
    if not kind.holds(value) or (isinstance(value, int) and least is not None and value < least):
        limit = f" from {least} up" if least is not None else ""
        raise BadInput(
            f"{_line(path, name)}: {name} is {value!r}, expected {kind.expected}{limit}."
        )
    odd = [one for one in _as_list(value) if choices and one not in choices]
    if odd:
        close = difflib.get_close_matches(str(odd[0]), choices, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BadInput(
            f"{_line(path, name)}: {name} is {value!r}, "
            f"expected one of: {', '.join(choices)}.{hint}"
        )


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _kind(of: Any) -> Kind:
    return kind_of(_Texts if get_origin(of) is Sequence else of)


def _line(path: Path, name: str) -> str:
    """The file and the line of a name in it, as TOML's own errors say neither."""
    form = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if form.match(line):
            return f"{path}, line {number}"
    return str(path)


def write(asked: Mapping[str, Any], path: Path = FILE) -> None:
    """Write an experiment's file: what is asked for, and what else could be as comments.

    Args:
        asked: Values by the names of `run`'s arguments and options.
        path: Where to; nothing may be there.

    Raises:
        BadInput: Something is there, or it cannot be written.
    """
    if path.exists():
        raise BadInput(
            f"{path} is there already; expected to write a new one.",
            "Change it by hand, or move it away first.",
        )
    lines = ["# What is asked of livo-bench in this folder; options that are typed go before it."]
    lines += [f"[{TABLE}]"]
    for name, (_, option) in FIELDS.items():
        value = asked.get(name, option.default)
        given = name in _WHAT or value != option.default
        shown = _toml("" if value is None else value)
        lines.append(f"{'' if given else '# '}{name} = {shown}  # {option.help}")
    write_atomically(path, "\n".join([*lines, ""]).encode())


def _toml(value: object) -> str:
    """A value as TOML has it, which is as JSON has it but for a character that no name has."""
    plain = list(value) if isinstance(value, tuple) else value
    return json.dumps(plain, ensure_ascii=False, default=str).replace("\x7f", "\\u007F")
