import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from places import ROOT
from written_store import Named, block_of, draw, flip, keys_of, raiser, recipes, stacked, write

from livo_bench.errors import BadInput
from livo_bench.files import write_atomically
from livo_bench.records import recipe_from_json
from livo_bench.runs.plan import id_of_keys
from livo_bench.runs.store import Store
from livo_bench.sealed_parquet import seal_holds


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "mini")


@pytest.fixture
def path(store: Store) -> Path:
    """A file of rows 0 to 2, beside one of rows 3 to 5."""
    write(store, 3, 6)
    return write(store, 0, 3)


# Round trip


def test_recipes_come_back_by_key(store: Store) -> None:
    write(store, 0, 3)
    asked = recipes(1, 3)
    assert store.read_recipes([*keys_of(asked), "unknown"]) == {r.key: r for r in asked}


def test_refusals_come_back_with_their_reasons_and_are_no_images(store: Store) -> None:
    write(store, 0, 3)
    gone = recipes(3, 6)
    store.write_refused(gone, ["policy", "policy", "missing"])
    store.write_refused(gone[:2], ["another", "another"])
    again = Store(store.folder.parents[1], "mini")
    reasons = dict(zip(keys_of(gone), ["policy", "policy", "missing"], strict=True))
    assert again.read_refused([*keys_of(gone), "unknown"]) == reasons
    assert again.refused_keys() == set(reasons)
    assert again.sample_keys() == set(keys_of(recipes(0, 3)))
    assert again.unsettled([block_of(2, 5)]) == {}
    assert again.undrawn([block_of(2, 5)]) == {block_of(2, 5).id: [1, 2]}
    shutil.rmtree(store.folder / "refused")
    assert store.sample_keys() == set(keys_of(recipes(0, 3)))
    assert store.refused_keys() == set()


def test_a_damaged_file_of_refusals_is_set_aside_and_its_rows_are_missing(store: Store) -> None:
    store.write_refused(recipes(0, 2), ["policy"] * 2)
    [path] = (store.folder / "refused").iterdir()
    flip(path, path.stat().st_size // 3)
    again = Store(store.folder.parents[1], "mini")
    assert again.read_refused(keys_of(recipes(0, 2))) == {}
    assert [name.name for name in (store.folder / "refused").iterdir()] == [f"_{path.name}.damaged"]


def test_pixels_come_back_bit_for_bit(store: Store) -> None:
    some = recipes(0, 5)
    store.write_samples(some, draw(some))
    images = Store(store.folder.parents[1], "mini").read_samples(keys_of(some))
    assert list(images) == keys_of(some)
    assert stacked(images).dtype == np.uint8
    np.testing.assert_array_equal(stacked(images), draw(some))


def test_rows_come_in_the_order_asked_each_once_and_unknown_keys_are_left_out(store: Store) -> None:
    write(store, 0, 4)
    write(store, 4, 8)
    asked = [recipes(0, 8)[i] for i in (6, 1, 5)]
    images = store.read_samples([*keys_of(asked), "unknown", asked[0].key])
    assert list(images) == keys_of(asked)
    np.testing.assert_array_equal(stacked(images), draw(asked))


def test_an_empty_store_has_nothing_and_creates_nothing(store: Store, tmp_path: Path) -> None:
    assert store.sample_keys() == set()
    assert store.read_samples(["unknown"]) == {}
    assert store.score_keys("judge") == set()
    assert store.read_scores("judge", ["unknown"]).empty
    assert list(tmp_path.iterdir()) == []


def test_recipe_is_stored_as_its_canonical_json(store: Store) -> None:
    table = pq.read_table(write(store, 0, 3))
    assert [recipe_from_json(line) for line in table["recipe"].to_pylist()] == recipes(0, 3)


def test_samples_of_the_wrong_shape_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="float64"):
        store.write_samples(recipes(0, 1), np.zeros((1, 8, 8, 3)))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
        store.write_samples(recipes(0, 1), np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="has 1 rows for 2 keys"):
        store.write_samples(recipes(0, 2), np.zeros((1, 8, 8, 3), np.uint8))


# Other readers


def test_plain_pandas_and_pillow_read_the_samples(store: Store) -> None:
    folder = write(store, 0, 3).parent
    flip(write(store, 3, 6), 200)
    store.read_samples(keys_of(recipes(3, 6)))
    (folder / ".left.parquet.123.tmp").write_bytes(b"half")
    frame = pd.read_parquet(folder)  # skips what was set aside or left behind
    assert frame["key"].tolist() == keys_of(recipes(0, 3))
    picture = Image.open(io.BytesIO(frame["image"][1]["bytes"]))
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), draw(recipes(1, 2))[0])


def test_samples_have_the_hugging_face_image_layout(store: Store) -> None:
    path = write(store, 0, 1)
    schema = pq.read_schema(path)
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert list(features) == schema.names == ["key", "recipe", "image"]


def test_words_are_compressed_pictures_are_not_and_pages_carry_checksums(store: Store) -> None:
    path = write(store, 0, 3)
    group = pq.read_metadata(path).row_group(0)
    compression = {
        group.column(i).path_in_schema: group.column(i).compression
        for i in range(group.num_columns)
    }
    assert compression["key"] == compression["recipe"] == "ZSTD"
    assert compression["image.bytes"] == "UNCOMPRESSED"
    flip(path, group.column(2).data_page_offset + 100)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


# Scores


def test_scores_come_back_with_their_types(store: Store) -> None:
    keys = keys_of(recipes(0, 4))
    columns = {
        "label": np.array(["female", None, "male", "male"], dtype=object),
        "p_female": np.array([0.75, np.nan, 0.5, 0.25], np.float32),
        "count": np.arange(4),
    }
    store.write_scores("judge-1", keys, columns, [None, "no face", None, None])
    frame = Store(store.folder.parents[1], "mini").read_scores("judge-1", [keys[2], keys[1]])
    assert frame.index.name == "key"
    assert frame.index.tolist() == [keys[2], keys[1]]
    assert frame["label"].iloc[0] == "male"
    assert frame["label"].isna().tolist() == [False, True]
    assert frame["p_female"].dtype == np.float32
    np.testing.assert_array_equal(frame["p_female"], np.array([0.5, np.nan], np.float32))
    assert frame["count"].tolist() == [2, 1]
    assert frame["unscored"].isna().tolist() == [True, False]
    assert frame["unscored"].iloc[1] == "no face"


def test_columns_can_be_chosen(store: Store) -> None:
    keys = keys_of(recipes(0, 2))
    columns = {"features": np.ones((2, 3), np.float32), "logits": np.zeros((2, 4), np.float32)}
    store.write_scores("features-1", keys, columns, [None, "blank image"])
    frame = store.read_scores("features-1", keys, ["logits"])
    assert list(frame.columns) == ["logits", "unscored"]
    assert frame["unscored"].isna().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_vectors_come_back_bit_for_bit(store: Store, dtype: type) -> None:
    some = recipes(0, 6)
    vectors: np.ndarray = np.random.default_rng(0).standard_normal((6, 5)).astype(dtype)
    store.write_scores("features-1", keys_of(some[:4]), {"features": vectors[:4]})
    store.write_scores("features-1", keys_of(some[4:]), {"features": vectors[4:]})
    frame = store.read_scores("features-1", keys_of(some)[::-1])
    again = np.stack(list(frame["features"]))
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, vectors[::-1])


def test_scorers_do_not_share_scores(store: Store) -> None:
    store.write_scores("judge-1", ["a"], {"p": np.array([0.5])})
    assert store.score_keys("judge-1") == {"a"}
    assert store.score_keys("judge-2") == set()


def test_scores_stay_as_first_written(store: Store) -> None:
    store.write_scores("judge-1", ["a", "b"], {"p": np.array([0.1, 0.2])})
    store.write_scores("judge-1", ["b", "c"], {"p": np.array([9.0, 0.3])})
    assert store.read_scores("judge-1", ["a", "b", "c"])["p"].tolist() == [0.1, 0.2, 0.3]


def test_a_scorer_that_changed_its_columns_but_not_its_id_is_refused(store: Store) -> None:
    store.write_scores("judge-1", ["a"], {"p": np.array([0.5])})
    store.write_scores("judge-1", ["b"], {"q": np.array([0.5])})
    with pytest.raises(BadInput, match=r"judge-1 have different columns.*new id, or delete"):
        store.read_scores("judge-1", ["a", "b"])


def test_scores_of_the_wrong_length_or_name_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="'p' has 1 rows for 2 keys"):
        store.write_scores("judge", ["a", "b"], {"p": np.zeros(1)})
    with pytest.raises(ValueError, match="'unscored' has 1 rows for 2 keys"):
        store.write_scores("judge", ["a", "b"], {"p": np.zeros(2)}, [None])
    with pytest.raises(ValueError, match="'key' or 'unscored'"):
        store.write_scores("judge", ["a"], {"key": np.zeros(1)})


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_that_are_no_plain_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        Store(tmp_path, name)
    with pytest.raises(ValueError, match="names a folder"):
        Store(tmp_path, "mini").score_keys(name)


# Adding


def test_adding_images_keeps_stored_bytes_and_writes_the_missing_rows_alone(store: Store) -> None:
    old = write(store, 0, 3)
    before = old.read_bytes()
    write(store, 0, 5)
    assert old.read_bytes() == before
    files = sorted(old.parent.glob("*.parquet"))
    assert len(files) == 2
    assert sorted(pq.read_metadata(file).num_rows for file in files) == [2, 3]
    np.testing.assert_array_equal(
        stacked(store.read_samples(keys_of(recipes(0, 5)))), draw(recipes(0, 5))
    )


def test_writing_what_is_stored_writes_nothing(store: Store) -> None:
    path = write(store, 0, 3)
    before = path.stat().st_mtime_ns
    write(Store(store.folder.parents[1], "mini"), 0, 3)
    assert path.stat().st_mtime_ns == before
    assert list(path.parent.iterdir()) == [path]


def test_a_key_given_twice_is_stored_once(store: Store) -> None:
    twice = recipes(0, 2) * 2
    store.write_samples(twice, draw(twice))
    (path,) = (store.folder / "samples").iterdir()
    assert pq.read_table(path)["key"].to_pylist() == keys_of(recipes(0, 2))


def test_the_same_rows_make_the_same_file_anywhere(tmp_path: Path) -> None:
    one, other = (write(Store(tmp_path / name, "mini"), 0, 4) for name in ("a", "b"))
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_what_other_processes_write_is_found(store: Store) -> None:
    other = Store(store.folder.parents[1], "mini")
    assert store.sample_keys() == set()
    write(other, 0, 2)
    assert store.sample_keys() == set(keys_of(recipes(0, 2)))
    write(other, 2, 4)
    assert len(store.read_samples(keys_of(recipes(2, 4)))) == 2


def test_files_that_are_deleted_are_forgotten(store: Store) -> None:
    write(store, 0, 2)
    write(store, 2, 4).unlink()
    found = store.read_samples(keys_of(recipes(0, 4)))
    assert list(found) == keys_of(recipes(0, 2))
    assert store.sample_keys() == set(keys_of(recipes(0, 2)))


def test_rows_in_two_files_are_read_from_the_same_one_by_everybody(
    store: Store, tmp_path: Path
) -> None:
    """Two processes that were started at once may both write a row, from different batches."""
    keys = ["a", "b", "c"]
    for half, name in ((keys[:2], "one"), (keys[1:], "two")):
        apart = Store(tmp_path / name, "mini")
        apart.write_scores("judge", half, {"from": np.array([name] * 2)})
        shutil.copytree(apart.folder, store.folder, dirs_exist_ok=True)
        store.score_keys("judge")
    fresh = Store(tmp_path, "mini")
    seen = store.read_scores("judge", keys)["from"].tolist()
    assert seen == fresh.read_scores("judge", keys)["from"].tolist()
    # The row survives the loss of either file.
    files = sorted((store.folder / "scores" / "judge").iterdir())
    flip(files[0], 50)
    assert "b" in fresh.read_scores("judge", keys).index


def test_no_file_is_opened_to_find_whole_blocks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, 0, 3)
    write(store, 3, 5)
    fresh = Store(store.folder.parents[1], "mini")
    monkeypatch.setattr(pq, "ParquetFile", Mock(side_effect=AssertionError))
    assert fresh.sample_keys([block_of(0, 3)]) == set(keys_of(recipes(0, 3)))


def test_rows_of_a_block_are_found_in_whatever_files_they_are(store: Store) -> None:
    write(store, 0, 2)
    write(store, 0, 5)  # only what is new, in a file of its own
    blocks = [block_of(0, 5), block_of(5, 8)]
    fresh = Store(store.folder.parents[1], "mini")
    assert fresh.sample_keys(blocks) == set(keys_of(recipes(0, 5)))
    assert fresh.sample_keys([block_of(5, 8)]) == set()


def test_the_file_of_a_planned_block_is_read_before_others(store: Store, tmp_path: Path) -> None:
    keys = ["a", "b", "c"]
    for held, name in ((keys[:2], "some"), (keys, "whole")):
        apart = Store(tmp_path / name, "mini")
        apart.write_scores("judge", held, {"from": np.array([name] * len(held))})
        shutil.copytree(apart.folder, store.folder, dirs_exist_ok=True)
    block = Named(keys)
    for also_look_around in (False, True):
        fresh = Store(tmp_path, "mini")
        if also_look_around:
            fresh.score_keys("judge")
        assert fresh.score_keys("judge", [block]) == set(keys)
        assert fresh.read_scores("judge", keys)["from"].tolist() == ["whole"] * 3


# Folders that cannot be used


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["os.mkdir", "os.fsync", "os.replace"])
def test_a_folder_that_cannot_be_written_is_a_short_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    monkeypatch.setattr(call, raiser(number))
    with pytest.raises(BadInput) as caught:
        write(store, 0, 3)
    monkeypatch.undo()
    message = str(caught.value)
    assert str(store.folder / "samples") in message
    assert os.strerror(number) in message
    assert " kB free" in message
    assert "--runs DIR" in message
    assert not any(path.is_file() for path in store.folder.parent.rglob("*"))
    assert store.sample_keys() == set()


def test_a_read_only_folder_is_a_short_error(store: Store) -> None:
    folder = write(store, 0, 3).parent
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user writes read-only folders")
    with pytest.raises(BadInput, match="Permission denied"):
        write(store, 3, 6)
    assert len(store.read_samples(keys_of(recipes(0, 3)))) == 3


def test_a_file_that_cannot_be_read_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Store(path.parents[3], "mini")
    reader.sample_keys()
    monkeypatch.setattr(Path, "read_bytes", raiser(errno.EIO))
    with pytest.raises(BadInput, match=rf"Cannot read .*{path.name}: Input/output error"):
        reader.read_samples(keys_of(recipes(0, 3)))
    monkeypatch.setattr(pq, "ParquetFile", raiser(errno.EACCES))
    with pytest.raises(BadInput, match=r"Permission denied.*--runs DIR"):
        Store(path.parents[3], "mini").sample_keys()
    assert path.exists()


def test_a_sound_file_that_pyarrow_cannot_read_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise pa.ArrowNotImplementedError("Support for codec 'zstd' not built")

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(pa.ArrowNotImplementedError, match="zstd"):
        Store(path.parents[3], "mini").sample_keys()
    assert path.exists()


def test_a_file_where_the_folder_should_be_is_a_short_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(BadInput, match=r"Cannot read .*runs.*--runs DIR"):
        write(Store(tmp_path / "runs", "mini"), 0, 1)
    with pytest.raises(BadInput, match=r"Cannot write .*runs.*--runs DIR"):
        Store(tmp_path / "runs", "mini").require_room(1)


def test_room_is_checked_before_anything_slow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.require_room(1000)
    assert list(store.folder.iterdir()) == []
    with pytest.raises(BadInput, match=rf"{store.folder} has .* free, this needs 1.0 EB.*--runs"):
        store.require_room(10**18)
    monkeypatch.setattr("tempfile.TemporaryFile", raiser(errno.EROFS))
    with pytest.raises(BadInput, match=r"Read-only file system.*2.0 GB free.*--runs DIR"):
        store.require_room(2 * 10**9)


# Interruption and company


def test_write_atomically_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_write_atomically_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, b"one")
    monkeypatch.setattr(os, "fsync", raiser(errno.ENOSPC))
    with pytest.raises(BadInput):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomically_cleans_up_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "run.json", b"one")
    assert list(tmp_path.iterdir()) == []


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    data = bytes(100_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_atomically(tmp_path / "run.json", data), range(64)))
    assert (tmp_path / "run.json").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 1


def test_threads_write_and_read_at_once(store: Store) -> None:
    def work(block: int) -> bool:
        write(store, block * 5, block * 5 + 7)  # overlaps the next thread's rows
        some = recipes(block * 5, block * 5 + 7)
        return np.array_equal(stacked(store.read_samples(keys_of(some))), draw(some))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))
    everything = set(keys_of(recipes(0, 23 * 5 + 7)))
    assert store.sample_keys() == everything
    assert Store(store.folder.parents[1], "mini").sample_keys() == everything


WRITER = """
import os, signal, sys
from pathlib import Path
from unittest.mock import Mock
sys.path[:0] = sys.argv[1:4]
from written_store import write
from livo_bench.runs.store import Store

root, how = Path(sys.argv[4]), sys.argv[7]
start, stop = int(sys.argv[5]), int(sys.argv[6])
if how == "die":  # as a power cut would: between writing and renaming
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
store = Store(root, "mini")
for block in range(start, stop):
    write(store, block * 3, block * 3 + 3)
"""


def start_writer(root: Path, start: int, stop: int, how: str = "live") -> subprocess.Popen[bytes]:
    folders = [ROOT, ROOT / "tests", Path(__file__).parent]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *map(str, (*folders, root, start, stop)), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def go(*writers: subprocess.Popen[bytes]) -> None:
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()


def end(*writers: subprocess.Popen[bytes]) -> None:
    for writer in writers:
        writer.communicate(timeout=60)


def test_two_processes_write_the_same_rows_and_their_own(store: Store, tmp_path: Path) -> None:
    one, other = start_writer(tmp_path, 0, 20), start_writer(tmp_path, 10, 30)
    go(one, other)
    end(one, other)
    assert (one.returncode, other.returncode) == (0, 0)
    everything = recipes(0, 90)
    np.testing.assert_array_equal(
        stacked(store.read_samples(keys_of(everything))), draw(everything)
    )
    names = {path.name for path in (store.folder / "samples").iterdir()}
    assert names == {f"{id_of_keys(keys_of(recipes(i, i + 3)))}.parquet" for i in range(0, 90, 3)}


def test_killed_writers_leave_whole_files_and_the_rest_is_made_again(
    store: Store, tmp_path: Path
) -> None:
    moments = random.Random(0)
    # Two that write the same rows and one apart.
    writers = [start_writer(tmp_path, start, start + 10_000) for start in (0, 0, 10_000)]
    go(*writers)
    samples = store.folder / "samples"
    while not list(samples.glob("*.parquet")):
        assert writers[0].poll() is None
        time.sleep(0.01)
    for writer in writers:
        time.sleep(moments.uniform(0.05, 0.3))
        writer.send_signal(signal.SIGKILL)
    end(*writers)

    stored = store.sample_keys()
    for path in samples.glob("*.parquet"):
        assert seal_holds(path.read_bytes())
    assert not list(samples.glob("*.damaged"))
    assert stored == {key for path in samples.glob("*.parquet") for key in keys_in(path)}
    write(store, 0, 90)
    np.testing.assert_array_equal(
        stacked(store.read_samples(keys_of(recipes(0, 90)))), draw(recipes(0, 90))
    )


def keys_in(path: Path) -> list[str]:
    return pq.read_table(path, columns=["key"])["key"].to_pylist()


def test_what_a_killed_writer_leaves_is_ignored_then_removed(store: Store, tmp_path: Path) -> None:
    writer = start_writer(tmp_path, 0, 1, how="die")
    go(writer)
    end(writer)
    assert writer.returncode == -signal.SIGKILL
    (left,) = (store.folder / "samples").iterdir()
    assert store.sample_keys() == set()
    assert left.exists()  # young, so it might be another process's that is being written
    two_hours_ago = time.time() - 7200
    os.utime(left, (two_hours_ago, two_hours_ago))
    assert Store(tmp_path, "mini").sample_keys() == set()
    assert not left.exists()
