"""TOML read into data classes: `read_table` opens a file, `Table.read` makes a record of it.

`read_json` reads JSON, and `place` a path, with the same care. Every reader raises `BadInput`
naming the file, the field, the value found and what was expected.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.schema import LOCATED, Kind, Text, kind_of, kinds_of

if TYPE_CHECKING:
    from livo_bench.interfaces import MethodContext

Record = TypeVar("Record")

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Lower-case letters and digits, joined by single hyphens."""
_MADE: Mapping[Any, Callable[[Any], Any]] = {float: float, tuple: tuple, Path: Path}
"""What makes a record's value of what TOML has, by the record's type."""


class Table:
    """One TOML table: hands out fields as annotations want them, and refuses those that nobody
    asked for."""

    def __init__(self, file: Path, values: Mapping[str, Any], path: str = "") -> None:
        self.file = file
        self._values = values
        self._path = path
        self._asked: set[str] = set()

    def read(self, record: type[Record], **given: Any) -> Record:
        """Read a record whose annotated fields the table holds, and no others.

        Args:
            record: A data class. What it has a default for may be absent.
            given: Fields of it that are known already.

        Raises:
            BadInput: A field is missing, unknown or not what its annotation asks for.
        """
        found = self.part(record, **given)
        self.refuse_others()
        return found

    def part(self, record: type[Record], **given: Any) -> Record:
        """Read a record as `read` does, and leave other fields to the caller."""
        of: Any = record
        for one in fields(of):
            required = one.default is MISSING
            if one.name not in given and (self.has(one.name) or required):
                given[one.name] = self._read(one.name, kinds_of(of)[one.name])
        return record(**given)

    def get(self, field: str, annotation: Any, default: Any = MISSING) -> Any:
        """Read one field as an annotation wants it.

        Args:
            field: Its name.
            annotation: What the field may be, as in a data class, see `schema.kind_of`.
            default: Value of a field that is absent; without one it must be there.

        Raises:
            BadInput: The field is missing or not what the annotation asks for.
        """
        if not self.has(field) and default is not MISSING:
            return default
        return self._read(field, kind_of(annotation))

    def _read(self, field: str, kind: Kind) -> Any:
        """Read one field; tables that are absent are empty."""
        if kind.is_record:
            return self.table(field).read(kind.plain)
        if kind.plain is Mapping and kind.item is not None:
            table = self.table(field)
            return {name: table._read(name, kind.item) for name in table._values}
        if kind.item is not None and kind.item.is_record:
            return tuple(table.read(kind.item.plain) for table in self.tables(field))
        if not self.has(field):
            raise BadInput(f"{self.file}: no {self._path}{field}, expected {kind.expected}.")
        value = self._values[field]
        if not kind.holds(value):
            raise self.wrong(field, kind.expected)
        # A path, that is: no name of a repository starts so.
        if (kind.plain is Path or LOCATED in kind.limits) and value.startswith((".", "/")):
            value = str((self.file.parent / value).resolve())
        return _MADE.get(kind.plain, lambda held: held)(value)

    def refuse_others(self) -> None:
        """Refuse fields that nobody asked for.

        Raises:
            BadInput: Names the unknown field, its value and the known ones.
        """
        for field in self._values:
            if field not in self._asked:
                close = difflib.get_close_matches(field, self._asked, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise BadInput(
                    f"{self.file}: unknown field {self._path}{field} (= {self._values[field]!r}), "
                    f"expected one of: {', '.join(sorted(self._asked))}.{hint}"
                )

    def wrong(self, field: str, expected: str) -> BadInput:
        """The error for a field that is there but does not hold what it should."""
        name, value = self._path + field, self._values[field]
        return BadInput(f"{self.file}: {name} is {value!r}, expected {expected}.")

    def has(self, field: str) -> bool:
        self._asked.add(field)
        return field in self._values

    def name(self, field: str, expected: str) -> str:
        """A name that must equal what the file system says."""
        if self.get(field, Text) != expected:
            raise self.wrong(field, f"{expected!r}, after the file or folder it is in")
        return expected

    def table(self, field: str) -> Table:
        """A sub-table; empty when the field is absent."""
        values = self._values[field] if self.has(field) else {}
        if not isinstance(values, dict):
            raise self.wrong(field, f"a table [{field}]")
        return Table(self.file, values, f"{self._path}{field}.")

    def tables(self, field: str) -> list[Table]:
        """The tables of an array `[[field]]`; none when the field is absent."""
        values = self._values[field] if self.has(field) else []
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
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

    def others(self, annotation: Any) -> dict[str, Any]:
        """The fields that nobody asked for yet, each as an annotation wants it."""
        return {
            field: self.get(field, annotation)
            for field in [field for field in self._values if field not in self._asked]
        }

    def with_others(self, others: Table) -> Table:
        """Make a table of this one, with the fields of another in place of its own."""
        return Table(self.file, {**self._values, **others._values}, self._path)

    def plain(self) -> dict[str, Any]:
        """All fields as they stand in the file."""
        return dict(self._values)


def settings_of(context: MethodContext, record: type[Record], **given: Any) -> Record:
    """Read a method's settings, or some of them, as the fields of a data class.

    Args:
        context: Context of the method, with the settings of its variant laid over.
        record: A data class with annotated fields, see `Table.part`.
        given: Fields of it that are no settings.

    Raises:
        BadInput: A setting is missing or not what its annotation asks for.
    """
    card = context.folder / "card.toml"
    return Table(card, context.settings, "settings.").part(record, **given)


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
        path: Path of the file, for messages.
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
