"""Two processes train what one trains: the same batches, the same gradients, one set of files."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from livo_bench.cards.catalog import model_card
from livo_bench.errors import BadInput
from livo_bench.methods import dapt
from livo_bench.methods.livo import recipe
from livo_bench.methods.livo.pairs import Pairs, Scene
from livo_bench.methods.livo.train import Trainer
from livo_bench.methods.training import processes
from livo_bench.methods.training.finetuning import Finetuning, Settings
from livo_bench.runs.session import Session

STEPS = 3
TEXTS = ["a doctor", "a nurse"]


def moments(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (n, 2, 4, 8, 8)).astype(np.float16)


def learn(rank: int, count: int, port: int, card: str, out: Path) -> None:
    """One of several processes: trains a value encoder, then fine-tunes a UNet."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    processes.join("cpu")
    session = Session(model_card(card), 42, "cpu", "float32", out)
    scene = Scene(0, np.arange(3), np.full(3, 1 / 3), np.arange(3, 6), None)
    formed = Pairs({"race": [scene]}, TEXTS, {"race": "racial equality"}, moments(6))
    chosen = recipe.read("livo", "mini")
    kept = {"race": chosen.coefficients["race"]}
    chosen = replace(chosen, batch=4, precision="no", coefficients=kept, draws={"race": 1.0})
    trainer = Trainer(session, chosen, formed, 0, out / "encoder")
    rows = [trainer.step(number) for number in range(STEPS)]
    weights = torch.cat([p.detach().flatten() for p in trainer.encoder.parameters()])

    settings = Settings("cross-attn", STEPS, 4, 1e-3, 0.01, "no", gradient_checkpointing=False)
    tuning = Finetuning(session, settings, TEXTS)

    def draw(rng: np.random.Generator) -> dict[str, int]:
        return {"picture": int(rng.integers(6)), "prompt": int(rng.integers(2))}

    tuning.fit("all", moments(6), draw, dapt.loss, 0, out / "unet")
    tuned = torch.cat([p.detach().flatten() for p in tuning.unet.parameters()])
    sums = [weights.double().sum().item(), tuned.double().sum().item()]
    (out / f"{count}-{rank}.json").write_text(json.dumps({"rows": rows, "sums": sums}))
    processes.wait()


def results(count: int, card: Path, out: Path) -> list[dict]:
    out.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(learn, (count, port, str(card), out), nprocs=count)
    return [json.loads((out / f"{count}-{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tiny_model: Path, tmp_path: Path) -> None:
    [alone] = results(1, tiny_model, tmp_path / "one")
    pair = results(2, tiny_model, tmp_path / "two")
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
