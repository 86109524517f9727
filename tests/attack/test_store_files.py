"""Files of a store: damaged, and with a good seal around other content; and recipes."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from damage import COUNTS, as_json, damaged, string, survive

from livo_bench.records import Recipe, recipe_from_json
from livo_bench.runs.store import SAMPLE_SCHEMA, Store
from livo_bench.sealed_parquet import to_sealed_parquet

RECIPE = Recipe("m", "a nurse", 7, "", 2.0, "dpmsolver++", 5, 8, "float32", value="equality")
RECIPE_FIELDS = json.loads(RECIPE.canonical()) | {
    "safety": {"text": "x", "warmup": 1, "s_S": 1.0, "threshold": 0.1, "s_m": 0.1, "beta_m": 0.1},
}
JUDGE = "judge-1"


def filled(root: Path) -> tuple[Store, list[str]]:
    store = Store(root, "mini")
    recipes = [
        Recipe("m", "a nurse", seed, "", 2.0, "dpmsolver++", 5, 8, "float32") for seed in range(3)
    ]
    keys = [recipe.key for recipe in recipes]
    store.write_samples(recipes, np.zeros((3, 8, 8, 3), np.uint8))
    store.write_scores(JUDGE, keys, {"label": np.array(["a", "b", "a"]), "p_a": np.ones(3)})
    return store, keys


def read_all(root: Path, keys: list[str]) -> None:
    store = Store(root, "mini")
    store.sample_keys()
    store.score_keys(JUDGE)
    store.read_samples(keys)
    store.read_recipes(keys)
    list(store.batches(keys))
    store.read_scores(JUDGE, keys)
    store.read_scores(JUDGE, keys, ["label"])


@COUNTS
def test_a_damaged_file_counts_as_missing(tmp_path: Path, count: int) -> None:
    store, keys = filled(tmp_path)
    files = sorted(store.folder.rglob("*.parquet"))
    whole = {path: path.read_bytes() for path in files}
    draw = random.Random("store")

    def read(made: tuple[Path, bytes]) -> None:
        for path, data in whole.items():
            path.write_bytes(data)
        made[0].write_bytes(made[1])
        read_all(tmp_path, keys)

    def inputs() -> Iterator[tuple[Path, bytes]]:
        for _ in range(count):
            path = draw.choice(files)
            yield path, damaged(whole[path], draw)

    survive("file of a store", inputs(), read)


@COUNTS
def test_a_sealed_file_of_another_content_is_read_or_refused(tmp_path: Path, count: int) -> None:
    """Whoever can write here can seal, too: the seal finds accidents."""
    store, keys = filled(tmp_path)
    samples, scores = (
        next((store.folder / kind).rglob("*.parquet")) for kind in ("samples", "scores")
    )
    draw = random.Random("sealed")
    png = pq.read_table(samples)["image"].to_pylist()[0]

    def sample_table() -> pa.Table:
        rows = []
        for key in keys:
            recipe = as_json(RECIPE_FIELDS, draw).decode("utf-8", "replace")
            image = dict(png)
            if draw.random() < 0.5:
                image["bytes"] = damaged(png["bytes"], draw)
            there = None if draw.random() < 0.1 else image
            rows.append({"key": key, "recipe": draw.choice((recipe, None)), "image": there})
        table = pa.Table.from_pylist(rows, SAMPLE_SCHEMA)
        return (
            table.drop_columns([draw.choice(["recipe", "image"])]) if draw.random() < 0.2 else table
        )

    def score_table() -> pa.Table:
        columns = {"key": keys, "label": ["a", "b", "a"], "p_a": [1.0, 1.0, 1.0]}
        columns["unscored"] = [None, "blank", None]
        name = draw.choice(["label", "p_a", "unscored"])
        match draw.randrange(4):
            case 0:
                del columns[name]
            case 1:
                columns[name] = [1, 2, 3]
            case 2:
                columns[string(draw).encode("utf-8", "replace").decode()] = columns.pop(name)
            case _:
                columns[name] = [[1.0], [2.0, 3.0], []]
        return pa.table(columns)

    def read(table: pa.Table) -> None:
        path = (
            samples if "recipe" in table.column_names or "image" in table.column_names else scores
        )
        owner = b"" if path == samples else JUDGE.encode()
        path.write_bytes(to_sealed_parquet(table, "zstd", owner))
        read_all(tmp_path, keys)

    tables = (draw.choice((sample_table, score_table))() for _ in range(count))
    survive("sealed file of a store", tables, read)


@COUNTS
def test_a_recipe_is_read_or_refused(count: int) -> None:
    draw = random.Random("recipes")

    def read(line: str) -> None:
        recipe = recipe_from_json(line)
        assert len(recipe.key) == 64
        assert recipe.family is not None

    lines = (as_json(RECIPE_FIELDS, draw).decode("utf-8", "replace") for _ in range(count))
    survive("recipe", lines, read, 0.2)
