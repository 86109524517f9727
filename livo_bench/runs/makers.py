"""Who made what: the device, driver, versions and switches that a file of the store names.

No host is named, so that equal machines write equal bytes. Files of versions before this say
nothing, and are read all the same.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from livo_bench.results.record import NOT_RECORDED

Maker: TypeAlias = str
"""What made something, as canonical JSON."""
Made: TypeAlias = tuple[Maker | None, ...]
"""Who made the image of a row and, in files of scores, who judged it; None where nobody says."""

METADATA = b"livo_bench.makers"
"""Key in a file's metadata: rows that follow each other and have the same makers, as JSON."""
_DRIVER = Path("/sys/module/nvidia/version")
_PROCESSORS = Path("/proc/cpuinfo")
PACKAGES = ("torch", "diffusers", "transformers")
"""Whose versions move last bits of images."""


@cache
def maker(device: str, switches: Sequence[str] = ()) -> Maker:
    """What computes on a device of this machine.

    Args:
        device: A device of torch.
        switches: What makes the engine faster there, see `acceleration`.
    """
    told = _processor() if device == "cpu" else _accelerator(device)
    versions = {name: version(name) for name in PACKAGES}
    return _encode(told | versions | ({"switches": sorted(switches)} if switches else {}))


def elsewhere(what: str) -> Maker:
    """What made images that were not made here."""
    return _encode({"device": what})


def said(made_by: Maker | None) -> str:
    """A maker as people read it."""
    if made_by is None:
        return NOT_RECORDED
    told: Mapping[str, object] = json.loads(made_by)
    words = [str(told["device"])]
    words += [f"{name} {told[name]}" for name in ("driver", "CUDA", *PACKAGES) if name in told]
    switches = told.get("switches", [])
    return ", ".join([*words, *(switches if isinstance(switches, list) else [])])


def as_metadata(made: Sequence[Made]) -> dict[bytes, bytes]:
    """Metadata that says who made the rows of a file; nothing where nobody knows."""
    if not any(any(makers) for makers in made):
        return {}
    runs = [[*makers, len(list(some))] for makers, some in groupby(made)]
    return {METADATA: json.dumps(runs, separators=(",", ":")).encode()}


def from_metadata(metadata: Mapping[bytes, bytes] | None, rows: int) -> list[Made]:
    """Who made the rows of a file, one after the other; of files that say nothing nobody is known.

    What is no such metadata counts as nothing: numbers do not depend on it.
    """
    nobody: list[Made] = [(None, None)] * rows
    try:
        runs = json.loads((metadata or {})[METADATA])
        made = [_padded(makers) for *makers, count in runs for _ in range(count)]
    except (KeyError, ValueError, TypeError):
        return nobody
    return made if len(made) == rows else nobody


def _padded(makers: list[object]) -> Made:
    known = [str(one) if isinstance(one, str) else None for one in makers[:2]]
    return (*known, *[None] * (2 - len(known)))


def _processor() -> dict[str, object]:
    import torch

    name = platform.machine()
    if _PROCESSORS.is_file():
        lines = _PROCESSORS.read_text("utf-8", "replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return {"device": f"{name}, {torch.backends.cpu.get_cpu_capability()}"}


def _accelerator(device: str) -> dict[str, object]:
    import torch

    if not device.startswith("cuda"):
        return {"device": device}
    told: dict[str, object] = {"device": torch.cuda.get_device_name(device)}
    if _DRIVER.is_file():
        told["driver"] = _DRIVER.read_text("utf-8", "replace").strip()
    return told | ({"CUDA": torch.version.cuda} if torch.version.cuda else {})


def _encode(told: Mapping[str, object]) -> Maker:
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
