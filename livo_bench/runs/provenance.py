"""What made a block: kept in the metadata of its file, and counted in `run.json`.

It names no host, so that equal machines write equal files.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from livo_bench.results.record import NOT_RECORDED

Maker: TypeAlias = Mapping[str, str]
"""What is known of a device and its software by name, e.g. `{"device": "NVIDIA H200", "torch":
"2.15.0+cu132"}`; nothing of files of versions that wrote none."""

METADATA = b"livo_bench.made_by"
"""Key of a file's metadata, in Parquet."""
ELSEWHERE: Maker = {"device": "elsewhere"}
"""Maker of pictures that nobody here made."""

_PACKAGES = ("torch", "diffusers", "transformers")
_UNNAMED = ("device", "dtype", "switches")
"""Said without its name."""
_DRIVER = Path("/proc/driver/nvidia/version")


def here(device: str) -> Maker:
    """This machine's device and the software that computes on it.

    Args:
        device: As `session.find_device` gives it; its number is left out.
    """
    import torch

    packages = {name: version(name) for name in _PACKAGES} | {"torch": torch.__version__}
    if device == "cpu":
        # Which instructions sums are made of moves their last bits.
        capability = torch.backends.cpu.get_cpu_capability()
        return {"device": f"cpu {platform.machine()} {capability}", **packages}
    name = torch.get_device_module(device).get_device_name(device)
    return {"device": name, **(_of_cuda(device) if device.startswith("cuda") else {}), **packages}


def _of_cuda(device: str) -> Maker:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    found = {
        "capability": f"{major}.{minor}",
        "driver": _driver(),
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _driver() -> str | None:
    """Version of NVIDIA's driver; None where it does not say."""
    if not _DRIVER.is_file():
        return None
    found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", _DRIVER.read_text(encoding="utf-8"))
    return found[0] if found else None


def drawing(maker: Maker, dtype: str, switches: Sequence[str]) -> Maker:
    """A maker of images, which are drawn in a precision and under switches."""
    drawn = {**maker, "dtype": dtype}
    return {**drawn, "switches": " ".join(sorted(switches))} if switches else drawn


def as_metadata(maker: Maker) -> dict[bytes, bytes]:
    """What a file's metadata says of its maker."""
    return {METADATA: json.dumps(maker, sort_keys=True).encode()}


def said(metadata: bytes | None) -> str:
    """What made a file, in words, from its metadata."""
    if metadata is None:
        return NOT_RECORDED
    maker: Maker = json.loads(metadata)
    # The device, its software, how images were drawn.
    order = sorted(maker, key=lambda name: (name != "device", name in _UNNAMED, name))
    return ", ".join(maker[name] if name in _UNNAMED else f"{name} {maker[name]}" for name in order)
