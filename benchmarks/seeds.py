"""Train methods with further seeds, and keep what each reads prompt by prompt.

    python benchmarks/seeds.py --method livo --method dpo --seed 1 --seed 2

A training is what `livo-bench train` does with the method's own settings and another seed; its
weights are then evaluated as `livo-bench run --weights` does, on the committed prompts, noise and
judges. The values of prompts go to --out, those of the committed weights (seed 0) beside them.
Trainings and runs go on where they stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import torch

import livo_bench
from livo_bench.errors import LivoBenchError
from livo_bench.files import write_atomically
from livo_bench.records import Run
from livo_bench.results.compare import pairs_of
from livo_bench.results.judged import Results
from livo_bench.results.reading import read_results

MODEL = "mini"
BASELINE = "sd"
TASKS = ("bias", "toxicity")
COMMITTED = Path("results/mini")
KEPT = ("D1", "avg_r", "content")


@click.command()
@click.option("--method", "methods", multiple=True, required=True)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(min=1))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
@click.option("--parts", type=click.Path(path_type=Path), default=Path("results/runs/seeds"))
@click.option("--out", type=click.Path(path_type=Path), default=COMMITTED / "seeds.csv")
def main(
    methods: tuple[str, ...], seeds: tuple[int, ...], runs: Path, parts: Path, out: Path
) -> None:
    """Train and evaluate what is missing, then write all values into one file."""
    torch.set_num_threads(1)
    committed = read_results(COMMITTED, MODEL)
    tables = [pd.DataFrame(values(committed, committed, method, 0)) for method in methods]
    try:
        for seed in seeds:
            for method in methods:
                folder = parts / f"{method.replace(':', '-')}-{seed}"
                weights = livo_bench.train(
                    method, MODEL, seed=seed, runs=runs, out=folder / "training"
                )
                for task in TASKS:
                    livo_bench.run(
                        [method], task, MODEL, runs=folder / "runs", weights=(str(weights),)
                    )
                found = read_results(folder / "runs", MODEL)
                tables.append(pd.DataFrame(values(committed, found, method, seed)))
    except LivoBenchError as error:
        raise click.ClickException(str(error)) from error
    table = pd.concat(tables).sort_values(["method", "seed", "subset", "metric", "prompt"])
    write_atomically(out, table.to_csv(index=False).encode())
    click.echo(out)


def values(
    committed: dict[Run, Results], found: dict[Run, Results], method: str, seed: int
) -> Iterator[dict[str, object]]:
    """Give the `KEPT` metrics of a method by prompt, on the images that the baseline has too."""
    for task in TASKS:
        baseline = committed[Run(MODEL, BASELINE, task)]
        for pair in pairs_of(baseline, found[Run(MODEL, method, task)]):
            if pair.metric in KEPT:
                for prompt, value in zip(pair.prompts, pair.now.tolist(), strict=True):
                    yield {
                        "method": method,
                        "seed": seed,
                        "subset": pair.subset,
                        "metric": pair.metric,
                        "prompt": prompt,
                        "value": value,
                    }


if __name__ == "__main__":
    main()
