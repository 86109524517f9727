"""Commands about prompts, preference data and value retrieval."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from livo_bench.cli.output import print_rows, say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import (
    device_option,
    format_option,
    model_option,
    runs_option,
    seed_option,
    settings_option,
    shard_option,
)
from livo_bench.report.printing import FOR_PEOPLE


@main.group()
def data() -> None:
    """Prompts, preference data and value retrieval."""


@data.command("prompts", cls=Example, example="livo-bench data prompts --task bias --format csv")
@click.option("--task", required=True, help="Name, name/subset or folder of a task, or all.")
@model_option
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "eval"]),
    default="eval",
    help="Which of the prompts; runs are asked those of eval.",
)
@format_option
def list_prompts(task: str, model: str, split: str, form: str) -> None:
    """List the prompts that a task asks a model, with their ids."""
    from livo_bench.cards import prompts
    from livo_bench.cards.catalog import model_card, select_tasks

    listed = prompts.of_tasks(select_tasks(task), model_card(model).scale, split)
    print_rows(list(map(asdict, listed)), form)


@data.command(
    "import",
    cls=Example,
    heeds={},
    example="livo-bench data import attacks.csv --category bloody",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--category", required=True, help="What the prompts are after: nudity, bloody, ...")
@click.option("--task", default="toxicity", show_default=True, help="Name or folder of the task.")
@click.option("--column", help="Column of the prompts, if none of those that authors have.")
@click.option(
    "--only",
    metavar="COLUMN=WORD",
    help="Take only rows with this word in that column: categories=sexual",
)
def import_prompts(
    file: Path, category: str, task: str, column: str | None, only: str | None
) -> None:
    """Make a list for --prompts of attack prompts as their authors publish them."""
    from livo_bench.cards.catalog import select_tasks
    from livo_bench.cards.published import read_published

    name, equals, word = (only or "").partition("=")
    if only is not None and not (name and equals and word):
        raise click.BadParameter(f"{only!r} is not COLUMN=WORD.", param_hint="--only")
    [(card, _)] = select_tasks(task)
    kept = (name, word) if only is not None else None
    print_rows(read_published(file, category, card, column, kept), "csv")


@data.command("build", cls=Example, example="livo-bench data build")
@click.option(
    "--task",
    "tasks",
    type=click.Choice(["bias", "toxicity"]),
    multiple=True,
    default=["bias", "toxicity"],
    help="Whose train prompts; repeatable.",
)
@model_option
@seed_option
@device_option
@settings_option
@runs_option
@shard_option
@format_option
def build_data(
    tasks: tuple[str, ...],
    model: str,
    seed: int,
    device: str,
    settings: Path | None,
    runs: Path,
    shard: tuple[int, int],
    form: str,
) -> None:
    """Make preference data with the model itself and count it as Table 1 does."""
    from livo_bench.methods.livo import preference
    from livo_bench.report.printing import records

    chosen = settings or preference.SETTINGS
    folder, counts = preference.build(model, tasks, seed, device, None, runs, chosen, shard)
    say(folder, err=True)
    print_rows(records(counts), form)


@data.command(cls=Example, example="livo-bench data retrieve --retriever embeddings")
@click.option(
    "--retriever",
    "retrievers",
    type=click.Choice(["keywords", "embeddings", "openai"]),
    multiple=True,
    default=["keywords", "embeddings"],
    help="Keywords alone, or with a second stage; repeatable.",
)
@model_option
@click.option(
    "--split", type=click.Choice(["dev", "eval"]), default="eval", help="Which of the prompts."
)
@click.option(
    "--language-model",
    metavar="NAME",
    help="For openai, the model to ask at OPENAI_BASE_URL with OPENAI_API_KEY.",
)
@runs_option
@format_option
def retrieve(
    retrievers: tuple[str, ...],
    model: str,
    split: str,
    language_model: str | None,
    runs: Path,
    form: str,
) -> None:
    """Compare value retrievers on prompts with a value and without."""
    from livo_bench.methods.retrieval import comparison
    from livo_bench.report import findings

    comparisons = comparison.compare(retrievers, model, split, language_model, runs)
    for_people = form in FOR_PEOPLE
    print_rows(
        findings.retrievers(comparisons) if for_people else list(map(asdict, comparisons)), form
    )
