"""Commands that hand results on to others."""

from __future__ import annotations

from pathlib import Path

import click

from livo_bench.cli.output import say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import results_option, runs_option


@main.group()
def export() -> None:
    """Results in the form of other places."""


@export.command(cls=Example, example="livo-bench export hub my-results")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@runs_option
@results_option
@click.option(
    "--push", metavar="OWNER/NAME", help="Upload it to this data set of the hub.  [default: do not]"
)
def hub(folder: Path, runs: Path, model: str, push: str | None) -> None:
    """Write results into FOLDER as a data set of the Hugging Face hub."""
    from livo_bench.report.hub_folder import export_hub

    say(export_hub(folder, runs, model, push))
