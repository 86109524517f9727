"""What made a block: said by its file, the same on equal machines."""

import json
import platform
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from written_store import draw, keys_of, recipes, write

from livo_bench.records import ELSEWHERE
from livo_bench.runs import provenance
from livo_bench.runs.store import Store

H200 = {"device": "NVIDIA H200", "torch": "2.15.0", "dtype": "float16"}
A100 = {**H200, "device": "NVIDIA A100"}


def test_a_processor_is_named_by_its_kind_and_its_instructions_and_no_host() -> None:
    made = provenance.here("cpu")
    kind, capability = platform.machine(), torch.backends.cpu.get_cpu_capability()
    assert made["device"] == f"cpu {kind} {capability}"
    assert made["torch"] == torch.__version__
    assert {"diffusers", "transformers"} < made.keys()
    assert socket.gethostname() not in json.dumps(made)


def test_a_gpu_is_named_without_its_number_and_with_its_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Tue Jan 7\n")
    monkeypatch.setattr(provenance, "_DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    first, second = (provenance.here(device) for device in ("cuda:0", "cuda:1"))
    assert first == second
    expected = {"device": "NVIDIA H200", "capability": "9.0", "driver": "570.86.15"}
    assert expected.items() <= first.items()


def test_switches_stand_in_one_order() -> None:
    drawn = [
        provenance.drawing(H200, "float32", names)
        for names in (["fuse", "channels-last"], ["channels-last", "fuse"])
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0]["switches"] == "channels-last fuse"
    assert "switches" not in provenance.drawing(H200, "float32", [])


def test_files_of_images_and_scores_say_what_made_them(tmp_path: Path) -> None:
    store = Store(tmp_path, "mini", draws=lambda: H200, judges=lambda: A100)
    path = write(store, 0, 3)
    store.write_scores("judge", keys_of(recipes(0, 3)), {"label": np.array(["a", "b", "a"])})
    [scores] = (store.folder / "scores" / "judge").iterdir()
    for file, maker in ((path, H200), (scores, A100)):
        assert json.loads(pq.read_schema(file).metadata[provenance.METADATA]) == maker
    assert b"huggingface" in pq.read_schema(path).metadata


def test_stored_images_are_counted_by_what_made_them(tmp_path: Path) -> None:
    for number, maker in enumerate((None, H200, A100)):
        drawn = None if maker is None else lambda maker=maker: maker
        write(Store(tmp_path, "mini", draws=drawn), 3 * number, 3 * number + number + 1)
    store = Store(tmp_path, "mini")
    assert store.makers([*keys_of(recipes(0, 9)), "unknown"]) == {
        "NVIDIA A100, torch 2.15.0, float16": 3,
        "NVIDIA H200, torch 2.15.0, float16": 2,
        "not recorded": 1,
    }


def test_pictures_made_elsewhere_are_not_said_to_be_made_here(tmp_path: Path) -> None:
    some = [replace(one, model=ELSEWHERE, generator=ELSEWHERE) for one in recipes(0, 2)]
    store = Store(tmp_path, "mini", draws=lambda: H200)
    store.write_samples(some, draw(some))
    assert store.makers(keys_of(some)) == {"elsewhere": 2}


def test_a_damaged_file_says_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "mini", draws=lambda: H200)
    write(store, 0, 2).write_bytes(b"no file of Parquet")
    assert store.makers(keys_of(recipes(0, 2))) == {"not recorded": 2}
