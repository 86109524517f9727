"""Files that appear whole or not at all, and the digests that name what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from livo_bench.errors import BadInput

_STALE_SECONDS = 3600
"""Writing a file takes seconds; a temporary of this age was left by a killed process."""


def sha256(data: bytes | str) -> str:
    """SHA-256 of bytes, or of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of what a file holds, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, option: str = "") -> None:
    """Write a file whole or not at all, whatever interrupts; it replaces one of the same name.

    Args:
        path: Path of the file.
        data: What it holds.
        option: Option of the command line by which another place is named, for messages.

    Raises:
        BadInput: The folder cannot be written, or is full; nothing is left there.
    """
    with written_whole(path, len(data), option) as unfinished:
        unfinished.write_bytes(data)


@contextlib.contextmanager
def written_whole(path: Path, size: int, option: str = "") -> Iterator[Path]:
    """A name to write a file under, which takes its own when it is whole; see `write_atomically`.

    Args:
        path: Path of the file.
        size: Bytes that will be written, for the message if there is no room.
        option: Option of the command line by which another place is named, for messages.

    Raises:
        BadInput: The folder cannot be written, or is full; nothing is left there.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise cannot_write(path, size, error, option) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote."""
    for name in list_names(folder):
        if name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                path = folder / name
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot_read(folder, error) from error


def cannot_write(path: Path, size: int, error: OSError, option: str = "") -> BadInput:
    return BadInput(
        f"Cannot write {path}: {error.strerror or error}. It needs a folder that may be "
        f"written, with {decimal(size)} free.",
        "Make room there, or write elsewhere" + (f": {option}" if option else "."),
    )


def cannot_read(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"Cannot read {path}: {error.strerror}.",
        "Make it readable, or use another folder: --runs DIR",
    )
