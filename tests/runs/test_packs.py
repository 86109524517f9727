"""Scores of several blocks in one file, whoever stops, reads or writes meanwhile."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from places import ROOT
from written_requests import plain, wanted

from livo_bench.runs.plan import Block, Pack, form_blocks, in_packs
from livo_bench.runs.store import Store

BLOCKS = form_blocks(wanted(plain, images=8, concepts=("chef", "nurse", "pilot")), 4)
PACKED = Pack(tuple(BLOCKS))
KEYS = PACKED.keys


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a file a block."""
    store = Store(tmp_path, "mini")
    for block in BLOCKS:
        judge(store, block)
    return store


def judge(store: Store, block: Block) -> None:
    """Store what depends on the image alone."""
    digests = np.array([int(key[:8], 16) for key in block.keys])
    features = np.stack([digests, digests % 7], axis=1).astype(np.float32)
    labels = np.where(digests % 2, "yes", "no")
    unscored = ["blank" if digest % 3 == 0 else None for digest in digests]
    store.write_scores("judge", block.keys, {"label": labels, "features": features}, unscored)


def names(store: Store) -> list[str]:
    return sorted(os.listdir(store.folder / "scores" / "judge"))


def again(store: Store) -> Store:
    """The store as another process sees it."""
    return Store(store.folder.parents[1], "mini")


def read(store: Store) -> list[list[object]]:
    frame = store.read_scores("judge", KEYS)
    return [
        frame.index.tolist(),
        frame["label"].tolist(),
        [cell.tolist() for cell in frame["features"]],
        frame["unscored"].fillna("").tolist(),
    ]


def test_a_pack_is_one_file_with_the_rows_of_all(store: Store) -> None:
    before = read(again(store))
    store.pack_scores("judge", [PACKED])
    assert names(store) == [f"{PACKED.id}.scores.parquet"]
    assert read(store) == read(again(store)) == before
    rows = pq.read_table(store.folder / "scores" / "judge" / names(store)[0])
    assert rows["key"].to_pylist() == list(KEYS)


def test_whole_packs_are_found_without_opening_a_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pack_scores("judge", [PACKED])
    fresh = again(store)
    monkeypatch.setattr(pq, "ParquetFile", None)
    assert fresh.unjudged("judge", BLOCKS, [PACKED]) == {}


def test_blocks_in_a_pack_that_nobody_planned_are_found(store: Store) -> None:
    store.pack_scores("judge", [PACKED])
    assert again(store).unjudged("judge", BLOCKS) == {}


def test_the_bytes_of_a_pack_do_not_depend_on_who_wrote_its_blocks(tmp_path: Path) -> None:
    found = set()
    for seed in range(3):
        store = Store(tmp_path / str(seed), "mini")
        shuffled = random.Random(seed).sample(BLOCKS, len(BLOCKS))
        for block in shuffled[:-1]:
            judge(again(store), block)
        if seed:  # some were packed before, as by a part of the work
            fresh = again(store)
            fresh.score_keys("judge")
            fresh.pack_scores("judge", [Pack(tuple(shuffled[: seed + 1]))])
        judge(again(store), shuffled[-1])
        last = again(store)
        last.unjudged("judge", BLOCKS, [PACKED])
        last.pack_scores("judge", [PACKED])
        [name] = names(store)
        found.add((store.folder / "scores" / "judge" / name).read_bytes())
    assert len(found) == 1


def test_nothing_is_packed_before_all_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path, "mini")
    for block in BLOCKS[:-1]:
        judge(store, block)
    before = names(store)
    store.pack_scores("judge", [PACKED])
    assert names(store) == before


def test_a_file_with_rows_of_others_stays(store: Store) -> None:
    store.pack_scores("judge", [Pack(tuple(BLOCKS[:3]))])
    other = Pack((BLOCKS[2], *BLOCKS[3:]))
    store.pack_scores("judge", [other])
    kept = {f"{pack.id}.scores.parquet" for pack in (Pack(tuple(BLOCKS[:3])), other)}
    assert set(names(store)) == kept


def test_damaged_rows_are_not_packed_and_made_again(store: Store) -> None:
    path = store.folder / "scores" / "judge" / f"{BLOCKS[0].id}.scores.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    store.pack_scores("judge", [PACKED])
    assert f"{PACKED.id}.scores.parquet" not in names(store)
    assert list(store.unjudged("judge", BLOCKS, [PACKED])) == [BLOCKS[0].id]
    judge(store, BLOCKS[0])
    store.pack_scores("judge", [PACKED])
    assert f"{PACKED.id}.scores.parquet" in names(store)


def test_a_damaged_pack_is_set_aside_and_its_blocks_are_missing(store: Store) -> None:
    store.pack_scores("judge", [PACKED])
    path = store.folder / "scores" / "judge" / f"{PACKED.id}.scores.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    fresh = again(store)
    assert fresh.read_scores("judge", KEYS).empty
    assert set(fresh.unjudged("judge", BLOCKS, [PACKED])) == {block.id for block in BLOCKS}


def test_rows_packed_by_another_process_are_found_meanwhile(store: Store) -> None:
    reader = again(store)
    reader.unjudged("judge", BLOCKS, [PACKED])
    reader.score_keys("judge")
    before = read(again(store))
    store.pack_scores("judge", [PACKED])
    assert read(reader) == before


def test_what_is_left_of_a_killed_packing_goes_with_the_next(store: Store, tmp_path: Path) -> None:
    halfway = tmp_path / "halfway"
    shutil.copytree(store.folder.parents[1], halfway)
    store.pack_scores("judge", [PACKED])
    shutil.copytree(store.folder, halfway / "store" / "mini", dirs_exist_ok=True)
    left = Store(halfway, "mini")
    assert len(names(left)) == len(BLOCKS) + 1
    before = read(again(store))
    assert read(again(left)) == before
    left.unjudged("judge", BLOCKS, [PACKED])
    left.pack_scores("judge", [PACKED])
    assert names(left) == names(store)
    assert read(again(left)) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from livo_bench.runs.store import Store
sys.path.insert(0, {tests!r})
from test_packs import BLOCKS, PACKED

seen = 0
def count(event, arguments):
    global seen
    if event in ("open", "os.rename", "os.remove") and sys.argv[1] in str(arguments[0]):
        seen += 1
        if seen == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

store = Store(Path(sys.argv[1]), "mini")
store.unjudged("judge", BLOCKS, [PACKED])
sys.addaudithook(count)
store.pack_scores("judge", [PACKED])
"""


def test_killed_at_any_point_a_packing_loses_no_row(store: Store, tmp_path: Path) -> None:
    before = read(again(store))
    script = KILLED.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    for moment in moments():
        copy = tmp_path / f"killed-{moment}"
        shutil.copytree(store.folder, copy / "store" / "mini")
        code = subprocess.run(
            [sys.executable, "-c", script, str(copy), str(moment)], env=environment, check=False
        ).returncode
        left = Store(copy, "mini")
        assert left.unjudged("judge", BLOCKS, [PACKED]) == {}
        assert read(again(left)) == before
        left.pack_scores("judge", [PACKED])
        assert [name for name in names(left) if not name.startswith(".")] == [
            f"{PACKED.id}.scores.parquet"
        ]
        if code == 0:
            break
    assert code == 0
    assert moment > len(BLOCKS)


def moments() -> Iterator[int]:
    """Every third file that is opened, renamed or removed."""
    yield from range(1, 60, 3)


def test_packs_are_those_of_a_smaller_run_and_new_ones() -> None:
    few, many = (in_packs(form_blocks(wanted(plain, images=images), 4), 4) for images in (8, 16))
    assert [block.id for block in few[0]] == [block.id for block in many[0][: len(few[0])]]
