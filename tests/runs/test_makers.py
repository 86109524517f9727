"""Who made what: in the files of images and scores, in packs of them, and in results."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from written_requests import plain, wanted
from written_store import draw, keys_of, recipes

from livo_bench.records import ELSEWHERE
from livo_bench.results.record import NOT_RECORDED
from livo_bench.runs import makers
from livo_bench.runs.plan import Pack, form_blocks
from livo_bench.runs.store import Store

BLOCKS = form_blocks(wanted(plain, images=4, concepts=("chef", "nurse", "pilot")), 4)
A, B = makers.elsewhere("machine A"), makers.elsewhere("machine B")


def test_a_file_of_images_names_what_made_them_in_its_metadata(tmp_path: Path) -> None:
    store, some = Store(tmp_path, "mini"), recipes(0, 3)
    store.write_samples(some, draw(some), A)
    [path] = (store.folder / "samples").iterdir()
    assert pq.read_schema(path).metadata[makers.METADATA] == (
        b'[["{\\"device\\":\\"machine A\\"}",3]]'
    )
    assert Store(tmp_path, "mini").makers(keys_of(some)) == dict.fromkeys(keys_of(some), A)


def test_files_that_name_nobody_are_as_they_were_and_still_read(tmp_path: Path) -> None:
    store, some = Store(tmp_path, "mini"), recipes(0, 3)
    store.write_samples(some, draw(some))
    store.write_scores("judge", keys_of(some), {"p": np.zeros(3)})
    [path] = (store.folder / "samples").iterdir()
    assert makers.METADATA not in pq.read_schema(path).metadata
    assert store.makers(keys_of(some)) == dict.fromkeys(keys_of(some))
    assert set(store.score_makers("judge", keys_of(some)).values()) == {(None, None)}
    assert makers.said(None) == NOT_RECORDED


def test_a_pack_says_of_each_row_who_made_and_who_judged_it(tmp_path: Path) -> None:
    store = Store(tmp_path, "mini")
    by = {BLOCKS[0].id: (A, A), BLOCKS[1].id: (B, A), BLOCKS[2].id: None}
    for block in BLOCKS:
        made = by[block.id]
        rows = None if made is None else [made] * len(block)
        store.write_scores("judge", block.keys, {"p": np.zeros(len(block))}, made=rows)
    pack = Pack(tuple(BLOCKS))
    store.pack_scores("judge", [pack])
    found = Store(tmp_path, "mini").score_makers("judge", pack.keys)
    assert found == {key: by[block.id] or (None, None) for block in BLOCKS for key in block.keys}


def test_rows_of_a_block_may_have_several_makers(tmp_path: Path) -> None:
    store, [block, *_] = Store(tmp_path, "mini"), BLOCKS
    made = [(A, A), (A, A), (B, A), (None, A)]
    store.write_scores("judge", block.keys, {"p": np.zeros(4)}, made=made)
    assert list(store.score_makers("judge", block.keys).values()) == [
        store.score_makers("judge", [key])[key] for key in block.keys
    ]
    assert store.score_makers("judge", block.keys) == dict(zip(block.keys, made, strict=True))


@pytest.mark.parametrize(
    "metadata", [b"", b"[", b"{}", b"[1]", b'[["a"]]', b'[["a", 99]]', b'[["a", "b"]]', b"\xff"]
)
def test_what_is_no_such_metadata_counts_as_none(metadata: bytes) -> None:
    assert makers.from_metadata({makers.METADATA: metadata}, 3) == [(None, None)] * 3


def test_a_maker_names_device_and_versions_and_no_host() -> None:
    ours = makers.maker("cpu", ("fuse", "channels-last"))
    assert ours == makers.maker("cpu", ("channels-last", "fuse"))
    said = makers.said(ours)
    assert all(f"{name} " in said for name in makers.PACKAGES)
    assert said.endswith("channels-last, fuse")
    assert makers.said(makers.elsewhere(ELSEWHERE)) == ELSEWHERE
