"""What a value encoder's training logs: losses of every step, and what is seen on dev prompts.

Both are CSV files, which go back to the last checkpoint with the training. Where TensorBoard is
installed (`pip install livo-bench[tensorboard]`), it gets the same numbers, and so do `trackers`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from livo_bench import trackers
from livo_bench.errors import BadInput
from livo_bench.files import sha256, write_atomically
from livo_bench.trackers import TENSORBOARD

LOG, CURVE = "log.csv", "dev.csv"
EMPTY: Mapping[str, object] = {}


class Logs:
    """The logs in a training's folder."""

    def __init__(
        self,
        out: Path,
        log_to: Sequence[str] = (),
        name: str = "training",
        about: Mapping[str, object] = EMPTY,
    ) -> None:
        """
        Args:
            out: Folder of the training.
            log_to: Trackers that get the numbers besides, see `trackers`.
            name: What the training is called there, and `about` what there is to know of it.
            about: By name.
        """
        self._paths = [out / LOG, out / CURVE]
        board = (TENSORBOARD,) if _has_board() else ()
        self._trackers = trackers.opened((*board, *log_to), out, name, about)

    def cut(self, seals: str) -> None:
        """Drop what was written after a checkpoint: those steps will be taken again.

        Args:
            seals: What `seals` said at the checkpoint.

        Raises:
            BadInput: What was written before is not what it was.
        """
        for path in self._paths:
            _cut(path, json.loads(seals).get(path.name))

    def seals(self) -> str:
        """What the logs hold now, for the checkpoint; it is on the disk then."""
        return json.dumps({path.name: _seal(path) for path in self._paths if path.exists()})

    def step(self, done: int, row: Mapping[str, float]) -> None:
        """Log the losses of a step."""
        _append(self._paths[0], done, [row])
        self._show(done, row)

    def dev(self, done: int, seen: Sequence[Mapping[str, Any]]) -> None:
        """Log what was seen on dev prompts."""
        _append(self._paths[1], done, seen)
        self._show(done, {f"dev/{one['subset']}/{one['metric']}": one["value"] for one in seen})

    def close(self) -> None:
        """Write out what trackers still hold back."""
        for tracker in self._trackers:
            tracker.close()

    def _show(self, done: int, row: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.show(done, row)


def _has_board() -> bool:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def _append(path: Path, step: int, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows to a CSV file, with its header if it is new."""
    frame = pd.DataFrame([{"step": step, **row} for row in rows])
    with path.open("a", encoding="utf-8") as file:
        frame.to_csv(file, header=file.tell() == 0, index=False)


def _seal(path: Path) -> tuple[int, str]:
    """Bytes of a log and their SHA-256, once they are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        data = file.read()
    return len(data), sha256(data)


def _cut(path: Path, seal: Sequence[Any] | None) -> None:
    """Drop what was written after the checkpoint: those steps will be taken again.

    Args:
        path: Path of a log; it may have been deleted.
        seal: Seal of the log when the checkpoint was written, see `_seal`; None if there was none.

    Raises:
        BadInput: What was written before is not what it was.
    """
    if not path.exists():
        return
    length, digest = seal or (0, sha256(b""))
    kept = path.read_bytes()[:length]
    if sha256(kept) != digest:
        raise BadInput(
            f"{path} is damaged or was changed since the last checkpoint. Copy it again; or delete "
            "it and train again with the same command: what was logged before is missing then, and "
            "the weights are the same."
        )
    if kept:
        write_atomically(path, kept)
    else:
        path.unlink()
