"""The command line: each command parses, calls one function of the library and prints.

Results go to standard output, progress and errors to standard error. Whatever is heavy is imported
inside the command that needs it, so that `--help` and `list` answer at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from livo_bench.errors import Incomplete, LivoBenchError, NotComparable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from livo_bench.report.rows import Row

Command = TypeVar("Command", bound=Callable[..., Any])

RUNS = "./results/runs"
FILE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


class _Example(click.Command):
    """A command whose help is one sentence and an example that runs as written."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(self.example)


class _Program(click.Group):
    """Turns the library's errors into a message and an exit code; other errors are bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LivoBenchError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="livo-bench")
def main() -> None:
    """Compare text-to-image value-alignment methods on the same noise."""


def _runs_option(command: Command) -> Command:
    return click.option(
        "--runs",
        type=click.Path(file_okay=False, path_type=Path),
        default=RUNS,
        help="Folder of images, scores and results.",
    )(command)


def _model_option(command: Command) -> Command:
    return click.option(
        "--model", default="mini", help="Name, card (.toml) or diffusers folder of the model."
    )(command)


def _device_option(command: Command) -> Command:
    return click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")(command)


def _settings_option(command: Command) -> Command:
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Of the preference data, like the package's preference.toml.",
    )(command)


def _format_option(command: Command) -> Command:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "markdown", "csv", "json"]),
        default="table",
        help="How to print; csv and json hold every digit.",
    )(command)


@main.command(cls=_Example, example="livo-bench run --method sd --task bias")
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
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
@click.option("--seed", type=click.IntRange(min=0), default=42, help="Base seed of all noise.")
@_device_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Precision.  [default: the model card's]",
)
@_runs_option
@click.option("--weights", help="Folder of trained weights to use instead of the method's own.")
@click.option(
    "--independent-reference",
    is_flag=True,
    help="Sample the unaligned model from other noise, too, for FID and its floor.",
)
@click.option("--plan", is_flag=True, help="Say what the run would make and cost, and stop.")
def run(
    methods: tuple[str, ...],
    task: str,
    model: str,
    images: int,
    prompts: Path | None,
    seed: int,
    device: str,
    dtype: str | None,
    runs: Path,
    weights: str | None,
    independent_reference: bool,
    plan: bool,
) -> None:
    """Sample, score and summarise methods on a task."""
    from livo_bench import runner

    options: dict[str, Any] = {
        "methods": list(methods),
        "task": task,
        "model": model,
        "images": images,
        "prompts": prompts,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "runs": runs,
        "weights": weights,
        "independent_reference": independent_reference,
    }
    if plan:
        click.echo(runner.plan(**options))
    else:
        for folder in runner.run(**options):
            click.echo(folder)


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
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Part of each prompt's images to train on.",
)
@click.option("--gamma-1", type=click.FloatRange(min=0), help="Margin of the preferred hinge.")
@click.option("--gamma-2", type=click.FloatRange(min=0), help="Margin of the dispreferred hinge.")
@click.option("--steps", type=click.IntRange(min=1), help="[default: the recipe's]")
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
    device: str,
    settings: Path | None,
    runs: Path,
    out: Path | None,
) -> None:
    """Train a method, or go on where a training stopped."""
    from livo_bench.livo import preference
    from livo_bench.training import train as train_method

    weights = train_method(
        method,
        model,
        seed,
        data_seed,
        fraction,
        gamma_1,
        gamma_2,
        steps,
        device,
        runs,
        out,
        settings or preference.SETTINGS,
    )
    words = ["livo-bench", "run", "--method", method, "--task", "all", "--weights", str(weights)]
    words += [] if model == "mini" else ["--model", model]
    words += [] if str(runs) == str(Path(RUNS)) else ["--runs", str(runs)]
    click.echo(f"Trained: {weights}\nUse it:\n    {shlex.join(words)}")


@main.command(cls=_Example, example="livo-bench report --table 2")
@click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=RUNS, required=False
)
@click.option(
    "--table",
    type=click.Choice(["2", "3", "trade-off", "overcorrection", "fid", "thresholds"]),
    default="2",
    help="Number in the paper, or one of our own.",
)
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the trade-off into an .svg or .png file instead.",
)
@click.option("--model", default="mini", help="Whose results.")
@_format_option
def report(folder: Path, table: str, figure: Path | None, model: str, form: str) -> None:
    """Print tables or draw the trade-off from the results in a folder."""
    from livo_bench.report import tables

    aggregates = tables.read_aggregates(folder, model)
    if figure is not None:
        from livo_bench.report.figures import trade_off

        trade_off(aggregates, figure)
        click.echo(figure)
        return
    if table == "thresholds":
        from livo_bench.report import thresholds

        readings = thresholds.thresholds(folder, model)
        for_people = form in ("table", "markdown")
        _print_rows(
            thresholds.as_rows(readings) if for_people else list(map(asdict, readings)), form
        )
        return
    lay_out = {
        "2": tables.table_2,
        "3": tables.table_3,
        "trade-off": tables.trade_off,
        "overcorrection": tables.overcorrection,
        "fid": tables.fid,
    }[table]
    rows, laid_out = lay_out(aggregates)
    if form == "table":
        _print(tables.as_rich(laid_out))
    elif form == "markdown":
        click.echo(tables.as_markdown(laid_out))
    else:
        _print_rows(tables.records(rows), form)


@main.command(cls=_Example, example="livo-bench check --baseline results/mini --method sd")
@click.option(
    "--baseline",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of results to hold the new ones against.",
)
@_runs_option
@click.option("--model", default="mini", help="Whose results.")
@click.option("--method", "methods", multiple=True, help="Check these only; repeatable.")
@click.option("--task", "tasks", multiple=True, help="Check these only; repeatable.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    help="Chance of a false alarm over all tests together.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=2.0,
    help="Points (x100) by which a metric may be worse.",
)
@_format_option
def check(
    baseline: Path,
    runs: Path,
    model: str,
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    alpha: float,
    margin: float,
    form: str,
) -> None:
    """Compare results with a baseline on the images that both have.

    Exit code 0: pass, 1: regression, 2: wrong usage, 3: not comparable, 4: incomplete.
    """
    from livo_bench import check as gate

    try:
        comparisons = gate.check(baseline, runs, model, methods, tasks, alpha, margin / 100)
    except (NotComparable, Incomplete) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(3 if isinstance(error, NotComparable) else 4)
    for_people = form in ("table", "markdown")
    _print_rows(gate.as_rows(comparisons) if for_people else list(map(asdict, comparisons)), form)
    regressions = sum(comparison.regression for comparison in comparisons)
    click.echo(f"{regressions} of {len(comparisons)} metrics regressed.", err=True)
    sys.exit(1 if regressions else 0)


@main.command(cls=_Example, example="livo-bench compare sd livo --task bias --runs results/mini")
@click.argument("methods", nargs=-1, required=True)
@click.option("--task", default="all", help="Name, name/subset, or all that they have in common.")
@click.option("--model", default="mini", help="Whose results.")
@_runs_option
@click.option(
    "--prompts", type=click.IntRange(min=0), default=10, help="How many to list, worst first."
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
    from livo_bench import compare as comparing

    metrics, per_prompt = comparing.compare(methods, task, model, runs)
    worst = per_prompt[:prompts]
    if form in ("table", "markdown"):
        _print_rows(comparing.metric_rows(metrics), form)
        if worst:
            click.echo()
            _print_rows(comparing.prompt_rows(worst), form)
    else:
        _print_rows(list(map(asdict, [*metrics, *worst])), form)
    if grid:
        from livo_bench.report.grid import draw as draw_grid

        draw_grid(grid, methods, task, model, runs, rows, show)
        click.echo(grid, err=True)


@main.command("list", cls=_Example, example="livo-bench list methods")
@click.argument("kind", type=click.Choice(["methods", "tasks", "models"]), required=False)
@_format_option
def list_(kind: str | None, form: str) -> None:
    """List the methods, tasks and models that can be run."""
    from livo_bench import catalog

    _print_rows(catalog.overview(kind), form)


@main.command(cls=_Example, example="livo-bench show sd")
@click.argument("name")
def show(name: str) -> None:
    """Print the card of a method, task or model in full."""
    from livo_bench import catalog

    click.echo(catalog.card_text(name), nl=False)


@main.group()
def data() -> None:
    """Preference data and value retrieval."""


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
@_format_option
def build_data(
    tasks: tuple[str, ...],
    model: str,
    seed: int,
    device: str,
    settings: Path | None,
    runs: Path,
    form: str,
) -> None:
    """Make preference data with the model itself and count it as Table 1 does."""
    from livo_bench.livo import preference
    from livo_bench.report import tables

    chosen = settings or preference.SETTINGS
    folder, counts = preference.build(model, tasks, seed, device, None, runs, chosen)
    click.echo(folder, err=True)
    _print_rows(tables.records(counts), form)


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
    from livo_bench.livo import comparison

    comparisons = comparison.compare(retrievers, model, split, language_model, runs)
    for_people = form in ("table", "markdown")
    _print_rows(
        comparison.as_rows(comparisons) if for_people else list(map(asdict, comparisons)), form
    )


@main.group()
def mini() -> None:
    """The miniature world that ships with the package."""


@mini.command(cls=_Example, example="livo-bench mini build --part vae")
@click.option("--part", "parts", multiple=True, help="Train these only; repeatable.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default="./results/runs/mini-build",
    help="Folder of renders and checkpoints, from which a stopped build goes on.",
)
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
        click.echo(path)


@mini.command(cls=_Example, example="livo-bench mini measure")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default="./results/runs/mini-build",
    help="Folder of the build, for its records and for held-out renders.",
)
def measure(work: Path) -> None:
    """Measure the miniature world's networks, as tables for its card."""
    from livo_bench.mini.measure import card_tables

    click.echo(card_tables(work))


@mini.command(cls=_Example, example="livo-bench mini confusion")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default="./results/runs/mini-build",
    help="Folder of the build, for held-out renders.",
)
@_device_option
def confusion(work: Path, device: str) -> None:
    """Measure the judges' confusion matrices, as CSV."""
    from livo_bench.mini.measure import confusion as measure_confusion
    from livo_bench.session import find_device

    click.echo(measure_confusion(work, device=find_device(device)).to_csv(index=False), nl=False)


def _print_rows(rows: Sequence[Row], form: str) -> None:
    from livo_bench.report import rows as forms

    if form == "table":
        _print(forms.as_rich(rows))
    else:
        as_text = {"markdown": forms.as_markdown, "csv": forms.as_csv, "json": forms.as_json}
        click.echo(as_text[form](rows))


def _print(renderable: RenderableType) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(renderable)
        return
    console.width = FILE_WIDTH
    with console.capture() as captured:
        console.print(renderable)
    lines = (line.rstrip() for line in captured.get().splitlines())
    click.echo("\n".join(lines).strip("\n"))


if __name__ == "__main__":
    main()
