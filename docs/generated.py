"""Pages of the site that are made from the code when it is built, a hook of mkdocs.

Each fact keeps its home: commands are those of click, cards those of their data classes, the Python
pages those of the docstrings, and the first page is README.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

import livo_bench
from livo_bench.cards import declared, scorer_kinds, services
from livo_bench.cli import main

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

README = Path(__file__).resolve().parent.parent / "README.md"
NOTEBOOK = Path(__file__).resolve().parent / "tutorials" / "notebook.ipynb"
CARDS = (
    declared.MethodCard,
    declared.Variant,
    declared.TaskCard,
    declared.Subset,
    declared.ModelCard,
    declared.Labeller,
    scorer_kinds.NetworkKind,
    declared.Part,
    services.Service,
    declared.ProtocolCard,
)


def index() -> str:
    """README, whose links to the docs lead to its neighbours."""
    text = README.read_text(encoding="utf-8").replace("](docs/", "](")
    # Those that are left lead out of the docs.
    return re.sub(r"\[([A-Z]+\.md)\]\(\1\)", r"`\1`", text)


def commands() -> str:
    """Every command of the program with its arguments and options."""
    parts = ["# Commands", _paragraphs(main.help)]
    for path, command in _leaves(main, "livo-bench"):
        # Its width is that of a page, whatever the terminal of who builds it.
        context = click.Context(
            command, parent=PROGRAM, info_name=path, terminal_width=90, max_content_width=90
        )
        usage = command.get_help(context).replace("livo-bench livo-bench", "livo-bench")
        parts += [f"## {path.removeprefix('livo-bench ')}", f"```text\n{usage}\n```"]
    return "\n\n".join(parts) + "\n"


PROGRAM = click.Context(main, info_name="livo-bench", **main.context_settings)
"""A command keeps the help option of its first context."""


def _leaves(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _paragraphs(text: str | None) -> str:
    return re.sub(r"\n +", "\n", text or "").strip()


def cards() -> str:
    """Every field of every card."""
    said = (
        "# Cards\n\nWhat is declared in TOML: methods, tasks, models and protocols. A field that "
        "is unknown, missing or out of its range is refused by name. `livo-bench show NAME` prints "
        "a card.\n"
    )
    return said + "".join(
        f"\n::: {card.__module__}.{card.__name__}\n    options:\n      members: "
        f"[{', '.join(field.name for field in fields(card))}]\n"
        for card in CARDS
    )


def api() -> str:
    """Everything that `import livo_bench` gives."""
    said = (
        "# Python\n\n`import livo_bench` gives what follows; each name is imported when it is "
        "first asked for. An example: [From Python](../how-to/python.md).\n"
    )
    found = [
        f"\n::: livo_bench.{home}.{name}\n"
        for home, names in livo_bench._HOMES.items()
        for name in names
    ]
    return said + "".join([*found, "\n::: livo_bench.plot\n"])


def notebook() -> str:
    """The notebook, its code as blocks; what it shows is seen where it is run."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    parts = [
        source if kind == "markdown" else f"```python\n{source}\n```" for kind, source in sources
    ]
    return "\n\n".join([*parts, f"[The notebook as a file]({NOTEBOOK.name})."]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "index.md": index,
    "reference/api.md": api,
    "reference/cards.md": cards,
    "reference/commands.md": commands,
    "tutorials/notebook.md": notebook,
}
"""What makes each page, by its place in the docs."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those that lie in the folder."""
    from mkdocs.structure.files import File

    for place, make in PAGES.items():
        files.append(File.generated(config, place, content=make()))
    return files
