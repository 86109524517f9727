"""What run and train tell on standard error, as bars, as lines of JSON or not at all."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import livo_bench.runs
from livo_bench import telling
from livo_bench.bars import bar, counted, status
from livo_bench.cli import main
from livo_bench.errors import BadInput

RUN = ("run", "--method", "sd", "--task", "bias")
Work = Callable[[], None]


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stderr.splitlines()]


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Puts work in the place of a run."""

    def put(work: Work) -> None:
        def run(**_: object) -> list[Path]:
            work()
            return [Path("done")]

        fake = SimpleNamespace(run=run)
        monkeypatch.setattr(livo_bench.runs, "runner", fake, raising=False)
        monkeypatch.setitem(sys.modules, "livo_bench.runs.runner", fake)

    return put


def busy() -> None:
    with status("loading models"):
        pass
    with bar("{task.fields[said]}") as progress:
        task = progress.add_task("training", total=3, completed=0, said="")
        for number in range(3):
            progress.update(task, advance=1, said=f"loss {number}")
    assert list(counted(iter("abcd"), "counting", 4)) == list("abcd")
    print("too long\nby far", file=sys.stderr)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_standard_error_is_lines_of_json_and_nothing_else(
    works: Callable[[Work], None],
) -> None:
    works(busy)
    result = invoke(*RUN, "--progress", "json")
    assert result.stdout == "done\n"
    told = lines(result)
    assert told[0] == {"event": "status", "doing": "loading models"}
    of_bar = [one for one in told if one.get("doing") == "training"]
    assert [(one["done"], one["total"]) for one in (of_bar[0], of_bar[-1])] == [(0, 3), (3, 3)]
    assert of_bar[-1]["said"] == "loss 2"
    assert [one["done"] for one in told if one.get("doing") == "counting"][-1] == 4
    said = [one["message"] for one in told if one["event"] == "message"]
    assert said == ["too long", "by far"]
    assert telling.form() == telling.BAR


def test_errors_are_lines_with_their_hint_and_exit_code(works: Callable[[Work], None]) -> None:
    def fails() -> None:
        raise BadInput("It is odd.", "Do this.")

    works(fails)
    result = invoke(*RUN, "--progress", "json")
    assert result.exit_code == 2
    assert lines(result) == [
        {"event": "error", "message": "It is odd.", "hint": "Do this.", "exit_code": 2}
    ]
    wrong = invoke("run", "--images", "0", "--progress", "json")
    assert wrong.exit_code == 2
    [error] = lines(wrong)
    assert (error["event"], error["exit_code"]) == ("error", 2)
    assert "--images" in error["message"]


def test_quiet_shows_warnings_alone(works: Callable[[Work], None]) -> None:
    works(busy)
    assert invoke(*RUN, "--quiet").stderr == "too long\nby far\n"
    assert "training" in invoke(*RUN).stderr
    both = invoke(*RUN, "--quiet", "--progress", "json")
    assert both.exit_code == 2
    assert "--quiet and --progress json" in both.stderr


def test_a_loop_of_many_steps_is_told_of_twice_a_second(works: Callable[[Work], None]) -> None:
    works(lambda: [*counted(range(10_000), "steps")].clear())
    assert 2 <= len(lines(invoke(*RUN, "--progress", "json"))) < 200
