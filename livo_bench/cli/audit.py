"""Commands with which people check what judges say."""

from __future__ import annotations

from pathlib import Path

import click

from livo_bench.cards.catalog import AUDIT
from livo_bench.cli.output import print_rows, say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import format_option, results_option, runs_option
from livo_bench.report.printing import FOR_PEOPLE
from livo_bench.results.raters.drawn import FITTING, LABELS, PAIRS


@main.group()
def audit() -> None:
    """People label images, and judges are held against them."""


@audit.command("draw", cls=Example, example="livo-bench audit draw --method sd --method livo")
@click.option(
    "--method", "methods", multiple=True, help="Whose images; repeatable; all by default."
)
@click.option(
    "--task", "tasks", multiple=True, help="Name or name/subset; repeatable; all by default."
)
@results_option
@runs_option
@click.option(
    "--labels",
    type=click.IntRange(min=0),
    default=LABELS,
    help="Images to label, most where the judge is unsure.",
)
@click.option(
    "--fits", type=click.IntRange(min=0), default=FITTING, help="Images: do they show their prompt?"
)
@click.option(
    "--pairs",
    type=click.IntRange(min=0),
    default=PAIRS,
    help="Pairs of one noise: which is better?",
)
@click.option("--baseline", default="sd", help="Method that pairs hold the others against.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of what is drawn.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=AUDIT,
    help="Folder of the page, and of the key to it.",
)
@format_option
def draw(
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    model: str,
    runs: Path,
    labels: int,
    fits: int,
    pairs: int,
    baseline: str,
    seed: int,
    out: Path,
    form: str,
) -> None:
    """Draw images for people to label, as one page to open from disk."""
    from livo_bench.report.audit_page import draw_audit

    page, rows = draw_audit(out, runs, model, methods, tasks, labels, fits, pairs, baseline, seed)
    print_rows(rows, form)
    say(f"{page} is the page for raters. Keep the rest of its folder: it names methods.", err=True)


@audit.command("read", cls=Example, example="livo-bench audit read ratings-ada.json")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--draw",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=AUDIT,
    help="Folder that was drawn into.",
)
@runs_option
@format_option
def read(files: tuple[Path, ...], folder: Path, runs: Path, form: str) -> None:
    """Read how judges err and what is preferred out of raters' answers."""
    from livo_bench.report import audit_rows
    from livo_bench.results.raters.audited import CONFUSION, read_audit

    found, notes = read_audit(files, folder, runs)
    print_rows((audit_rows.as_rows if form in FOR_PEOPLE else audit_rows.as_data)(found), form)
    for note in notes:
        say(note, err=True)
    say(f"{folder / CONFUSION} is for `confusion` of a model card; then livo-bench run.", err=True)
