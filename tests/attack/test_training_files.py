"""Damaged and edited training files, made up by the hundred: each is refused with a short error,
made again, or reads as what was written."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from damage import COUNTS, as_json, damaged, survive
from torch import nn

from livo_bench.cards.catalog import DATA, model_card, model_digest
from livo_bench.engines import overlay
from livo_bench.errors import BadInput, LivoBenchError
from livo_bench.interfaces import MethodContext
from livo_bench.methods import fair_diffusion, overlaid, uce
from livo_bench.methods.livo import logs, preference_data, steering
from livo_bench.methods.training import checkpoints, latents, training_record
from livo_bench.methods.training.training_record import Training
from livo_bench.report import curves
from livo_bench.sealed_parquet import to_sealed_parquet

MINI = model_card("mini")


@dataclass(frozen=True)
class Case:
    """A file of a training, and what reads it."""

    path: Path
    read: Callable[[], object]
    """What `==` compares; raises what the reader raises."""
    mended: bool = False
    """Whether a damaged file is made again, and not refused."""


def in_training(out: Path) -> Training:
    model: Any = SimpleNamespace(model=SimpleNamespace(name="mini"), digest="d" * 64, seed=42)
    training = Training("uce", "mini", model, 0, out)
    training.begin(settings={"steps": 4, "lr": 1e-3, "frozen": ["embeddings."]})
    return training


def bits(named: Any) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in named.items()}


def checkpoint(out: Path) -> Case:
    path = out / "checkpoint.safetensors"

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        return net, torch.optim.AdamW(net.parameters())

    net, optimiser = fresh()
    net(torch.ones(2, 4)).sum().backward()
    optimiser.step()
    progress = {"done": "3", "seconds": "1.5", "logs": "{}"}
    average = [torch.full((2, 2), 0.5)]
    checkpoints.write(path, net, optimiser, progress, average, of="a training")

    def read() -> object:
        net, optimiser = fresh()
        average = [torch.zeros(2, 2)]
        kept = checkpoints.read(path, net, optimiser, average, of="a training")
        states = [bits(state) for state in optimiser.state.values()]
        return kept, bits(net.state_dict()), states, average[0].tolist()

    return Case(path, read)


def record(out: Path) -> Case:
    (out / "shares.json").write_text('{"gender": 45}')
    in_training(out).record("shares", 1.5, "shares.json")
    return Case(out / "training.json", lambda: training_record.read(out))


def edits(out: Path) -> Case:
    training = in_training(out)
    path = out / uce.EDITS
    path.write_bytes(
        uce._as_json({"nudity": {"a nude mannequin": {"a mannequin": 1.0, "": -0.25}}})
    )
    training.record("nudity", 0.1, uce.EDITS)
    return Case(path, lambda: uce._read_edits(training))


def rounds(out: Path) -> Case:
    path = out / uce.ROUNDS
    seen = pd.DataFrame({"round": [1, 2], "group": ["male", "female"], "share": [0.3, 0.7]})
    training = in_training(out)
    uce._write_rounds(training, "career", seen)
    training.record("career", 0.1, uce.ROUNDS)
    whole = path.read_bytes()

    def read() -> object:
        uce._write_rounds(training, "negative", seen.drop(columns="edit", errors="ignore"))
        made = path.read_bytes()
        assert made.startswith(whole)
        return made

    return Case(path, read)


def context(method: str, weights: Path, **settings: str | float) -> MethodContext:
    folder = DATA / "methods" / method
    return MethodContext(folder, {"weights": str(weights), **settings}, MINI, method)


def shares(out: Path) -> Case:
    path = out / "shares.json"
    path.write_text('{"gender": 45, "race": 55}')
    in_training(out).record("value_encoder", 0.1, path.name)
    return Case(path, lambda: steering.read_shares(path))


def majorities(out: Path) -> Case:
    path = out / fair_diffusion.MAJORITIES
    shutil.copy(DATA / "methods/fd/weights/mini" / path.name, path)
    in_training(out).record(path.name, 0.1, path.name)
    return Case(path, lambda: fair_diffusion.load(context("fd", out, detect=False)).majorities)


def overlay_file(out: Path) -> Case:
    path = out / "all.safetensors"
    overlay.save({"conv_in.bias": torch.linspace(0, 1, 8)}, model_digest(MINI), path)
    in_training(out).record("all", 0.1, path.name)
    return Case(path, lambda: overlaid.load(context("dapt", out, edit="all")).files)


def encoder(out: Path, name: str) -> Case:
    source = DATA / "methods/livo/weights/mini/livo/value_encoder"
    folder = out / "value_encoder"
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    # The first bytes will do: none of its tensors is loaded.
    (folder / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:4000])
    in_training(out).record(folder.name, 0.1, folder.name)
    settings: dict[str, str | float] = {
        "value_in": "encoder",
        "value_from": "task",
        "encoder": "livo",
    }
    settings |= {"layout": "pad77", "share_bias": 50, "steered": "spread"}
    return Case(folder / name, lambda: steering.load(context("livo", folder, **settings)).files)


def preferences(out: Path) -> Case:
    path = out / "bias-doctor-0.parquet"
    rows = pd.DataFrame(
        {name: [f"{name} {row}" for row in range(6)] for name in preference_data.COLUMNS}
    ).assign(preferred=[True, False] * 3, share=np.linspace(0, 1, 6))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    name = {b"livo_bench.file": f"{out.name}/{path.name}"}
    table = table.replace_schema_metadata({**table.schema.metadata, **name})
    path.write_bytes(to_sealed_parquet(table, "zstd"))
    return Case(path, lambda: preference_data.read(out).to_dict("records"))


def moments(out: Path) -> Case:
    session: Any = SimpleNamespace(denoiser=SimpleNamespace(vae=None))
    keys = ["a", "b", "c"]

    def read() -> object:
        return latents.moments_of(session, keys, out).tobytes()

    read()
    [path] = out.glob("latents-*.npy")
    return Case(path, read, mended=True)


def curve(out: Path) -> Case:
    path = out / "dev.csv"
    shutil.copy(DATA / "methods/livo/weights/mini/livo" / path.name, path)
    in_training(out).record("value_encoder", 0.1, path.name)
    return Case(path, lambda: curves.read_training_curves(out, "mini").to_dict("records"))


def log(out: Path) -> Case:
    path = out / "log.csv"
    path.write_text("step,loss\n1,0.5\n2,0.25\n")
    seal = logs._seal(path)

    def read() -> object:
        logs._cut(path, seal)
        return path.read_bytes()

    return Case(path, read)


CASES: dict[str, Callable[[Path], Case]] = {
    "checkpoint": checkpoint,
    "training.json": record,
    "edits.json": edits,
    "rounds.csv": rounds,
    "shares.json": shares,
    "majorities.csv": majorities,
    "overlay": overlay_file,
    "value encoder": lambda out: encoder(out, "model.safetensors"),
    "value encoder's config": lambda out: encoder(out, "config.json"),
    "preference data": preferences,
    "latents": moments,
    "dev.csv": curve,
    "log.csv": log,
}


@pytest.fixture(autouse=True)
def no_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents of pictures without pictures."""
    monkeypatch.setattr(latents, "_parts", lambda session, keys: iter([keys]))
    monkeypatch.setattr(latents, "_pixels", lambda session, keys: np.array([*map(ord, keys)]))
    monkeypatch.setattr(
        latents, "_encode", lambda vae, n: np.broadcast_to(n[:, None], (len(n), 4)).astype("f2")
    )


def edited(data: bytes, draw: random.Random) -> bytes:
    """Other values where the file is JSON, and else a digit that is another one."""
    try:
        return as_json(json.loads(data), draw)
    except ValueError:
        place = draw.choice([place for place, byte in enumerate(data) if chr(byte).isdigit()])
        return data[:place] + draw.randbytes(1).hex()[:1].encode() + data[place + 1 :]


def look(case: Case, data: bytes, written: object) -> str:
    """Read damaged bytes; they are refused by an error that says where, made again, or have no
    effect."""
    case.path.write_bytes(data)
    try:
        read = case.read()
    except LivoBenchError as error:
        if str(case.path.parent) not in str(error):
            raise AssertionError("the error does not say where") from error
        raise
    assert read == written, "read as another"
    return "made again" if case.path.read_bytes() != data else "no effect"


@COUNTS
@pytest.mark.parametrize("name", CASES)
def test_no_damaged_file_is_read_as_another_or_ends_in_a_traceback(
    name: str, count: int, tmp_path: Path
) -> None:
    case = CASES[name](tmp_path)
    data, written = case.path.read_bytes(), case.read()
    draw = random.Random(name)
    inputs = (draw.choice((damaged, edited))(data, draw) for _ in range(count))
    mended: Counter[str] = Counter()
    least = 0 if case.mended else 0.8
    survive(name, inputs, lambda made: mended.update([look(case, made, written)]), least)
    assert not case.mended or mended["made again"] > 0.8 * count
    assert look(case, data, written) == "no effect" or not case.mended


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_seen_wherever_it_is(count: int, tmp_path: Path) -> None:
    """Over all files that a training leaves, each as often as any other."""
    draw = random.Random(16)
    cases = {}
    for name, make in CASES.items():
        (tmp_path / name).mkdir()
        case = make(tmp_path / name)
        cases[name] = (case, case.path.read_bytes(), case.read())

    def flip(name: str) -> None:
        case, data, written = cases[name]
        changed = bytearray(data)
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            how = look(case, bytes(changed), written)
        finally:
            case.path.write_bytes(data)
        # Text that says the same in other bytes, and a header's padding, have no effect.
        assert how == "made again" or name in ("edits.json", "rounds.csv", "checkpoint")

    names = (draw.choice([*CASES]) for _ in range(count))
    survive("flipped bit in a file of a training", names, flip, 0.8)


def test_labels_that_are_turned_round_or_rows_that_change_places_are_seen(tmp_path: Path) -> None:
    case = preferences(tmp_path)
    data = case.path.read_bytes()
    frame = pd.read_parquet(case.path)
    for changed in (
        frame.assign(preferred=~frame["preferred"]),
        frame.assign(preferred=frame["preferred"].to_numpy()[::-1]),
        frame.iloc[::-1],
        frame.assign(share=0.1),
        frame.iloc[:3],
    ):
        changed.to_parquet(case.path, index=False)
        with pytest.raises(BadInput, match="its seal does not hold"):
            case.read()
    case.path.write_bytes(data)
    case.path.rename(case.path.with_name("bias-nurse-0.parquet"))
    with pytest.raises(BadInput, match=r"was written as '.*bias-doctor-0\.parquet'"):
        case.read()
