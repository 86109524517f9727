"""README and docs as tests read them: pages, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = "text"
"""Language of a block that shows what is seen, and is no code."""

_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    code: str
    """Text of the block, its common indentation removed."""
    title: str
    """Name of the file that the block is; empty for none."""
    reason: str
    """Why no test runs the block; empty where one does."""


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, from top to bottom."""
    return [
        Block(
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE),
            found["title"] or "",
            found["reason"] or "",
        )
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def lines(block: Block) -> list[str]:
    """The commands of a shell block, one a line."""
    joined = block.code.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def commands(page: Path) -> Iterator[str]:
    """Every `livo-bench` command in the blocks of a page, as it is typed."""
    for block in blocks(page):
        if block.language == "bash":
            for line in lines(block):
                if found := re.search(r"(?:^|[\s=])(livo-bench .*)", line):
                    yield re.sub(r"\s(#|>|&(?= |$)).*", "", found[1])


def mentioned(page: Path) -> Iterator[str]:
    """Every `livo-bench` command in the sentences of a page, which may leave options out."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for command in re.findall(r"`(livo-bench [a-z][^`]*)`", prose):
        yield re.sub(r"\s+", " ", command).removesuffix(" ...")
