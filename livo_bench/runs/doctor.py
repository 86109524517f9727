"""The machine looked over, and livo-bench broken on purpose: is anything lost?

Each demonstration runs the miniature world in a folder of its own, breaks something, which has to
be said where it cannot be mended unasked, and runs the same command again. The results then have to
be, byte for byte, those of a run that nothing disturbed.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.filesize import decimal

from livo_bench.cards.catalog import model_card
from livo_bench.cards.weights import CLIP_WEIGHTS
from livo_bench.results import seal
from livo_bench.runs.session import find_device

MODEL = "mini"
PROMPTS = ("nurse", "painter", "judge", "dancer")
IMAGES = 2
SECONDS = 600
"""Seconds until a run is given up."""
SMALL = 10_000
"""Bytes: no file of images fits into so few."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at or tried, and what came of it."""

    check: str
    found: str
    fine: bool


def doctor(device: str = "auto") -> list[Finding]:
    """Look the machine over, then break small runs and see that nothing is lost.

    Args:
        device: `auto`, `cpu`, `cuda`, ...

    Returns:
        Facts first, then demonstrations.

    Raises:
        BadInput: This machine has no such device.
    """
    device = find_device(device)
    findings = list(_machine(device))
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as place:
        bench = _Bench(Path(place), device)
        with console.status("a run that nothing disturbs"):
            finding = bench.undisturbed()
        findings.append(finding)
        for name, breaks in DEMONSTRATIONS.items() if finding.fine else ():
            with console.status(name):
                findings.append(bench.demonstrate(name, breaks))
    return findings


def _machine(device: str) -> Iterator[Finding]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("livo-bench", "torch", "diffusers"))
    yield Finding("software", f"Python {platform.python_version()}, {packages}", True)
    yield Finding("device", f"{_name_of(device)}; {os.cpu_count()} processor cores", True)
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding("room for images", f"{decimal(free)} free in {Path.cwd()}", free > 1e9)


def _name_of(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return f"{device}, {torch.get_device_module(device).get_device_name(device)}"


class Broken(NamedTuple):
    """An account of how a run was broken."""

    how: str
    told: bool = True
    """Whether it said what it had to say."""


class _Bench:
    """A small run, and what an undisturbed one writes."""

    def __init__(self, place: Path, device: str) -> None:
        self.place = place
        lines = [f"a photo of the face of a {name},career" for name in PROMPTS]
        self.prompts = place / "prompts.csv"
        self.prompts.write_text("\n".join(["text,category", *lines]), encoding="utf-8")
        self.whole = place / "whole"
        self._device = device

    def start(
        self, runs: Path, prepare: Callable[[], None] | None = None, *more: str
    ) -> subprocess.Popen[str]:
        """Begin the run in another process, with further words."""
        words = ["--method", "sd", "--task", "bias/gender", "--images", str(IMAGES)]
        words += ["--prompts", str(self.prompts), "--device", self._device, "--runs", str(runs)]
        return _command("run", *words, *more, prepare=prepare)

    def finish(self, runs: Path) -> str:
        """Run to the end; what it said if that failed."""
        process = self.start(runs)
        _, said = process.communicate(timeout=SECONDS)
        return said.strip() if process.returncode else ""

    def undisturbed(self) -> Finding:
        failed = self.finish(self.whole)
        count = len(PROMPTS) * IMAGES
        found = failed or f"{count} images of the miniature world made, judged and tabulated"
        return Finding("a run that nothing disturbs", found, not failed)

    def demonstrate(self, name: str, breaks: Callable[[_Bench, Path], Broken]) -> Finding:
        """Break a run and run it again."""
        runs = self.place / name.replace(" ", "-")
        broken = breaks(self, runs)
        if failed := self.finish(runs):
            return Finding(name, f"{broken.how}; then the run failed: {failed}", False)
        same = _results(runs) == _results(self.whole)
        verdict = "the same, byte for byte" if same else "NOT those of the undisturbed run"
        found = f"{broken.how}; run again, its results are {verdict}"
        return Finding(name, found, same and broken.told)


def _command(*words: str, prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "livo_bench.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def _folder(runs: Path) -> Path:
    return runs / MODEL / "sd" / "bias.gender"


def _results(runs: Path) -> dict[str, bytes]:
    return {name: (_folder(runs) / name).read_bytes() for name in seal.RESULT_FILES}


def _files(runs: Path, kind: str) -> list[Path]:
    return sorted((runs / "store" / MODEL).glob(f"{kind}/**/[!._]*.parquet"))


def _kill(bench: _Bench, runs: Path) -> Broken:
    process = bench.start(runs)
    end = time.monotonic() + SECONDS
    while process.poll() is None and not _files(runs, "samples") and time.monotonic() < end:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    return Broken(f"killed with {len(_files(runs, 'samples'))} of {len(PROMPTS)} blocks stored")


def _tear(bench: _Bench, runs: Path) -> Broken:
    shutil.copytree(bench.whole, runs)
    path = _files(runs, "scores")[0]
    path.write_bytes(path.read_bytes()[:-100])
    return Broken("the last 100 bytes of a file of scores cut off")


def _flip(bench: _Bench, runs: Path) -> Broken:
    shutil.copytree(bench.whole, runs)
    path = _files(runs, "samples")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    # Pictures are read when a score is missing.
    shutil.rmtree(runs / "store" / "mini" / "scores")
    return Broken("a bit of a picture flipped, and all scores deleted")


def _fill(bench: _Bench, runs: Path) -> Broken:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))

    process = bench.start(runs, limit)
    _, said = process.communicate(timeout=SECONDS)
    return _told(f"no file could grow beyond {decimal(SMALL)}", "run", "Cannot write" in said)


def _swap(bench: _Bench, runs: Path) -> Broken:
    shutil.copytree(bench.whole, runs)
    path = _folder(runs) / seal.IMAGES
    images = pd.read_parquet(path)
    path.write_bytes(seal.as_parquet(images[images["index"] == 0]))
    process = _command("report", str(runs))
    _, said = process.communicate(timeout=SECONDS)
    told = bool(process.returncode) and f"{path} is not the file" in said
    return _told(f"{seal.IMAGES} replaced by that of a run with fewer images", "report", told)


def _unseal(bench: _Bench, runs: Path) -> Broken:
    shutil.copytree(bench.whole, runs)
    record = json.loads((_folder(runs) / seal.RECORD).read_bytes())
    del record["seal"], record["format"]
    record["method"].pop("files", None)
    (_folder(runs) / seal.RECORD).write_text(json.dumps(record), encoding="utf-8")
    images = pd.read_parquet(_folder(runs) / seal.IMAGES)
    images.to_parquet(_folder(runs) / seal.IMAGES, index=False)
    process = _command("check", "--baseline", str(runs), "--runs", str(bench.whole))
    _, said = process.communicate(timeout=SECONDS)
    told = f"results in {runs} are unsealed" in said
    return _told("a baseline as versions before seals wrote it", "check", told)


def _thin(bench: _Bench, runs: Path) -> Broken:
    """A judge of one's own, whose file of weights lacks a tensor."""
    from safetensors.torch import load_file, save_file

    judge = _own_judge(bench, runs)
    tensors = load_file(judge / CLIP_WEIGHTS)
    lost = min(tensors)
    del tensors[lost]
    save_file(tensors, judge / CLIP_WEIGHTS)
    return _refused(bench, runs, judge, f"a judge whose weights lack {lost}", lost)


def _mute(bench: _Bench, runs: Path) -> Broken:
    """A judge of one's own without its vocabulary, where libraries make an empty one."""
    judge = _own_judge(bench, runs)
    (judge / "tokenizer.json").unlink()
    return _refused(bench, runs, judge, "a judge whose folder lacks its words", "tokenizer.json")


def _own_judge(bench: _Bench, runs: Path) -> Path:
    shutil.copytree(bench.whole, runs)
    return shutil.copytree(model_card(MODEL).judges["attributes"].weights, runs / "judge")


def _refused(bench: _Bench, runs: Path, judge: Path, how: str, named: str) -> Broken:
    process = bench.start(runs, None, "--scorer", str(judge))
    _, said = process.communicate(timeout=SECONDS)
    return _told(how, "run", process.returncode == 2 and str(judge) in said and named in said)


def _told(how: str, command: str, told: bool) -> Broken:
    return Broken(f"{how}, and {command} {'said so' if told else 'did NOT say so'}", told)


DEMONSTRATIONS: dict[str, Callable[[_Bench, Path], Broken]] = {
    "a killed process": _kill,
    "a torn file": _tear,
    "a flipped bit": _flip,
    "a full disk": _fill,
    "a judge with missing weights": _thin,
    "a judge without words": _mute,
    "a swapped result": _swap,
    "an unsealed baseline": _unseal,
}
"""Functions that break a run and say how, by what they do to it."""
