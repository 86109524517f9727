"""What the trainings of baselines share: their folder, their record, what is done already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from livo_bench import checkpoints, processes
from livo_bench.livo.preference import SETTINGS
from livo_bench.session import Session
from livo_bench.store import write_atomically

RECORD = "training.json"


@dataclass
class Training:
    """One training of a method on a model."""

    method: str
    """As `--method` takes it."""
    model: str
    """Name, card or folder, as `--model` takes it."""
    session: Session
    """Its seed is that of the data's pictures."""
    seed: int
    """Of batches and noise."""
    out: Path
    """Folder of the finished weights."""
    settings: Path = SETTINGS
    """Of the preference data, for a method that learns from it."""
    _identity: dict[str, object] = field(default_factory=dict)
    _minutes: dict[str, float] = field(default_factory=dict)

    def begin(self, recipe: Mapping[str, object]) -> None:
        """Say what this training is of, before anything is computed.

        Raises:
            BadInput: The folder holds another training.
        """
        self._identity = {
            "method": self.method,
            "model": self.session.model.name,
            "model_digest": self.session.digest,
            "seed": self.seed,
            "data_seed": self.session.seed,
            "recipe": recipe,
        }
        checkpoints.require_same_training(self.out, self._identity)
        path = self.out / RECORD
        if path.exists():
            self._minutes = json.loads(path.read_text(encoding="utf-8"))["minutes"]
        self._write()

    def done(self, name: str) -> bool:
        """Whether the overlay `<name>.safetensors` is finished."""
        return name in self._minutes and (self.out / f"{name}.safetensors").is_file()

    def record(self, name: str, minutes: float) -> None:
        """Note that an overlay is finished, and how long it took."""
        self._minutes[name] = minutes
        self._write()

    def _write(self) -> None:
        if not processes.first():
            return
        record = {**self._identity, "minutes": self._minutes}
        write_atomically(self.out / RECORD, json.dumps(record, indent=2).encode())
