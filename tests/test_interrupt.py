import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import TypedDict

import pytest
from click.testing import CliRunner
from processes import SECONDS, command, start, wait_for
from written_inputs import write_prompts

import livo_bench.runs
from livo_bench import interrupt
from livo_bench.cli import main
from livo_bench.interrupt import Stopped
from livo_bench.runs import runner

BOTH = pytest.mark.parametrize("number", interrupt.SIGNALS, ids=lambda number: number.name)


@BOTH
def test_a_signal_ends_the_work_with_its_name_and_exit_code(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in interrupt.SIGNALS]
    with pytest.raises(Stopped, match=number.name) as caught, interrupt.listening():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert "once more stops at once" in capfd.readouterr().err
    assert [signal.getsignal(each) for each in interrupt.SIGNALS] == before
    interrupt.require_unasked()  # what comes after has not been asked to stop


@BOTH
def test_the_second_signal_is_left_to_the_system(number: signal.Signals) -> None:
    with interrupt.listening(), interrupt.held():
        signal.raise_signal(number)
        handlers = {signal.getsignal(each) for each in interrupt.SIGNALS}
        with pytest.raises(Stopped):
            interrupt.require_unasked()
        interrupt._state.asked = 0
    assert handlers == {signal.SIG_DFL}


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.listening():
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_held_loop_ends_where_it_looks_and_says_what_it_kept() -> None:
    steps = []

    def loop() -> None:
        for step in range(5):
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
            steps.append(step)
            if number := interrupt.asked():
                raise interrupt.stopped(number, f"{step + 1} steps")

    with pytest.raises(Stopped) as caught, interrupt.listening(), interrupt.held():
        loop()
    assert steps == [0, 1, 2]
    assert caught.value.__notes__ == ["3 steps"]


def test_a_signal_that_a_loop_did_not_look_for_is_not_lost() -> None:
    with pytest.raises(Stopped), interrupt.listening(), interrupt.held():
        signal.raise_signal(signal.SIGTERM)


def test_the_command_line_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(**options: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    fake = SimpleNamespace(run=run)
    monkeypatch.setattr(livo_bench.runs, "runner", fake, raising=False)
    monkeypatch.setitem(sys.modules, "livo_bench.runs.runner", fake)
    result = CliRunner().invoke(main, ["run", "--method", "sd", "--task", "my tasks/bias"])
    assert result.exit_code == 143
    assert result.stderr.endswith(
        "Stopped by SIGTERM. What was finished is kept. Go on with\n"
        "    livo-bench run --method sd --task 'my tasks/bias'\n"
    )


# Runs that are stopped

ROWS = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]


class Small(TypedDict):
    """Arguments of a run but for its methods and its folder."""

    task: str
    model: str
    images: int
    prompts: Path
    device: str


@pytest.fixture(scope="module")
def whole(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Small, dict[str, bytes]]:
    """Options of a run of three blocks, and the files that it leaves."""
    folder = tmp_path_factory.mktemp("whole")
    prompts = write_prompts(folder / "own.csv", ROWS)
    options: Small = {"task": "bias", "model": str(tiny_model), "images": 5, "prompts": prompts,
               "device": "cpu"}  # fmt: skip
    runner.run(["sd"], **options, runs=folder / "runs")
    return options, files(folder / "runs")


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, but for what a killed process was writing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


def begin(options: Small, folder: Path) -> BaseProcess:
    """A run that is in its second block."""
    words = ["run", "--method=sd", f"--runs={folder / 'runs'}"]
    words += [f"--{name}={value}" for name, value in options.items()]
    process = start(command, words, folder)
    wait_for((folder / "in-hand").exists)
    return process


@BOTH
def test_a_run_finishes_the_block_in_hand_and_goes_on_later(
    whole: tuple[Small, dict[str, bytes]], tmp_path: Path, number: signal.Signals
) -> None:
    options, expected = whole
    process = begin(options, tmp_path)
    assert process.pid is not None
    os.kill(process.pid, number)
    wait_for(lambda: "Stopping" in (tmp_path / "stderr").read_text())
    (tmp_path / "go").touch()
    process.join(SECONDS)
    assert process.exitcode == 128 + number
    said = (tmp_path / "stderr").read_text()
    assert f"Stopped by {number.name}. In {tmp_path / 'runs' / 'store' / 'tiny'}: " in said
    assert "15 images wanted, 10 stored. To make: 5 in 1 blocks" in said
    assert "Go on with\n    livo-bench run --method=sd" in said
    assert "Traceback" not in said
    kept = files(tmp_path / "runs")
    assert kept.items() <= expected.items()
    # Two blocks with the scores of four judges, and no results.
    assert len(kept) == 2 * 5
    runner.run(["sd"], **options, runs=tmp_path / "runs")
    assert files(tmp_path / "runs") == expected


def test_the_second_signal_ends_a_run_at_once_and_nothing_is_torn(
    whole: tuple[Small, dict[str, bytes]], tmp_path: Path
) -> None:
    options, expected = whole
    process = begin(options, tmp_path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    wait_for(lambda: "Stopping" in (tmp_path / "stderr").read_text())
    os.kill(process.pid, signal.SIGINT)
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGINT
    kept = files(tmp_path / "runs")
    assert kept.items() <= expected.items()
    assert len(kept) == 5
    runner.run(["sd"], **options, runs=tmp_path / "runs")
    assert files(tmp_path / "runs") == expected
