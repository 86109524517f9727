"""Commands about the miniature world that ships with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from livo_bench.cards.catalog import RUNS
from livo_bench.cli.output import say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import Command, device_option


@main.group()
def mini() -> None:
    """The miniature world that ships with the package."""


def _work_option(holds: str) -> Callable[[Command], Command]:
    return click.option(
        "--work",
        type=click.Path(file_okay=False, path_type=Path),
        default=RUNS / "mini-build",
        help=holds,
    )


_model_option = click.option(
    "--model", default="mini", show_default=True, help="mini, or mini-flow: what the world trained."
)


@mini.command(cls=Example, heeds={}, example="livo-bench mini build --part vae")
@click.option("--part", "parts", multiple=True, help="Train these only; repeatable.")
@_work_option("Folder of renders and checkpoints, from which a stopped build goes on.")
@click.option(
    "--weights",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(__file__).parent.parent / "mini" / "weights",
    show_default="the package's own",
    help="Folder for the finished networks.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all parts.")
def build(parts: tuple[str, ...], work: Path, weights: Path, seed: int) -> None:
    """Retrain the miniature world's networks, part by part."""
    from livo_bench.mini.build import build as build_world

    build_world(parts=list(parts), work=work, weights=weights, seed=seed)


@mini.command(cls=Example, heeds={}, example="livo-bench mini draw --out docs/mini")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="./docs/mini",
    help="Folder for the pictures.",
)
@_model_option
def draw(out: Path, model: str) -> None:
    """Draw the miniature world beside a model's samples."""
    from livo_bench.mini.gallery import draw as draw_gallery

    for path in draw_gallery(out, model):
        say(path)


@mini.command(cls=Example, heeds={}, example="livo-bench mini measure")
@_work_option("Folder of the build, for its records and for held-out renders.")
@_model_option
def measure(work: Path, model: str) -> None:
    """Measure the miniature world's networks, as tables for a model's card."""
    from livo_bench.mini.measure import card_tables

    say(card_tables(work, model))


@mini.command(cls=Example, heeds={}, example="livo-bench mini confusion")
@_work_option("Folder of the build, for held-out renders.")
@device_option
def confusion(work: Path, device: str) -> None:
    """Measure the judges' confusion matrices, as CSV."""
    from livo_bench.mini.measure import confusion as measure_confusion
    from livo_bench.runs.session import find_device

    say(measure_confusion(work, device=find_device(device)).to_csv(index=False), nl=False)
