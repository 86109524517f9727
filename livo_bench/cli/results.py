"""Commands that say what results are: report, check and compare."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from livo_bench.cards.catalog import RUNS
from livo_bench.cli.output import print_rows, print_shown, say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import Number, format_option, results_option, runs_option
from livo_bench.errors import BadInput, Incomplete, LivoBenchError, NotComparable
from livo_bench.report import contents
from livo_bench.report.printing import FOR_PEOPLE, FORMS
from livo_bench.results.tolerances import ALPHA, MARGIN, PROMPT_MARGIN

if TYPE_CHECKING:
    from livo_bench.results.check import Check


@main.command(
    cls=Example,
    example="livo-bench report --table 2",
    heeds={"model": "model", "folder": "runs"},
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--table",
    type=click.Choice(list(contents.TABLES)),
    help="Number in the paper, or one of our own.  [default: 2]",
)
@click.option(
    "--figure", type=click.Choice(list(contents.FIGURES)), help="Draw this instead, into --out."
)
@click.option(
    "--explain",
    is_flag=True,
    help="Say instead how far each quirk of the released evaluation moves each number.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where a figure goes, an .svg, .png or .pdf file (.png for cases), or the folder of "
    "html.  "
    f"[default of html: ./{contents.PAGE}]",
)
@click.option("--no-images", is_flag=True, help="Leave the pictures out of html.")
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMS, contents.HTML]),
    default="table",
    help="How to print; csv and json hold every digit, latex needs the package booktabs, html is a "
    "folder with all there is to see.",
)
def report(
    folder: Path | None,
    table: str | None,
    figure: str | None,
    explain: bool,
    out: Path | None,
    no_images: bool,
    model: str,
    form: str,
) -> None:
    """Print the tables of the paper, draw its figures, or write a page.

    FOLDER is one of runs, ./results/runs if none is named. What has been measured once comes with
    the package and is taken from there if none is named: the quirks, and the trainings behind
    convergence, data-efficiency and margins.
    """
    asked = {
        "--table": table is not None,
        "--figure": figure is not None,
        "--explain": explain,
        "--format html": form == contents.HTML,
    }
    if sum(asked.values()) > 1:
        several = " and ".join(name for name, given in asked.items() if given)
        raise click.UsageError(f"{several} ask for different things. Leave all but one out.")
    if no_images and form != contents.HTML:
        raise click.UsageError("--no-images is for --format html.")
    if figure is not None and form != "table":
        raise click.UsageError(
            f"--format {form} is how tables are printed. A figure is what its file ends with: "
            "--out FILE.svg, FILE.png or FILE.pdf"
        )
    print_shown(
        contents.report(table, figure, explain, form, folder, model, out, images=not no_images)
    )


@main.command(
    cls=Example, example="livo-bench check --baseline results/mini --method sd --task bias"
)
@click.option(
    "--baseline",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of results to hold the new ones against.",
)
@runs_option
@results_option
@click.option("--method", "methods", multiple=True, help="Check these only; repeatable.")
@click.option(
    "--task", "tasks", multiple=True, help="Check these only: name or name/subset; repeatable."
)
@click.option(
    "--alpha",
    type=Number(0, 1, min_open=True, max_open=True),
    default=ALPHA,
    help="Chance of a false alarm over all tests together.",
)
@click.option(
    "--margin",
    type=Number(min=0),
    default=100 * MARGIN,
    help="Points (x100) by which a mean over prompts may be worse.",
)
@click.option(
    "--prompt-margin",
    type=Number(min=0),
    default=100 * PROMPT_MARGIN,
    help="Points by which a single prompt may be worse.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv", "json", "junit"]),
    default="table",
    help="How to print; markdown is a comment for a pull request.",
)
@click.option(
    "--out",
    "files",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write it to a .md, .json, .xml (JUnit) or .csv file too; repeatable.",
)
@click.option("--update", is_flag=True, help="Make these results the baseline, and stop.")
def check(
    baseline: Path,
    runs: Path,
    model: str,
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    alpha: float,
    margin: float,
    prompt_margin: float,
    form: str,
    files: tuple[Path, ...],
    update: bool,
) -> None:
    """Hold alignment and fidelity against a baseline, on the images that both have.

    Exit code 0: pass, 1: regression, 2: wrong usage or damaged results, 3: not comparable, 4:
    incomplete.
    """
    from livo_bench.report import check_report as forms
    from livo_bench.results import check as gate
    from livo_bench.results.baseline import update as update_baseline

    if update and (files or form != "table"):
        raise click.UsageError(
            "--out and --format are for what a check found, and --update checks nothing. Leave "
            "them out."
        )
    if not (update or baseline.is_dir()):
        raise click.BadParameter(
            f"There is no folder {baseline}. Make it of the results at hand: add --update",
            param_hint="--baseline",
        )
    for path in files:
        forms.form_of(path)
    outcome: gate.Check | LivoBenchError
    try:
        if update:
            say("\n".join(update_baseline(baseline, runs, model, methods, tasks)))
            return
        outcome = gate.check(
            baseline, runs, model, methods, tasks, alpha, margin / 100, prompt_margin / 100
        )
    except (NotComparable, Incomplete, BadInput) as error:
        outcome = error
    for path in files:
        forms.write(outcome, path)
    if isinstance(outcome, gate.Check):
        _print_check(outcome, form)
        sys.exit(1 if outcome.regressions else 0)
    if form not in ("table", "csv"):
        print_shown(forms.render(outcome, form))
    say(f"Error: {outcome}", err=True)
    if isinstance(outcome, BadInput):
        sys.exit(2)
    sys.exit(3 if isinstance(outcome, NotComparable) else 4)


def _print_check(check: Check, form: str) -> None:
    from livo_bench.report import check_report as forms

    if form == "table":
        print_rows(forms.metric_rows(check.metrics), form)
        if failed := [prompt for prompt in check.prompts if prompt.regression]:
            say()
            print_rows(forms.prompt_rows(failed), form)
    else:
        print_shown(forms.render(check, form))
    for sample in check.samples:
        for line in (forms.sample_line(sample), *forms.changed_lines(sample)):
            say(line, err=True)
    say(f"{forms.promise(check)}\n{forms.summary(check)}", err=True)


@main.command(cls=Example, example="livo-bench compare sd livo --task bias --runs results/mini")
@click.argument("methods", nargs=-1, required=True)
@click.option("--task", default="all", help="Name, name/subset, or all that they have in common.")
@results_option
@runs_option
@click.option(
    "--prompts", type=click.IntRange(min=0), default=10, help="How many that got worse to list."
)
@click.option(
    "--grid",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG file for pictures: a prompt and seed a row, a method a column.",
)
@click.option("--rows", type=click.IntRange(min=1), default=8, help="Of the grid, at most.")
@click.option("--show", is_flag=True, help="Do not blur the hazards that a real model drew.")
@format_option
def compare(
    methods: tuple[str, ...],
    task: str,
    model: str,
    runs: Path,
    prompts: int,
    grid: Path | None,
    rows: int,
    show: bool,
    form: str,
) -> None:
    """Hold methods against the first one, image by image."""
    from livo_bench.report import findings
    from livo_bench.results import compare as comparing

    metrics, per_prompt, said = comparing.compare(methods, task, model, runs)
    worst = [one for one in per_prompt if one.worsening > 0][:prompts]
    if form in FOR_PEOPLE:
        print_rows(findings.metric_differences(metrics), form)
        if worst:
            say("\nPrompts that got worse most:\n")
            print_rows(findings.prompt_differences(worst), form)
    else:
        print_rows(list(map(asdict, [*metrics, *worst])), form)
    for note in said:
        say(note, err=True)
    if grid:
        from livo_bench.report.grid import draw as draw_grid

        draw_grid(grid, methods, task, model, runs, rows, show)
        say(grid, err=True)


@main.command(
    cls=Example,
    example="livo-bench view results/mini",
    heeds={"model": "model", "folder": "runs"},
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=contents.PORT,
    help="Port of 127.0.0.1; 0 takes a free one.",
)
@results_option
def view(folder: Path | None, port: int, model: str) -> None:
    """Serve the page of results, and of a run while it goes.

    On this machine alone, until Ctrl-C.
    """
    from livo_bench.report.view import view as serve

    serve(folder or RUNS, model, port, said=lambda address: say(f"{address}  Ctrl-C ends it."))
