"""TOML read with every field checked: `read_table` opens a file, `Table` hands out its fields.

`read_json` reads JSON, and `place` a path, with the same care. Every reader raises `BadInput`
naming the file, the field, the value found and what was expected.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.records import Scalar

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Lower-case letters and digits, joined by single hyphens."""


class Table:
    """One TOML table: hands out checked fields; at the end of `with`, refuses those that nobody
    asked for."""

    def __init__(self, file: Path, values: Mapping[str, Any], path: str = "") -> None:
        self.file = file
        self._values = values
        self._path = path
        self._asked: set[str] = set()

    def __enter__(self) -> Table:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Refuse fields that no reader asked for.

        Raises:
            BadInput: Names the unknown field, its value and the known ones.
        """
        unasked = [field for field in self._values if field not in self._asked]
        if unasked and error is None:
            field, known = unasked[0], ", ".join(sorted(self._asked))
            close = difflib.get_close_matches(field, self._asked, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise BadInput(
                f"{self.file}: unknown field {self._path}{field} (= {self._values[field]!r}), "
                f"expected one of: {known}.{hint}"
            )

    def wrong(self, field: str, expected: str) -> BadInput:
        """The error for a field that is there but does not hold what it should."""
        name, value = self._path + field, self._values[field]
        return BadInput(f"{self.file}: {name} is {value!r}, expected {expected}.")

    def has(self, field: str) -> bool:
        self._asked.add(field)
        return field in self._values

    def _value(self, field: str, expected: str, *types: type) -> Any:
        if not self.has(field):
            raise BadInput(f"{self.file}: no {self._path}{field}, expected {expected}.")
        value = self._values[field]
        # The exact type, for a bool is an int too, and `steps = true` is a mistake.
        if type(value) not in types:
            raise self.wrong(field, expected)
        return value

    def text(self, field: str, *, expected: str = "a text", empty: bool = False) -> str:
        value: str = self._value(field, expected, str)
        if not empty and not value.strip():
            raise self.wrong(field, expected)
        return value

    def template(self, field: str, placeholders: Collection[str]) -> str | None:
        """A text holding exactly these `{placeholders}`, or None when the field is absent."""
        if not self.has(field):
            return None
        expected = "a text with " + " and ".join(f"{{{name}}}" for name in placeholders)
        value = self.text(field, expected=expected)
        if sorted(re.findall(r"\{(\w*)\}", value)) != sorted(placeholders):
            raise self.wrong(field, f"{expected}, each once")
        return value

    def name(self, field: str, expected: str) -> str:
        """A name that must equal what the file system says."""
        if self.text(field) != expected:
            raise self.wrong(field, f"{expected!r}, after the file or folder it is in")
        return expected

    def choice(self, field: str, known: Collection[str]) -> str:
        expected = "one of: " + ", ".join(known)
        value = self.text(field, expected=expected)
        if value not in known:
            raise self.wrong(field, expected)
        return value

    def whole(self, field: str, least: int) -> int:
        expected = f"a whole number from {least} up"
        value: int = self._value(field, expected, int)
        if value < least:
            raise self.wrong(field, expected)
        return value

    def number(self, field: str, least: float | None = None) -> float:
        expected = "a number" if least is None else f"a number from {least:g} up"
        value = float(self._value(field, expected, int, float))
        if value != value or (least is not None and value < least):
            raise self.wrong(field, expected)
        return value

    def share(self, field: str) -> float:
        value = self.number(field, 0)
        if value > 1:
            raise self.wrong(field, "a number from 0 to 1")
        return value

    def flag(self, field: str) -> bool:
        value: bool = self._value(field, "true or false", bool)
        return value

    def texts(self, field: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of distinct texts, each one of `known` where that is given."""
        expected = "a list of distinct texts"
        if known is not None:
            expected += " out of: " + ", ".join(known)
        values = self._value(field, expected, list)
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise self.wrong(field, expected)
        if len(set(values)) < len(values) or (known is not None and not set(values) <= set(known)):
            raise self.wrong(field, expected)
        return tuple(values)

    def table(self, field: str) -> Table:
        """A sub-table; empty when the field is absent."""
        values = self._value(field, f"a table [{field}]", dict) if self.has(field) else {}
        return Table(self.file, values, f"{self._path}{field}.")

    def tables(self, field: str) -> list[Table]:
        """The tables of an array `[[field]]`; none when the field is absent."""
        values = self._value(field, f"tables [[{field}]]", list) if self.has(field) else []
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(field, f"tables [[{field}]]")
        return [
            Table(self.file, value, f"{self._path}{field}[{row}].")
            for row, value in enumerate(values)
        ]

    def named_tables(self, field: str) -> dict[str, Table]:
        """The sub-tables `[field.<name>]` by name."""
        table = self.table(field)
        for name in table._values:
            if not NAME.fullmatch(name):
                raise BadInput(
                    f"{self.file}: {table._path}{name} is named {name!r}, expected lower-case "
                    "letters and digits, joined by single hyphens."
                )
        return {name: table.table(name) for name in table._values}

    def plain(self) -> dict[str, Any]:
        """All fields as they stand in the file."""
        return dict(self._values)

    def names(self) -> list[str]:
        """Names of all fields."""
        return list(self._values)

    def scalars(self) -> dict[str, Scalar]:
        """All fields nobody has asked for yet, each a text, a number or a truth value."""
        expected = "a text, a number, true or false"
        rest = [field for field in self._values if field not in self._asked]
        return {field: self._value(field, expected, str, int, float, bool) for field in rest}

    def numbers(self) -> dict[str, float]:
        """All fields, each a number."""
        return {field: self.number(field) for field in self._values}


def read_table(path: Path) -> Table:
    """Read a TOML file.

    Raises:
        BadInput: It cannot be read, or is not TOML in UTF-8.
    """
    try:
        return Table(path, tomllib.loads(path.read_bytes().decode("utf-8")))
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: byte {error.start} is not UTF-8, expected a TOML file in UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is not TOML: {error}.") from error
    # Numbers of thousands of digits, and brackets in brackets in brackets.
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no TOML of a card: {excerpt(str(error))}.") from error


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; arguments and errors are those of `parse_json`."""
    try:
        return parse_json(path.read_bytes(), path, remedy)
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {excerpt(str(error))}. {remedy}") from error


def parse_json(data: bytes, path: Path, remedy: str) -> dict[str, Any]:
    """Parse the bytes of a JSON object.

    Args:
        data: What the file holds.
        path: Of the file, for messages.
        remedy: What the messages end with: a sentence on how to make the file again.

    Raises:
        BadInput: It cannot be read, or is no JSON object in UTF-8.
    """
    try:
        found = json.loads(data)
        # Half a character, `\ud800`, is a text to JSON, and to nobody else.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Cannot read {path}: {excerpt(str(error))}. {remedy}") from error
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds a {type(found).__name__}; expected a JSON object. {remedy}")
    return found


def place(name: str | Path) -> Path:
    """A path, whether or not something is there.

    Raises:
        BadInput: No file can be called so: it is too long, or has characters that no name has.
    """
    path = Path(name)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"{excerpt(str(path))!r} cannot be the path of a file or folder: {excerpt(reason)}. "
            "Expected a path such as ./my-folder"
        ) from error
    return path
