"""Pages of the site that are made from the code: what they hold, and that the site has them all."""

from __future__ import annotations

import re
from importlib import import_module, util
from pathlib import Path

import click
import generated
import pytest
from documents import PAGES, README
from places import ROOT

import livo_bench
from livo_bench.cli import main

DOCS = ROOT / "docs"


def test_the_first_page_is_readme_with_links_within_the_site() -> None:
    page = generated.index()
    assert page.split()[:4] == README.read_text(encoding="utf-8").split()[:4]
    targets = re.findall(r"\]\(([^)#:]+)\)", page)
    assert "how-to/report.md" in targets
    for target in targets:
        assert (DOCS / target).is_file(), target


def test_every_command_has_its_help_with_every_option() -> None:
    page = generated.commands()
    assert page.startswith("# Commands\n")
    for words in ("run", "report", "data build", "mini draw"):
        command: click.Command = main
        for word in words.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]
        [part] = re.findall(rf"^## {words}\n\n```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        assert part.startswith(f"Usage: livo-bench {words} ")
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in part


def test_every_card_and_every_name_of_the_package_is_asked_for_where_it_is() -> None:
    for page, least in ((generated.cards(), 10), (generated.api(), len(livo_bench.__all__) - 1)):
        asked = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
        assert len(asked) == least
        for place in asked:
            module, _, name = place.rpartition(".")
            assert hasattr(import_module(module), name), place


def test_the_site_has_every_page_and_no_other() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    written = [page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)]
    assert sorted(listed) == sorted([*written, *generated.PAGES])


@pytest.mark.skipif(not util.find_spec("mkdocs"), reason="the extra docs is not installed")
def test_the_site_asks_nothing_of_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    assert len(list(tmp_path.rglob("*.html"))) > len(generated.PAGES)
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"?(https?:[^\" >]+)", text
        )
        assert loaded == [], page.name
