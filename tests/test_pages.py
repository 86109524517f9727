"""What README and docs show is what happens: their blocks run, page by page, as a reader types
them in a checkout. What says that it is not run, and every file, is read as what it is."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
from _pytest.mark import ParameterSet
from click.testing import CliRunner
from documents import PAGES, SHOWN, Block, blocks, lines, name_of
from places import ROOT

from livo_bench.cli import main

RUN = ("bash", "python")
"""Languages whose blocks are run; others are files, and say so by a title."""
QUICK = ("how-to/share.md", "methods.md")
"""Pages in docs whose blocks take seconds; the others make images, and run with `--slow`."""
PARSED: dict[str, Callable[[str], object]] = {
    "python": lambda code: compile(code, "block", "exec"),
    "toml": tomllib.loads,
    "json": json.loads,
    "bash": lambda code: subprocess.run(["bash", "-nc", code], check=True),
    "csv": lambda code: pd.read_csv(io.StringIO(code)),
    SHOWN: str,
}
"""What reads a block of each language, and raises where it is none."""
CHECKOUT = ("docs", "livo_bench", "methods", "results/mini", "tasks")
"""What a page may read of the repository."""


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if not block.reason]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and scores that pages share: each is made once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def checkout(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in CHECKOUT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results" / "runs").mkdir()
    (tmp_path / "results" / "runs" / "store").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_is_a_file_or_says_why_it_is_not_run(page: Path) -> None:
    for block in to_run(page):
        assert block.language in (*RUN, SHOWN) or block.title, block.code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_what_its_language_says(page: Path) -> None:
    for block in blocks(page):
        PARSED[block.language](block.code)


def with_slow(pages: Iterable[Path]) -> list[ParameterSet]:
    quick = [ROOT / "docs" / name for name in QUICK]
    return [
        pytest.param(page, id=name_of(page), marks=() if page in quick else pytest.mark.slow)
        for page in pages
        if any(block.language in RUN for block in to_run(page))
    ]


@pytest.mark.parametrize("page", with_slow(PAGES))
def test_a_page_runs_from_top_to_bottom(page: Path, checkout: Path) -> None:
    printed = ""
    for block in to_run(page):
        if block.title:
            (checkout / block.title).parent.mkdir(exist_ok=True)
            (checkout / block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.code, name_of(page), "exec"), {})
        elif block.language == "bash":
            printed = "\n".join(typed(line) for line in lines(block))
        elif printed:
            for line in block.code.splitlines():
                assert rough(line) in rough(printed), f"{line}\n\nis not in\n\n{printed}"


def typed(line: str) -> str:
    """What a line prints. It may end with a comment that says with which code it exits."""
    exits = re.search(r"# exits with (\d)", line)
    expected = int(exits[1]) if exits else 0
    words = shlex.split(line, comments=True)
    if words[:1] != ["livo-bench"]:
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout
    command, file = words[1:], []
    if ">" in words:
        command, file = words[1 : words.index(">")], words[words.index(">") + 1 :]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == expected, f"{line}\n{result.output}"
    if file:
        Path(file[0]).write_text(result.stdout, encoding="utf-8")
    return result.stdout


def rough(text: str) -> str:
    """A text without what another machine may print otherwise: numbers and widths."""
    return re.sub(r"[-+]?\d[\d.,]*", "0", re.sub(r"[\s─]+", " ", text)).strip()
