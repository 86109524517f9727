"""Files from outside: bytes, texts and tables, read within limits or refused by name.

Pictures, prompt lists and the like are written by people and tools that this project knows nothing
of, so only plain files are opened (a pipe would hang), no more is read than such a file can hold,
and what is wrong is named with its line.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from livo_bench.errors import BadInput
from livo_bench.escaping import csv_text

if TYPE_CHECKING:
    from _csv import Reader

MAX_TEXT = 256_000_000
"""Bytes of a list, some two million long lines."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Those of UTF-32 first: one of them begins like one of UTF-16.
_MARKS = (
    (BOM_UTF32_LE, "utf-32"),
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
    (BOM_UTF8, "utf-8-sig"),
)
_SEPARATORS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?[,;\t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""What Excel writes above a header, and takes for an instruction."""


def read_bytes(path: Path, what: str, limit: int = MAX_TEXT) -> bytes:
    """Read a whole file.

    Args:
        path: Path of the file; links are followed.
        what: Names it in messages: `the prompts`.
        limit: Bytes that it may have.

    Raises:
        BadInput: There is none, it is no plain file, it may not be read, or it is larger.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no file")
            raise BadInput(
                f"Cannot read {what} {path}: it is {kind}, expected a plain file.",
                "Save one there, or name another.",
            )
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if os.path.islink(path):
            reason = f"it is a link to {os.readlink(path)!r}: {reason}"
        raise BadInput(f"Cannot read {what} {path}: {reason}.") from error
    if len(data) > limit:
        raise BadInput(
            f"Cannot read {what} {path}: it has {decimal(status.st_size)}, expected at most "
            f"{decimal(limit)}.",
            "Name a smaller file.",
        )
    return data


def read_text(path: Path, what: str) -> str:
    """Read a text in UTF-8, or with a byte order mark in UTF-16 or UTF-32; as for `read_bytes`.

    Raises:
        BadInput: As there, or it is in another encoding, or holds a NUL.
    """
    data = read_bytes(path, what)
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path} line {line}: byte {data[error.start]:#04x} is not "
            f"{encoding.removesuffix('-sig').upper()}.",
            "Save the file in UTF-8.",
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput(
            f"{path} line {line} holds a NUL, as a file in UTF-16 without a byte order mark or a "
            "damaged one does.",
            "Save the file in UTF-8.",
        )
    return text


def read_rows(
    path: Path, what: str, required: Sequence[str], known: Collection[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header: CSV, separated by commas, semicolons or tabs.

    The separator is what Excel's line `sep=;` says, or else the first one of these that makes the
    required columns of the header.

    Args:
        path: Path of the file.
        what: Names it in messages.
        required: Columns that it has to have.
        known: Columns that it may have; None for any.

    Returns:
        The rows by column, as `escaping.csv_cell` was given them, each with the physical line that
        it starts on.

    Raises:
        BadInput: The file cannot be read, lacks a column or has one twice, or a row does not fit.
    """
    text = read_text(path, what)
    told = _SEPARATOR_LINE.match(text)
    above = 0 if told is None else 1
    text = text if told is None else text[told.end() :]
    separator = _separator(text, required) if told is None else told[1]
    reader = _reader(text, separator)
    try:
        header: list[str] = next(reader, [])
        _check_header(path, above + 1, header, required, known)
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise BadInput(_ragged(path, above + line, header, row, separator))
                yield above + line, dict(zip(header, map(csv_text, row), strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"{path} line {above + reader.line_num} is not CSV: {error}.") from error


def _reader(text: str, separator: str) -> Reader:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _separator(text: str, required: Sequence[str]) -> str:
    for separator in _SEPARATORS:
        with suppress(csv.Error):
            if set(required).issubset(next(_reader(text, separator), [])):
                return separator
    return _SEPARATORS[0]


def _check_header(
    path: Path,
    line: int,
    header: Sequence[str],
    required: Sequence[str],
    known: Collection[str] | None,
) -> None:
    for column in required:
        if column not in header:
            raise BadInput(
                f"{path} line {line}: no column {column!r}, the header has: "
                f"{', '.join(header) or 'nothing'}. Expected: "
                f"{', '.join(required)}."
            )
    for column in header:
        strange = known is not None and column not in known
        if strange or header.count(column) > 1:
            what = "unknown" if strange else "repeated"
            names = f" of these at most once: {', '.join(known)}" if known else " at most once"
            raise BadInput(f"{path} line {line}: {what} column {column!r}, expected each{names}.")


def _ragged(path: Path, line: int, header: list[str], row: list[str], separator: str) -> str:
    counts = f"{path} line {line} has {len(row)} fields, the header has {len(header)}."
    if len(row) > len(header):
        name = {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(separator, repr(separator))
        return f"{counts} Put a text that holds {name} in double quotes."
    return f"{counts} No value for: {', '.join(header[len(row) :])}."
