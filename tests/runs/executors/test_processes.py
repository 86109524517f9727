"""Blocks done by processes of their own end as blocks done by one, whatever happens to them."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import SECONDS, start, wait_for, whole_command
from written_inputs import Asked, write_method
from written_store import files

from livo_bench.errors import AdapterFailed, BadInput, Incomplete
from livo_bench.runs import runner
from livo_bench.runs.executors import several
from livo_bench.runs.executors.choice import Local, devices_of
from livo_bench.runs.executors.command import Command, bases, read_command
from livo_bench.runs.executors.several import Processes
from livo_bench.runs.requests import prepare
from livo_bench.runs.work import works_of


def killing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Have workers killed that were just given a block, so often; their blocks."""
    killed: list[str] = []
    give = several._Worker.give

    def give_and_kill(self: several._Worker, id: str) -> None:
        give(self, id)
        if len(killed) < times:
            killed.append(id)
            self._process.send_signal(signal.SIGKILL)

    monkeypatch.setattr(several._Worker, "give", give_and_kill)
    return killed


def test_a_killed_worker_costs_nothing_and_changes_no_byte(
    whole: tuple[Asked, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    options, expected = whole
    killed = killing(monkeypatch, 1)
    runner.run(**options | {"runs": tmp_path, "executor": "processes", "workers": 2})
    assert len(killed) == 1
    assert "a worker on cpu died (exit code -9); its blocks are begun again" in caplog.text
    assert files(tmp_path) == files(expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_workers_killed_at_random_moments_change_no_byte(
    whole: tuple[Asked, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Six times: while they import, plan, load, sample, judge or write."""
    moments, start = random.Random(seed), several._Worker.__init__
    killed: list[threading.Timer] = []

    def start_and_kill(self: several._Worker, *arguments: Any) -> None:
        start(self, *arguments)
        if len(killed) < 6:
            after = moments.uniform(0, moments.choice([5, 20]))
            killed.append(threading.Timer(after, self._process.send_signal, [signal.SIGKILL]))
            killed[-1].start()

    monkeypatch.setattr(several._Worker, "__init__", start_and_kill)
    monkeypatch.setattr(several, "DEATHS", 100)
    runner.run(**whole[0] | {"runs": tmp_path, "executor": "processes", "workers": 2})
    for timer in killed:
        timer.cancel()
    assert len(killed) > 2  # at least one was replaced
    assert files(tmp_path) == files(whole[1])


def test_workers_that_die_of_a_block_again_and_again_end_the_run(
    whole: tuple[Asked, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "DEATHS", 2)
    killed = killing(monkeypatch, 2)
    with pytest.raises(Incomplete, match=r"2 workers died over block [0-9a-f]{32}.*exit code -9"):
        runner.run(**whole[0] | {"runs": tmp_path, "workers": 1})
    assert len(killed) == 2
    assert len(set(killed)) == 1


def test_what_a_worker_raises_is_raised_here(whole: tuple[Asked, Path], tmp_path: Path) -> None:
    broken = write_method(tmp_path / "broken", generate="raise ValueError('lost in a worker')")
    options = whole[0] | {"methods": [broken], "runs": tmp_path / "runs", "workers": 1}
    with pytest.raises(AdapterFailed) as caught:
        runner.run(**options)
    assert "lost in a worker" in str(caught.value.__cause__)


def test_a_worker_that_plans_something_else_is_refused(
    whole: tuple[Asked, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_this = {**bases(*planned(whole[0])), "torch": "0.1"}
    monkeypatch.setattr(several, "bases", lambda session, works: of_this)
    with pytest.raises(BadInput, match=r"would not do the same work: torch is .* and '0.1' here"):
        runner.run(**whole[0] | {"runs": tmp_path, "workers": 1})
    assert not list(tmp_path.rglob("*.parquet"))


def planned(options: Any) -> Any:
    session, jobs = prepare(**options)
    return session, works_of(session, jobs)


def test_a_command_survives_being_written(whole: tuple[Asked, Path]) -> None:
    options: Any = dict(whole[0]) | {"weights": ("a", "b")}
    methods, task, model = (options.pop(name) for name in ("methods", "task", "model"))
    command = Command(methods, task, model, options)
    assert read_command(command.as_json()) == command
    assert read_command(command.as_json(device="cuda:1")).options["device"] == "cuda:1"


def test_other_files_other_judges_or_other_blocks_are_another_basis(
    whole: tuple[Asked, Path],
) -> None:
    session, works = planned(whole[0])
    assert bases(session, works) == bases(*planned(whole[0]))
    assert bases(session, works[1:]) != bases(session, works)
    for options in ({"images": 6}, {"task": "bias/gender"}, {"seed": 1}):
        assert bases(*planned(whole[0] | options)) != bases(session, works), options


@pytest.mark.parametrize(
    ("asked", "gpus", "devices"),
    [
        ({}, 0, []),
        ({"executor": "local"}, 4, []),
        ({"executor": "processes", "workers": 3}, 0, ["cpu"] * 3),
        ({"workers": 2}, 0, ["cpu"] * 2),
        ({}, 1, []),
        ({}, 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ({"workers": 3}, 2, ["cuda:0", "cuda:1", "cuda:0"]),
    ],
)
def test_each_gpu_has_a_process_by_default(
    whole: tuple[Asked, Path],
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, object],
    gpus: int,
    devices: list[str],
) -> None:
    session, _ = prepare(**whole[0] | asked)  # type: ignore[arg-type]
    object.__setattr__(session, "device", "cuda" if gpus else "cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert list(devices_of(session)) == devices


def test_workers_of_a_local_run_are_refused(whole: tuple[Asked, Path]) -> None:
    with pytest.raises(BadInput, match="--workers 2"):
        runner.run(**whole[0] | {"executor": "local", "workers": 2})


def begin(options: Asked, folder: Path) -> BaseProcess:
    """The command line with two workers, one block of which is stored."""
    named = {name: value for name, value in options.items() if name != "methods"}
    words = ["run", "--method=sd", "--executor=processes", "--workers=2"]
    words += [f"--{name}={value}" for name, value in (named | {"runs": folder / "runs"}).items()]
    process = start(whole_command, words, folder)
    wait_for(lambda: any((folder / "runs").rglob("samples/*.parquet")))
    return process


def gone(processes_of: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != "zombie" for one in processes_of)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_stopped_driver_leaves_no_worker_and_goes_on_later(
    whole: tuple[Asked, Path], tmp_path: Path, number: signal.Signals
) -> None:
    options, expected = whole
    process = begin(options, tmp_path)
    assert process.pid is not None
    workers = psutil.Process(process.pid).children()
    assert workers
    os.kill(process.pid, number)
    process.join(SECONDS)
    wait_for(lambda: gone(workers))
    if number == signal.SIGINT:
        assert process.exitcode == 130
        said = (tmp_path / "stderr").read_text()
        assert re.search(r"Stopped by SIGINT. In .* images wanted", said)
        assert "Traceback" not in said
    kept = files(tmp_path / "runs")
    assert kept.items() <= files(expected).items()
    runner.run(**options | {"runs": tmp_path / "runs", "workers": 2})
    assert files(tmp_path / "runs") == files(expected)


def test_local_and_processes_are_the_executors(whole: tuple[Asked, Path]) -> None:
    """Both take ids and give ids; what is stored already is nobody's work."""
    session, works = planned(whole[0])
    local = Local(session, works)
    ids = [work.block.id for work in works]
    assert sorted(local.run(ids)) == sorted(ids)
    command = Command(["sd"], "bias", whole[0]["model"], session.options)
    assert sorted(Processes(command, session, works, ["cpu"]).run(ids[:2])) == sorted(ids[:2])
