"""Text of others wherever it is shown: it steers no terminal, is no markup, no formula, and holds
no key."""

import ast
import csv
import io
import json
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from places import ROOT
from rich.console import Console
from rich.progress import TextColumn
from written_checks import FOUND, PROMPT
from written_inputs import write_method

from livo_bench.bars import bar
from livo_bench.cards import prompts
from livo_bench.cards.catalog import task_cards
from livo_bench.cli import main
from livo_bench.errors import BadInput
from livo_bench.escaping import (
    HIDDEN,
    csv_cell,
    csv_text,
    excerpt,
    markdown,
    one_line,
    redacted,
    visible,
)
from livo_bench.report import check_report, table_forms, tables
from livo_bench.report.columns import Column
from livo_bench.report.figures import plain
from livo_bench.report.printing import FORMS
from livo_bench.report.wide_tables import Wide

PACKAGE = ROOT / "livo_bench"
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J\x90x\x9c",
    "a\rb\x08\x7f",
    "\u202egnp.exe\u2066\u2069",
    "one\u2028two\u2029three\x85four",
    "half \ud800",
    "[red]loud[/red] [link=https://x.test]here[/link]",
    "<img src=x onerror=alert(1)>",
    "a | b `c` *d* [e](https://x.test) ~~~",
    "two\nlines\twith tab",
    '=HYPERLINK("https://x.test")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    r"\input{/etc/passwd} $x_1$ % & # {}",
    "'=1",
    "''",
    "",
]


def made_up(seed: int) -> str:
    """A text of letters that have been trouble, drawn anew for each seed."""
    letters = "".join(HOSTILE) + "'\"=\\,;\x00\x1b\ufeff\ufffe\U0001f600\U000e0041é"
    draw = random.Random(seed)
    return "".join(draw.choices(letters, k=draw.randrange(30)))


TEXTS = HOSTILE + [made_up(seed) for seed in range(40)]


def shown(form: str, rows: Sequence[Mapping[str, object]]) -> str:
    """What a terminal is sent."""
    made = FORMS[form](rows)
    if isinstance(made, str):
        return made
    console = Console(file=io.StringIO(), width=10_000, force_terminal=False)
    with console.capture() as captured:
        console.print(made)
    return captured.get()


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "json"])
def test_no_form_for_people_steers_a_terminal(form: str) -> None:
    for text in TEXTS:
        said = shown(form, [{"text": text, "n": 1}])
        assert not STEERS.search(said), repr(said)


def test_a_table_has_a_line_a_row_whatever_is_in_it() -> None:
    for text in TEXTS:
        assert len(shown("table", [{"text": text, "n": 1}]).strip().splitlines()) == 3
        lines = shown("markdown", [{"text": text, "n": 1}]).splitlines()
        assert len(lines) == 3
        # Only what no backslash stands before ends a cell.
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[2])) == 3


def test_square_brackets_are_no_markup() -> None:
    said = shown("table", [{"text": "[red]loud[/red] [link=https://x.test]here[/link]"}])
    assert "[red]loud[/red] [link=https://x.test]here[/link]" in said
    with bar("{task.fields[more]}") as progress:
        task = progress.add_task("[red]a\x1b[1m", total=1, more="[b]c")
        words, *_, more = [
            column.render(progress.tasks[task])
            for column in progress.columns
            if isinstance(column, TextColumn)
        ]
    assert (words.plain, more.plain) == (r"[red]a\x1b[1m", "[b]c")


def test_markdown_holds_no_html_and_no_link() -> None:
    for text in TEXTS:
        said = markdown(text)
        assert not re.search(r"[<>]", said)
        assert "](" not in said
        assert "\n" not in said
        assert not re.search(r"(?<!\\)(?:\\\\)*`", said)


def test_csv_holds_no_formula_and_gives_back_what_it_was_given() -> None:
    for text in TEXTS:
        cell = csv_cell(text)
        assert csv_text(cell) == text
        assert not re.match(r"[=+@\t\r]", cell) or cell == text == "+"
    for number in ("-1", "+0.5", "-1e-3", "-", "+"):
        assert csv_cell(number) == number
    rows = [{"text": text, "value": -0.5} for text in TEXTS if "\ud800" not in text]
    read = list(csv.reader(io.StringIO(shown("csv", rows), newline="")))
    assert [csv_text(row[0]) for row in read[1:]] == [row["text"] for row in rows]
    assert {row[1] for row in read[1:]} == {"-0.5"}
    shown("csv", [{"text": "half \ud800"}]).encode("utf-8")


def test_json_means_the_same() -> None:
    rows = [{"text": text} for text in TEXTS]
    assert json.loads(shown("json", rows)) == rows
    shown("json", rows).encode("utf-8")


def test_a_list_of_prompts_survives_csv(tmp_path: Path) -> None:
    """What `data prompts --format csv` prints is what `--prompts` reads."""
    asked = ["=1+1", "-5 degrees", "@home, a cook", "'=1", "+", "a nurse"]
    rows = [{"text": text, "category": "career"} for text in asked]
    path = tmp_path / "own.csv"
    path.write_text(shown("csv", rows), encoding="utf-8")
    read = prompts.read_user_prompts(path, task_cards()["bias"])
    assert [prompt.text for prompt in read] == asked


def test_latex_holds_no_command_of_others() -> None:
    for text in TEXTS:
        row = shown("latex", [{"text": text}]).splitlines()[-3]
        left = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]|^\{\}| \\\\$", "", row)
        assert not re.search(r"[\\%&$#{}_~^]", left), row


def test_the_paper_s_tables_are_escaped_in_every_form() -> None:
    for text in TEXTS:
        row = tables.Row(text, text, (tables.Cell(value="1.0"),))
        column = Column("Gender", "D1", "bias", "gender", "D1")
        table = tables.Table(text, (column,), (row,), note=text)
        for form, make in table_forms.FORMS.items():
            made = make([table])
            console = Console(file=io.StringIO(), width=200, force_terminal=False)
            with console.capture() as captured:
                console.print(made, markup=False, highlight=False)
            assert not STEERS.search(captured.get()), (form, text)
        assert not re.search(r"<(?!/?(br|sub|sup)\b)", table_forms.as_markdown([table]))
        heads = table_forms.as_latex([table]).splitlines()
        assert heads[0].startswith("% ")
        assert heads[1].startswith(r"\begin{tabular}")


def test_a_terminal_table_counts_the_width_of_what_it_shows() -> None:
    wide = Wide([("\x1b", "\x9b")], [[["a\x1b\nb"]]], title="\x1b", caption="\u202e")
    assert wide.sections == [[["a\\x1b\nb"]]]
    assert (wide.heads, wide.title, wide.caption) == ([("\\x1b", "\\x9b")], "\\x1b", "\\u202e")


def test_every_form_of_a_check_is_escaped_and_junit_is_xml() -> None:
    for text in TEXTS:
        nasty = replace(PROMPT, method=text, prompt=text, label=text)
        found = replace(FOUND, prompts=[nasty])
        for outcome in (found, BadInput(text or "x")):
            ElementTree.fromstring(check_report.render(outcome, "junit"))
            for form in ("junit", "json", "markdown"):
                said = check_report.render(outcome, form)
                assert not STEERS.search(said), (form, text)
                said.encode("utf-8")


def test_a_figure_sets_no_mathematics() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    for text in ("$\\frac$", "a $ b $", "\x1b"):
        figure.suptitle(plain(text))
        figure.draw_without_rendering()


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        result = CliRunner().invoke(main, words)
        assert not STEERS.search(result.output), repr(result.output)
        return result

    return call


def test_prompts_of_others_steer_no_terminal(called: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    (folder / "prompts").mkdir(parents=True)
    card = (Path(task_cards()["bias"].folder) / "card.toml").read_text("utf-8")
    (folder / "card.toml").write_text(card.replace('"bias"', '"own"', 1), encoding="utf-8")
    line = "x-0,\x1b[31m=evil\u202e,x,career,t,eval\n"
    for scale in ("mini", "sd"):
        path = folder / "prompts" / f"{scale}.csv"
        path.write_text(f"id,text,concept,category,template,split\n{line}", encoding="utf-8")
    for form in ("table", "markdown", "latex", "json"):
        result = called("data", "prompts", "--task", "./own", "--format", form)
        assert result.exit_code == 0, result.output
    exact = CliRunner().invoke(main, ["data", "prompts", "--task", "./own", "--format", "csv"])
    assert "\x1b[31m=evil\u202e" in exact.stdout


def test_a_card_is_printed_without_what_steers(
    called: Callable[..., Result], tmp_path: Path
) -> None:
    write_method(tmp_path / "own")
    with (tmp_path / "own" / "card.toml").open("a", encoding="utf-8") as card:
        card.write("# \x9b2J\u202e\r\n")
    result = called("show", "./own")
    assert r"# \x9b2J\u202e" in result.stdout


def test_errors_tracebacks_and_warnings_are_printed_without_what_steers(
    called: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "open sesame")
    write_method(tmp_path / "own", "raise ValueError('\\x1b]0;x\\x07 open sesame')")
    result = called("run", "--method=./own", "--task=bias", "--model=mini", "--images=1")
    assert result.exit_code == 2
    assert result.stderr.count(r"\x1b]0;x\x07") == 3
    assert "open sesame" not in result.stderr
    record = logging.LogRecord("livo_bench", 30, "", 0, "%s", ("\x1b open sesame",), None)
    last = logging.lastResort
    assert last is not None
    assert last.formatter is not None
    assert last.formatter.format(record) == rf"\x1b {HIDDEN}"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("https://user:pa:s@s@host.test/v1", "https://***@host.test/v1"),
        ("https://host.test/?a=1&api_key=abc123&b=2", "https://host.test/?a=1&api_key=***&b=2"),
        ("https://host.test/?access_token=abc#x", "https://host.test/?access_token=***#x"),
        ("Authorization: Bearer abcdefgh", "Authorization: ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': '***'}"),
        ("x-api-key: abcdefgh", "x-api-key: ***"),
        ('{"client_secret": "abcdefgh"}', '{"client_secret": "***"}'),
        ("Incorrect API key provided: sk-abc123***xyz9.", "Incorrect API key provided: ***."),
        ("bearer abcdefgh.ijk", "bearer ***"),
        ("with hf_abcdefghijk", "with ***"),
        ("my_pad_token=abcdefgh", "my_pad_token=***"),
        ("x-pad_token=abcdefgh", "x-pad_token=***"),
        ("tokenizer.access_token = abcdefgh", "tokenizer.access_token = ***"),
        ("pad_token_secret: abcdefgh", "pad_token_secret: ***"),
        ("pad_token = hf_abcdefghijk", "pad_token = ***"),
        (
            "(tokenizer.pad_token = tokenizer.eos_token e.g.)",
            "(tokenizer.pad_token = tokenizer.eos_token e.g.)",
        ),
        ("{'unk_token': '<|endoftext|>'}", "{'unk_token': '<|endoftext|>'}"),
        (
            "that takes the key in OPENAI_API_KEY. Go on",
            "that takes the key in OPENAI_API_KEY. Go on",
        ),
        ("/data/runs/mini: expected a folder", "/data/runs/mini: expected a folder"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(said: str, left: str) -> None:
    assert redacted(said) == left


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "MY_PASSWORD", "my_secret"])
@pytest.mark.parametrize(
    "echoed", ["no-pattern/+42", "no-pattern%2F%2B42", "bm8tcGF0dGVybi8rNDI="], ids=str
)
def test_secrets_of_the_environment_are_left_out_however_they_are_echoed(
    monkeypatch: pytest.MonkeyPatch, name: str, echoed: str
) -> None:
    monkeypatch.setenv(name, "no-pattern/+42")
    assert echoed.rstrip("=") not in redacted(f"You sent {echoed}, which is wrong.")


def test_the_password_of_a_proxy_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:open-sesame@proxy.test:3128")
    assert redacted("407 for open-sesame") == "407 for ***"


def test_an_excerpt_is_a_short_line_in_which_no_part_of_a_key_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 100)
    for padding in range(150, 320):
        said = excerpt("x" * padding + " " + "k" * 100 + "\n\x1b" * 500)
        assert "kk" not in said
        assert len(said) <= 303
        assert one_line(said) == said


# What a program may print with, and the functions of ours that may.
PRINTING = {"print", "echo", "secho", "print_exception", "print_exc", "from_markup"}
OURS = {("output.py", "say"), ("output.py", "print_shown")}


def test_everything_is_printed_by_one_of_two_functions() -> None:
    found = set()
    for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "methods").rglob("*.py")]:
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef):
                calls = [one.func for one in ast.walk(function) if isinstance(one, ast.Call)]
                names = {getattr(one, "attr", getattr(one, "id", "")) for one in calls}
                found |= {(path.name, function.name)} if names & PRINTING else set()
    assert found == OURS


def test_visible_leaves_what_people_write() -> None:
    for text in ("a photo of a café owner", "שלום", "日本", "👩‍🔬", "tab\tand\nline"):
        assert visible(text) == text
    assert visible("end\r\n") == "end\n"
