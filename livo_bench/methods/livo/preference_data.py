"""Preference data as it lies on disk, beside the images in the model's store:

    DIR/preferences/<model>/<digest>/<id>.parquet     one row an image, a file a concept

where the digest is that of everything the rows depend on. Files are sealed as the store's are, and
say which data they are of. What they hold is read here, and counted as in the paper's Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.sealed_parquet import seal_holds, to_sealed_parquet

COLUMNS = {
    "scene": "str",
    "prompt": "str",
    "concept": "str",
    "category": "str",
    "subset": "str",
    "value": "str",
    "key": "str",
    "preferred": "bool",
    "group": "str",
    "share": "float64",
    "twin": "str",
    "recipe": "str",
}
"""Columns of the files. `scene` is prompt and subset, within which pairs are formed; `prompt` the
plain text that a record is trained with; `group` what the picture shows, `share` that group's share
among pictures of the plain prompt (NaN for toxicity); `twin` the key of the picture that a clean
one was made from, empty otherwise; `recipe` how the picture is made again."""
_FILE = b"livo_bench.file"
"""Key in a file's metadata of its folder's and its own name, so that none passes for another."""


def folder_of(runs: Path, model: str) -> Path:
    """Where the preference data of a model lies, a folder for each way in which it was made."""
    return runs / "preferences" / model


def frame_of(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows as a frame with `COLUMNS`."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def read(folder: Path) -> pd.DataFrame:
    """Read preference data, all files, with `COLUMNS`.

    Raises:
        BadInput: There is none, or a file is damaged or not of this data.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise BadInput(
            f"There is no preference data in {folder}.", "Make some: livo-bench data build"
        )
    return pd.concat(map(read_file, paths), ignore_index=True).astype(COLUMNS)


def read_file(path: Path) -> pd.DataFrame:
    """Read one file.

    Raises:
        BadInput: It is not there, damaged or not of this data.
    """
    again = "Delete it, and make it again: livo-bench data build"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}. {again}") from error
    if not seal_holds(data):
        raise BadInput(
            f"{path} is damaged or was changed, or an older version wrote it: its seal does not "
            f"hold. {again}"
        )
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    name = (table.schema.metadata or {}).get(_FILE, b"").decode()
    if name != _name_in_data(path):
        raise BadInput(
            f"{path} was written as {name!r}; expected data that was made in the folder and under "
            f"the name that it has. {again}"
        )
    if table.column_names != list(COLUMNS):
        raise BadInput(
            f"{path} has the columns {', '.join(table.column_names)}; expected "
            f"{', '.join(COLUMNS)}. {again}"
        )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def sealed(rows: pd.DataFrame, path: Path) -> bytes:
    """Rows with `COLUMNS` as the bytes of a file that belongs at this path."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    named = {**table.schema.metadata, _FILE: _name_in_data(path)}
    return to_sealed_parquet(table.replace_schema_metadata(named), "zstd")


def _name_in_data(path: Path) -> str:
    """A file's name with that of its folder, the digest of what the data depends on."""
    path = path.absolute()
    return f"{path.parent.name}/{path.name}"


def digest_of(rows: pd.DataFrame) -> str:
    """SHA-256 of which pictures are preferred and which are not: of their keys and labels.

    Args:
        rows: Rows with `COLUMNS`, in any order.
    """
    labels = sorted(
        rows[["scene", "key", "preferred", "group", "twin"]].to_csv(index=False).split("\n")
    )
    return sha256("\n".join(labels))


def summarise(data: pd.DataFrame) -> pd.DataFrame:
    """Count preference data in the form of the paper's Table 1.

    Returns:
        A row a category and subset, then the total: prompts, scenes with both kinds of pictures,
        distinct images, and samples, which are preferred pictures of those scenes.
    """
    paired = data[data["scene"].isin(paired_scenes(data))]
    rows = [
        _counts(str(category), str(subset), part)
        for (category, subset), part in paired.groupby(["category", "subset"], sort=False)
    ]
    return pd.DataFrame([*rows, _counts("total", "", paired)])


def _counts(category: str, subset: str, part: pd.DataFrame) -> dict[str, object]:
    return {"category": category, "subset": subset, **counts(part)}


def counts(part: pd.DataFrame) -> dict[str, int]:
    """Prompts, scenes, distinct images and samples of rows of `paired_scenes`."""
    return {
        "train_prompts": part["prompt"].nunique(),
        "train_scenes": part["scene"].nunique(),
        "train_images": part["key"].nunique(),
        "train_samples": int(part["preferred"].sum()),
    }


def paired_scenes(data: pd.DataFrame) -> NDArray[np.object_]:
    """The scenes that have preferred and dispreferred pictures."""
    kinds = data.groupby("scene")["preferred"].nunique()
    return kinds.index[kinds == 2].to_numpy()
