"""One training of a method: what it is of, where it goes, and the record that it keeps there.

The record, `training.json`, is written last. It names the finished files beside it by their digest
and carries a seal over itself, so whoever reads one of them sees whether it is what the training
wrote. Weights without a record, one's own or published ones, are taken as they are.

To seal a record anew, as for one of an older version, after a look at the files it is to vouch for:

    python -m livo_bench.methods.training.training_record FOLDER...
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from livo_bench.cards.fields import parse_json, read_json
from livo_bench.cards.weights import digest_folder
from livo_bench.engines import value_encoder
from livo_bench.errors import BadInput, LivoBenchError
from livo_bench.files import digest_file, sha256, write_atomically
from livo_bench.methods.livo import preference
from livo_bench.runs.session import Session
from livo_bench.schema import Count, Factor

log = logging.getLogger(__name__)

RECORD = "training.json"
_SEAL = "seal"
MEND = (
    "Copy it again; or delete it and train again with the same command, which makes what is "
    "missing."
)
"""What to do about a damaged file of a training that has begun."""


def sealed_json(record: Mapping[str, object]) -> bytes:
    """A JSON object whose last field, `seal`, is the SHA-256 of all others as they are written."""
    seal = sha256(json.dumps(record, indent=2))
    return json.dumps({**record, _SEAL: seal}, indent=2).encode()


def read_sealed_json(path: Path, unsealed: str, again: str) -> dict[str, Any]:
    """Read what `sealed_json` made, byte for byte.

    Args:
        path: Path of the file.
        unsealed: What messages say to do about a file without a seal.
        again: What messages say to do about a damaged one.

    Raises:
        BadInput: It cannot be read, has no seal, or is not what was sealed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}. {again}") from error
    record = parse_json(data, path, again)
    if _SEAL not in record:
        raise BadInput(
            f"{path} has no seal: an older version wrote it, or it is damaged. {unsealed}"
        )
    seal = record.pop(_SEAL)
    if sealed_json(record) != data:
        raise BadInput(
            f"{path} is damaged or was changed: what it says does not have the seal "
            f"{str(seal)[:12]!r}. {again}"
        )
    return record


def read(folder: Path) -> dict[str, Any] | None:
    """What a training recorded of itself in a folder; None if there is no record.

    Raises:
        BadInput: The record is damaged, or has no seal.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    again = (
        "Copy it again; or delete it and train again with the same command, which goes on from the "
        "last checkpoint."
    )
    record = read_sealed_json(
        path,
        "If you trust it and what lies beside it, seal it: "
        f"python -m livo_bench.methods.training.training_record {folder}",
        again,
    )
    for name, kind in (("method", str), ("model", str), ("minutes", dict), ("files", dict)):
        if not isinstance(record.get(name, kind()), kind):
            raise BadInput(
                f"{path}: {name} is {record[name]!r}; expected a {kind.__name__}. {again}"
            )
    return record


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or the digest of a folder, as recipes name weights."""
    return digest_folder(path) if path.is_dir() else digest_file(path)


def require_named(path: Path, digest: str) -> bool:
    """See that weights, or another finished file, are what the record beside them names.

    Args:
        path: Path of the file or folder; where there is no record beside it, nothing is seen.
        digest: Its digest, see `digest_of`.

    Returns:
        Whether there is a record, which names them.

    Raises:
        BadInput: The record names another digest, or none; or the record itself is damaged.
    """
    record = read(path.parent)
    if record is None:
        return False
    again = (
        f"livo-bench train --method {record.get('method', 'NAME')} --model "
        f"{record.get('model', 'MODEL')} --out {path.parent}"
    )
    named = record.get("files", {}).get(path.name)
    if named is None:
        raise BadInput(
            f"{path.parent / RECORD} does not name {path.name}: that training has not ended, or "
            f"the file is not of it. Go on with the training, {again}, or keep files of your own "
            f"in a folder without {RECORD}."
        )
    if named != digest:
        raise BadInput(
            f"{path} is not what its training wrote: its digest is {digest[:12]}, and "
            f"{path.parent / RECORD} names {str(named)[:12]}. Copy it again, or make it again: "
            f"{again}"
        )
    return True


@contextmanager
def alone(folder: Path, name: str = "training") -> Iterator[None]:
    """Keep others out of a folder until the block ends, or this process, however it ends.

    Args:
        folder: To write into; it is made.
        name: Name of what must not be done twice at once.

    Raises:
        BadInput: Another process is at it, which is named; or the folder cannot be locked.
    """
    path = folder / f".{name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise _cannot_lock(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = "".join(filter(str.isprintable, file.read(200))) or "another process"
            raise BadInput(
                f"A {name} is writing into {folder} already: {holder}. Wait for its end, stop it, "
                "or write elsewhere."
            ) from None
        except OSError as error:
            raise _cannot_lock(path, error) from error
        file.truncate(0)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}")
        file.flush()
        yield


def _cannot_lock(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"Cannot lock {path}: {error.strerror}. Expected a folder that may be written, on a file "
        "system with locks. Make it so, or write elsewhere."
    )


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one training of a value encoder has otherwise than its settings."""

    fraction: float = 1.0
    """Part of each scene's pictures to train on."""
    gamma_1: Factor | None = None
    """Margin of the preferred hinge, for every value; the training settings' when None."""
    gamma_2: Factor | None = None
    """Margin of the dispreferred hinge, for every value; the training settings' when None."""
    steps: Count | None = None
    """Steps to take; the training settings' when None."""


@dataclass
class Training:
    """One training of a method on a model."""

    method: str
    """Name of the method, as `--method` takes it."""
    model: str
    """Name, card or folder, as `--model` takes it."""
    session: Session
    """Session of the model; its seed is that of the data's pictures."""
    seed: int
    """Seed of batches and noise."""
    out: Path
    """Folder of the finished weights."""
    data_settings: Path = preference.SETTINGS
    """Settings of the preference data, for a method that learns from it."""
    overrides: Overrides = Overrides()
    log_to: tuple[str, ...] = ()
    """Trackers that get the numbers of a value encoder's training."""
    adapter: str | None = None
    """Digest of the `adapter.py` that brings the training; None for a training of this package."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """For a training that the method brings: the table of its `training.toml` for the model's
    scale, as it stands there; empty where there is none."""
    _identity: dict[str, object] = field(default_factory=dict)
    _minutes: dict[str, float] = field(default_factory=dict)
    _files: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, object]:
        """What every training is known by; settings and data come besides."""
        own = {} if self.adapter is None else {"adapter": self.adapter}
        return {
            **own,
            "method": self.method,
            "model": self.session.model.name,
            "model_digest": self.session.digest,
            "seed": self.seed,
            "data_seed": self.session.seed,
        }

    @property
    def digest(self) -> str:
        """Digest of what this training is of, once it has begun; its checkpoints carry it."""
        text = json.dumps(self._identity, sort_keys=True)
        return sha256(text)

    def preferences(self, tasks: Sequence[str]) -> Path:
        """The folder of the preference data of some tasks; what is missing of it is made, a part by
        each process."""
        from livo_bench.methods.training import processes

        folder, _ = preference.build(
            self.model,
            tasks,
            seed=self.session.seed,
            device=self.session.device,
            runs=self.session.runs,
            settings=self.data_settings,
            shard=processes.shard(),
        )
        processes.wait()
        return folder

    def require_same(self, **of: object) -> None:
        """See that the folder is new, or holds a training that may go on.

        Args:
            of: What this training is of, besides `identity`; all of it is in the record.

        Raises:
            BadInput: The folder holds another training, or its record is damaged.
        """
        found = read(self.out)
        if found is None:
            return
        wanted = json.loads(json.dumps({**self.identity, **of}))
        for name, value in wanted.items():
            if name not in found:
                raise BadInput(
                    f"The record of the training in {self.out} does not say its {name}: another "
                    "training, or an older version, wrote it. Train elsewhere: --out DIR"
                )
            if found[name] != value:
                raise BadInput(
                    f"{self.out} holds a training with {name} {found[name]!r}; asked for is "
                    f"{value!r}. Go on with the same, or train elsewhere: --out DIR"
                )

    def begin(self, **of: object) -> None:
        """Say what this training is of, before anything is learnt.

        Args:
            of: As for `require_same`.

        Raises:
            BadInput: The folder holds another training, or its record is damaged.
        """
        self.require_same(**of)
        self._identity = {**self.identity, **of}
        found = read(self.out) or {}
        self._minutes, self._files = dict(found.get("minutes", {})), dict(found.get("files", {}))
        self._write()

    def done(self, name: str) -> bool:
        """Whether the overlay `<name>.safetensors` is finished; one that is damaged is not."""
        path = self.out / f"{name}.safetensors"
        if name not in self._minutes or not path.is_file():
            return False
        if digest_of(path) == self._files.get(path.name):
            return True
        log.warning("%s is not what this training wrote, and is made again.", path)
        return False

    @property
    def finished(self) -> bool:
        """Whether the record names a file that was finished."""
        return bool(self._files)

    def recorded(self, name: str) -> bool:
        """Whether the record says that a part was finished."""
        return name in self._minutes

    def named(self, name: str) -> bool:
        """Whether the record names a file."""
        return name in self._files

    def require_written(self, name: str, data: bytes) -> None:
        """See that a file which goes on from part to part is what this training wrote.

        Args:
            name: Name of the file.
            data: What it holds of the parts that are recorded.

        Raises:
            BadInput: It is not.
        """
        if sha256(data) != self._files.get(name):
            raise self.damaged(name)

    def damaged(self, name: str) -> BadInput:
        """The error for a file beside the record that is not what this training wrote."""
        return BadInput(
            f"{self.out / name} is damaged or was changed: it is not what {self.out / RECORD} "
            f"names. {MEND}"
        )

    def record(self, name: str, minutes: float, *files: str) -> None:
        """Note that a part is finished.

        Args:
            name: Name of the part.
            minutes: Minutes that it took.
            files: Names of what was written for it; not all of them need be there.
        """
        from livo_bench.methods.training import processes

        self._minutes[name] = minutes
        if processes.first():
            there = [file for file in files if (self.out / file).exists()]
            self._files |= {file: digest_of(self.out / file) for file in there}
        self._write()

    def _write(self) -> None:
        from livo_bench.methods.training import processes

        if not processes.first():
            return
        record = {**self._identity, "minutes": self._minutes, "files": self._files}
        write_atomically(self.out / RECORD, sealed_json(record))


def seal(folder: Path) -> None:
    """Seal a record anew, over the finished files that lie beside it now.

    Raises:
        BadInput: The folder has no record.
    """
    path = folder / RECORD
    record = read_json(path, "Expected the record of a training.")
    record.pop(_SEAL, None)
    unfinished = {RECORD, "checkpoint.safetensors", "log.csv"}
    finished = [
        path
        for pattern in (value_encoder.FOLDER, "*.safetensors", "*.json", "*.csv")
        for path in sorted(folder.glob(pattern))
        if path.name not in unfinished
    ]
    record["files"] = {path.name: digest_of(path) for path in finished}
    if not isinstance(record.get("minutes"), dict):
        record["minutes"] = {value_encoder.FOLDER: record.get("minutes", 0)}
    write_atomically(path, sealed_json(record))


if __name__ == "__main__":
    try:
        for each in sys.argv[1:]:
            seal(Path(each))
    except LivoBenchError as error:
        sys.exit(str(error))
