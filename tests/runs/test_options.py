"""An option of a run is its declaration and the code that uses it: the rest follows from these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
from click.testing import CliRunner
from written_inputs import write_prompts

from livo_bench.cli import shared_options
from livo_bench.errors import NotComparable, UnknownName
from livo_bench.records import Recipe
from livo_bench.report.tables import table_2
from livo_bench.results.check import check
from livo_bench.results.compare import compare
from livo_bench.results.reading import load_results
from livo_bench.results.record import Asked, RunRecord
from livo_bench.runs import options, runner
from livo_bench.runs.options import Option, RunOptions, options_of
from livo_bench.runs.session import Session

PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]


class Made(RunOptions, total=False):
    """The options of a run, and some more."""

    tone: Annotated[
        str, Option("plain", "Tone of all images.", moves="images", choices=("plain", "warm"))
    ]
    strict: Annotated[bool, Option(False, "Measure strictly.", moves="measures")]
    loud: Annotated[bool, Option(False, "Say more.")]


Run = Callable[..., Path]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """`RunOptions` declares what `Made` does."""
    declared = {name: one for name, (_, one) in options_of(Made).items()}
    for module in (options, shared_options):
        monkeypatch.setattr(module, "RunOptions", Made)
        monkeypatch.setattr(module, "OPTIONS", declared)


@pytest.fixture
def run(made: None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs SD under the options of `Made`, of which `tone` is used."""
    plain = Session.recipe

    def toned(session: Session, text: str, index: int) -> Recipe:
        recipe = plain(session, text, index)
        asked: Any = session.options
        return replace(recipe, guidance=5.0) if asked["tone"] == "warm" else recipe

    monkeypatch.setattr(Session, "recipe", toned)
    prompts = write_prompts(tmp_path / "own.csv", PEOPLE)

    def run(name: str, *methods: str, **asked: Any) -> Path:
        runs: Path = tmp_path / name
        runner.run(
            list(methods) or ["sd"], "bias", str(tiny_model), images=2, prompts=prompts,
            device="cpu", runs=runs, **asked,
        )  # fmt: skip
        return runs

    return run


def record(runs: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / "tiny/sd/bias/run.json").read_text("utf-8"))
    return found


def test_an_option_that_is_declared_and_used_is_recorded_and_told_apart(run: Run) -> None:
    plain, warm, loud = run("plain"), run("warm", tone="warm"), run("loud", loud=True)
    assert "options" not in record(plain)
    assert record(warm)["options"] == {"images": {"tone": "warm"}}
    assert "options" not in record(loud)
    keys = [
        load_results(runs, "tiny")["options that change images"].unique().tolist()
        for runs in (plain, warm, loud)
    ]
    assert keys == [["all at their defaults"], ['{"tone": "warm"}'], ["all at their defaults"]]
    [sample] = check(plain, warm, "tiny").samples
    assert 'options images: all at their defaults, now {"tone": "warm"}' in sample.changed
    [sample] = check(plain, loud, "tiny").samples
    assert sample.changed == ()


def test_results_of_two_values_share_no_table_and_are_not_compared(run: Run) -> None:
    runs = run("both", "sd")
    run("both", "noise", tone="warm")
    with pytest.raises(NotComparable, match=r"Not in one table.*options that change images"):
        table_2(load_results(runs, "tiny"))
    with pytest.raises(NotComparable, match=r"different options images: all at their defaults in"):
        compare(["sd", "noise"], model="tiny", runs=runs)


def test_what_is_measured_otherwise_is_refused_by_the_gate(run: Run) -> None:
    with pytest.raises(
        NotComparable, match=r"different options measures: all at their def.*strict"
    ):
        check(run("plain"), run("strict", strict=True), "tiny")


def test_what_a_rerun_replaces_says_an_option_that_is_gone(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run("runs", tone="warm")
    caplog.clear()
    run("runs")
    [said] = [line for line in caplog.messages if line.startswith("replaces results")]
    assert "different now: options" in said


def test_the_command_line_and_printed_commands_have_it(made: None) -> None:
    @click.command
    @shared_options.run_options
    def command(**asked: Any) -> None:
        click.echo(" ".join(options.as_words(asked)))  # type: ignore[arg-type]

    words = ["--tone", "warm", "--images", "7", "--strict"]
    assert CliRunner().invoke(command, words).output == "--images 7 --tone warm --strict\n"
    refused = CliRunner().invoke(command, ["--tone", "cold"])
    assert "'cold' is not one of 'plain', 'warm'" in refused.output
    assert "Tone of all images." in CliRunner().invoke(command, ["--help"]).output


def test_an_option_that_nobody_declared_is_named(tiny_model: Path) -> None:
    with pytest.raises(UnknownName, match="Unknown option of a run 'tone'"):
        runner.run(["sd"], "bias", str(tiny_model), tone="warm")  # type: ignore[call-arg]


def test_options_of_today_stand_under_settings_as_what_they_came_to() -> None:
    asked = options.complete({"seed": 7, "dtype": "float16", "device": "cpu"})
    assert options.recorded(asked) == Asked()
    assert RunRecord(options=options.recorded(asked)).as_json() == {}
