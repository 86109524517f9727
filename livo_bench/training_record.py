"""One training of a method: what it is of, where it goes, and the record that it keeps there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from livo_bench import processes
from livo_bench.errors import BadInput
from livo_bench.livo import preference
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
    settings: Path = preference.SETTINGS
    """Of the preference data, for a method that learns from it."""
    _identity: dict[str, object] = field(default_factory=dict)
    _minutes: dict[str, float] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, object]:
        """What every training is known by; recipe and data come besides."""
        return {
            "method": self.method,
            "model": self.session.model.name,
            "model_digest": self.session.digest,
            "seed": self.seed,
            "data_seed": self.session.seed,
        }

    def preferences(self, tasks: Sequence[str]) -> Path:
        """The folder of the preference data of some tasks; what is missing of it is made, a part by
        each process."""
        folder, _ = preference.build(
            self.model,
            tasks,
            seed=self.session.seed,
            device=self.session.device,
            runs=self.session.runs,
            settings=self.settings,
            shard=processes.shard(),
        )
        processes.wait()
        return folder

    def require_same(self, identity: Mapping[str, object]) -> None:
        """See that the folder is new, or holds a training that may go on.

        Args:
            identity: What this training is of; all of it is in the record.

        Raises:
            BadInput: The folder holds another training.
        """
        path = self.out / RECORD
        if not path.exists():
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(identity))
        for name, value in wanted.items():
            if found.get(name) != value:
                raise BadInput(
                    f"{self.out} holds a training with {name} {found.get(name)!r}; asked for is "
                    f"{value!r}. Go on with the same, or train elsewhere: --out DIR"
                )

    def begin(self, recipe: Mapping[str, object]) -> None:
        """Say what this training is of, before anything is computed.

        Raises:
            BadInput: The folder holds another training.
        """
        self._identity = {**self.identity, "recipe": recipe}
        self.require_same(self._identity)
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
