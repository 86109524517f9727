"""Two processes train what one trains: the same batches, the same gradients, one set of files."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from together import learn, stop
from torch.multiprocessing.spawn import spawn

from livo_bench.errors import BadInput
from livo_bench.methods.training import processes


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_after_the_same_step(tmp_path: Path) -> None:
    first, second = spawned(stop, 2, tmp_path / "out")
    kept = f"2 of 5 steps are in {tmp_path / 'out' / 'part.safetensors'}."
    assert first == second == {"code": 128 + signal.SIGTERM, "notes": [kept]}
    with safe_open(tmp_path / "out" / "part.safetensors", framework="pt") as file:
        assert file.metadata()["done"] == "2"


def spawned(work: Callable[..., None], count: int, out: Path, *arguments: str) -> list[dict]:
    """What each of several processes wrote of its work."""
    out.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(work, (count, port, *arguments, out), nprocs=count)
    return [json.loads((out / f"{count}-{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tiny_model: Path, tmp_path: Path) -> None:
    [alone] = spawned(learn, 1, tmp_path / "one", str(tiny_model))
    pair = spawned(learn, 2, tmp_path / "two", str(tiny_model))
    assert pair[0] == pair[1]  # the same weights and means everywhere
    for one, two in zip(alone["rows"], pair[0]["rows"], strict=True):
        for name in one:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), name
    logs = [(tmp_path / place / "unet" / "checkpoints" / "all.jsonl") for place in ("one", "two")]
    one, two = (json.loads(log.read_text()) for log in logs)  # one line: the first alone writes
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert (tmp_path / "two" / "unet" / "all.safetensors").is_file()


def test_a_process_on_its_own_changes_nothing() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.arange(3.0)
    processes.average_gradients([parameter])
    assert parameter.grad.tolist() == [0, 1, 2]
    assert processes.mean([1.5, 2.5]) == [1.5, 2.5]
    assert list(range(8))[processes.part(8)] == list(range(8))
    assert processes.first()
    processes.refuse_company("uce")


class Three:
    """The state of the second of three processes."""

    num_processes = 3
    process_index = 1


def test_a_batch_is_shared_evenly_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PartialState", Three)
    assert list(range(9))[processes.part(9)] == [1, 4, 7]
    assert processes.shard() == (2, 3)
    with pytest.raises(BadInput, match=r"batch of 8 cannot be shared by 3 processes"):
        processes.part(8)
    with pytest.raises(BadInput, match=r"'uce' trains in one process, got 3"):
        processes.refuse_company("uce")
