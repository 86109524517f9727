"""Files of a store that are damaged, and their seals."""

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_store import Named, block_of, draw, flip, keys_of, raiser, recipes, stacked, write

from livo_bench.runs.plan import id_of_keys
from livo_bench.runs.store import Store
from livo_bench.sealed_parquet import seal_holds, to_sealed_parquet


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "mini")


def assert_lost_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rows of `path` are missing, it was set aside and named; the other file is whole."""
    store = Store(path.parents[3], "mini")
    with caplog.at_level(logging.WARNING, logger="livo_bench"):
        store.sample_keys()
        images = store.read_samples(keys_of(recipes(0, 6)))
    assert list(images) == keys_of(recipes(3, 6))
    np.testing.assert_array_equal(stacked(images), draw(recipes(3, 6)))
    assert store.sample_keys() == set(keys_of(recipes(3, 6)))
    assert not path.exists()
    assert path.with_name(f"_{path.name}.damaged").exists()
    assert caplog.text.count(f"{path} is damaged") == 1
    # The next plan makes them again, under the same name.
    assert write(store, 0, 3) == path
    assert len(store.read_samples(keys_of(recipes(0, 6)))) == 6


@pytest.fixture
def path(store: Store) -> Path:
    """A file of rows 0 to 2, beside one of rows 3 to 5."""
    write(store, 3, 6)
    return write(store, 0, 3)


@pytest.mark.parametrize("left", [0, 1, 7, 100, -200, -9, -1])
def test_a_torn_file_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])
    assert_lost_alone(path, caplog)


def test_a_file_of_zeros_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    assert_lost_alone(path, caplog)


def test_a_file_with_more_at_its_end_is_set_aside(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes() * 2)
    assert_lost_alone(path, caplog)


@pytest.mark.parametrize("column", [0, 1, 2, 3], ids=["key", "recipe", "bytes", "path"])
def test_a_bit_flipped_in_a_column_is_found(
    path: Path, caplog: pytest.LogCaptureFixture, column: int
) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(column)
    flip(path, chunk.data_page_offset + chunk.total_compressed_size // 2)
    assert_lost_alone(path, caplog)


@pytest.mark.parametrize("from_end", [1, 5, 8, 9, 100, 300, 600])
def test_a_bit_flipped_in_the_footer_is_found(
    path: Path, caplog: pytest.LogCaptureFixture, from_end: int
) -> None:
    assert pq.read_metadata(path).serialized_size > 600
    flip(path, -from_end)
    assert_lost_alone(path, caplog)


def test_a_bit_flipped_in_a_picture_leaves_the_index_but_not_the_rows(path: Path) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(2)
    flip(path, chunk.data_page_offset + 150)
    store = Store(path.parents[3], "mini")
    assert len(store.sample_keys()) == 6
    assert len(store.read_samples(keys_of(recipes(0, 6)))) == 3
    assert len(store.sample_keys()) == 3


def test_every_bit_of_a_file_is_under_its_seal(path: Path) -> None:
    data = bytearray(path.read_bytes())
    assert seal_holds(bytes(data))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            assert not seal_holds(bytes(data)), (position, bit)
            data[position] ^= 1 << bit


def test_the_index_survives_a_flip_anywhere(path: Path) -> None:
    whole = path.read_bytes()
    for position in range(0, len(whole), 29):
        flip(path, position)
        keys = Store(path.parents[3], "mini").sample_keys()
        assert keys in (set(keys_of(recipes(0, 6))), set(keys_of(recipes(3, 6))))
        path.write_bytes(whole)


def test_a_file_under_another_name_is_set_aside(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.rename(path.with_name("copy.parquet"))
    store = Store(path.parents[3], "mini")
    assert store.sample_keys() == set(keys_of(recipes(3, 6)))
    assert "copy.parquet is damaged" in caplog.text


def test_another_file_under_the_name_of_a_block_is_set_aside_when_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(Store(path.parents[3], "mini"), 6, 9)
    other = path.with_name(f"{block_of(6, 9).id}.parquet")
    path.write_bytes(other.read_bytes())
    store = Store(path.parents[3], "mini")
    assert len(store.sample_keys([block_of(0, 3)])) == 3
    assert store.read_samples(keys_of(recipes(0, 3))) == {}
    assert f"{path} is damaged" in caplog.text
    assert store.sample_keys([block_of(0, 3)]) == set()


def test_damaged_scores_are_missing_and_made_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_scores("judge", ["a", "b"], {"p": np.array([0.1, 0.2])})
    store.write_scores("judge", ["c"], {"p": np.array([0.3])})
    path = store.folder / "scores" / "judge" / f"{id_of_keys(['a', 'b'])}.scores.parquet"
    flip(path, 40)
    assert store.read_scores("judge", ["a", "b", "c"]).index.tolist() == ["c"]
    assert f"{path} is damaged" in caplog.text
    store.write_scores("judge", ["a", "b"], {"p": np.array([0.1, 0.2])})
    assert store.read_scores("judge", ["a", "b", "c"])["p"].tolist() == [0.1, 0.2, 0.3]


def test_scores_copied_from_another_judge_are_missing_and_made_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_scores("harsh", ["a", "b"], {"p": np.array([0.9, 0.8])})
    [theirs] = (store.folder / "scores" / "harsh").iterdir()
    ours = store.folder / "scores" / "mild" / theirs.name
    ours.parent.mkdir()
    shutil.copy(theirs, ours)
    keys = ("a", "b")
    block = Named(keys)
    fresh = Store(store.folder.parents[1], "mini")
    fresh.score_keys("mild", [block])
    assert fresh.read_scores("mild", keys).empty
    assert f"{ours} is damaged" in caplog.text
    assert fresh.score_keys("mild", [block]) == set()
    fresh.write_scores("mild", keys, {"p": np.array([0.1, 0.2])})
    assert fresh.read_scores("mild", keys)["p"].tolist() == [0.1, 0.2]
    assert fresh.read_scores("harsh", keys)["p"].tolist() == [0.9, 0.8]


def test_scores_whose_seal_names_no_judge_are_left_alone_and_made_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """As versions before wrote them."""
    table = pa.table({"key": ["a"], "p": [0.5], "unscored": pa.array([None], pa.string())})
    path = store.folder / "scores" / "judge" / f"{id_of_keys(['a'])}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_sealed_parquet(table, "zstd"))
    assert store.score_keys("judge") == set()
    store.write_scores("judge", ["a"], {"p": np.array([0.25])})
    assert store.read_scores("judge", ["a"])["p"].tolist() == [0.25]
    assert not caplog.text
    renamed = path.with_name(f"{id_of_keys(['a'])}.scores.parquet")
    path.replace(renamed)
    fresh = Store(store.folder.parents[1], "mini")
    assert fresh.read_scores("judge", ["a"]).empty
    assert f"{renamed} is damaged" in caplog.text


def test_samples_are_sealed_as_they_always_were(path: Path) -> None:
    """Their seal names nobody: SHA-256 of all bytes but its own, so stored images stay valid."""
    data = path.read_bytes()
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rest = data[: end - 32] + data[end:]
    assert data[end - 32 : end] == hashlib.sha256(rest).digest()


def test_damage_in_a_folder_that_cannot_be_changed_is_reported_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"")
    monkeypatch.setattr(os, "replace", raiser(errno.EROFS))
    store = Store(path.parents[3], "mini")
    for _ in range(3):
        assert store.sample_keys() == set(keys_of(recipes(3, 6)))
    assert caplog.text.count("is damaged") == 1
