"""Commands that make, learn or judge images: run, train and remake."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import click

from livo_bench.cards.catalog import RUNS
from livo_bench.cli.output import print_rows, say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import (
    Command,
    Number,
    Share,
    device_option,
    format_option,
    log_option,
    model_option,
    progress_options,
    rate_option,
    require_plan,
    run_options,
    runs_option,
    settings_option,
    shard_option,
)
from livo_bench.report.printing import FOR_PEOPLE
from livo_bench.runs import experiment
from livo_bench.runs.options import RunOptions

_methods_option = click.option(
    "--method",
    "methods",
    multiple=True,
    help="Name, name:variant or folder of a method, or all; repeat it for several.",
)


def _tasks_option(required: bool) -> Callable[[Command], Command]:
    return click.option(
        "--task",
        "tasks",
        multiple=True,
        required=required,
        help="Name, name/subset or folder of a task; all is every task that is not a control. "
        "Repeat it for several.",
    )


@main.command(
    cls=Example,
    example="livo-bench run --method sd --task bias",
    heeds={name: name for name in experiment.FIELDS},
)
@_methods_option
@_tasks_option(required=True)
@model_option
@run_options
@progress_options
@shard_option
@click.option("--plan", is_flag=True, help="Say what the run would make and cost, and stop.")
@rate_option
def run(
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    model: str,
    shard: tuple[int, int],
    plan: bool,
    rate: float | None,
    **options: Unpack[RunOptions],
) -> None:
    """Sample, score and summarise methods on tasks."""
    from livo_bench.runs import runner

    if not methods and not plan:
        raise click.UsageError("Missing option '--method'. With --plan alone it is sd.")
    require_plan(rate, plan)

    wanted = list(methods) or ["sd"]
    for task in dict.fromkeys(tasks):
        if plan:
            say(
                runner.plan(
                    methods=wanted, task=task, model=model, rate=rate, shard=shard, **options
                )
            )
            continue
        for folder in runner.run(methods=wanted, task=task, model=model, shard=shard, **options):
            say(folder)
    k, n = shard
    if n > 1 and not plan:
        say(
            f"Part {k} of {n} is made and judged. When all parts are, the same "
            "command without --shard writes the results."
        )


@main.command(cls=Example, example="livo-bench init --method livo --task bias", heeds={})
@_methods_option
@_tasks_option(required=False)
@model_option
@run_options
def init(
    methods: tuple[str, ...], tasks: tuple[str, ...], model: str, **options: Unpack[RunOptions]
) -> None:
    """Write an experiment into livo-bench.toml, where commands read it."""
    asked = {"methods": methods or ("sd",), "tasks": tasks or ("bias",), "model": model}
    experiment.write({**asked, **options})
    say(f"Written: {experiment.FILE}\nSee what it comes to:\n    livo-bench run --plan")


@main.command(cls=Example, example="livo-bench train --method livo")
@click.option(
    "--method", required=True, help="Name, name:variant or folder of a method that trains."
)
@model_option
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of batches and noise.")
@click.option(
    "--data-seed", type=click.IntRange(min=0), default=42, help="Of the preference data's images."
)
@click.option(
    "--fraction",
    type=Number(0, 1, min_open=True),
    default=1.0,
    help="Part of each prompt's images to train on.",
)
@click.option("--gamma-1", type=Number(min=0), help="Margin of the preferred hinge.")
@click.option("--gamma-2", type=Number(min=0), help="Margin of the dispreferred hinge.")
@click.option("--steps", type=click.IntRange(min=1), help="[default: the method's]")
@click.option("--plan", is_flag=True, help="Say what the training would take, and stop.")
@rate_option
@device_option
@settings_option
@runs_option
@log_option
@progress_options
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
    log_to: tuple[str, ...],
    out: Path | None,
) -> None:
    """Train a method, or go on where a training stopped."""
    from livo_bench.methods.livo import preference

    require_plan(rate, plan)
    settings = settings or preference.SETTINGS
    if plan:
        from livo_bench.methods.training.training import plan as plan_training

        say(
            plan_training(
                method, model, steps, settings, rate,
                fraction=fraction, gamma_1=gamma_1, gamma_2=gamma_2,
            )
        )  # fmt: skip
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
        log_to=log_to,
    )
    if not processes.first():
        return
    words = ["livo-bench", "run", "--method", method, "--task", "all", "--weights", str(weights)]
    words += [] if model == "mini" else ["--model", model]
    words += [] if runs == RUNS else ["--runs", str(runs)]
    say(f"Trained: {weights}\nUse it:\n    {shlex.join(words)}")


@main.command(cls=Example, example="livo-bench remake --sample 0.1%")
@click.argument("keys", nargs=-1)
@click.option("--sample", "share", type=Share(), help="So many of the stored images besides.")
@model_option
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Whose weights the images were made with; repeatable.  [default: all built-in ones]",
)
@click.option("--weights", help="Of the one method that is named, instead of its own.")
@device_option
@runs_option
@format_option
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
    print_rows(findings.remade_images(remade) if for_people else list(map(asdict, remade)), form)
    if any(one.verdict == remaking.ANOTHER for one in remade):
        click.get_current_context().exit(1)
