"""Commands that hand results on to others."""

from __future__ import annotations

from pathlib import Path

import click

from livo_bench.cli.output import say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import Share, device_option, results_option, runs_option


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


@main.group()
def board() -> None:
    """A leaderboard folder, for results of several people."""


@board.command(cls=Example, example="livo-bench board add results/runs --by ada")
@click.argument(
    "results", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--by", required=True, metavar="NAME", help="Whose results they are.")
@click.option(
    "--board",
    type=click.Path(file_okay=False, path_type=Path),
    default="board",
    help="Folder of the board.",
)
@results_option
@click.option(
    "--remake", "share", type=Share(), default="0.1%", help="So many of the images to make again."
)
@device_option
def add(
    results: tuple[Path, ...], by: str, board: Path, model: str, share: float, device: str
) -> None:
    """Add sealed results in folders RESULTS to a board, and write its page.

    What cannot stand in one table with the others is refused. Where images lie beside results, some
    are made again and have to be the same.
    """
    from livo_bench.report.board import add_to_board

    say(add_to_board(results, by, board, model, share, device))
