"""A folder of sealed files of rows that are found by key: what a `Store` is made of.

Three habits keep the files sound:

- A file is named by its keys (`plan.id_of_keys`) and appears whole, by a rename. Processes that
  write the same rows write the same file, others never touch each other's, and copying two stores
  into one folder merges them.
- A file is sealed: between its columns and its footer, where no column points, lie 32 bytes, the
  SHA-256 of all others; of scores, of the scorer's id and all others, so that what one judge said
  never passes for another's. Reading rows checks the seal, and the keys against the file's name.
  Reading the index opens just the key column, and nothing where the name says which block it is.
  (Page checksums are written too, for other readers.)
- A file that fails its check is set aside as `_<name>.damaged` (Parquet readers skip names that
  begin with an underscore), its rows count as missing, and the next plan makes them again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import cannot_read, list_names, sweep, write_atomically
from livo_bench.runs.plan import Together, id_of_keys
from livo_bench.runs.retrying import persist
from livo_bench.sealed_parquet import seal_holds, to_sealed_parquet

log = logging.getLogger(__name__)


class Shelf:
    """A folder of sealed files whose rows are addressed by key; the index is kept in memory."""

    def __init__(
        self,
        folder: Path,
        suffix: str,
        compression: str | dict[str, str],
        kinds: Mapping[str, pa.DataType],
        owner: str = "",
    ) -> None:
        """
        Args:
            folder: Folder of the files.
            suffix: What their names end in; others are not looked at.
            compression: Compression of their columns, as pyarrow takes it.
            kinds: Types of the columns that all files have.
            owner: Owner of the rows: the seal binds them to it.
        """
        self.folder = folder
        self._suffix = suffix
        self._compression = compression
        self._kinds = kinds
        self._owner = owner.encode()
        self._lock = threading.RLock()
        self._keys_in: dict[str, Sequence[str]] = {}
        self._file_of: dict[str, str] = {}
        """The file that a key is read from: of those that hold it, one of a planned block, or else
        the first by name, so that processes with the same plan read the same row."""
        self._planned: set[str] = set()
        """Names of the files that whole blocks of the plan are stored in."""
        self._unread: list[tuple[str, Together]] = []
        """Those of them that are not indexed yet."""
        self._opened = False

    def keys(self, blocks: Collection[Together] | None) -> set[str]:
        """The keys of all rows, those of other processes included; or of those of some blocks."""
        if blocks is None:
            with self._lock:
                self._refresh()
                return set(self._file_of)
        lacking = self.lacking(blocks)
        return {
            key
            for block in blocks
            for row, key in enumerate(block.keys)
            if row not in lacking.get(block.id, ())
        }

    def lacking(self, blocks: Collection[Together]) -> dict[str, list[int]]:
        """Find the rows of blocks that are not here, those of other processes being so.

        No file is opened to find whole blocks.

        Returns:
            Places of the missing keys in a block, by the block's id; none of whole blocks.
        """
        with self._lock:
            whole = self._find_whole(blocks)
            rest = [block for block in blocks if block.id not in whole]
            if not rest:
                return {}
            self._take_in()
            if any(key not in self._file_of for block in rest for key in block.keys):
                self._refresh()
            missing = {
                block.id: [row for row, key in enumerate(block.keys) if key not in self._file_of]
                for block in rest
            }
            return {id: rows for id, rows in missing.items() if rows}

    def new_rows(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that are not stored yet, each key once."""
        with self._lock:
            # What another process wrote since then does no harm: its rows are the same.
            if not self._opened:
                self._refresh()
            self._take_in()
            first = {key: row for row, key in reversed(list(enumerate(keys)))}
            return sorted(row for key, row in first.items() if key not in self._file_of)

    def write(self, table: pa.Table) -> None:
        """Store rows, none of them stored yet, as one file; again where that is refused for a while
        (`retrying`)."""
        if not table.num_rows:
            return
        keys = table["key"].to_pylist()
        name = self._name_of(keys)
        data = to_sealed_parquet(table, self._compression, self._owner)
        path = self.folder / name
        persist(lambda: write_atomically(path, data, "--runs DIR"), str(path))
        with self._lock:
            self._add(name, keys)

    def read(self, keys: Iterable[str], columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Read the rows that are found, file by file; `columns` as in `pyarrow`, with `key`."""
        left = set(keys)
        # Once more after a loss, because another file may hold the same rows.
        while by_file := self._locate(left):
            for name, held in by_file.items():
                table = self._read_file(name, columns)
                if table is not None:
                    left -= held
                    rows = [i for i, key in enumerate(table["key"].to_pylist()) if key in held]
                    yield table if len(rows) == table.num_rows else table.take(rows)

    def together(self, keys: Iterable[str]) -> list[list[str]]:
        """Group keys by the file that their rows lie in; those without one are a group, too."""
        left = list(dict.fromkeys(keys))
        groups: dict[str | None, list[str]] = defaultdict(list)
        file_of = {key: name for name, held in self._locate(set(left)).items() for key in held}
        for key in left:
            groups[file_of.get(key)].append(key)
        return list(groups.values())

    def read_whole(self, keys: Iterable[str], columns: list[str]) -> Iterator[pa.Table]:
        """Read all rows of the files that hold some keys."""
        for name in self._locate(set(keys)):
            table = self._read_file(name, columns)
            if table is not None:
                yield table

    def said_of(self, keys: Iterable[str], name: bytes) -> dict[str, bytes | None]:
        """What the metadata of the files of rows that are found says under a name; of some,
        nothing.

        Ends of files alone are read, so that no seal is looked at.
        """
        by_file = self._locate(set(keys))
        with ThreadPoolExecutor(8) as pool:
            each = zip(by_file.values(), pool.map(self._metadata, by_file), strict=True)
            return {key: its.get(name) for held, its in each for key in held}

    def _metadata(self, name: str) -> Mapping[bytes, bytes]:
        """A file's metadata; none of one that is gone or damaged, which readers of rows say."""
        try:
            return pq.read_schema(self.folder / name).metadata or {}
        except (pa.ArrowException, OSError):
            return {}

    def _locate(self, keys: set[str]) -> dict[str, set[str]]:
        with self._lock:
            self._take_in()
            if not keys <= self._file_of.keys():
                self._refresh()
            by_file: dict[str, set[str]] = defaultdict(set)
            for key in keys & self._file_of.keys():
                by_file[self._file_of[key]].add(key)
            return dict(sorted(by_file.items()))

    def _read_file(self, name: str, columns: list[str] | None) -> pa.Table | None:
        """Read a file whose seal holds; None if it is damaged or gone."""
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            self._forget({name})
            return None
        except OSError as error:
            raise cannot_read(self.folder / name, error) from error
        if seal_holds(data, self._owner):
            table = self._table_of(name, data, columns)
            if name == self._name_of(table["key"].to_pylist()):
                return table
        self._set_aside(name)
        return None

    def _table_of(self, name: str, data: bytes, columns: list[str] | None) -> pa.Table:
        """Parse a file whose seal holds. A seal shows that nothing changed, not that this package
        wrote it, so what is in there may still be anything."""
        try:
            table = pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)
            table.validate(full=True)
            fields = {field.name: field.type for field in table.schema}
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._foreign(name, excerpt(str(error))) from error
        for column in ("key", *(columns or ())):
            if column not in fields:
                raise self._foreign(name, f"it has no column {column}")
        for column, kind in fields.items():
            if kind != (known := self._kinds.get(column, kind)):
                raise self._foreign(name, f"its column {column} is {kind}, not {known}")
        return table

    def _foreign(self, name: str, why: str) -> BadInput:
        return BadInput(
            f"{self.folder / name} holds something else than a store does: {why}.",
            "Delete it, and run again what it was made by.",
        )

    def _find_whole(self, blocks: Iterable[Together]) -> set[str]:
        """Ids of the blocks that have files: their names say what they hold."""
        names = self._still_there()
        found = set()
        for block in blocks:
            name = f"{block.id}{self._suffix}"
            if name in names:
                found.add(block.id)
                if name not in self._planned:
                    self._planned.add(name)
                    self._unread.append((name, block))
        return found

    def _take_in(self) -> None:
        """Index the files of whole blocks, which takes memory: when rows are asked for by key.

        The caller holds the lock.
        """
        unread, self._unread = self._unread, []
        for name, block in unread:
            self._add(name, block.keys)

    def _refresh(self) -> None:
        """Take in the files that other processes wrote.

        The caller holds the lock.
        """
        self._take_in()
        if not self._opened:
            self._opened = True
            # Once a process: what writers that were killed left half-written.
            sweep(self.folder)
        new = self._still_there() - self._keys_in.keys()
        # Opening files is mostly waiting where the folder is far away.
        with ThreadPoolExecutor(8) as pool:
            for name, keys in pool.map(self._read_index, sorted(new)):
                if keys is None:
                    self._set_aside(name)
                elif keys:
                    self._add(name, keys)

    def _still_there(self) -> set[str]:
        """The names of all files; those that are gone are forgotten."""
        names = {name for name in list_names(self.folder) if self._is_block(name)}
        self._unread = [(name, block) for name, block in self._unread if name in names]
        self._planned &= names
        if gone := self._keys_in.keys() - names:
            self._forget(gone)
        return names

    def _read_index(self, name: str) -> tuple[str, list[str] | None]:
        """The keys in a file; none if it is gone, None if it is damaged."""
        path = self.folder / name
        try:
            with pq.ParquetFile(path) as file:
                table = file.read(["key"], use_threads=False)
            keys = [str(key) for key in table["key"].to_pylist()]
        except FileNotFoundError:
            return name, []
        except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
            # pyarrow raises OSError for bytes it cannot parse as well; the disk's have a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise cannot_read(path, error) from error
            if seal_holds(path.read_bytes(), self._owner):
                raise  # the file is sound; this pyarrow lacks something, say a codec
            return name, None
        return name, keys if name == self._name_of(keys) else None

    def _name_of(self, keys: Iterable[str]) -> str:
        return f"{id_of_keys(keys)}{self._suffix}"

    def _is_block(self, name: str) -> bool:
        return name.endswith(self._suffix) and not name.startswith((".", "_"))

    def _add(self, name: str, keys: Sequence[str]) -> None:
        self._keys_in[name] = keys
        for key in keys:
            held = self._file_of.setdefault(key, name)
            if held is not name:
                self._file_of[key] = min(held, name, key=self._place)

    def _place(self, name: str) -> tuple[bool, str]:
        # Smaller comes first: a planned block, which other processes with this plan look for too.
        return name not in self._planned, name

    def _forget(self, names: Set[str]) -> None:
        with self._lock:
            self._take_in()
            self._planned -= names
            for name in names:
                self._keys_in.pop(name, None)
            # Another file may hold the same rows.
            self._file_of.clear()
            for other, keys in self._keys_in.items():
                self._add(other, keys)

    def _set_aside(self, name: str) -> None:
        """Rename a damaged file out of the way; its rows are missing from now on."""
        self._forget({name})
        damaged = self.folder / f"_{name}.damaged"
        try:
            os.replace(self.folder / name, damaged)
        except FileNotFoundError:
            return
        except OSError:
            with self._lock:
                self._add(name, [])  # known to be useless, so that it is not opened again
            log.warning("%s is damaged; its rows count as missing.", self.folder / name)
        else:
            log.warning(
                "%s is damaged and is kept as %s; its rows count as missing.",
                self.folder / name,
                damaged.name,
            )
