"""A run's command as plain data, from which another process plans the same blocks."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from livo_bench.files import sha256
from livo_bench.runs.options import OPTIONS, RunOptions
from livo_bench.runs.session import Session
from livo_bench.runs.work import Work

PACKAGES = (
    "livo-bench",
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "numpy",
    "pillow",
)
"""What pixels and scores are computed with."""


@dataclass(frozen=True)
class Command:
    """What `runner.run` was asked for."""

    methods: Sequence[str]
    task: str
    model: str
    options: RunOptions

    def as_json(self, **instead: object) -> str:
        """Write it in one line, some of the options replaced."""
        asked = {"methods": list(map(str, self.methods)), "task": self.task, "model": self.model}
        return json.dumps(asked | {"options": {**self.options, **instead}}, default=os.fspath)


def read_command(line: str) -> Command:
    """Read what `Command.as_json` wrote."""
    asked = json.loads(line)
    options = {name: _as_typed(name, value) for name, value in asked.pop("options").items()}
    return Command(**asked, options=cast(RunOptions, options))


def _as_typed(name: str, value: Any) -> Any:
    """A path or a tuple, which JSON does not know."""
    if OPTIONS[name].place and value is not None:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def bases(session: Session, works: Sequence[Work]) -> Mapping[str, str]:
    """What two processes must agree in, by name, so that a block's id means the same to both.

    Args:
        session: Session of the run.
        works: All its blocks, stored or not.
    """
    asked = sorted([work.block.id, *sorted(work.scorers)] for work in works)
    digests = {
        "the model's files": session.digest,
        "files of methods": sha256("\n".join(sorted(session.files))),
        "blocks and who judges them": sha256(json.dumps(asked)),
    }
    versions = {name: version(name) for name in PACKAGES}
    return digests | versions | {"python": platform.python_version()}
