"""What a user may get wrong, on the command line: a short error with the next step, exit code 2,
before a model is loaded, and nothing written or lost."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from written_inputs import write_method, write_prompts

from livo_bench import scorers
from livo_bench.cli import main
from livo_bench.engines import diffusion
from livo_bench.runs import store

GOOD = "text,category\na photo of a doctor,career\n"


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a generator or a judge fails."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(diffusion, "load", refuse)
    monkeypatch.setattr(scorers.Lazy, "__call__", refuse)


@pytest.fixture
def refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run with some options changed, and return the message."""
    monkeypatch.chdir(tmp_path)

    def call(**changed: object) -> str:
        options = {"method": "sd", "task": "bias", "model": tiny_model, "runs": tmp_path / "runs"}
        words = [f"--{name}={value}" for name, value in (options | changed).items()]
        result = CliRunner().invoke(main, ["run", *words])
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert not list(tmp_path.rglob("*.parquet"))
        return result.stderr

    return call


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("method", "livvo", "Unknown method 'livvo'. Known: .*Did you mean 'livo'"),
        ("method", "livo:fast", "Method 'livo' has no variant 'fast'. It has: all"),
        ("method", "./nowhere", "no folder './nowhere', expected one for --method"),
        ("task", "bais", "Unknown task 'bais'. Known: .*Did you mean 'bias'"),
        ("task", "bias/age", "Task 'bias' has no subset 'age'. It has: gender, race"),
        ("model", "mimi", "Unknown model 'mimi'. Known: .*--model ./my-model"),
        ("images", "0", "--images"),
        ("images", "many", "--images"),
        ("seed", "-1", "--seed"),
        ("dtype", "int8", "--dtype.*float32"),
        ("device", "abacus", "'abacus' cannot be used.*--device auto"),
        ("weights", "./nowhere", "no method of this run takes any"),
        ("scorer", "./nowhere", "no model folder './nowhere'"),
        ("frob", "1", "No such option.*--frob"),
    ],
)
def test_a_value_that_is_not_known_is_named_with_those_that_are(
    refused: Callable[..., str], option: str, value: str, said: str
) -> None:
    message = refused(**{option: value})
    assert re.search(said, message, re.DOTALL), message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"text\na photo of a doctor\n", "line 1: no column 'category'"),
        (b"text,category\n ,career\n", "line 2: the text is empty"),
        (GOOD.encode() + b"a photo of a doctor,career\n", "is already on line 2"),
        (b"text,category\na caf\xe9 owner,career\n", "line 2: byte 0xe9 is not UTF-8"),
        (b"text,category\na cook,crime\n", "category is 'crime'"),
        (b"text,category\n", "no prompts"),
        (b"", "line 1: no column 'text'"),
    ],
    ids=["column", "empty prompt", "duplicate", "encoding", "category", "no prompt", "no byte"],
)
def test_a_prompt_list_is_refused_at_its_line(
    refused: Callable[..., str], tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(data)
    message = refused(prompts=path)
    assert said in message
    assert str(path) in message


def test_a_prompt_list_that_is_not_there_is_named(refused: Callable[..., str]) -> None:
    assert "nowhere.csv" in refused(prompts="nowhere.csv")


def test_a_folder_that_is_no_model_says_what_one_has(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no model_index.json" in refused(model="./empty")
    (tmp_path / "mine.toml").write_bytes(b"title = \xff")
    assert "is not UTF-8" in refused(model="mine.toml")
    (tmp_path / "mine.toml").write_text("name = 'other'", encoding="utf-8")
    assert "mine.toml" in refused(model="mine.toml")


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (None, r"has no .*adapter.py"),
        ("x = 1\n", r"defines no load\(context\)"),
        ("def load(context):\n    return 3\n", r"returned 3, expected an object with resolve"),
    ],
    ids=["none", "no load", "no method"],
)
def test_a_method_folder_that_is_none_says_what_it_lacks(
    refused: Callable[..., str], tmp_path: Path, adapter: str | None, said: str
) -> None:
    folder = tmp_path / "own"
    write_method(folder)
    (folder / "adapter.py").unlink()
    if adapter is not None:
        (folder / "adapter.py").write_text(adapter, encoding="utf-8")
    message = refused(method="./own")
    assert re.search(said, message), message


def test_what_an_adapter_raises_ends_with_one_line_below_its_traceback(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    write_method(tmp_path / "own", "return request.promt")
    result = CliRunner().invoke(main, ["run", "--method=./own", "--task=bias", "--model=mini"])
    assert result.exit_code == 2
    first, *_, last = result.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "return request.promt" in result.stderr
    assert "catalog.py" not in result.stderr
    assert last.startswith("Error: Adapter of 'own' failed in resolve: AttributeError: ")
    assert last.endswith(f"({tmp_path / 'own' / 'adapter.py'})")


def test_hints_name_the_model_as_it_was_passed(
    refused: Callable[..., str], tiny_model: Path
) -> None:
    said = refused(method="livo")
    assert f"livo-bench train --method livo --model {tiny_model}" in said
    said = refused(model="owner/name")
    assert "livo-bench fetch --model owner/name" in said


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")],
    ids=["read-only", "full"],
)
def test_a_folder_that_cannot_be_written_is_named_with_another_way(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    said: str,
) -> None:
    failing = Mock(side_effect=OSError(number, os.strerror(number)))
    monkeypatch.setattr(store.tempfile, "TemporaryFile", failing)
    message = refused(prompts=write_prompts(tmp_path / "own.csv", GOOD.splitlines()[1:]))
    assert f"Cannot write {tmp_path / 'runs'}" in message
    assert said in message
    assert "--runs DIR" in message


def test_a_disk_with_too_little_room_is_named_with_what_is_needed(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage)
    message = refused(prompts=write_prompts(tmp_path / "own.csv", GOOD.splitlines()[1:]))
    assert "has 1.0 kB free, this needs" in message
    assert "--runs DIR" in message


def test_a_file_where_the_runs_should_lie_is_named(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("mine")
    message = refused(prompts=write_prompts(tmp_path / "own.csv", GOOD.splitlines()[1:]))
    assert str(tmp_path / "runs") in message
    assert (tmp_path / "runs").read_text() == "mine"
