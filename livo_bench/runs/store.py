"""Samples and scores on disk: the only module that reads or writes them.

    ROOT/store/<model>/samples/<id>.parquet            key, recipe, image
    ROOT/store/<model>/scores/<scorer>/<id>.scores.parquet    key, the scorer's columns, unscored
    ROOT/store/<model>/made/<id>.parquet               key, recipe, SHA-256 of the pixels
    ROOT/store/<model>/refused/<id>.parquet            key, recipe, reason

Metadata of samples and scores say what made them, see `provenance`.

Where not all pixels are kept (`keeping`), `made` says of all images of a block what was drawn: one
that lies there alone is made again from its recipe when somebody looks at it, and is held against
that digest.

An image that was refused has no picture and no scores: what was asked for and why there is nothing
is kept, so that it is counted and not asked for again. Without the folder it is.

Any Parquet reader opens these files, and `datasets` shows the pictures. `shelf` keeps them sound.
Scores of versions whose seals named no scorer are called `<id>.parquet`, and are not read.
"""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image
from rich.filesize import decimal

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import cannot_write
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import ELSEWHERE, Recipe, recipe_from_json
from livo_bench.runs import provenance
from livo_bench.runs.decoding import digest
from livo_bench.runs.keeping import is_kept
from livo_bench.runs.plan import Drawn, Together
from livo_bench.runs.provenance import Maker
from livo_bench.runs.shelf import Shelf

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
"""Ends of the names of files. Scores' differ from samples', so that scores of older versions, whose
seals name no scorer, are left unread."""
_SAMPLE_COMPRESSION = {"key": "zstd", "recipe": "zstd"}
"""PNG does not compress further."""
_SCORE_KINDS = {"key": pa.string(), "unscored": pa.string()}
"""The columns that all scorers have."""
_MADE_KINDS = {"key": pa.string(), "recipe": pa.string(), "pixels": pa.string()}
_REFUSED_KINDS = {"key": pa.string(), "recipe": pa.string(), "reason": pa.string()}


class Store:
    """The images and scores of one model. Threads and processes may share it.

    Opening and reading create nothing.
    """

    def __init__(
        self,
        root: Path,
        model: str,
        draws: Callable[[], Maker] | None = None,
        judges: Callable[[], Maker] | None = None,
        keep: float = 1.0,
    ) -> None:
        """
        Args:
            root: What `--runs` names.
            model: Name of the model's card, a plain folder name.
            draws: What makes the images that are written, asked when some are; files do not say it
                when None.
            judges: What makes scores, likewise.
            keep: Share of the images that are to keep their pixels, in [0, 1].
        """
        self.keep = keep
        self._draws, self._judges = draws, judges
        self.folder = Path(root) / "store" / _plain_name(model)
        kinds = {field.name: field.type for field in SAMPLE_SCHEMA}
        self._samples = Shelf(self.folder / "samples", _SAMPLES, _SAMPLE_COMPRESSION, kinds)
        self._made = Shelf(self.folder / "made", _SAMPLES, "zstd", _MADE_KINDS)
        self._refused = Shelf(self.folder / "refused", _SAMPLES, "zstd", _REFUSED_KINDS)
        self._scores: dict[str, Shelf] = {}
        self._lock = threading.Lock()

    def sample_keys(self, blocks: Collection[Together] | None = None) -> set[str]:
        """Keys of the images whose pixels are stored, those of other processes included.

        Args:
            blocks: Blocks to look at; all by default. No file is opened to find whole blocks.
        """
        return self._samples.keys(blocks)

    def refused_keys(self, blocks: Collection[Together] | None = None) -> set[str]:
        """Keys of the images that were refused, of some blocks like `sample_keys`."""
        return self._refused.keys(blocks)

    def made_keys(self) -> set[str]:
        """Keys of the images that were made, whether their pixels are kept or not."""
        return self._samples.keys(None) | self._made.keys(None)

    def pixelless(self, blocks: Collection[Together]) -> dict[str, list[int]]:
        """Which images of blocks have no pixels here, see `Shelf.lacking`."""
        return self._samples.lacking(blocks)

    def undrawn(self, blocks: Collection[Drawn]) -> dict[str, list[int]]:
        """Which images of blocks are to be made: those that were not, and those that are to keep
        their pixels and have none; see `Shelf.lacking`."""
        without = self.pixelless(blocks)
        if self.keep == 1 or not without:
            return without
        unmade = self._made.lacking([block for block in blocks if block.id in without])
        left = {}
        for block in blocks:
            if rows := without.get(block.id):
                new, recipes = set(unmade.get(block.id, ())), block.recipes
                left[block.id] = [
                    row for row in rows if row in new or is_kept(recipes[row], self.keep)
                ]
        return {id: rows for id, rows in left.items() if rows}

    def unkept(self, keys: Iterable[str]) -> set[str]:
        """Which images were made, and their pixels not kept."""
        without = set(keys) - self._samples.keys(None)
        return without & self._made.keys(None) if without else set()

    def unsettled(self, blocks: Collection[Drawn]) -> dict[str, list[int]]:
        """Which images of blocks are neither stored nor refused, so that they are to be asked for,
        see `Shelf.lacking`."""
        undrawn = self.undrawn(blocks)
        unrefused = self._refused.lacking([block for block in blocks if block.id in undrawn])
        left = {
            id: sorted(set(rows).intersection(unrefused.get(id, ())))
            for id, rows in undrawn.items()
        }
        return {id: rows for id, rows in left.items() if rows}

    def unjudged(self, scorer_id: str, blocks: Collection[Together]) -> dict[str, list[int]]:
        """Which images of blocks this scorer has not judged, see `Shelf.lacking`."""
        return self._shelf(scorer_id).lacking(blocks)

    def write_refused(self, recipes: Sequence[Recipe], reasons: Sequence[str]) -> None:
        """Store that there will be no picture of some recipes, and why, in one file.

        Raises:
            BadInput: The folder cannot be written, or is full.
        """
        _require_length("reasons", len(reasons), len(recipes))
        keys = [recipe.key for recipe in recipes]
        rows = [
            {"key": keys[i], "recipe": recipes[i].canonical(), "reason": reasons[i]}
            for i in self._refused.new_rows(keys)
        ]
        self._refused.write(pa.Table.from_pylist(rows, pa.schema(list(_REFUSED_KINDS.items()))))

    def read_refused(self, keys: Iterable[str]) -> dict[str, str]:
        """Read why images were refused, by key; one that was not is not in the answer."""
        return {
            key: reason
            for table in self._refused.read(keys, ["key", "reason"])
            for key, reason in zip(
                table["key"].to_pylist(), table["reason"].to_pylist(), strict=True
            )
        }

    def write_samples(self, recipes: Sequence[Recipe], pixels: Pixels) -> None:
        """Store the images that are not stored yet, in one file; of those that need not keep their
        pixels, in another, what they show.

        Images that were made before and show something else now are warned of.

        Args:
            recipes: Recipes of the images, n of them.
            pixels: RGB uint8, shape `(n, size, size, 3)`.

        Raises:
            BadInput: The folder cannot be written, or is full.
        """
        if pixels.dtype != np.uint8 or pixels.shape[-1:] != (3,) or pixels.ndim != 4:
            raise ValueError(f"Pixels are {pixels.dtype} {pixels.shape}, not uint8 (n, h, w, 3).")
        _require_length("pixels", len(pixels), len(recipes))
        keys = [recipe.key for recipe in recipes]
        if self.keep < 1:
            self._write_made(recipes, keys, pixels)
        new = [row for row in self._samples.new_rows(keys) if is_kept(recipes[row], self.keep)]
        rows = [
            {
                "key": keys[i],
                "recipe": recipes[i].canonical(),
                "image": {"bytes": _to_png(pixels[i]), "path": f"{keys[i]}.png"},
            }
            for i in new
        ]
        if rows:
            self._samples.write(pa.Table.from_pylist(rows, self._signed(SAMPLE_SCHEMA, recipes[0])))

    def _write_made(self, recipes: Sequence[Recipe], keys: Sequence[str], pixels: Pixels) -> None:
        """Store what images show that were not made before, and hold the others against it."""
        shown = [digest(image) for image in pixels]
        new = self._made.new_rows(keys)
        rows = [{"key": keys[i], "recipe": recipes[i].canonical(), "pixels": shown[i]} for i in new]
        if rows:
            schema = self._signed(pa.schema(list(_MADE_KINDS.items())), recipes[0])
            self._made.write(pa.Table.from_pylist(rows, schema))
        if len(new) == len(keys):
            return
        before = {
            key: its
            for table in self._made.read(keys, ["key", "pixels"])
            for key, its in zip(table["key"].to_pylist(), table["pixels"].to_pylist(), strict=True)
        }
        others = [key for key, its in zip(keys, shown, strict=True) if before.get(key, its) != its]
        if others:
            log.warning(
                f"{len(others)} of {len(keys)} images that were made again, e.g. {others[0]}, are "
                "not the same bits as at first, as on other devices or versions; what is judged "
                "now are the new ones."
            )

    def _signed(self, schema: pa.Schema, recipe: Recipe) -> pa.Schema:
        """A schema that says what makes images that are written now, where that is known."""
        if self._draws is None:
            return schema
        made = provenance.ELSEWHERE if recipe.generator == ELSEWHERE else self._draws()
        return schema.with_metadata({**(schema.metadata or {}), **provenance.as_metadata(made)})

    def makers(self, keys: Iterable[str]) -> dict[str, int]:
        """Count images by what made them, in words, see `provenance`."""
        keys = set(keys)
        said_of = self._samples.said_of(keys, provenance.METADATA)
        # As they were first made, where pixels were kept later.
        said_of |= self._made.said_of(keys, provenance.METADATA)
        counts = Counter(map(provenance.said, said_of.values()))
        return dict(sorted(counts.items()))

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
        """Decode an image of a file whose seal holds, which says nothing of who wrote the file."""
        try:
            return _from_png(png or b"")
        # Pillow raises almost anything over a damaged picture.
        except Exception as error:
            raise BadInput(
                f"Image {key} in {self.folder} is no picture of this store: {excerpt(str(error))}.",
                "Delete the store's samples, and make them again.",
            ) from error

    def together(self, keys: Iterable[str]) -> list[list[str]]:
        """Group images by the files that they lie in: read group by group, each file is read once.

        Returns:
            All of the keys, those that are not stored in a group of their own.
        """
        return self._samples.together(keys)

    def read_recipes(self, keys: Iterable[str]) -> dict[str, Recipe]:
        """Read how images were made, kept or not, by key; one that is not found is left out."""
        left = set(keys)
        found: dict[str, Recipe] = {}
        for shelf in (self._samples, self._made):
            for table in shelf.read(left - found.keys(), ["key", "recipe"]):
                found |= _recipes_of(table)
        return found

    def batches(self, keys: Iterable[str]) -> Iterator[dict[str, Recipe]]:
        """Read the recipes of images that were made together, by key and in their order: of every
        batch that holds one of the keys. A damaged one is left out."""
        left = set(keys)
        # Of a batch that kept some pixels alone, this is all of it.
        for table in self._made.read_whole(left, ["key", "recipe"]):
            yield (batch := _recipes_of(table))
            left -= batch.keys()
        for table in self._samples.read_whole(left, ["key", "recipe"]):
            yield _recipes_of(table)

    def score_keys(self, scorer_id: str, blocks: Collection[Together] | None = None) -> set[str]:
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
            keys: Keys of the images, n of them.
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
        made = None if self._judges is None else provenance.as_metadata(self._judges())
        shelf.write(pa.table(arrays).replace_schema_metadata(made))

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
                    "and its id did not.",
                    "Give it a new id, or delete that folder and run again.",
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
            raise cannot_write(self.folder, size, error, "--runs DIR") from error
        if free < size:
            raise BadInput(
                f"{self.folder} has {decimal(free)} free, this needs {decimal(size)}.",
                "Make room, or write elsewhere: --runs DIR",
            )

    def _shelf(self, scorer_id: str) -> Shelf:
        with self._lock:
            if scorer_id not in self._scores:
                folder = self.folder / "scores" / _plain_name(scorer_id)
                self._scores[scorer_id] = Shelf(folder, _SCORES, "zstd", _SCORE_KINDS, scorer_id)
            return self._scores[scorer_id]


def _recipes_of(table: pa.Table) -> dict[str, Recipe]:
    lines = zip(table["key"].to_pylist(), table["recipe"].to_pylist(), strict=True)
    return {key: recipe_from_json(line) for key, line in lines}


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
