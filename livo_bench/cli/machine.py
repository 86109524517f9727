"""Commands about what can be run and on what: list, show, fetch and doctor."""

from __future__ import annotations

import click

from livo_bench.cli.output import print_rows, say
from livo_bench.cli.program import Example, main
from livo_bench.cli.shared_options import device_option, format_option, model_option


@main.command(cls=Example, example="livo-bench fetch --model sd15")
@model_option
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Whose published weights to get; repeatable.  [default: those of all methods]",
)
@click.option("--weights", help="A repository of weights to get besides, hub:OWNER/NAME/FOLDER.")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    help="A judge to get besides, as run takes it: a name, a judge.toml or its folder; repeatable.",
)
@format_option
def fetch(
    model: str, methods: tuple[str, ...], weights: str | None, scorers: tuple[str, ...], form: str
) -> None:
    """Get the weights of a model, its judges and its methods, and check them."""
    from livo_bench.runs import fetch as fetching

    rows = fetching.fetch(model, methods, weights, scorers)
    if rows:
        print_rows(rows, form)
    else:
        say(f"Model {model} and its judges are folders of this machine: nothing to fetch.")


@main.command(cls=Example, example="livo-bench doctor", heeds={})
@device_option
@format_option
def doctor(device: str, form: str) -> None:
    """Look the machine over and show, by breaking runs, that nothing is lost."""
    from livo_bench.runs import doctor as examining

    findings = examining.doctor(device)
    print_rows(
        [
            {"check": one.check, "found": one.found, "fine": "yes" if one.fine else "NO"}
            for one in findings
        ],
        form,
    )
    if not all(one.fine for one in findings):
        click.get_current_context().exit(1)


@main.command("list", cls=Example, example="livo-bench list methods")
@click.argument(
    "kind", type=click.Choice(["methods", "tasks", "models", "protocols"]), required=False
)
@format_option
def list_(kind: str | None, form: str) -> None:
    """List the methods, tasks, models and protocols that can be run."""
    from livo_bench.cards import listing

    print_rows(listing.overview(kind), form)


@main.command(cls=Example, example="livo-bench show sd")
@click.argument("name")
def show(name: str) -> None:
    """Print the card of a method, task, model or protocol in full."""
    from livo_bench.cards import listing

    say(listing.card_text(name), nl=False)
