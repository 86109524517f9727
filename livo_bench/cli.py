"""The command line: each command parses, calls one function of the library and prints.

Results go to standard output, progress and errors to standard error. Whatever is heavy is imported
inside the command that needs it, so that `--help` and `list` answer at once.
"""

from __future__ import annotations

import logging
import math
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from livo_bench import interrupt
from livo_bench.errors import (
    AdapterFailed,
    BadInput,
    Incomplete,
    LivoBenchError,
    NotComparable,
    NothingScored,
)
from livo_bench.escaping import redacted, visible
from livo_bench.report import contents
from livo_bench.report.printing import FOR_PEOPLE, FORMS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from livo_bench.report.printing import Row
    from livo_bench.results.check import Check
    from livo_bench.runs.requests import Options

Command = TypeVar("Command", bound=Callable[..., Any])

RUNS = "./results/runs"
ENDLESS = 10_000
"""Columns of a table that goes to a file or a pipe, where lines may be of any length."""


def _echo(shown: object = "", err: bool = False, nl: bool = True) -> None:
    """Print what others may have written; of errors, what is secret is left out."""
    text = str(shown)
    click.echo(visible(redacted(text) if err else text), err=err, nl=nl)


class _Visible(logging.Formatter):
    """Log lines as `_echo` prints errors."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(redacted(super().format(record)))


def _make_logs_visible() -> None:
    """Warnings, which a program that sets up no logging prints by its last resort."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Visible())


class _Example(click.Command):
    """A command whose help is one sentence and an example that runs as written."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(self.example)


def _exit_code(error: LivoBenchError) -> int:
    return 3 if isinstance(error, NotComparable) else 4 if isinstance(error, NothingScored) else 2


class _Program(click.Group):
    """Turns the library's errors and signals into a message and an exit code; other errors are
    bugs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _make_logs_visible()
        try:
            with interrupt.listening():
                return super().invoke(ctx)
        except LivoBenchError as error:
            if isinstance(error, AdapterFailed):
                _echo("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)
            _echo(f"Error: {error}", err=True)
            ctx.exit(_exit_code(error))
        except interrupt.Stopped as stopped:
            kept = getattr(stopped, "__notes__", ["What was finished is kept."])
            command = shlex.join(["livo-bench", *ctx.obj])
            _echo(f"Stopped by {stopped}. {' '.join(kept)} Go on with\n    {command}", err=True)
            ctx.exit(stopped.exit_code)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="livo-bench")
def main() -> None:
    """Compare text-to-image value-alignment methods on the same noise."""


class _Number(click.FloatRange):
    """A number in a range; NaN, which no range holds back, and infinity are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def _runs_option(command: Command) -> Command:
    return click.option(
        "--runs",
        type=click.Path(file_okay=False, path_type=Path),
        default=RUNS,
        help="Folder of images, scores and results.",
    )(command)


def _model_option(command: Command) -> Command:
    return click.option(
        "--model",
        default="mini",
        help="Name, card (.toml), diffusers folder or Hugging Face repository of the model.",
    )(command)


def _results_option(command: Command) -> Command:
    return click.option(
        "--model",
        default="mini",
        help="Whose results; NAME@released for those of the released protocol.",
    )(command)


def _device_option(command: Command) -> Command:
    return click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")(command)


def _settings_option(command: Command) -> Command:
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Of the preference data, like the package's preference.toml.",
    )(command)


def _rate_option(command: Command) -> Command:
    return click.option(
        "--rate",
        type=_Number(min=0, min_open=True),
        help="Images a second to plan with.  [default: the model card's]",
    )(command)


def _require_plan(rate: float | None, plan: bool) -> None:
    if rate is not None and not plan:
        raise click.UsageError("--rate is what --plan plans with. Add --plan, or leave it out.")


def _format_option(command: Command) -> Command:
    return click.option(
        "--format",
        "form",
        type=click.Choice(list(FORMS)),
        default="table",
        help="How to print; csv and json hold every digit, latex needs the package booktabs.",
    )(command)


class _Shard(click.ParamType):
    """A part of a whole, `2/4`."""

    name = "K/N"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        k, _, n = value.partition("/")
        if not (k.isdecimal() and n.isdecimal()):
            self.fail(f"{value!r} is no part of a whole; expected K/N, e.g. 2/4.")
        return int(k), int(n)


def _shard_option(command: Command) -> Command:
    return click.option(
        "--shard",
        type=_Shard(),
        default="1/1",
        help="Do part K of N only, on one of N devices or machines that share --runs.",
    )(command)


@main.command(cls=_Example, example="livo-bench run --method sd --task bias")
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Name, name:variant or folder of a method, or all; repeat it for several.",
)
@click.option(
    "--task",
    required=True,
    help="Name, name/subset or folder of a task; all is every task that is not a control.",
)
@_model_option
@click.option("--images", type=click.IntRange(min=1), default=50, help="Images per prompt.")
@click.option(
    "--prompts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A prompt list of your own: CSV with the columns text and category.",
)
@click.option(
    "--images-from",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Judge pictures made elsewhere, DIR/PROMPT-ID/INDEX.png; --method is what to call them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=42, help="Base seed of all noise.")
@_device_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Precision.  [default: the model card's]",
)
@_runs_option
@click.option(
    "--weights",
    help="Folder of trained weights, or hub:OWNER/NAME/FOLDER, instead of the method's own.",
)
@click.option(
    "--protocol",
    type=click.Choice(["ours", "released"]),
    default="ours",
    help="Conventions of the evaluation; livo-bench show released lists the differences.",
)
@click.option(
    "--scorer",
    metavar="NAME|FOLDER",
    help="Another judge for the images that are stored; makes none. Its results lie apart.",
)
@click.option(
    "--independent-reference",
    is_flag=True,
    help="Sample the unaligned model from other noise, too, for FID and its floor.",
)
@click.option(
    "--switch",
    "switches",
    metavar="NAME",
    multiple=True,
    help="Make the engine faster: channels-last, fuse, compile or cuda-graphs; repeatable. Images "
    "stay the same up to last bits.",
)
@_shard_option
@click.option("--plan", is_flag=True, help="Say what the run would make and cost, and stop.")
@_rate_option
def run(
    methods: tuple[str, ...],
    task: str,
    model: str,
    images: int,
    prompts: Path | None,
    images_from: Path | None,
    seed: int,
    device: str,
    dtype: str | None,
    runs: Path,
    weights: str | None,
    protocol: str,
    scorer: str | None,
    independent_reference: bool,
    switches: tuple[str, ...],
    shard: tuple[int, int],
    plan: bool,
    rate: float | None,
) -> None:
    """Sample, score and summarise methods on a task."""
    from livo_bench.runs import runner

    if not methods and not plan:
        raise click.UsageError("Missing option '--method'. With --plan alone it is sd.")
    _require_plan(rate, plan)

    wanted = list(methods) or ["sd"]
    options: Options = {
        "images": images,
        "prompts": prompts,
        "images_from": images_from,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "runs": runs,
        "weights": weights,
        "protocol": protocol,
        "scorer": scorer,
        "independent_reference": independent_reference,
        "switches": switches,
    }
    if plan:
        planned = runner.plan(
            methods=wanted, task=task, model=model, rate=rate, shard=shard, **options
        )
        _echo(planned)
        return
    for folder in runner.run(methods=wanted, task=task, model=model, shard=shard, **options):
        _echo(folder)
    k, n = shard
    if n > 1:
        _echo(
            f"Part {k} of {n} is made and judged. When all parts are, the same "
            "command without --shard writes the results."
        )


@main.command(cls=_Example, example="livo-bench fetch --model sd15")
@_model_option
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Whose published weights to get; repeatable.  [default: those of all methods]",
)
@click.option("--weights", help="A repository of weights to get besides, hub:OWNER/NAME/FOLDER.")
@_format_option
def fetch(model: str, methods: tuple[str, ...], weights: str | None, form: str) -> None:
    """Get the weights of a model, its judges and its methods, and check them."""
    from livo_bench.runs import fetch as fetching

    rows = fetching.fetch(model, methods, weights)
    if rows:
        _print_rows(rows, form)
    else:
        _echo(f"Model {model} and its judges are folders of this machine: nothing to fetch.")


@main.command(cls=_Example, example="livo-bench train --method livo")
@click.option(
    "--method", required=True, help="Name, name:variant or folder of a method with a recipe."
)
@_model_option
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of batches and noise.")
@click.option(
    "--data-seed", type=click.IntRange(min=0), default=42, help="Of the preference data's images."
)
@click.option(
    "--fraction",
    type=_Number(0, 1, min_open=True),
    default=1.0,
    help="Part of each prompt's images to train on.",
)
@click.option("--gamma-1", type=_Number(min=0), help="Margin of the preferred hinge.")
@click.option("--gamma-2", type=_Number(min=0), help="Margin of the dispreferred hinge.")
@click.option("--steps", type=click.IntRange(min=1), help="[default: the recipe's]")
@click.option("--plan", is_flag=True, help="Say what the training would take, and stop.")
@_rate_option
@_device_option
@_settings_option
@_runs_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results.  [default: RUNS/training/MODEL/METHOD]",
)
def train(
    method: str,
    model: str,
    seed: int,
    data_seed: int,
    fraction: float,
    gamma_1: float | None,
    gamma_2: float | None,
    steps: int | None,
    plan: bool,
    rate: float | None,
    device: str,
    settings: Path | None,
    runs: Path,
    out: Path | None,
) -> None:
    """Train a method, or go on where a training stopped."""
    from livo_bench.methods.livo import preference

    _require_plan(rate, plan)
    settings = settings or preference.SETTINGS
    if plan:
        from livo_bench.methods.training import training_plan

        _echo(training_plan.plan(method, model, steps, settings, rate))
        return
    from livo_bench.methods.training import processes
    from livo_bench.methods.training.training import train as train_method

    weights = train_method(
        method,
        model,
        seed=seed,
        data_seed=data_seed,
        fraction=fraction,
        gamma_1=gamma_1,
        gamma_2=gamma_2,
        steps=steps,
        device=device,
        runs=runs,
        out=out,
        settings=settings,
    )
    if not processes.first():
        return
    words = ["livo-bench", "run", "--method", method, "--task", "all", "--weights", str(weights)]
    words += [] if model == "mini" else ["--model", model]
    words += [] if str(runs) == str(Path(RUNS)) else ["--runs", str(runs)]
    _echo(f"Trained: {weights}\nUse it:\n    {shlex.join(words)}")


@main.command(cls=_Example, example="livo-bench report --table 2")
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
@_results_option
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
    _print(contents.report(table, figure, explain, form, folder, model, out, images=not no_images))


@main.command(
    cls=_Example, example="livo-bench check --baseline results/mini --method sd --task bias"
)
@click.option(
    "--baseline",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of results to hold the new ones against.",
)
@_runs_option
@_results_option
@click.option("--method", "methods", multiple=True, help="Check these only; repeatable.")
@click.option(
    "--task", "tasks", multiple=True, help="Check these only: name or name/subset; repeatable."
)
@click.option(
    "--alpha",
    type=_Number(0, 1, min_open=True, max_open=True),
    default=0.05,
    help="Chance of a false alarm over all tests together.",
)
@click.option(
    "--margin",
    type=_Number(min=0),
    default=2.0,
    help="Points (x100) by which a mean over prompts may be worse.",
)
@click.option(
    "--prompt-margin",
    type=_Number(min=0),
    default=20.0,
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
            _echo("\n".join(update_baseline(baseline, runs, model, methods, tasks)))
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
        _print(forms.render(outcome, form))
    _echo(f"Error: {outcome}", err=True)
    if isinstance(outcome, BadInput):
        sys.exit(2)
    sys.exit(3 if isinstance(outcome, NotComparable) else 4)


def _print_check(check: Check, form: str) -> None:
    from livo_bench.report import check_report as forms

    if form == "table":
        _print_rows(forms.metric_rows(check.metrics), form)
        if failed := [prompt for prompt in check.prompts if prompt.regression]:
            _echo()
            _print_rows(forms.prompt_rows(failed), form)
    else:
        _print(forms.render(check, form))
    for sample in check.samples:
        for line in (forms.sample_line(sample), *forms.changed_lines(sample)):
            _echo(line, err=True)
    _echo(f"{forms.promise(check)}\n{forms.summary(check)}", err=True)


@main.command(cls=_Example, example="livo-bench compare sd livo --task bias --runs results/mini")
@click.argument("methods", nargs=-1, required=True)
@click.option("--task", default="all", help="Name, name/subset, or all that they have in common.")
@_results_option
@_runs_option
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
@_format_option
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
        _print_rows(findings.metric_differences(metrics), form)
        if worst:
            _echo("\nPrompts that got worse most:\n")
            _print_rows(findings.prompt_differences(worst), form)
    else:
        _print_rows(list(map(asdict, [*metrics, *worst])), form)
    for note in said:
        _echo(note, err=True)
    if grid:
        from livo_bench.report.grid import draw as draw_grid

        draw_grid(grid, methods, task, model, runs, rows, show)
        _echo(grid, err=True)


class _Share(click.ParamType):
    """A share in (0, 1], as a number or in per cent: 0.001 or 0.1%."""

    name = "SHARE"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number, per_cent = value.removesuffix("%"), value.endswith("%")
        try:
            share = float(number) / (100 if per_cent else 1)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is no share; expected one above 0 and up to 1, e.g. 0.1%.")
        return share


@main.command(cls=_Example, example="livo-bench remake --sample 0.1%")
@click.argument("keys", nargs=-1)
@click.option("--sample", "share", type=_Share(), help="So many of the stored images besides.")
@_model_option
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Whose weights the images were made with; repeatable.  [default: all built-in ones]",
)
@click.option("--weights", help="Of the one method that is named, instead of its own.")
@_device_option
@_runs_option
@_format_option
def remake(
    keys: tuple[str, ...],
    share: float | None,
    model: str,
    methods: tuple[str, ...],
    weights: str | None,
    device: str,
    runs: Path,
    form: str,
) -> None:
    """Make stored images again from their recipes and say whether they match.

    KEYS are those of images, or how they begin. The exit code is 1 where one is another image.
    """
    from livo_bench.report import findings
    from livo_bench.runs import remake as remaking

    if not keys and share is None:
        raise click.UsageError("Which images? Name their keys, or how many: --sample 0.1%")
    if weights is not None and len(methods) != 1:
        raise click.UsageError("--weights are those of one method: --method NAME --weights DIR")
    remade = remaking.remake(keys, share, model, methods, weights, device, runs)
    for_people = form in FOR_PEOPLE
    _print_rows(findings.remade_images(remade) if for_people else list(map(asdict, remade)), form)
    if any(one.verdict == remaking.ANOTHER for one in remade):
        click.get_current_context().exit(1)


@main.command(cls=_Example, example="livo-bench doctor")
@_device_option
@_format_option
def doctor(device: str, form: str) -> None:
    """Look the machine over and show, by breaking runs, that nothing is lost."""
    from livo_bench.runs import doctor as examining

    findings = examining.doctor(device)
    _print_rows(
        [
            {"check": one.check, "found": one.found, "fine": "yes" if one.fine else "NO"}
            for one in findings
        ],
        form,
    )
    if not all(one.fine for one in findings):
        click.get_current_context().exit(1)


@main.command("list", cls=_Example, example="livo-bench list methods")
@click.argument(
    "kind", type=click.Choice(["methods", "tasks", "models", "protocols"]), required=False
)
@_format_option
def list_(kind: str | None, form: str) -> None:
    """List the methods, tasks, models and protocols that can be run."""
    from livo_bench.cards import catalog

    _print_rows(catalog.overview(kind), form)


@main.command(cls=_Example, example="livo-bench show sd")
@click.argument("name")
def show(name: str) -> None:
    """Print the card of a method, task, model or protocol in full."""
    from livo_bench.cards import catalog

    _echo(catalog.card_text(name), nl=False)


@main.group()
def data() -> None:
    """Prompts, preference data and value retrieval."""


@data.command("prompts", cls=_Example, example="livo-bench data prompts --task bias --format csv")
@click.option("--task", required=True, help="Name, name/subset or folder of a task, or all.")
@_model_option
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "eval"]),
    default="eval",
    help="Which of the prompts; runs are asked those of eval.",
)
@_format_option
def list_prompts(task: str, model: str, split: str, form: str) -> None:
    """List the prompts that a task asks a model, with their ids."""
    from livo_bench.cards import prompts
    from livo_bench.cards.catalog import model_card, select_tasks

    listed = prompts.of_tasks(select_tasks(task), model_card(model).scale, split)
    _print_rows(list(map(asdict, listed)), form)


@data.command("build", cls=_Example, example="livo-bench data build")
@click.option(
    "--task",
    "tasks",
    type=click.Choice(["bias", "toxicity"]),
    multiple=True,
    default=["bias", "toxicity"],
    help="Whose train prompts; repeatable.",
)
@_model_option
@click.option("--seed", type=click.IntRange(min=0), default=42, help="Base seed of all noise.")
@_device_option
@_settings_option
@_runs_option
@_shard_option
@_format_option
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
    from livo_bench.report.tables import records

    chosen = settings or preference.SETTINGS
    folder, counts = preference.build(model, tasks, seed, device, None, runs, chosen, shard)
    _echo(folder, err=True)
    _print_rows(records(counts), form)


@data.command(cls=_Example, example="livo-bench data retrieve --retriever embeddings")
@click.option(
    "--retriever",
    "retrievers",
    type=click.Choice(["keywords", "embeddings", "openai"]),
    multiple=True,
    default=["keywords", "embeddings"],
    help="Keywords alone, or with a second stage; repeatable.",
)
@_model_option
@click.option(
    "--split", type=click.Choice(["dev", "eval"]), default="eval", help="Which of the prompts."
)
@click.option(
    "--language-model",
    metavar="NAME",
    help="For openai, the model to ask at OPENAI_BASE_URL with OPENAI_API_KEY.",
)
@_runs_option
@_format_option
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
    _print_rows(
        findings.retrievers(comparisons) if for_people else list(map(asdict, comparisons)), form
    )


@main.group()
def mini() -> None:
    """The miniature world that ships with the package."""


def _work_option(holds: str) -> Callable[[Command], Command]:
    return click.option(
        "--work",
        type=click.Path(file_okay=False, path_type=Path),
        default=f"{RUNS}/mini-build",
        help=holds,
    )


@mini.command(cls=_Example, example="livo-bench mini build --part vae")
@click.option("--part", "parts", multiple=True, help="Train these only; repeatable.")
@_work_option("Folder of renders and checkpoints, from which a stopped build goes on.")
@click.option(
    "--weights",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(__file__).parent / "mini" / "weights",
    show_default="the package's own",
    help="Folder for the finished networks.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all parts.")
def build(parts: tuple[str, ...], work: Path, weights: Path, seed: int) -> None:
    """Retrain the miniature world's networks, part by part."""
    from livo_bench.mini.build import build as build_world

    build_world(parts=list(parts), work=work, weights=weights, seed=seed)


@mini.command(cls=_Example, example="livo-bench mini draw --out docs/mini")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="./docs/mini",
    help="Folder for the pictures.",
)
def draw(out: Path) -> None:
    """Draw the miniature world beside its model's samples."""
    from livo_bench.mini.gallery import draw as draw_gallery

    for path in draw_gallery(out):
        _echo(path)


@mini.command(cls=_Example, example="livo-bench mini measure")
@_work_option("Folder of the build, for its records and for held-out renders.")
def measure(work: Path) -> None:
    """Measure the miniature world's networks, as tables for its card."""
    from livo_bench.mini.measure import card_tables

    _echo(card_tables(work))


@mini.command(cls=_Example, example="livo-bench mini confusion")
@_work_option("Folder of the build, for held-out renders.")
@_device_option
def confusion(work: Path, device: str) -> None:
    """Measure the judges' confusion matrices, as CSV."""
    from livo_bench.mini.measure import confusion as measure_confusion
    from livo_bench.runs.session import find_device

    _echo(measure_confusion(work, device=find_device(device)).to_csv(index=False), nl=False)


def _print_rows(rows: Sequence[Row], form: str) -> None:
    _print(FORMS[form](rows))


def _print(shown: RenderableType) -> None:
    if isinstance(shown, str):
        # CSV for a program holds every character; one that is looked at steers no terminal.
        click.echo(visible(shown) if sys.stdout.isatty() else shown, color=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(shown)
        return
    console.width = ENDLESS
    with console.capture() as captured:
        console.print(shown)
    lines = (line.rstrip() for line in captured.get().split("\n"))
    click.echo("\n".join(lines).strip("\n"))


if __name__ == "__main__":
    main()
