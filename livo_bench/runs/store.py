"""Samples and scores on disk: the only module that reads or writes them.

    ROOT/store/<model>/samples/<id>.parquet            key, recipe, image
    ROOT/store/<model>/scores/<scorer>/<id>.scores.parquet    key, the scorer's columns, unscored

Any Parquet reader opens these files, and `datasets` shows the pictures. Three habits keep them
sound:

- A file is named by its keys (`plan.id_of_keys`) and appears whole, by a rename. Processes that
  write the same rows write the same file, others never touch each other's, and copying two stores
  into one folder merges them.
- A file is sealed: between its columns and its footer, where no column points, lie 32 bytes, the
  SHA-256 of all others; of scores, of the scorer's id and all others, so that what one judge said
  never passes for another's. Reading rows checks the seal, and the keys against the file's name.
  Reading the index opens just the key column, and nothing where the name says which block it is.
  (Page checksums are written too, for other readers.) Scores of versions whose seals named no
  scorer are called `<id>.parquet`, and are not read.
- A file that fails its check is set aside as `_<name>.damaged` (Parquet readers skip names that
  begin with an underscore), its rows count as missing, and the next plan makes them again.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from rich.filesize import decimal

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import cannot_read, cannot_write, list_names, sweep, write_atomically
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Recipe, recipe_from_json
from livo_bench.runs.plan import Block, id_of_keys
from livo_bench.sealed_parquet import seal_holds, to_sealed_parquet

log = logging.getLogger(__name__)

SAMPLE_SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "recipe": pa.string(),
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    },
    metadata={
        "huggingface": json.dumps(
            {
                "info": {
                    "features": {
                        "key": {"dtype": "string", "_type": "Value"},
                        "recipe": {"dtype": "string", "_type": "Value"},
                        "image": {"_type": "Image"},
                    }
                }
            }
        )
    },
)

_SAMPLES, _SCORES = ".parquet", ".scores.parquet"
"""What names of files end in."""
_SAMPLE_COMPRESSION = {"key": "zstd", "recipe": "zstd"}
"""PNG does not compress further."""
_RUNS = "--runs DIR"
"""What names another place for all that this module keeps."""


class Store:
    """The images and scores of one model. Threads and processes may share it.

    Opening and reading create nothing.
    """

    def __init__(self, root: Path, model: str) -> None:
        """
        Args:
            root: What `--runs` names.
            model: Name of the model's card, a plain folder name.
        """
        self.folder = Path(root) / "store" / _plain_name(model)
        self._samples = _Shelf(self.folder / "samples", _SAMPLES, _SAMPLE_COMPRESSION)
        self._scores: dict[str, _Shelf] = {}
        self._lock = threading.Lock()

    def sample_keys(self, blocks: Collection[Block] | None = None) -> set[str]:
        """Keys of the stored images, those of other processes included.

        Args:
            blocks: Whose images; all by default. No file is opened to find those of whole blocks.
        """
        return self._samples.keys(blocks)

    def write_samples(self, recipes: Sequence[Recipe], pixels: Pixels) -> None:
        """Store the images that are not stored yet, in one file.

        Args:
            recipes: Of the images, n of them.
            pixels: RGB uint8, shape `(n, size, size, 3)`.

        Raises:
            BadInput: The folder cannot be written, or is full.
        """
        if pixels.dtype != np.uint8 or pixels.shape[-1:] != (3,) or pixels.ndim != 4:
            raise ValueError(f"Pixels are {pixels.dtype} {pixels.shape}, not uint8 (n, h, w, 3).")
        _require_length("pixels", len(pixels), len(recipes))
        keys = [recipe.key for recipe in recipes]
        new = self._samples.new_rows(keys)
        rows = [
            {
                "key": keys[i],
                "recipe": recipes[i].canonical(),
                "image": {"bytes": _to_png(pixels[i]), "path": f"{keys[i]}.png"},
            }
            for i in new
        ]
        self._samples.write(pa.Table.from_pylist(rows, SAMPLE_SCHEMA))

    def read_samples(self, keys: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
        """Read images, bit for bit as they were written.

        Args:
            keys: Any number.

        Returns:
            The images that were found by key, in the order asked: RGB uint8, `(size, size, 3)`. A
            key that `sample_keys` listed is not found when its file turns out damaged: plan again.
        """
        keys = list(dict.fromkeys(keys))
        images = {
            key: self._pixels(key, png)
            for table in self._samples.read(keys, ["key", "image"])
            for key, png in zip(
                table["key"].to_pylist(),
                pc.struct_field(table["image"], "bytes").to_pylist(),
                strict=True,
            )
        }
        return {key: images[key] for key in keys if key in images}

    def _pixels(self, key: str, png: bytes | None) -> NDArray[np.uint8]:
        """An image that lies in a file whose seal holds, whoever sealed it."""
        try:
            return _from_png(png or b"")
        # Pillow raises almost anything over a damaged picture.
        except Exception as error:
            raise BadInput(
                f"Image {key} in {self.folder} is no picture of this store: "
                f"{excerpt(str(error))}. Delete the store's samples, and make them again."
            ) from error

    def together(self, keys: Iterable[str]) -> list[list[str]]:
        """Group images by the files that they lie in: read group by group, each file is read once.

        Returns:
            All of the keys, those that are not stored in a group of their own.
        """
        return self._samples.together(keys)

    def read_recipes(self, keys: Iterable[str]) -> dict[str, Recipe]:
        """Read how images were made, by key; a key that is not found is not in the answer."""
        return {
            key: recipe_from_json(line)
            for table in self._samples.read(keys, ["key", "recipe"])
            for key, line in zip(table["key"].to_pylist(), table["recipe"].to_pylist(), strict=True)
        }

    def batches(self, keys: Iterable[str]) -> Iterator[dict[str, Recipe]]:
        """Images that were stored together, with what made each, by key and in their order: every
        batch that holds one of the keys. A damaged one is left out."""
        for table in self._samples.read_whole(keys, ["key", "recipe"]):
            lines = zip(table["key"].to_pylist(), table["recipe"].to_pylist(), strict=True)
            yield {key: recipe_from_json(line) for key, line in lines}

    def score_keys(self, scorer_id: str, blocks: Collection[Block] | None = None) -> set[str]:
        """Keys of the images this scorer has judged, the unscored ones included; of some blocks
        like `sample_keys`."""
        return self._shelf(scorer_id).keys(blocks)

    def write_scores(
        self,
        scorer_id: str,
        keys: Sequence[str],
        columns: Columns,
        unscored: Sequence[str | None] | None = None,
    ) -> None:
        """Store the scores of images that this scorer has none for yet, in one file.

        Args:
            scorer_id: `Scorer.id`, a plain folder name.
            keys: Of the images, n of them.
            columns: Numbers or strings (None where there is none), shape `(n,)`, or vectors of
                floats, shape `(n, d)`.
            unscored: Why an image has no score, None where it has one; by default all have.

        Raises:
            BadInput: The folder cannot be written, or is full.
        """
        reasons = [None] * len(keys) if unscored is None else list(unscored)
        for name, values in {**columns, "unscored": reasons}.items():
            _require_length(name, len(values), len(keys))
        shelf = self._shelf(scorer_id)
        new = shelf.new_rows(keys)
        arrays = {
            "key": pa.array([keys[i] for i in new], pa.string()),
            **{name: _to_arrow(np.asarray(values)[new]) for name, values in columns.items()},
            "unscored": pa.array([reasons[i] for i in new], pa.string()),
        }
        if len(arrays) != len(columns) + 2:
            raise ValueError("A scorer's columns may not be named 'key' or 'unscored'.")
        shelf.write(pa.table(arrays))

    def read_scores(
        self, scorer_id: str, keys: Iterable[str], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read scores.

        Args:
            scorer_id: `Scorer.id`.
            keys: Any number.
            columns: Which of the scorer's to read; all by default.

        Returns:
            These columns and `unscored`, missing where an image has a score; a row for each
            key that was found, in the order asked, indexed by `key`. A cell of a vector column is
            an array of shape `(d,)`: `np.stack(frame["features"])` is the matrix.

        Raises:
            BadInput: The files of this scorer have different columns.
        """
        keys = list(dict.fromkeys(keys))
        shelf = self._shelf(scorer_id)
        wanted = None if columns is None else ["key", *columns, "unscored"]
        schemas: list[pa.Schema] = []
        tables: list[pa.Table] = []
        matrices: dict[str, NDArray] = {}
        found = 0
        for table in shelf.read(keys, wanted):
            schemas.append(table.schema)
            if table.schema != schemas[0]:
                raise BadInput(
                    f"The files of {shelf.folder} have different columns, so the scorer changed "
                    "and its id did not. Give it a new id, or delete that folder and run again."
                )
            # Copied, file by file: what Arrow reads lies in buffers half as large again, and its
            # own `to_pandas` copies all files' vectors at once.
            for field in filter(_is_vector, table.schema):
                rows = table[field.name].combine_chunks().flatten().to_numpy()
                rows = rows.reshape(-1, field.type.list_size)
                if field.name not in matrices:
                    matrices[field.name] = np.empty((len(keys), rows.shape[1]), rows.dtype)
                matrices[field.name][found : found + len(rows)] = rows
            tables.append(table.drop_columns(list(matrices)))
            found += table.num_rows
        if not tables:
            return pd.DataFrame({"unscored": []}, index=pd.Index([], name="key"), dtype="str")
        frame = pa.concat_tables(tables).to_pandas()
        for name, matrix in matrices.items():
            cells = pd.Series(list(matrix[:found]), dtype=object)
            frame.insert(schemas[0].get_field_index(name), name, cells)
        frame = frame.set_index("key")
        order = frame.index.get_indexer(keys)
        return frame.iloc[order[order >= 0]]

    def require_room(self, size: int) -> None:
        """Check, before anything slow, that this store can be written.

        Args:
            size: Bytes that will be written.

        Raises:
            BadInput: The folder cannot be written, or has less room.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise cannot_write(self.folder, size, error, _RUNS) from error
        if free < size:
            raise BadInput(
                f"{self.folder} has {decimal(free)} free, this needs {decimal(size)}. "
                "Make room, or write elsewhere: --runs DIR"
            )

    def _shelf(self, scorer_id: str) -> _Shelf:
        with self._lock:
            if scorer_id not in self._scores:
                folder = self.folder / "scores" / _plain_name(scorer_id)
                self._scores[scorer_id] = _Shelf(folder, _SCORES, "zstd", scorer_id)
            return self._scores[scorer_id]


class _Shelf:
    """A folder of sealed files whose rows are addressed by key; the index is kept in memory."""

    def __init__(
        self, folder: Path, suffix: str, compression: str | dict[str, str], owner: str = ""
    ) -> None:
        """
        Args:
            folder: Of the files.
            suffix: That their names end in; others are not looked at.
            compression: Of their columns, as pyarrow takes it.
            owner: Whose rows they are: the seal binds them to it.
        """
        self.folder = folder
        self._suffix = suffix
        self._compression = compression
        self._owner = owner.encode()
        self._lock = threading.RLock()
        self._keys_in: dict[str, Sequence[str]] = {}
        self._file_of: dict[str, str] = {}
        """Of the files that hold a key, the one of a planned block, or else the first by name:
        processes with the same plan read the same row."""
        self._planned: set[str] = set()
        """Names of the files that whole blocks of the plan are stored in."""
        self._opened = False

    def keys(self, blocks: Collection[Block] | None) -> set[str]:
        with self._lock:
            if blocks is None:
                self._refresh()
                return set(self._file_of)
            self._find_whole(blocks)
            wanted = {key for block in blocks for key in block.keys}
            if not wanted <= self._file_of.keys():
                self._refresh()
            return wanted & self._file_of.keys()

    def new_rows(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that are not stored yet, each key once."""
        with self._lock:
            if not self._opened:
                self._refresh()
            first = {key: row for row, key in reversed(list(enumerate(keys)))}
            return sorted(row for key, row in first.items() if key not in self._file_of)

    def write(self, table: pa.Table) -> None:
        """Store rows, none of them stored yet, as one file."""
        if not table.num_rows:
            return
        keys = table["key"].to_pylist()
        name = self._name_of(keys)
        data = to_sealed_parquet(table, self._compression, self._owner)
        write_atomically(self.folder / name, data, _RUNS)
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
        left = list(dict.fromkeys(keys))
        groups: dict[str | None, list[str]] = defaultdict(list)
        file_of = {key: name for name, held in self._locate(set(left)).items() for key in held}
        for key in left:
            groups[file_of.get(key)].append(key)
        return list(groups.values())

    def read_whole(self, keys: Iterable[str], columns: list[str]) -> Iterator[pa.Table]:
        """All rows of the files that hold some keys."""
        for name in self._locate(set(keys)):
            table = self._read_file(name, columns)
            if table is not None:
                yield table

    def _locate(self, keys: set[str]) -> dict[str, set[str]]:
        with self._lock:
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
        """The columns of a file whose seal holds, whoever sealed it."""
        try:
            table = pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)
            table.validate(full=True)
            fields = {field.name: field.type for field in table.schema}
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._foreign(name, excerpt(str(error))) from error
        known = {field.name: field.type for field in SAMPLE_SCHEMA} | {"unscored": pa.string()}
        for column in ("key", *(columns or ())):
            if column not in fields:
                raise self._foreign(name, f"it has no column {column}")
        for column, kind in fields.items():
            if kind != known.get(column, kind):
                raise self._foreign(name, f"its column {column} is {kind}, not {known[column]}")
        return table

    def _foreign(self, name: str, why: str) -> BadInput:
        return BadInput(
            f"{self.folder / name} holds something else than a store does: {why}. Delete it, and "
            "run again what it was made by."
        )

    def _find_whole(self, blocks: Iterable[Block]) -> None:
        """Take in the files of whole blocks: their names say what they hold."""
        names = self._still_there()
        for block in blocks:
            name = f"{block.id}{self._suffix}"
            if name not in self._planned and name in names:
                self._planned.add(name)
                self._add(name, block.keys)

    def _refresh(self) -> None:
        """Take in the files that other processes wrote.

        The caller holds the lock.
        """
        if not self._opened:
            self._opened = True
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
        return name not in self._planned, name

    def _forget(self, names: Set[str]) -> None:
        with self._lock:
            self._planned -= names
            for name in names:
                self._keys_in.pop(name, None)
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


def _to_png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _from_png(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.mode != "RGB":
            raise ValueError(f"its mode is {image.mode}, not RGB")
        return np.asarray(image)


def _to_arrow(values: NDArray) -> pa.Array:
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    if values.dtype.kind in "OUT":
        return pa.array(values.tolist(), pa.string())
    return pa.array(values)


def _is_vector(field: pa.Field) -> bool:
    return pa.types.is_fixed_size_list(field.type)


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} names a folder; use letters, digits, '.', '_' and '-'.")
    return name


def _require_length(name: str, length: int, expected: int) -> None:
    if length != expected:
        raise ValueError(f"{name!r} has {length} rows for {expected} keys.")
