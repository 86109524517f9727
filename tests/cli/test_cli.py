import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from places import REFERENCE

import livo_bench.runs
from livo_bench.cli import main
from livo_bench.cli.program import Example
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.results import check as gate
from livo_bench.results.paired import Noise

RESULTS = str(REFERENCE)
OF_SD = str(REFERENCE / "sd" / "bias")
"""One result, whose page is soon made."""

TABLE_1 = ["report", "--table", "1"]
COMPARE = ["compare", "sd", "livo", "--task", "bias/race", "--runs", RESULTS, "--grid", "a.png"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def commands(
    group: click.Group = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Example]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            assert isinstance(command, Example)
            yield (*path, name), command


ALL = list(commands())
IDS = [" ".join(path) for path, _ in ALL]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """Records what `run` asks the library for instead of running it."""
    calls = []

    def record(name: str, result: object) -> Callable[..., object]:
        def call(**options: object) -> object:
            calls.append((name, options))
            return result

        return call

    fake = SimpleNamespace(
        run=record("run", [Path("results/runs/mini/sd/bias")]),
        plan=record("plan", "Nothing to do."),
    )
    monkeypatch.setattr(livo_bench.runs, "runner", fake, raising=False)
    monkeypatch.setitem(sys.modules, "livo_bench.runs.runner", fake)
    return calls


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_help_of_every_command_is_a_sentence_options_and_an_example_that_parses(
    path: tuple[str, ...], command: Example
) -> None:
    for flag in ("-h", "--help"):
        result = invoke(*path, flag)
        assert result.exit_code == 0
        assert result.stdout.splitlines()[2].strip().endswith(".")
        assert f"Example:\n  {command.example}" in result.stdout
    program, *arguments = command.example.split()
    assert program == "livo-bench"
    assert tuple(arguments[: len(path)]) == path
    # Raises a usage error for an option or a value that the command does not take; the folder of
    # a baseline need not be there yet.
    for parameter in command.params:
        if getattr(parameter.type, "exists", False):
            arguments = [word for word in arguments if "results" not in word and "base" not in word]
            arguments += [parameter.opts[0], "."]
    command.make_context(path[-1], arguments[len(path) :])


def test_run_hands_its_options_to_the_library_and_prints_the_folders(
    runner: list[tuple[str, dict[str, object]]],
) -> None:
    result = invoke("run", "--method", "sd", "--method", "noise", "--task", "bias")
    assert result.stdout == "results/runs/mini/sd/bias\n"
    assert runner == [
        (
            "run",
            {
                "methods": ["sd", "noise"],
                "task": "bias",
                "model": "mini",
                "shard": (1, 1),
                "images": 50,
                "prompts": None,
                "images_from": None,
                "seed": 42,
                "device": "auto",
                "dtype": None,
                "runs": Path("./results/runs"),
                "weights": (),
                "protocol": "ours",
                "scorer": (),
                "independent_reference": False,
                "log_to": (),
                "switches": (),
                "executor": "auto",
                "workers": None,
                "address": None,
                "keep": "all",
            },
        )
    ]


def test_a_plan_without_a_method_is_that_of_the_unaligned_model(
    runner: list[tuple[str, dict[str, object]]],
) -> None:
    invoke("run", "--task", "all", "--plan", "--rate", "9")
    [(name, options)] = runner
    assert (name, options["methods"], options["rate"]) == ("plan", ["sd"], 9)


def test_run_with_plan_only_plans(runner: list[tuple[str, dict[str, object]]]) -> None:
    result = invoke("run", "--method", "sd", "--task", "bias/gender", "--images", "6", "--plan")
    assert result.stdout == "Nothing to do.\n"
    [(name, options)] = runner
    assert (name, options["task"], options["images"]) == ("plan", "bias/gender", 6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "bias"), "--method"),
        (("--method", "sd", "--task", "bias", "--rate", "3"), "--rate"),
        (("--method", "sd"), "--task"),
        (("--method", "sd", "--task", "bias", "--images", "0"), "--images"),
        (("--method", "sd", "--task", "bias", "--seed", "-1"), "--seed"),
        (("--method", "sd", "--task", "bias", "--dtype", "int8"), "bfloat16"),
        (("--method", "sd", "--task", "bias", "--frob"), "--frob"),
    ],
)
def test_wrong_use_of_run_exits_2_and_names_the_option(
    runner: list[tuple[str, dict[str, object]]], arguments: tuple[str, ...], said: str
) -> None:
    result = invoke("run", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert runner == []


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("run --task bias --plan", "--rate"),
        ("train --method livo --plan", "--rate"),
        ("train --method livo", "--fraction"),
        ("train --method livo", "--gamma-1"),
        ("train --method livo", "--gamma-2"),
        ("check --baseline results/mini", "--alpha"),
        ("check --baseline results/mini", "--margin"),
        ("check --baseline results/mini", "--prompt-margin"),
    ],
)
def test_numbers_that_are_none_are_refused(command: str, option: str, number: str) -> None:
    result = invoke(*command.split(), option, number)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_a_file_that_cannot_be_written_is_not_blamed_on_another_option(
    tmp_path: Path, few_methods: Path
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "page")
    result = invoke("report", str(few_methods), "--format", "html", "--out", out)
    assert result.exit_code == 2
    assert f"Cannot write {out}" in result.stderr
    assert "--runs" not in result.stderr


def test_an_error_of_the_library_is_a_message_on_standard_error_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(**options: object) -> None:
        raise BadInput("tasks/bias is upside down. Turn it.")

    fake = SimpleNamespace(run=run)
    monkeypatch.setattr(livo_bench.runs, "runner", fake, raising=False)
    monkeypatch.setitem(sys.modules, "livo_bench.runs.runner", fake)
    result = invoke("run", "--method", "sd", "--task", "bias")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: tasks/bias is upside down. Turn it.\n"


def test_report_without_results_says_what_to_run(tmp_path: Path) -> None:
    result = invoke("report", str(tmp_path))
    assert result.exit_code == 2
    assert "No results of model 'mini'" in result.stderr
    assert "livo-bench run --method sd --task bias" in result.stderr


def test_report_draws_a_figure_instead_of_a_table(tmp_path: Path, few_methods: Path) -> None:
    path = tmp_path / "trade_off.svg"
    result = invoke("report", str(few_methods), "--figure", "trade-off", "--out", str(path))
    assert result.stdout == f"{path}\n"
    assert path.read_text().startswith("<?xml")
    path.unlink()
    assert invoke("report", "--figure", "convergence", "--out", str(path)).exit_code == 0
    assert path.read_text().startswith("<?xml")


@pytest.mark.parametrize("arguments", [("--figure", "trade-off"), ("--out", "x.svg")])
def test_a_figure_needs_a_name_and_a_file(arguments: tuple[str, str]) -> None:
    result = invoke("report", RESULTS, *arguments)
    assert result.exit_code == 2
    assert "--figure NAME --out FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "html", "--figure", "trade-off"), "--figure and --format html"),
        (("--format", "html", "--table", "2"), "--table and --format html"),
        (("--explain", "--table", "3"), "--table and --explain"),
        (("--figure", "trade-off", "--explain"), "--figure and --explain"),
        (("--figure", "trade-off", "--format", "csv"), "--format csv is how tables are printed"),
    ],
)
def test_report_refuses_what_it_would_ignore(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "x.svg"
    result = invoke("report", RESULTS, *arguments, "--out", str(out))
    assert result.exit_code == 2
    assert said in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("figure", ["data-efficiency", "margins"])
def test_report_draws_sweeps_or_says_how_to_make_them(tmp_path: Path, figure: str) -> None:
    result = invoke("report", str(tmp_path), "--figure", figure, "--out", "x.svg")
    assert result.exit_code == 2
    assert "python benchmarks/sweep.py" in result.stderr


def test_report_draws_the_cases_of_the_methods_on_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livo_bench.report import grid

    drawn = []
    monkeypatch.setattr(grid, "draw", lambda *arguments: drawn.append(arguments))
    out = tmp_path / "cases.png"
    assert invoke("report", RESULTS, "--figure", "cases", "--out", str(out)).exit_code == 0
    [(path, methods, task, model, runs)] = drawn
    assert (path, task, model, runs) == (out, "all", "mini", Path(RESULTS))
    assert methods == ["sd", "uce", "dapt", "dpo", "livo", "livo:retrieved"]


def test_report_prints_table_3_in_every_form(few_methods: Path) -> None:
    for form in ("table", "markdown", "latex", "csv", "json"):
        text = invoke("report", str(few_methods), "--table", "3", "--format", form).stdout
        assert "livo" in text.lower()
        assert ("Table 3, ablation" in text) == (form in ("table", "markdown", "latex"))


def test_report_counts_preference_data_or_says_how_to_make_it(tmp_path: Path) -> None:
    result = invoke("report", str(tmp_path), "--table", "1")
    assert result.exit_code == 2
    assert "livo-bench data build" in result.stderr


def test_report_explains_the_quirks_in_every_form() -> None:
    table = invoke("report", "--explain", "--format", "markdown").stdout
    assert "FID's reference" in table
    rows = json.loads(invoke("report", "--explain", "--format", "json").stdout)
    assert {
        "fid-reference",
        "plain-half",
        "first-25",
        "groups-of-5",
        "jpeg",
        "sequential-noise",
    } == {row["quirk"] for row in rows}


def found(regression: bool) -> gate.Check:
    sample = gate.Sample("sd", "bias", Noise.SAME, 24, 24, 1200, 1200, {}, {}, ())
    mean = gate.Comparison(
        "sd", "bias", "gender", "all", "D1", "", 24, 1200, 0.5, 0.6, 0.1, 0.03, 0.001, regression
    )
    prompt = gate.Comparison(
        "sd", "bias", "gender", "nurse", "D1", "male", 1, 50, 0.5, 0.9, 0.4, 0.3, 0.01, regression
    )
    return gate.Check([sample], [mean], [prompt], 0.05, 0.02, 0.2)


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (found(False), 0, "Pass: 0 of 1 metrics regressed, and 0 of 1 single-prompt tests failed."),
        (found(True), 1, "Regression: 1 of 1 metrics regressed, and 1 of 1"),
        (BadInput("torn"), 2, "Error: torn"),
        (NotComparable("other judge"), 3, "Error: other judge"),
        (Incomplete("no sd"), 4, "Error: no sd"),
    ],
)
def test_exit_code_of_check_says_the_outcome(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: object, code: int, said: str
) -> None:
    def check(*arguments: object) -> object:
        rest = (0.05, 0.03, 0.25)
        assert arguments == (tmp_path, Path("./results/runs"), "mini", (), ("bias",), *rest)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(gate, "check", check)
    margins = ["--margin", "3", "--prompt-margin", "25"]
    files = ["--out", str(tmp_path / "check.json"), "--out", str(tmp_path / "check.md")]
    result = invoke("check", "--baseline", str(tmp_path), "--task", "bias", *margins, *files)
    assert result.exit_code == code
    assert said in result.stderr
    if code != 2:
        verdicts = {0: "pass", 1: "regression", 3: "not comparable", 4: "incomplete"}
        assert json.loads((tmp_path / "check.json").read_text())["verdict"] == verdicts[code]
        assert (tmp_path / "check.md").read_text().startswith("**livo-bench check: ")


def test_check_prints_per_cent_for_people_and_every_digit_for_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate, "check", lambda *arguments: found(True))
    table = invoke("check", "--baseline", str(tmp_path)).stdout
    for part in ("60.0", "regression", "nurse"):
        assert part in table
    printed = json.loads(invoke("check", "--baseline", str(tmp_path), "--format", "json").stdout)
    assert printed["metrics"][0]["difference"] == 0.1
    assert printed["prompts"][0]["regression"] is True
    assert invoke("check", "--baseline", str(tmp_path), "--format", "junit").stdout.startswith(
        "<?xml"
    )


def test_check_refuses_a_file_of_another_kind_before_it_reads(tmp_path: Path) -> None:
    result = invoke("check", "--baseline", str(tmp_path), "--out", "check.html")
    assert result.exit_code == 2
    assert "check.html ends in .html; expected one of .md, .json, .xml, .csv" in result.stderr


def test_check_of_a_baseline_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    result = invoke("check", "--baseline", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "--update" in result.stderr


def test_check_makes_a_baseline_and_says_so(tmp_path: Path) -> None:
    folder = str(tmp_path / "baseline")
    arguments = ["check", "--baseline", folder, "--runs", RESULTS, "--method", "sd"]
    result = invoke(*arguments, "--task", "bias", "--update")
    assert (result.exit_code, result.stdout) == (0, "sd on bias: added, 2400 images\n")
    assert invoke(*arguments).exit_code == 0


def test_compare_prints_metrics_and_the_worst_prompts_in_every_form(few_methods: Path) -> None:
    def compare(*arguments: str) -> Result:
        of = ("sd", "livo", "--task", "bias/race", "--runs", str(few_methods))
        return invoke("compare", *of, *arguments)

    for form in ("table", "markdown"):
        text = compare("--prompts", "3", "--format", form).stdout
        assert text.count("lower") == 1  # D1; D2 is unclear
        assert text.count("bias/race") == 5 + 3
    assert "career-" not in compare("--prompts", "0").stdout
    rows = json.loads(compare("--prompts", "1", "--format", "json").stdout)
    assert [(row["prompt"] == "all", row["metric"]) for row in rows] == [
        *((True, metric) for metric in ("D1", "D2", "clip", "content", "presence")),
        (False, "D1"),
    ]
    assert rows[0]["high"] < 0
    assert rows[-1]["high"] is None


def test_compare_hands_its_options_to_the_grid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from livo_bench.report import grid

    calls = []
    monkeypatch.setattr(grid, "draw", lambda *arguments: calls.append(arguments))
    picture = str(tmp_path / "grid.png")
    words = ["--task", "bias/race", "--runs", RESULTS, "--grid", picture, "--rows", "3", "--show"]
    result = invoke("compare", "sd", "livo", *words)
    assert result.stderr.endswith(f"{picture}\n")
    methods = ("sd", "livo")
    assert calls == [(Path(picture), methods, "bias/race", "mini", Path(RESULTS), 3, True)]


def test_compare_without_results_says_what_to_run(tmp_path: Path) -> None:
    result = invoke("compare", "sd", "livo", "--task", "bias", "--runs", str(tmp_path))
    assert result.exit_code == 2
    assert "livo-bench run --method sd --method livo --task bias" in result.stderr


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_list_prints_every_row_in_every_form(form: str) -> None:
    text = invoke("list", "--format", form).stdout
    for name in ("sd", "noise", "bias/gender", "toxicity/horror", "mini"):
        assert name in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_list_of_one_kind_holds_that_kind_only() -> None:
    rows = json.loads(invoke("list", "tasks", "--format", "json").stdout)
    assert {row["kind"] for row in rows} == {"task"}


def test_show_prints_the_card_and_unknown_names_the_known() -> None:
    assert invoke("show", "bias").stdout.startswith('name = "bias"\n')
    result = invoke("show", "bais")
    assert result.exit_code == 2
    assert "Did you mean 'bias'?" in result.stderr


PLANS = (
    ["run", "--method", "sd", "--method", "livo", "--task", "all", "--plan"],
    ["run", "--method", "sd", "--model", "sd15", "--task", "all", "--plan"],
)


def test_html_is_a_folder_and_its_options_are_for_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("report", OF_SD, "--format", "html", "--no-images")
    assert result.stdout == "results/report/index.html\n"
    assert Path("results/report/index.html").is_file()
    result = invoke("report", RESULTS, "--no-images")
    assert result.exit_code == 2
    assert "is for --format html" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["report", "."],
        ["report", RESULTS],
        ["report", OF_SD, "--format", "html"],
        COMPARE,
        TABLE_1,
        *PLANS,
    ],
)
def test_torch_stays_unloaded(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom livo_bench.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        "finally:\n    assert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert b"torch was imported" not in result.stderr
    assert b"Traceback" not in result.stderr


def test_warnings_are_lines_of_their_own_whatever_logging_a_library_sets_up() -> None:
    code = """
import logging
from livo_bench.cli import main

@main.command()
def loud() -> None:
    logging.basicConfig()
    logging.getLogger("livo_bench.any").warning("two \\x1b[31m pictures")

main(["loud"])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == "two \\x1b[31m pictures\n"


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_help_and_list_answer_within_half_a_second(argument: str) -> None:
    def seconds() -> float:
        """Of a processor, so that whoever else uses the machine does not count."""
        before = os.times()
        command = [sys.executable, "-m", "livo_bench.cli", argument]
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert min(seconds() for _ in range(3)) < 0.5
