"""Commands read the experiment of the folder that they are typed in."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from places import REFERENCE

import livo_bench.runs
from livo_bench.cli import main

Calls = list[dict[str, object]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What `run` asks the library for."""
    asked: Calls = []

    def call(**options: object) -> list[Path]:
        asked.append(options)
        return []

    fake = SimpleNamespace(run=call, plan=call)
    monkeypatch.setattr(livo_bench.runs, "runner", fake, raising=False)
    monkeypatch.setitem(sys.modules, "livo_bench.runs.runner", fake)
    return asked


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_run_takes_what_init_wrote_and_what_is_typed_goes_before_it(calls: Calls) -> None:
    made = invoke("init", "--method", "sd", "--method", "livo", "--task", "bias", "--task",
                  "toxicity/bloody", "--images", "4", "--weights", "mine")  # fmt: skip
    assert made.exit_code == 0
    assert "livo-bench run --plan" in made.stdout
    ran = invoke("run", "--images", "6")
    assert ran.exit_code == 0
    assert [(one["task"], one["images"]) for one in calls] == [("bias", 6), ("toxicity/bloody", 6)]
    assert calls[0]["methods"] == ["sd", "livo"]
    assert calls[0]["weights"] == ("mine",)
    assert calls[0]["seed"] == 42
    assert ran.stderr == "From livo-bench.toml: --method, --task, --model, --weights\n"


def test_other_commands_take_whose_results_and_where_they_are(folder: Path) -> None:
    file = (
        f'[run]\nmodel = "mini"\nmethods = ["sd"]\nruns = "{REFERENCE / "sd" / "bias"}"\nseed = 7\n'
    )
    (folder / "livo-bench.toml").write_text(file)
    of_file = invoke("report", "--table", "2").stdout
    assert len(of_file) > 1000
    assert of_file == invoke("report", str(REFERENCE / "sd" / "bias"), "--table", "2").stdout
    (folder / "livo-bench.toml").write_text('[run]\nmodel = "nobody"\n')
    refused = invoke("compare", "sd", "livo", "--runs", str(REFERENCE / "sd"))
    assert refused.exit_code != 0
    assert "nobody" in refused.stderr


def test_a_wrong_file_stops_what_reads_it_and_nothing_else(folder: Path, calls: Calls) -> None:
    (folder / "livo-bench.toml").write_text("[run]\nmethod = ['sd']\n")
    refused = invoke("run", "--method", "sd", "--task", "bias")
    assert refused.exit_code == 2
    assert "livo-bench.toml, line 2: unknown option method;" in refused.stderr
    assert "Did you mean 'methods'?" in refused.stderr
    assert calls == []
    assert invoke("list", "tasks").exit_code == 0
    again = invoke("init")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
