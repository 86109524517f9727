"""Writes that are refused or hang for a while are done in the end, byte for byte."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from written_store import draw, files, keys_of, raiser, recipes, write

from livo_bench.errors import BadInput
from livo_bench.runs import retrying
from livo_bench.runs.store import Store

BLOCKS = 12
REFUSALS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.ETIMEDOUT)


@pytest.fixture(autouse=True)
def _uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_counted", retrying._Counted())


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """The files of some blocks and their scores, by name."""
    return files(write_all(tmp_path / "undisturbed"))


def write_all(folder: Path) -> Path:
    """Write what is missing of some blocks and their scores."""
    store = Store(folder, "mini")
    for block in range(BLOCKS):
        write(store, 3 * block, 3 * block + 3)
        keys = keys_of(recipes(3 * block, 3 * block + 3))
        store.write_scores("judge", keys, {"p": draw(recipes(0, 3))[:, 0, 0, 0]})
    return folder


def refusing(times: int, number: int) -> Callable[..., None]:
    """`os.replace`, of which the first calls fail."""
    left, replace = [number] * times, os.replace

    def move(source: Path, target: Path) -> None:
        if left:
            raise OSError(left[0], os.strerror(left.pop()))
        replace(source, target)

    return move


@pytest.mark.parametrize("number", REFUSALS)
def test_a_write_that_is_refused_for_a_while_is_done_and_said(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "replace", refusing(2, number))
    with caplog.at_level(logging.WARNING):
        path = write(Store(tmp_path, "mini"), 0, 3)
    assert path.is_file()
    reason = os.strerror(number)
    assert caplog.messages == [
        f"{path} was refused 2 times ({reason}) and is written now; files that had to be "
        "tried again in this process until now: 1."
    ]


def test_it_is_said_more_and_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path, "mini")
    with caplog.at_level(logging.WARNING):
        for block in range(9):
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", refusing(1, errno.EIO))
                write(store, block, block + 1)
    counts = [said.rsplit(": ", 1)[1].rstrip(".") for said in caplog.messages]
    assert counts == ["1", "2", "4", "8"]


def test_a_write_that_is_always_refused_is_an_error_that_says_how_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", raiser(errno.ENOSPC))
    with pytest.raises(BadInput, match=r"No space left.*tried 4 times in \d+ s.*--runs DIR"):
        write(Store(tmp_path, "mini"), 0, 3)


def test_what_does_not_pass_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(source: Path, target: Path) -> None:
        calls.append(target)
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(BadInput, match="Permission denied") as caught:
        write(Store(tmp_path, "mini"), 0, 3)
    assert len(calls) == 1
    assert "tried" not in str(caught.value)


def test_a_write_that_hangs_is_left_and_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answered, ended, replace = threading.Event(), threading.Event(), os.replace

    def hang(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        answered.wait()
        replace(source, target)
        ended.set()

    monkeypatch.setattr(os, "replace", hang)
    monkeypatch.setattr(retrying, "PATIENCE", 0.5)
    with caplog.at_level(logging.WARNING):
        path = write(Store(tmp_path, "mini"), 0, 3)
    assert "it hung" in caplog.text
    before = path.read_bytes()
    answered.set()
    assert ended.wait(30)
    assert path.read_bytes() == before


def test_a_write_that_hangs_for_good_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = threading.Event()
    monkeypatch.setattr(os, "replace", lambda source, target: forever.wait())
    monkeypatch.setattr(retrying, "PATIENCE", 0.2)
    with pytest.raises(BadInput, match=r"it hung for .* It was tried 4 times.*--runs DIR"):
        write(Store(tmp_path, "mini"), 0, 3)
    forever.set()


def test_another_error_of_a_write_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        retrying.persist(fail, "a file")


def test_a_store_that_refuses_writes_at_random_holds_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = random.Random(0)
    refused = []

    def at_random(call: Callable[..., object]) -> Callable[..., object]:
        def perhaps(*arguments: object) -> object:
            if draws.random() < 0.35:
                refused.append(number := draws.choice(REFUSALS))
                raise OSError(number, os.strerror(number))
            return call(*arguments)

        return perhaps

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, at_random(getattr(os, name)))
    given_up: list[str] = []
    while not given_up or given_up[-1]:
        try:
            write_all(tmp_path / "chaos")
        except BadInput as error:
            given_up.append(str(error))
        else:
            given_up.append("")
    assert len(given_up) > 1
    assert all("It was tried 4 times" in said for said in given_up[:-1])
    assert len(refused) > BLOCKS
    assert files(tmp_path / "chaos") == undisturbed


def test_a_killed_writer_whose_writes_are_refused_goes_on_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    draws = random.Random(1)
    lines = (
        "import errno, os, random, sys, time",
        "from pathlib import Path",
        "from livo_bench.runs import retrying",
        "import test_retrying",
        "retrying.PAUSES = (0.0,) * 30",
        "replace, draws = os.replace, random.Random(int(sys.argv[2]))",
        "def perhaps(source, target):",
        "    time.sleep(0.01)",
        "    if draws.random() < 0.3:",
        "        raise OSError(errno.EIO, 'refused')",
        "    replace(source, target)",
        "os.replace = perhaps",
        "print(flush=True)",
        "test_retrying.write_all(Path(sys.argv[1]))",
    )
    chaos, killed = tmp_path / "chaos", 0
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for attempt in range(20):
        words = [sys.executable, "-c", "\n".join(lines), str(chaos), str(attempt)]
        with subprocess.Popen(
            words, env=os.environ | {"PYTHONPATH": here}, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if attempt < 3:
                time.sleep(draws.uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
            killed += process.returncode == -signal.SIGKILL
    assert killed
    assert files(chaos) == undisturbed
