"""Options that several commands have, and the types of their values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

import click

from livo_bench import telling
from livo_bench.report.printing import FORMS
from livo_bench.runs.options import OPTIONS, Option, RunOptions, options_of

Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number in a range; NaN, which no range holds back, and infinity are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def run_option(name: str) -> Callable[[Command], Command]:
    """One option of a run, made of what `RunOptions` says of it."""
    of, option = options_of(RunOptions)[name]
    [kind] = {one for one in get_args(of) or (of,) if one is not NoneType}
    return click.option(
        option.flag(name),
        name,
        type=_type(kind, option),
        is_flag=kind is bool,
        multiple=bool(option.one),
        default=option.default,
        help=option.help,
        metavar=option.metavar,
    )


def _type(kind: type, option: Option) -> click.ParamType:
    """What the command line takes for a value of a type."""
    if option.choices:
        return click.Choice(list(option.choices))
    if kind is Path:
        folder = option.place == "folder"
        return click.Path(file_okay=not folder, dir_okay=folder, path_type=Path)
    if option.least is not None:
        return click.IntRange(min=option.least)
    return click.types.convert_type(kind)


def run_options(command: Command) -> Command:
    """Every option of a run, in the order of the record."""
    for name in reversed(list(OPTIONS)):
        command = run_option(name)(command)
    return command


runs_option = run_option("runs")
device_option = run_option("device")
seed_option = run_option("seed")
log_option = run_option("log_to")


def model_option(command: Command) -> Command:
    return click.option(
        "--model",
        default="mini",
        help="Name, card (.toml), diffusers folder or Hugging Face repository of the model.",
    )(command)


def results_option(command: Command) -> Command:
    return click.option(
        "--model",
        default="mini",
        help="Whose results; NAME@released for those of the released protocol.",
    )(command)


def settings_option(command: Command) -> Command:
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Of the preference data, like the package's preference.toml.",
    )(command)


def rate_option(command: Command) -> Command:
    return click.option(
        "--rate",
        type=Number(min=0, min_open=True),
        help="Images a second to plan with.  [default: the model card's]",
    )(command)


def require_plan(rate: float | None, plan: bool) -> None:
    if rate is not None and not plan:
        raise click.UsageError("--rate is what --plan plans with. Add --plan, or leave it out.")


def format_option(command: Command) -> Command:
    return click.option(
        "--format",
        "form",
        type=click.Choice(list(FORMS)),
        default="table",
        help="How to print; csv and json hold every digit, latex needs the package booktabs.",
    )(command)


def progress_options(command: Command) -> Command:
    """How to tell of progress on standard error; it holds from here on."""
    command = click.option(
        "--quiet",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_be_quiet,
        help="Show no progress; warnings and errors are shown.",
    )(command)
    return click.option(
        "--progress",
        type=click.Choice([telling.BAR, telling.JSON]),
        default=telling.BAR,
        is_eager=True,
        expose_value=False,
        callback=_tell_by,
        help="Standard error as bars, or as lines of JSON and nothing else.",
    )(command)


def _tell_by(ctx: click.Context, param: click.Parameter, form: str) -> None:
    if form != telling.BAR and not ctx.resilient_parsing:
        _choose(form)


def _be_quiet(ctx: click.Context, param: click.Parameter, quiet: bool) -> None:
    if quiet and not ctx.resilient_parsing:
        _choose(telling.QUIET)


def _choose(form: str) -> None:
    if telling.form() not in (telling.BAR, form):
        raise click.UsageError(
            "--quiet and --progress json ask for different things. Leave out one."
        )
    telling.tell_by(form)


class Shard(click.ParamType):
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


def shard_option(command: Command) -> Command:
    return click.option(
        "--shard",
        type=Shard(),
        default="1/1",
        help="Do part K of N only, on one of N devices or machines that share --runs.",
    )(command)


class Share(click.ParamType):
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
