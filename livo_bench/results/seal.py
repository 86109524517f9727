"""Result folders under one seal: the only module that writes or opens them.

    run.json          what a run says of itself, and the seal
    images.parquet    what judges said of each image
    prompts.csv       metrics of each prompt
    vectors.npz       what the feature network made of the images, see `metrics.vectors`
    aggregates.csv    the numbers of tables

The seal is a field of `run.json`: the SHA-256 of each neighbour, and of the record itself, as
canonical JSON without that entry. It is checked whenever a folder is opened, and what is parsed are
the bytes that were checked. Three habits keep a folder one run's:

- The record is written last. While neighbours are written, a record stands there that says so, and
  the folder holds no results.
- Who writes holds the folder's lock, so that a second writer and all readers wait. Where a file
  system has no locks, a mixture of two runs does not fit its seal.
- Results of versions that sealed nothing are read, and said to be unsealed. A record that has lost
  its seal is no such record: it has other fields that those did not write, and its
  `images.parquet` says that a record vouches for it.

A seal finds accidents. Whoever changes files on purpose can seal them anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from livo_bench.cards.fields import parse_json, place
from livo_bench.csvs import parse_parquet
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.files import sha256, sweep, write_atomically
from livo_bench.records import REJUDGED
from livo_bench.results.record import AGAIN, RunRecord, from_json

log = logging.getLogger(__name__)

RECORD = "run.json"
NEIGHBOURS = ("images.parquet", "prompts.csv", "vectors.npz", "aggregates.csv")
IMAGES, PROMPTS, VECTORS, AGGREGATES = NEIGHBOURS
RESULT_FILES = (*NEIGHBOURS, RECORD)
"""What a result folder holds, in the order of writing."""

FORMAT = 2
"""Format of sealed records; those before them had no such field."""
UNFINISHED = "unfinished"
"""Field of the record that stands in a folder while its neighbours are written."""
_VOUCHED = b"livo_bench.sealed"
"""Key in a Parquet file's metadata that says that a sealed record must lie beside it."""
_RUNS = "--runs DIR"


@dataclass(frozen=True)
class Folder:
    """A result folder whose seal was looked at when it was read."""

    path: Path
    record: RunRecord
    """Knows nothing where there is none, as beside a reference of many runs in one file."""
    sealed: bool
    """False for results of a version that sealed nothing."""
    files: Mapping[str, bytes]
    """Bytes of the `RESULT_FILES` that are there, by name."""

    @property
    def records(self) -> dict[Path, RunRecord]:
        """The record by its file, where there is one."""
        return {self.path / RECORD: self.record} if RECORD in self.files else {}

    def refuse_others(self, rows: pd.DataFrame) -> None:
        """See that numbers are those of the run that the record names.

        Args:
            rows: Numbers, with the columns `model`, `method` and `task`.

        Raises:
            BadInput: They are another's.
        """
        for what, name in self.record.identity.items():
            others = rows.loc[rows[what] != name, what]
            if len(others):
                raise BadInput(
                    f"{self.path / AGGREGATES} has numbers of {what} {others.iloc[0]!r}, and "
                    f"{RECORD} beside it is of {what} {name!r}, so files of two runs lie in one "
                    "folder.",
                    AGAIN,
                )


# Writing -----------------------------------------------------------------------------------------


def as_parquet(images: pd.DataFrame) -> bytes:
    """Turn what judges said of each image into a file that tells that a record vouches for it."""
    table = pa.Table.from_pandas(images, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), _VOUCHED: str(FORMAT).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def write(folder: Path, record: RunRecord, neighbours: Mapping[str, bytes]) -> None:
    """Write the results of a run and seal them.

    Args:
        folder: Result folder, whose other files stay.
        record: What the run says of itself.
        neighbours: All of `NEIGHBOURS`, by name.

    Raises:
        BadInput: The folder cannot be written, or is full.
    """
    sealed = {**record.as_json(), "format": FORMAT}
    sealed["seal"] = {name: sha256(neighbours[name]) for name in NEIGHBOURS}
    sealed["seal"][RECORD] = _digest_of(sealed)
    copy(folder, {**neighbours, RECORD: json.dumps(sealed, indent=2).encode()})


def copy(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a result folder such that those of two runs are never taken for one.

    Interrupted in between, the folder has no results.

    Args:
        folder: Result folder, whose other files stay.
        files: Out of `RESULT_FILES`, by name, as `Folder.files` has them; others of these names go.

    Raises:
        BadInput: The folder cannot be written, or is full.
    """
    unfinished = json.dumps({"format": FORMAT, UNFINISHED: True}).encode()
    # Also makes the folder, which is to be locked.
    if not folder.is_dir():
        write_atomically(folder / RECORD, unfinished, _RUNS)
    with _locked(folder, fcntl.LOCK_EX):
        write_atomically(folder / RECORD, unfinished, _RUNS)
        sweep(folder)
        for name in RESULT_FILES:
            if name in files:
                write_atomically(folder / name, files[name], _RUNS)
            else:
                (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold a folder's lock; a killed process gives it back."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise BadInput(
            f"Cannot open {folder}: {error.strerror}.",
            f"Make it readable, or use another folder: {_RUNS}",
        ) from error
    try:
        # Some network file systems have no locks; there the seal alone keeps runs apart.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


# Reading -----------------------------------------------------------------------------------------


def open_all(root: Path) -> list[Folder]:
    """Open every result folder under a folder.

    The results of a subset alone are passed over where those of its task beside them hold them. The
    results of another judge are looked for in a folder of their own, `REJUDGED/<judge>`.

    Raises:
        BadInput: As `open_folder`.
        NotComparable: A task and a subset of it alone lie beside each other and differ.
    """
    opened: dict[Path, Folder] = {}
    for path in sorted(_places(root), key=lambda path: ("." in path.name, path)):
        task, _, subset = path.name.partition(".")
        folder, whole = open_folder(path), opened.get(path.with_name(task))
        if folder is None or (subset and whole is not None and _held(folder, whole)):
            continue
        opened[path] = folder
    return [opened[path] for path in sorted(opened)]


def _held(part: Folder, whole: Folder) -> bool:
    """Whether the results of a task hold those of a subset of it, image by image.

    Raises:
        NotComparable: They do not, and nobody can say which are meant.
    """
    if IMAGES in part.files and IMAGES in whole.files:
        some, every = _answers(part), _answers(whole)
        judges, known = part.record.scorers, whole.record.scorers
        same = judges is None or known is None or {*judges} <= {*known}
        if same and len(some.merge(every)) == len(some):
            return True
    older, newer = sorted((whole.path, part.path), key=_written)
    written = [f"{path}, written {_written(path):%Y-%m-%d %H:%M}" for path in (older, newer)]
    raise NotComparable(
        f"There are two results of one subset, and they differ: {' and '.join(written)}. Expected "
        "one, or the same images with the same answers in both.",
        f"Go by the newer one: rm -r {shlex.quote(str(older))}, or keep results of a subset alone "
        "elsewhere: livo-bench run --runs DIR",
    )


def _answers(folder: Folder) -> pd.DataFrame:
    """Parse which images results are of, and what was seen in them."""
    texts, seen = ("subset", "prompt", "key"), ("label", "unscored", "changed")
    columns = (*texts, "index", *seen)
    images = parse_parquet(
        folder.files[IMAGES], folder.path / IMAGES, texts, ("index",), (), AGAIN,
        optional=seen, only=columns,
    )  # fmt: skip
    return images.reindex(columns=columns).astype(object).fillna("").drop_duplicates()


def _written(folder: Path) -> datetime:
    """Time at which the results of a folder were written."""
    seconds = [(folder / name).stat().st_mtime for name in RESULT_FILES if (folder / name).exists()]
    return datetime.fromtimestamp(max(seconds))


def _places(root: Path) -> Iterator[Path]:
    for folder, within, names in os.walk(place(root)):
        if REJUDGED in within:
            within.remove(REJUDGED)
        if RECORD in names or AGGREGATES in names:
            yield Path(folder)


def open_folder(path: Path) -> Folder | None:
    """Read a result folder and see that it is as it was written.

    Returns:
        None where it holds no results: none were written, or not to the end.

    Raises:
        BadInput: A file cannot be read, was changed, is gone or is another run's.
    """
    with _locked(path, fcntl.LOCK_SH):
        found = {name: _read(path / name) for name in RESULT_FILES}
    files = {name: data for name, data in found.items() if data is not None}
    said = parse_json(files[RECORD], path / RECORD, AGAIN) if RECORD in files else {}
    if UNFINISHED in said:
        return None
    record = from_json(said, path / RECORD)
    if not ({"format", "seal"} & {*said} or record.method.files is not None):
        # Nothing in it is of a version that seals.
        _refuse_stripped(path, files)
        return Folder(path, record, False, files) if AGGREGATES in files else None
    _check(path, said, files)
    return Folder(path, record, True, files)


def reopen(path: Path) -> Folder:
    """Open a result folder that was read before; arguments and errors as `open_folder`.

    Raises:
        Incomplete: A run is writing it now.
    """
    opened = open_folder(path)
    if opened is None:
        raise Incomplete(f"{path} is being written by a run.", "Try again when that is done.")
    return opened


def _read(path: Path) -> bytes | None:
    """A file's bytes, None where there is none."""
    if not path.exists():
        return None
    if not path.is_file():
        raise BadInput(
            f"{path} is a folder or a device; expected a file.", f"Move it away. {AGAIN}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}.", "Make it readable.") from error


def _refuse_stripped(path: Path, files: Mapping[str, bytes]) -> None:
    # Parquet keeps metadata as plain bytes, so a file that no longer parses tells it, too.
    if _VOUCHED in files.get(IMAGES, b""):
        lost = "has lost its seal" if RECORD in files else "is gone"
        raise BadInput(
            f"{path / RECORD} {lost}, so nothing vouches for the files beside it.", AGAIN
        )


def _check(path: Path, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    # A record that has lost the field does not fit its digest, further down.
    if record.get("format", FORMAT) != FORMAT:
        raise BadInput(
            f"{path / RECORD} is of format {record['format']!r}; expected {FORMAT}.",
            "Read it with the version of livo-bench that wrote it, or write it with this one. "
            f"{AGAIN}",
        )
    seal = record.get("seal")
    if not isinstance(seal, dict):
        raise BadInput(f"{path / RECORD} has lost its seal; expected digests.", AGAIN)
    if seal.get(RECORD) != _digest_of(record):
        raise BadInput(f"{path / RECORD} was changed after it was sealed.", AGAIN)
    for name in NEIGHBOURS:
        if name not in files:
            raise BadInput(f"{path / name} is gone, for which {RECORD} vouches.", AGAIN)
        if seal.get(name) != sha256(files[name]):
            raise BadInput(
                f"{path / name} is not the file that {RECORD} beside it was sealed with: it was "
                "changed, cut off, or is another run's.",
                AGAIN,
            )


def differing_files(old: Iterable[RunRecord], new: Iterable[RunRecord]) -> dict[str, str]:
    """Which files behind a method differ between records, by name: `1a2b3c4d -> 5e6f7a8b`.

    Nothing where one side's records name none, as older ones; several digests of a file within one
    side are told as well.
    """
    before, now = _files_of(old), _files_of(new)
    if not (before and now):
        return {}
    return {
        name: f"{_short(before.get(name))} -> {_short(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) or len(before[name]) > 1
    }


def _files_of(records: Iterable[RunRecord]) -> dict[str, list[str]]:
    """All digests of each file behind a method, by name."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, digest in (record.method.files or {}).items():
            found.setdefault(str(name), set()).add(str(digest))
    return {name: sorted(digests) for name, digests in found.items()}


def _short(digests: Iterable[str] | None) -> str:
    return "none" if digests is None else "+".join(digest[:8] for digest in digests)


def say_unsealed(root: Path, folders: Iterable[bool]) -> None:
    """Warn, in a line, of results that nothing vouches for.

    Args:
        root: Where results were looked for.
        folders: Whether each of them is sealed.
    """
    unsealed = sum(not sealed for sealed in folders)
    if unsealed:
        log.warning(
            f"{unsealed} results in {root} are unsealed, as older versions wrote them: nothing "
            "shows whether their files were changed. Run them again to seal them; images are kept."
        )


def _digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record, without its own entry in the seal."""
    seal = {name: digest for name, digest in record["seal"].items() if name != RECORD}
    canonical = json.dumps({**record, "seal": seal}, sort_keys=True, separators=(",", ":"))
    return sha256(canonical)
