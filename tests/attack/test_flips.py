"""Bits flipped, bytes cut, changed and swapped, all drawn from a seed: whatever is read afterwards
is refused or missing, or is what was written."""

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_results import bias_images, seal_again, with_fidelity, write_run

from livo_bench.errors import BadInput
from livo_bench.records import Recipe, Run
from livo_bench.results import reading, seal
from livo_bench.runs.store import Store

COUNTS = [
    pytest.param(100, id="a tenth"),
    pytest.param(1000, id="all", marks=pytest.mark.slow),
]
RUN = Run("mini", "sd", "bias")
KEYS = ["a", "b", "c"]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def edit(data: bytes, rng: random.Random) -> bytes:
    """Some bytes become others, more or fewer of them."""
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.randrange(4)) + data[start + rng.randrange(4) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    return data + data[rng.randrange(len(data)) :]


CHANGES = {"flip": flip, "cut": cut, "edit": edit, "repeat": repeat}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results as a run writes it."""
    folder = tmp_path / "runs" / "sd" / "bias"
    images = with_fidelity(bias_images([7, 8, 6]), [9, 8, 10])
    write_run(folder, images, seed=42)
    (folder / "images.parquet").write_bytes(seal.as_parquet(images))
    lines = [f"gender,p{number},career,10,0.{number}" for number in range(3)]
    (folder / "prompts.csv").write_text("\n".join(["subset,prompt,category,n,D1", *lines, ""]))
    record = {
        "model": {"name": "mini", "digest": "d" * 64},
        "protocol": "ours",
        "method": {"name": "sd", "files": {"card.toml": "f" * 64}},
        "task": {"name": "bias", "version": 1},
        "prompts": {"list": "", "count": 3},
        "settings": {"images": 10, "seed": 42, "steps": 15, "guidance": 2.0},
    }
    seal_again(folder, record)
    return folder


def read(folder: Path) -> tuple[object, ...]:
    """All that commands read of it."""
    root = folder.parents[1]
    [side] = reading.read_results(root, "mini").values()
    return (
        reading.load_results(root, "mini"),
        side.images,
        side.records,
        reading.read_prompts(side),
    )


def same(one: object, other: object) -> bool:
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        return one.equals(other)
    return one == other


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", CHANGES)
def test_changed_results_are_refused_or_read_as_they_were(
    results: Path, count: int, kind: str
) -> None:
    rng = random.Random(f"results {kind}")
    written = read(results)
    found: Counter[str] = Counter()
    for _ in range(count if kind == "flip" else count // 4):
        path = results / rng.choice(seal.RESULT_FILES)
        whole = path.read_bytes()
        changed = CHANGES[kind](whole, rng)
        path.write_bytes(changed)
        try:
            assert all(map(same, read(results), written)), (path.name, kind)
            found["without effect"] += 1
        except BadInput:
            assert changed != whole
            found["refused"] += 1
        path.write_bytes(whole)
    # The record's spaces are all that may change unnoticed.
    assert found["refused"] >= 0.8 * found.total(), found


@pytest.mark.parametrize("name", seal.RESULT_FILES)
def test_a_file_of_another_run_or_none_is_refused(results: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "runs" / "livo" / "bias"
    write_run(other, bias_images([5, 5, 5]), method="livo", seed=42)
    (other / "prompts.csv").write_text("subset,prompt,n\ngender,p0,10\n")
    seal_again(other)
    (results / name).write_bytes((other / name).read_bytes())
    for look in (reading.load_results, reading.read_results):
        with pytest.raises(BadInput, match="was sealed with"):
            look(tmp_path / "runs", "mini")
    (results / name).unlink()
    for look in (reading.load_results, reading.read_results):
        with pytest.raises(BadInput, match="is gone"):
            look(tmp_path / "runs", "mini")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path, "mini")
    write_store(store)
    return store


def write_store(store: Store) -> None:
    store.write_samples(recipes(), pixels())
    for judge, value in (("mild", 0.25), ("harsh", 0.75)):
        store.write_scores(judge, KEYS, {"p": np.full(3, value), "v": np.ones((3, 4)) * value})


def recipes() -> list[Recipe]:
    return [
        Recipe("m" * 64, "a chef", seed, "", 2.0, "dpmsolver++", 12, 8, "float32")
        for seed in range(3)
    ]


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", CHANGES)
def test_changed_store_files_are_missing_or_read_as_they_were(
    store: Store, count: int, kind: str
) -> None:
    rng = random.Random(f"store {kind}")
    paths = sorted(path for path in store.folder.rglob("*.parquet"))
    assert len(paths) == 3
    found: Counter[str] = Counter()
    for _ in range(count if kind == "flip" else count // 4):
        path = rng.choice(paths)
        whole = path.read_bytes()
        changed = CHANGES[kind](whole, rng)
        path.write_bytes(changed)
        assert rows_left(Store(store.folder.parents[1], "mini")) == (9 if changed == whole else 6)
        found["untouched" if changed == whole else "missing"] += 1
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_bytes(whole)
    assert found["missing"] >= 0.8 * found.total(), found


def rows_left(store: Store) -> int:
    """Rows that are read; all of them are as they were written."""
    images = store.read_samples(recipe.key for recipe in recipes())
    by_key = dict(zip((recipe.key for recipe in recipes()), pixels(), strict=True))
    assert all((image == by_key[key]).all() for key, image in images.items())
    left = len(images)
    for judge, value in (("mild", 0.25), ("harsh", 0.75)):
        scores = store.read_scores(judge, KEYS)
        assert all((scores["p"] == value) if len(scores) else [])
        assert all((vector == value).all() for vector in scores.get("v", []))
        left += len(scores)
    return left


def test_every_score_file_in_every_other_judges_folder_is_missing(store: Store) -> None:
    mild, harsh = sorted((store.folder / "scores").iterdir(), key=lambda path: path.name != "mild")
    for theirs, ours in ((mild, harsh), (harsh, mild)):
        [file] = (path for path in theirs.iterdir() if path.suffix == ".parquet")
        kept = (ours / file.name).read_bytes()
        shutil.copy(file, ours / file.name)
        assert Store(store.folder.parents[1], "mini").read_scores(ours.name, KEYS).empty
        (ours / file.name).write_bytes(kept)
