"""The trainings behind Figure 3: fractions of the data, and pairs of margins, on few steps.

    python benchmarks/sweep.py                              # `make sweep`
    python benchmarks/sweep.py --worker 1/2 & python benchmarks/sweep.py --worker 2/2

LiVO and DPO learn from a fraction of the preference data; LiVO also with its settings' margins of
every value times a pair of factors. Each training has `--steps` steps, its schedule with it, and is
otherwise what `livo-bench train` does with the same settings and seed; afterwards the annotator
looks at dev prompts, as in every training. A training is a file in --parts, so a stopped sweep goes
on, and workers share it; whoever finishes last writes all into --out. On one core a training of
1,000 steps takes about seven minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import click
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from livo_bench.cards.catalog import model_card
from livo_bench.errors import LivoBenchError
from livo_bench.files import write_atomically
from livo_bench.methods.livo import encoder_settings, pairs, preference, preference_data
from livo_bench.methods.livo.dev import Dev
from livo_bench.methods.livo.encoder_settings import EncoderSettings
from livo_bench.methods.livo.train import Trainer
from livo_bench.report.curves import SWEEP_COLUMNS
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator

METHODS = ("livo", "dpo")
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
FACTORS = (0.5, 1.0, 2.0)
"""Of gamma_1 and of gamma_2."""


@dataclass(frozen=True, slots=True)
class Training:
    """One setting to train, named by the columns of the sweep."""

    method: str
    fraction: float
    gamma_1_factor: float
    gamma_2_factor: float
    steps: int
    seed: int

    @property
    def name(self) -> str:
        return (
            f"{Path(self.method).name}-{self.fraction:g}-{self.gamma_1_factor:g}-{self.gamma_2_factor:g}"
            f"-{self.steps}-{self.seed}"
        )

    def settings(self, scale: str) -> EncoderSettings:
        """The method's own, with these steps and margins."""
        own = encoder_settings.read(self.method, scale)
        coefficients = {
            name: replace(
                c,
                gamma_1=c.gamma_1 * self.gamma_1_factor,
                gamma_2=c.gamma_2 * self.gamma_2_factor,
            )
            for name, c in own.coefficients.items()
        }
        return replace(own, coefficients=coefficients, steps=self.steps)


def trainings(steps: int, seeds: Sequence[int]) -> list[Training]:
    """All of the sweep, each once, seed by seed."""
    found: dict[Training, None] = {}
    for seed in seeds:
        for fraction, method in product(FRACTIONS, METHODS):
            found[Training(method, fraction, 1.0, 1.0, steps, seed)] = None
        for gamma_1, gamma_2 in product(FACTORS, FACTORS):
            found[Training("livo", 1.0, gamma_1, gamma_2, steps, seed)] = None
    return list(found)


class Sweep:
    """Trains settings on one model's preference data."""

    def __init__(self, session: Session, data: Path, parts: Path) -> None:
        self.session = session
        self.data = data
        self.parts = parts
        self.rows = preference_data.read(data)
        card = session.model
        judge = annotator.require_annotator(card.annotator, card.name)
        self.annotator = annotator.load(judge, session.device)
        self.dev: Dev | None = None

    def path(self, training: Training) -> Path:
        return self.parts / f"{training.name}.csv"

    def train(self, training: Training) -> None:
        """Train one setting and write what the annotator sees afterwards."""
        chosen = training.settings(self.session.model.scale)
        rows = self.rows[self.rows["subset"].isin(chosen.coefficients)]
        rows = pairs.fraction_of(rows, training.fraction, training.seed)
        formed = pairs.form(self.session, rows, chosen.coefficients, chosen.weight, self.data)
        trainer = Trainer(self.session, chosen, formed, training.seed, self.parts)
        for step in track(
            range(training.steps), training.name, console=Console(stderr=True), transient=True
        ):
            trainer.step(step)
        # One for all trainings: it keeps the plain halves, which no training changes.
        self.dev = self.dev or Dev(self.session, self.annotator, chosen.layout, chosen.dev_images)
        seen = pd.DataFrame(self.dev.evaluate(trainer.encoder, list(chosen.coefficients)))
        settings = {name: getattr(training, name) for name in Training.__slots__}
        table = seen.assign(model=self.session.model.name, **settings)[list(SWEEP_COLUMNS)]
        write_atomically(self.path(training), table.to_csv(index=False).encode())

    def collect(self, wanted: Sequence[Training], out: Path) -> None:
        """Write all parts as one file."""
        table = pd.concat([pd.read_csv(self.path(training)) for training in wanted])
        write_atomically(out, table.to_csv(index=False).encode())


def share_of(wanted: Sequence[Training], worker: str) -> list[Training]:
    """What worker "k/n" does: every n-th training, from the k-th."""
    number, workers = map(int, worker.split("/"))
    if not 1 <= number <= workers:
        raise ValueError(f"There is no worker {worker!r}; expected k/n with k from 1 to n.")
    return list(wanted[number - 1 :: workers])


@click.command()
@click.option("--model", default="mini")
@click.option("--steps", default=1000, show_default=True)
@click.option("--seed", "seeds", multiple=True, type=int, default=[0], show_default=True)
@click.option("--worker", default="1/1", show_default=True, help="k/n: every n-th, from the k-th.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
@click.option(
    "--parts",
    type=click.Path(path_type=Path),
    default=Path("results/runs/sweep"),
    help="A file a training.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/mini/sweeps.csv"))
def main(
    model: str, steps: int, seeds: tuple[int, ...], worker: str, runs: Path, parts: Path, out: Path
) -> None:
    """Train what is missing; once all is there, write it into one file."""
    torch.set_num_threads(1)
    card = model_card(model)
    wanted = trainings(steps, seeds)
    try:
        data, _ = preference.build(model, runs=runs, device="cpu")
        sweep = Sweep(Session(card, 42, "cpu", card.dtype, runs), data, parts)
        for training in share_of(wanted, worker):
            if not sweep.path(training).exists():
                sweep.train(training)
                click.echo(sweep.path(training), err=True)
    except LivoBenchError as error:
        raise click.ClickException(str(error)) from error
    if all(sweep.path(training).exists() for training in wanted):
        sweep.collect(wanted, out)
        click.echo(out)


if __name__ == "__main__":
    main()
