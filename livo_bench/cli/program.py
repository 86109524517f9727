"""The program `livo-bench`: what is the same in every command, and how it ends."""

from __future__ import annotations

import logging
import shlex
import traceback
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from livo_bench import interrupt, telling
from livo_bench.cli.output import say
from livo_bench.errors import AdapterFailed, LivoBenchError, NotComparable, NothingScored
from livo_bench.escaping import redacted, visible
from livo_bench.runs import experiment


class Visible(logging.Formatter):
    """A log formatter that shows lines as `say` prints errors."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(redacted(super().format(record)))


def _make_logs_visible() -> None:
    """Print warnings as `say` prints errors, whatever logging a library sets up later."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Visible())
        logging.basicConfig(handlers=[logging.lastResort])


SHARED = ("model", "runs", "device")
"""What an experiment says to every command that has it."""


class Example(click.Command):
    """A command whose help is one sentence and an example that runs as written."""

    def __init__(
        self, *args: Any, example: str, heeds: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        """
        Args:
            example: What its help ends with.
            heeds: Which of its parameters the experiment's file may say, and as what; whose images
                and results, where they are and on which device when None.
        """
        super().__init__(*args, **kwargs)
        self.example = example
        names = {str(param.name) for param in self.params}
        self.heeds = {name: name for name in SHARED if name in names} if heeds is None else heeds

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(self.example)

    def invoke(self, ctx: click.Context) -> Any:
        from_file = [
            param.opts[0]
            for param in self.params
            if param.name and ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT_MAP
        ]
        if from_file and telling.form() != telling.QUIET:
            say(f"From {experiment.FILE}: {', '.join(from_file)}", err=True)
        return super().invoke(ctx)


def _from_file(command: click.Command) -> dict[str, Any]:
    """What this folder's experiment says of a command, or of those of a group, by their names."""
    if isinstance(command, click.Group):
        inner: dict[str, Any] = {}
        for one in command.commands.values():
            inner |= _from_file(one)
        return {str(command.name): inner}
    heeds = command.heeds if isinstance(command, Example) else {}
    asked = experiment.read() if heeds else {}
    return {str(command.name): {param: asked[key] for param, key in heeds.items() if key in asked}}


def _exit_code(error: LivoBenchError) -> int:
    return 3 if isinstance(error, NotComparable) else 4 if isinstance(error, NothingScored) else 2


class Program(click.Group):
    """Turns the library's errors and signals into a message and an exit code; other errors are
    bugs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and command is not None and experiment.FILE.exists():
            ctx.default_map = _from_file(command)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        _make_logs_visible()
        with telling.restored():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            with interrupt.listening():
                return super().invoke(ctx)
        except click.ClickException as error:
            if telling.form() != telling.JSON:
                raise
            telling.tell("error", message=error.format_message(), exit_code=error.exit_code)
            ctx.exit(error.exit_code)
        except LivoBenchError as error:
            if isinstance(error, AdapterFailed):
                say("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)
            if telling.form() == telling.JSON:
                told = {"message": error.message, "hint": error.hint}
                shown = {name: redacted(text) for name, text in told.items()}
                telling.tell("error", **shown, exit_code=_exit_code(error))
            else:
                say(f"Error: {error}", err=True)
            ctx.exit(_exit_code(error))
        except interrupt.Stopped as stopped:
            kept = getattr(stopped, "__notes__", ["What was finished is kept."])
            command = shlex.join(["livo-bench", *ctx.obj])
            say(f"Stopped by {stopped}. {' '.join(kept)} Go on with\n    {command}", err=True)
            ctx.exit(stopped.exit_code)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="livo-bench")
def main() -> None:
    """Compare text-to-image value-alignment methods on the same noise."""
