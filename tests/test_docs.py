"""README and docs say what is true: their commands parse, their examples run, their tables are
those of the committed results."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from contextlib import nullcontext, suppress
from dataclasses import fields
from pathlib import Path

import click
import generated
import pytest
import refresh
import written_audit
from documents import PAGES, README, blocks, commands, mentioned, name_of
from PIL import Image
from places import ROOT

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card
from livo_bench.cards.services import REFUSALS
from livo_bench.cli import main
from livo_bench.records import Principle, Prompt, Recipe, Request
from livo_bench.results.raters import drawn

DOCS = ROOT / "docs"
PAGE_WORDS = 1_500
README_WORDS = 1_200


# A command keeps the help option of its first context: that has to be the program's.
PROGRAM = click.Context(main, **main.context_settings)


def parse(line: str) -> None:
    """Refuses what the command line would refuse."""
    command: click.Command = main
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words:
        name, found, words = command.resolve_command(PROGRAM, words)
        assert found is not None
        assert name is not None
        command = found
    # A group by itself, as pages name `livo-bench audit`, asks for nothing.
    if not isinstance(command, click.Group):
        command.make_context(name, words, parent=PROGRAM)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_a_page_parse(page: Path) -> None:
    written = False
    for line in commands(page):
        written |= line.startswith("livo-bench init ")
        # An experiment's file says what is not typed.
        with suppress(click.MissingParameter) if written else nullcontext():
            # Variables of a shell stand for numbers.
            parse(re.sub(r'"?\$\w+"?', "1", line))
    for line in mentioned(page):
        with suppress(click.MissingParameter):
            parse(line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page == README:
        assert len(text.split()) < README_WORDS
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    assert len(prose.split()) < PAGE_WORDS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        place = Path(os.path.normpath(page.parent / target))
        made = (
            page != README
            and place.is_relative_to(DOCS)
            and place.relative_to(DOCS).as_posix() in generated.PAGES
        )
        assert place.exists() or made, target


def test_the_workflow_for_github_is_one_and_its_commands_parse() -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "docs" / "check" / "workflow.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow[True] == "pull_request"  # YAML 1.1 reads the key `on` as true
    steps = workflow["jobs"]["check"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    ours = [step["run"] for step in steps if step.get("run", "").startswith("livo-bench ")]
    told = re.findall(r"^# +(livo-bench .*)$", text, re.MULTILINE)
    assert len(ours) == len(told) == 2
    for line in [*ours, *told]:
        parse(line)


def test_every_command_is_in_the_readme_or_has_an_example() -> None:
    def leaves(group: click.Group, path: str) -> list[tuple[str, click.Command]]:
        found = []
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                found += leaves(command, f"{path} {name}")
            else:
                found.append((f"{path} {name}", command))
        return found

    for path, command in leaves(main, "livo-bench"):
        help_text = command.get_help(click.Context(command, parent=PROGRAM))
        assert path in help_text.split("Example:")[1]


@pytest.mark.parametrize("file", list(refresh.BLOCKS))
def test_tables_are_those_of_the_results_and_cards(file: str) -> None:
    written = (ROOT / file).read_text(encoding="utf-8")
    assert written == refresh.refreshed(file), "stale: run python docs/refresh.py"


def test_the_method_of_the_tutorial_works(tmp_path: Path) -> None:
    folder = tmp_path / "my-method"
    folder.mkdir()
    for block in blocks(ROOT / "docs" / "tutorials" / "my-method.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.code, encoding="utf-8")
    method = load_method(str(folder), model_card("mini"))
    prompt = Prompt("x", "a photo of a baker", "baker", "career", "", "eval")
    request = Request(prompt, 0, Principle("bias", "gender", "gender equality"))
    base = Recipe("m", prompt.text, 1, "", 2.0, "dpmsolver++", 5, 64, "float32")
    assert method.resolve(request, base).text == "a photo of a baker looking at the camera"


def test_the_model_card_of_the_docs_is_one(tmp_path: Path) -> None:
    page = ROOT / "docs" / "models.md"
    text = page.read_text(encoding="utf-8")
    [example] = [block.code for block in blocks(page) if block.language == "toml"]
    path = tmp_path / "mymini.toml"
    path.write_text(example, encoding="utf-8")
    card = model_card(str(path))
    assert card.spec == str(path)
    assert card.annotator is not None
    mini = tomllib.loads(model_card("mini").path.read_text(encoding="utf-8"))
    for name in mini.keys() | tomllib.loads(example).keys():
        assert f"`{name}" in text or f"[{name}" in text, name


def test_the_service_of_the_docs_is_one(tmp_path: Path) -> None:
    page = ROOT / "docs" / "services.md"
    text = page.read_text(encoding="utf-8")
    [example] = [block.code for block in blocks(page) if block.language == "toml"]
    path = tmp_path / "my-service.toml"
    path.write_text(example, encoding="utf-8")
    service = model_card(str(path)).service
    assert service is not None
    for field in fields(service):
        assert f"| `{field.name}` |" in text, field.name
    for code in REFUSALS:
        assert f"`{code}`" in text


def example(page: str, of: str) -> str:
    """The Python block of a page that has these words."""
    [found] = [block.code for block in blocks(ROOT / page) if of in block.code]
    return found


def test_the_value_encoder_works_in_a_pipeline_of_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(example("docs/how-to/train-livo.md", "prompt_embeds"), {})
    with Image.open("nurse.png") as picture:
        assert picture.size == (64, 64)
        assert len(picture.getcolors(maxcolors=4096) or []) > 50


def test_the_python_example_says_what_it_is_shown_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mini").symlink_to(ROOT / "results" / "mini")
    monkeypatch.chdir(tmp_path)
    exec(example("docs/how-to/python.md", "import livo_bench\n"), {})
    assert (tmp_path / "trade_off.png").is_file()
    printed = capsys.readouterr().out
    for said in ("To make: ", "career", "D1", "Table 2, bias", "Unknown method 'lvio'"):
        assert said in printed
    assert "livo-bench" not in printed.split("Unknown method")[1]


def test_the_audit_of_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "audit.md"
    monkeypatch.chdir(tmp_path)
    runs = written_audit.write_runs(Path("my-runs"))
    written_audit.draw(runs, Path("audit"), labels=60)
    written_audit.ratings(tmp_path, drawn.read(Path("audit")), "ada", written_audit.honest)
    [example] = [block.code for block in blocks(page) if block.language == "python"]
    exec(compile(example, "audit.md", "exec"), {})
    file, shares = capsys.readouterr().out.splitlines()
    assert file == "audit/page.html"
    assert shares.startswith("[('livo', ")
