"""A training's folder: sealed by its record, written into by one training at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput
from livo_bench.methods.training import latents, training_record
from livo_bench.methods.training.fitting import Schedule, fit
from livo_bench.methods.training.training_record import (
    Training,
    alone,
    digest_of,
    read,
    read_sealed_json,
    require_named,
    seal,
    sealed_json,
)


def training(out: Path, seed: int = 0) -> Training:
    session: Any = SimpleNamespace(model=SimpleNamespace(name="mini"), digest="d" * 64, seed=42)
    return Training("uce", "mini", session, seed, out)


def finished(out: Path) -> Path:
    """A training with one overlay."""
    made = training(out)
    made.begin(settings={"steps": 4})
    path = out / "nudity.safetensors"
    path.write_bytes(b"weights")
    made.record("nudity", 1.5, path.name)
    return path


def test_a_sealed_object_is_read_as_it_was_and_stays_plain_json(tmp_path: Path) -> None:
    record = {"a": 0.1, "b": [1, None, True], "c": {"d": "é"}}
    path = tmp_path / "some.json"
    path.write_bytes(sealed_json(record))
    assert read_sealed_json(path, "", "") == record
    assert list(json.loads(path.read_bytes())) == [*record, "seal"]
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2"))
    with pytest.raises(BadInput, match=r"some\.json is damaged or was changed: .* Do this\.$"):
        read_sealed_json(path, "", "Do this.")


def test_weights_are_those_that_the_record_names(tmp_path: Path) -> None:
    path = finished(tmp_path)
    require_named(path, digest_of(path))
    with pytest.raises(
        BadInput,
        match=r"nudity\.safetensors is not what its training wrote: its digest is abc, and .*json "
        rf"names \w{{12}}\. .*train --method uce --model mini --out {tmp_path}",
    ):
        require_named(path, "abc")
    path.unlink()
    (tmp_path / "training.json").unlink()
    path.write_bytes(b"one's own")
    require_named(path, digest_of(path))  # there is no record, so nothing is promised


def test_a_training_that_has_not_ended_names_no_weights(tmp_path: Path) -> None:
    training(tmp_path).begin(settings={})
    with pytest.raises(BadInput, match=r"does not name all\.safetensors: that training has not en"):
        require_named(tmp_path / "all.safetensors", "abc")


def test_a_damaged_overlay_is_not_finished_and_the_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = finished(tmp_path)
    again = training(tmp_path)
    again.begin(settings={"steps": 4})
    assert again.done("nudity")
    path.write_bytes(b"wEights")
    assert not again.done("nudity")
    assert "nudity.safetensors is not what this training wrote, and is made again" in caplog.text
    assert not again.done("horror")


def test_a_record_that_does_not_say_what_was_learnt_by_is_not_gone_on_with(tmp_path: Path) -> None:
    training(tmp_path).begin(recipe={"steps": 4})
    with pytest.raises(BadInput, match=r"does not say its settings: .*older version.*--out DIR"):
        training(tmp_path).begin(settings={"steps": 4})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"method": ["uce"]}, r"method is \['uce'\]; expected a str"),
        ({"files": "all"}, r"files is 'all'; expected a dict"),
        ({"minutes": 3}, r"minutes is 3; expected a dict"),
    ],
)
def test_a_sealed_record_of_wrong_types_is_named(
    tmp_path: Path, record: dict[str, object], said: str
) -> None:
    (tmp_path / "training.json").write_bytes(sealed_json(record))
    with pytest.raises(BadInput, match=said):
        read(tmp_path)


def test_a_record_of_an_older_version_is_sealed_by_one_command(tmp_path: Path) -> None:
    path = finished(tmp_path)
    record = json.loads((tmp_path / "training.json").read_bytes())
    for name in ("seal", "files"):
        del record[name]
    (tmp_path / "training.json").write_text(json.dumps({**record, "minutes": 20.8}))
    command = f"python -m livo_bench.methods.training.training_record {tmp_path}"
    with pytest.raises(BadInput, match=f"has no seal: an older version wrote it, .*{command}"):
        require_named(path, digest_of(path))
    subprocess.run([sys.executable, *command.split()[1:]], check=True)
    require_named(path, digest_of(path))
    assert (read(tmp_path) or {})["minutes"] == {"value_encoder": 20.8}
    with pytest.raises(BadInput, match="Expected the record of a training"):
        seal(tmp_path / "no")


@pytest.mark.parametrize(
    "record",
    sorted(DATA.glob("methods/*/weights/**/training.json")),
    ids=lambda path: path.parent.relative_to(DATA / "methods").as_posix(),
)
def test_weights_that_ship_are_those_that_their_records_name(record: Path) -> None:
    files = (read(record.parent) or {})["files"]
    # A variant that is trained by itself has a folder with a record of its own.
    beside = [path for path in record.parent.iterdir() if not (path / record.name).exists()]
    ended = {path.name for path in beside} - {record.name}
    assert files.keys() == ended
    for name in files:
        require_named(record.parent / name, digest_of(record.parent / name))


HOLD = """
import sys, time
from pathlib import Path
from livo_bench.methods.training.training_record import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_training_in_a_folder_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(
                BadInput,
                match=rf"A training is writing into {folder} already: process {holder.pid} on ",
            ),
            alone(folder),
        ):
            pass
        with alone(folder, "another thing"), alone(tmp_path / "elsewhere"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()  # type: ignore[union-attr]
    with alone(folder):
        text = (folder / ".training.lock").read_text()
        assert text.startswith(f"process {os.getpid()} on ")
        with pytest.raises(BadInput, match=f"process {os.getpid()}"), alone(folder):
            pass
    with alone(folder):
        pass


def test_a_folder_that_cannot_be_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(BadInput, match=r"Cannot lock .*file.*may be written"),
        alone(tmp_path / "file"),
    ):
        pass

    def fail(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(training_record.fcntl, "flock", fail)
    with pytest.raises(BadInput, match=r"No locks available.*with locks"), alone(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("name", "seed", "of"), [("other", 5, "a"), ("part", 6, "a"), ("part", 5, "b")]
)
def test_a_checkpoint_of_another_part_seed_or_training_is_refused(
    tmp_path: Path, name: str, seed: int, of: str
) -> None:
    def run(name: str, seed: int, of: str) -> None:
        net = nn.Linear(2, 1)

        def step(number: int, generator: torch.Generator) -> Tensor:
            loss: Tensor = net(torch.randn(4, 2, generator=generator)).square().mean()
            return loss

        fit(name, net, step, Schedule(2, 4, 0.1), seed=seed, folder=tmp_path, of=of)

    run("part", 5, "a")
    path = tmp_path / f"{name}.safetensors"
    (tmp_path / "part.safetensors").rename(path)
    with pytest.raises(
        BadInput, match=r"is a checkpoint of 'part, seed 5, a'; expected one of .*Delete it, and tr"
    ):
        run(name, seed, of)
    path.unlink()
    run(name, seed, of)


def test_latents_that_a_kill_or_a_disk_damaged_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session: Any = SimpleNamespace(denoiser=SimpleNamespace(vae=None))
    made = []

    def encode(vae: None, keys: list[str]) -> Any:
        made.append(keys)
        return torch.tensor([[ord(key)] * 4 for key in keys]).half().numpy()

    monkeypatch.setattr(latents, "_parts", lambda session, keys: iter([keys]))
    monkeypatch.setattr(latents, "_pixels", lambda session, keys: keys)
    monkeypatch.setattr(latents, "_encode", encode)
    first = latents.moments_of(session, ["a", "b"], tmp_path).tobytes()
    assert latents.moments_of(session, ["a", "b"], tmp_path).tobytes() == first
    assert len(made) == 2  # one picture for the shape, then all
    [path] = tmp_path.iterdir()
    data = path.read_bytes()
    for damaged in (b"", data[:-1], data[:-40], data[:-33] + b"!" + data[-32:]):
        path.write_bytes(damaged)
        assert latents.moments_of(session, ["a", "b"], tmp_path).tobytes() == first
        assert path.read_bytes() == data
