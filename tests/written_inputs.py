"""Prompt lists and methods of a user's own, as files."""

from collections.abc import Iterable
from pathlib import Path

from livo_bench.runs.options import RunOptions


class Chosen(RunOptions):
    """Arguments of a run but for its methods."""

    task: str
    model: str


class Asked(Chosen):
    """Arguments of a run."""

    methods: list[str]


def write_prompts(path: Path, rows: Iterable[str]) -> Path:
    path.write_text("\n".join(["text,category", *rows]) + "\n", encoding="utf-8")
    return path


def write_method(folder: Path, resolve: str = "return base", generate: str | None = None) -> str:
    """A user's own method, as an adapter in a folder; returns what to pass as `--method`."""
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(
        f'name = "{folder.name}"\ntitle = "Own"\nversion = 1\ntasks = ["bias"]\ntold = "nothing"\n'
        'summary = "A method of my own."\npaper = ""\ndifferences = []\n',
        encoding="utf-8",
    )
    lines = [
        "from dataclasses import replace",
        "import numpy as np",
        "class Own:",
        "    def resolve(self, request, base):",
        f"        {resolve}",
    ]
    if generate is not None:
        lines += ["    def generate(self, requests, latents):", f"        {generate}"]
    lines += ["def load(context):", "    return Own()"]
    (folder / "adapter.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
"""A chat template of a model that sees one picture, as LLaVA 1.5 has it."""
