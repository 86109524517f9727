"""What the gate promises, on real images of the miniature world.

    python benchmarks/gate.py reruns --runs DIR     false alarms in runs with other seeds
    python benchmarks/gate.py pool --runs DIR       false alarms over resamples of those images
    python benchmarks/gate.py halved --runs DIR     LiVO with its value token scaled by one half

Each makes the images that DIR lacks, prints a table and, with --write, puts it into docs/check.md.
40 prompts: 24 of bias/gender, 8 of nudity, 8 of bloody. At full size the reruns are 22,000 images,
which two cores make in 20 minutes; the resampling takes another 25 on one core that is shared.
`--prompts 2 --images 20` tries it out.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from scipy import stats
from transformers import CLIPTextModel

from livo_bench.cards.catalog import DATA, model_card, model_digest, task_cards
from livo_bench.cards.prompts import COLUMNS, read_task_prompts
from livo_bench.engines import value_encoder
from livo_bench.report.check_report import summary
from livo_bench.report.printing import Row, as_markdown
from livo_bench.results.check import Check, check, hold
from livo_bench.results.judged import Results
from livo_bench.results.metrics.fidelity import CONTENT, PRESENCE
from livo_bench.results.metrics.registry import HEADLINES
from livo_bench.results.reading import read_results
from livo_bench.results.record import RunRecord, Settings
from livo_bench.runs.runner import run

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "check.md"
SUBSETS = (("bias", "gender"), ("toxicity", "nudity"), ("toxicity", "bloody"))
METHOD = "sd"
BASE_SEED = 42


# Images ------------------------------------------------------------------------------------------


def make(
    runs: Path,
    prompts: int | None,
    images: int,
    seed: int = BASE_SEED,
    method: str = METHOD,
    weights: Path | None = None,
) -> list[Results]:
    """Run a method and read its results, subset by subset.

    Args:
        runs: Folder of images and results.
        prompts: How many of each subset; None for all.
        images: Per prompt.
        seed: Base seed.
        method: Name.
        weights: Instead of the method's own.
    """
    for task, subset in SUBSETS:
        run(
            [method],
            f"{task}/{subset}",
            images=images,
            prompts=_listing(runs, task, subset, prompts),
            seed=seed,
            runs=runs,
            weights=() if weights is None else (str(weights),),
        )
    return [
        replace(results, images=images)
        for results in read_results(runs, "mini").values()
        for _, images in results.images.groupby("subset")
    ]


def _listing(runs: Path, task: str, subset: str, prompts: int | None) -> Path | None:
    """A list of a subset's first prompts, under their own ids; None for all of them."""
    if prompts is None:
        return None
    card = task_cards()[task]
    listed = read_task_prompts(card, "mini")
    wanted = [one for one in listed if one.category in card.subsets[subset].categories][:prompts]
    path = runs / f"{subset}.csv"
    runs.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(one, name) for name in COLUMNS] for one in wanted)
    return path


# False alarms over resamples ---------------------------------------------------------------------


def pooled(reruns: Sequence[Sequence[Results]]) -> list[Results]:
    """The images of several runs as those of one, each with an index of its own."""
    pools = []
    for of_subset in zip(*reruns, strict=True):
        images = [
            one.images.assign(index=one.images["index"] + place * one.images["index"].nunique())
            for place, one in enumerate(of_subset)
        ]
        pools.append(replace(of_subset[0], images=pd.concat(images, ignore_index=True)))
    return pools


def drawn(pool: Results, indices: np.ndarray, seed: int) -> Results:
    """Some images of each prompt of a pool, as a run of that seed."""
    order = {index: place for place, index in enumerate(indices.tolist())}
    images = pool.images.assign(index=pool.images["index"].map(order)).dropna(subset="index")
    folder = Path(f"seed-{seed}")
    records = {folder: RunRecord(settings=Settings(seed=seed))}
    return replace(pool, images=images, folders=(folder,), records=records)


def flipped(results: Results, share: float, random: np.random.Generator) -> Results:
    """A share of the images get other answers, as those on the judges' edge may."""
    images = results.images.copy()
    chosen = random.uniform(size=len(images)) < share
    if "p_yes" in images:
        images.loc[chosen, "p_yes"] = 1 - images.loc[chosen, "p_yes"]
    else:
        images.loc[chosen, "label"] = images.loc[chosen, "label"].map(
            {"male": "female", "female": "male"}
        )
    images.loc[chosen, [CONTENT, PRESENCE]] = 1 - images.loc[chosen, [CONTENT, PRESENCE]]
    return replace(results, images=images)


def alarms(
    pools: Sequence[Results],
    images: int,
    resamples: int,
    flips: float | None,
    margins: tuple[float, float],
) -> tuple[int, int, int]:
    """Checks that fail, that fail by a mean, and that fail by a prompt.

    Args:
        pools: Results with at least twice as many images of each prompt.
        images: Per prompt and side.
        resamples: Checks.
        flips: Share of images that differ between two sides of the same noise, each side having
            half of them; None for two sides of other noise.
        margins: Of means and of prompts.
    """
    random = np.random.default_rng(0)
    held = min(int(pool.images.groupby("prompt").size().min()) for pool in pools)
    counts = np.zeros(3, int)
    for _ in track(range(resamples), "checking", console=Console(stderr=True)):
        both = []
        for pool in pools:
            halves = np.split(random.permutation(held)[: 2 * images], 2)
            if flips is None:
                both.append((drawn(pool, halves[0], 1), drawn(pool, halves[1], 2)))
            else:
                same = drawn(pool, halves[0], 1)
                before, now = (flipped(same, flips / 2, random) for _ in range(2))
                both.append((before, now))
        found = hold(both, 0.05, *margins)
        by_mean, by_prompt = (
            any(one.regression for one in some) for some in (found.metrics, found.prompts)
        )
        counts += [by_mean or by_prompt, by_mean, by_prompt]
    failed, by_mean, by_prompt = counts.tolist()
    return failed, by_mean, by_prompt


def rate(failed: int, of: int) -> str:
    """A share in per cent with its exact 95 % interval."""
    low, high = stats.binomtest(failed, of).proportion_ci(0.95, "exact")
    return f"{100 * failed / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


# Commands ----------------------------------------------------------------------------------------


@click.group()
def main() -> None:
    """What the gate promises, on real images of the miniature world."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--runs", type=click.Path(path_type=Path), required=True),
        click.option("--prompts", type=int, help="Of each subset.  [default: all]"),
        click.option("--images", default=50, show_default=True, help="Per prompt and side."),
        click.option("--write", is_flag=True, help="Put the table into docs/check.md."),
    ):
        command = option(command)
    return command


SEEDS = click.option("--seeds", default=10, show_default=True, help="Reruns, with seeds from 1.")


@main.command()
@_options
@SEEDS
@click.option("--resamples", default=2000, show_default=True)
@click.option("--flips", default=0.01, show_default=True, help="Share moved by last bits.")
def pool(
    runs: Path,
    prompts: int | None,
    images: int,
    write: bool,
    seeds: int,
    resamples: int,
    flips: float,
) -> None:
    """False alarms over resamples of the images of the reruns."""
    numbers = range(1, seeds + 1)
    pools = pooled([make(runs / f"seed-{seed}", prompts, images, seed) for seed in numbers])
    settings: tuple[tuple[str, float | None], ...] = (
        ("other noise", None),
        (f"same noise, {100 * flips:g} % of labels flipped", flips),
    )
    rows: list[Row] = []
    for name, share in settings:
        for margins in ((0.02, 0.2), (0.0, 0.0)):
            counts = alarms(pools, images, resamples, share, margins)
            failed, by_mean, by_prompt = (rate(count, resamples) for count in counts)
            rows.append(
                {
                    "sides": name,
                    "margins, points": f"{100 * margins[0]:g} and {100 * margins[1]:g}",
                    "checks that fail, %": failed,
                    "by a mean": by_mean,
                    "by a prompt": by_prompt,
                }
            )
    count = sum(one.images["prompt"].nunique() for one in pools)
    told = (
        f"{resamples:,} resamples of a pool, the images of {seeds} reruns: {count} prompts of "
        f"{seeds * images} images, {images} a prompt and side; alpha 5 %."
    )
    _finish("pool", told, rows, write)


@main.command()
@_options
@SEEDS
def reruns(runs: Path, prompts: int | None, images: int, write: bool, seeds: int) -> None:
    """False alarms in real runs with other seeds."""
    baseline = runs / f"seed-{BASE_SEED}"
    make(baseline, prompts, images)
    rows: list[Row] = []
    for seed in range(1, seeds + 1):
        folder = runs / f"seed-{seed}"
        make(folder, prompts, images, seed)
        rows.append({"seed": seed, **_told(check(baseline, folder))})
    failed = sum(row["verdict"] != "pass" for row in rows)
    told = f"{METHOD}, seed {BASE_SEED} against {seeds} others: {failed} of {seeds} checks fail."
    _finish("reruns", told, rows, write)


@main.command()
@_options
def halved(runs: Path, prompts: int | None, images: int, write: bool) -> None:
    """LiVO with its value token scaled by one half."""
    weights = halve(DATA / "methods/livo/weights/mini/livo/value_encoder", runs / "weights")
    make(runs / "livo", prompts, images, method="livo")
    make(runs / "livo-halved", prompts, images, method="livo", weights=weights)
    rows: list[Row] = [
        {"value token": "as it is", **_told(check(runs / "livo", runs / "livo"))},
        {"value token": "halved", **_told(check(runs / "livo", runs / "livo-halved"))},
    ]
    _finish("halved", f"LiVO, {images} images a prompt, the same seed.", rows, write)


def halve(source: Path, target: Path) -> Path:
    """A value encoder whose token is half as long: its last operation is an affine map."""
    card = model_card("mini")
    text_encoder = CLIPTextModel.from_pretrained(card.pipeline, subfolder="text_encoder")
    encoder = value_encoder.load(source, text_encoder)
    for tensor in (encoder.final_layer_norm.weight, encoder.final_layer_norm.bias):
        tensor.mul_(0.5)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    value_encoder.save(encoder, ["embeddings."], model_digest(card), target)
    return target / "value_encoder"


def _told(found: Check) -> Row:
    means = {
        f"{one.subset} {one.metric}": f"{100 * one.before:.1f}, now {100 * one.now:.1f}"
        for one in found.metrics
        if one.metric in HEADLINES
    }
    return {
        **means,
        "verdict": "regression" if found.regressions else "pass",
        "why": summary(found),
    }


def _finish(name: str, told: str, rows: list[Row], write: bool) -> None:
    text = f"{told}\n\n{as_markdown(rows)}"
    click.echo(text)
    if write:
        written = DOCUMENT.read_text(encoding="utf-8")
        block = f"<!-- measured: {name} -->\n\n{text}\n\n<!-- /measured: {name} -->"
        pattern = rf"<!-- measured: {name} -->.*?<!-- /measured: {name} -->"
        written = re.sub(pattern, lambda _: block, written, flags=re.DOTALL)
        DOCUMENT.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
