"""Checkpoints of a training: whole or not at all."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from livo_bench.errors import BadInput
from livo_bench.methods.training import checkpoints


def test_a_full_disk_is_a_short_error_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    path = tmp_path / "part.safetensors"
    checkpoints.write(path, model, optimiser, {"done": "1"}, of="a part")
    before = path.read_bytes()

    def fail(*arguments: object, **named: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(BadInput, match=r"Cannot write .*part.*No space left on device"):
        checkpoints.write(path, model, optimiser, {"done": "2"}, of="a part")
    assert [file.name for file in tmp_path.iterdir()] == ["part.safetensors"]
    assert path.read_bytes() == before
    assert checkpoints.read(path, model, optimiser, of="a part") == {"done": "1"}
