"""How often intervals hold the truth, and how often verdicts are false: simulated, by design.

    python benchmarks/interval_coverage.py            # what is missing in docs/metrics/coverage.csv
    python benchmarks/interval_coverage.py --redo     # all of it, about 20 minutes on one core

Populations of prompts are made up whose mean score is known. A thousand benchmarks are drawn from
each, under the designs that the tables use, and scored as the package scores them. A row of the
file is one population under one design. It is written when all designs of the population are done,
after half a minute or so, and a run that was stopped goes on behind the last one.
`python docs/refresh.py` prints the file in docs/statistics.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.records import Run
from livo_bench.results.compare import ALPHA, differences
from livo_bench.results.metrics.bias import ends_of_squares
from livo_bench.results.metrics.discrepancy import discrepancies, farthest, unbiased_square
from livo_bench.results.metrics.intervals import (
    Ends,
    Interval,
    interval_of_mean,
    interval_of_pooled_distance,
    jackknife_over_prompts,
)
from livo_bench.results.metrics.is_and_fid import Classes, Moments
from livo_bench.results.metrics.overcorrection import MOVED, ends_of
from livo_bench.results.metrics.statistics import ROUNDING, p_above
from livo_bench.results.paired import Pair

FILE = Path(__file__).parent.parent / "docs" / "metrics" / "coverage.csv"

SETS = 1000
"""Benchmarks drawn of each design: the standard error of a coverage of 95 % is 0.7 points."""
GATED = 5000
"""Of the test of a gate, which is quick: the standard error of 5 % is 0.3 points."""
JACKKNIFED = 300
"""Of FID and IS, which take longer: the standard error is 1.3 points."""
TRUTH = 400_000
"""Prompts that a population's mean is taken from."""
ALIKE = 0.8
"""Chance that a prompt has its cluster's rates rather than rates of its own."""

DESIGNS: dict[str, tuple[int, ...]] = {
    "2": (1,) * 2,
    "3": (1,) * 3,
    "4": (1,) * 4,
    "8": (1,) * 8,
    "16": (1,) * 16,
    "24": (1,) * 24,
    "48": (1,) * 48,
    "4 of 2": (2,) * 4,
    "9 of 2, 6 of 1": (2,) * 9 + (1,) * 6,
    "4 each of 1 to 6": (1, 2, 3, 4, 5, 6) * 4,
    "1 of 8, 7 of 1": (8,) + (1,) * 7,
}
"""Prompts of each cluster. Those of the miniature world are the 4 words of a hazard, with 2 prompts
each, and 15 families of 24 concepts."""

Array: TypeAlias = NDArray[np.float64]
Latent: TypeAlias = Callable[[np.random.Generator, int], Array]
"""Draws what so many prompts are like, one row each."""


@dataclass(frozen=True)
class Population:
    """Prompts, and how they are scored."""

    score: str
    """For people; likewise what the prompts are like."""
    like: str
    latent: Latent
    observe: Callable[[np.random.Generator, Array], Array]
    """Scores of prompts by the luck of their images; shape as given, less its last axis, or not."""
    interval: Callable[[Array, NDArray[np.intp]], Interval]
    """Of the scores of one set, by the clusters of its prompts."""
    true: Callable[[Array], float] | None = lambda scores: float(scores.mean())
    """The truth, from the scores of very many prompts; where there is none it is what sets of the
    design read on average."""

    @property
    def title(self) -> str:
        return f"{self.score}: {self.like}"


# What prompts are like ----------------------------------------------------------------------------


def beta(a: float, b: float) -> Latent:
    return lambda random, n: random.beta(a, b, (n, 1))


def mixture(shares: tuple[float, ...], rates: tuple[float, ...]) -> Latent:
    return lambda random, n: random.choice(rates, (n, 1), p=shares)


def groups(concentration: float) -> Latent:
    return lambda random, n: random.dirichlet((concentration,) * 5, n)


def clustered(
    random: np.random.Generator, latent: Latent, sizes: tuple[int, ...], sets: int = SETS
) -> Array:
    """What the prompts of so many benchmarks are like, shape `(sets, P, ...)`."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shared = latent(random, sets * len(sizes)).reshape(sets, len(sizes), -1)[:, labels]
    own = latent(random, sets * len(labels)).reshape(shared.shape)
    alike = random.random((sets, len(labels), 1)) < ALIKE
    return np.where(alike, shared, own)


# How they are scored ------------------------------------------------------------------------------


def rate(images: int) -> Callable[[np.random.Generator, Array], Array]:
    return lambda random, rates: random.binomial(images, rates[..., 0]) / images


def counts(random: np.random.Generator, rates: Array) -> Array:
    """Of 50 images, by group."""
    if rates.shape[-1] > 1:
        return random.multinomial(50, rates).astype(float)
    first = random.binomial(50, rates[..., 0])
    return np.stack([first, 50 - first], axis=-1).astype(float)


def gap(random: np.random.Generator, rates: Array) -> Array:
    return discrepancies(counts(random, rates).astype(int)).D1


def distance(random: np.random.Generator, rates: Array) -> Array:
    return discrepancies(counts(random, rates).astype(int)).D2


def square(random: np.random.Generator, rates: Array) -> Array:
    """Unbiased, of 25 images and of 25 that are steered half of the way."""
    half = np.stack([rates[..., 0], 0.5 + (rates[..., 0] - 0.5) / 2], axis=-1)
    first = random.binomial(25, half)
    strata = np.stack([first, 25 - first], axis=-1)
    flat = strata.reshape(-1, 2, 2)
    return np.array([unbiased_square(one) for one in flat]).reshape(strata.shape[:-2])


def cosine(random: np.random.Generator, means: Array) -> Array:
    return means[..., 0] + random.normal(0, 0.003, means.shape[:-1])


def pictures(random: np.random.Generator, shifts: Array) -> Array:
    """Features of 10 images of a prompt before and after a method moved them by so much, shape
    `(..., 10, 2, 4)`."""
    shape = (*shifts.shape[:-1], 10, 4)
    before = random.normal(size=(*shape[:-2], 1, 4)) + random.normal(size=shape)
    after = before + shifts[..., None, :] + random.normal(0, 0.3, shape)
    return np.stack([before, after], axis=-2)


def logits(random: np.random.Generator, likes: Array) -> Array:
    """Of 10 images of a prompt, shape `(..., 10, classes)`."""
    return likes[..., None, :] + random.normal(size=(*likes.shape[:-1], 10, likes.shape[-1]))


def movement(random: np.random.Generator, means: Array) -> Array:
    """Mean distance of 50 images."""
    return random.gamma(50.0, means[..., 0] / 50)


def of_moved(scores: Array, labels: NDArray[np.intp]) -> Interval:
    return interval_of_mean(scores, labels, ends_of(MOVED, pd.Series(scores)))


def of_clip(scores: Array, labels: NDArray[np.intp]) -> Interval:
    """As the CLIP score of a run: each prompt has as many images."""
    return _jackknife(labels, lambda out: float(scores[~out].mean()))


def of_fid(features: Array, labels: NDArray[np.intp]) -> Interval:
    sides = [[Moments.of(prompt[:, side]) for prompt in features] for side in (0, 1)]
    every = [sum(side, Moments.of([])) for side in sides]

    def distance(out: NDArray[np.bool_]) -> float:
        before, after = (
            whole - sum((side[place] for place in np.flatnonzero(out)), Moments.of([]))
            for whole, side in zip(every, sides, strict=True)
        )
        return after.distance(before)

    return _jackknife(labels, distance)


def of_is(likes: Array, labels: NDArray[np.intp]) -> Interval:
    def score(out: NDArray[np.bool_]) -> float:
        images: NDArray[Any] = likes[~out].reshape(-1, likes.shape[-1])
        return float(Classes.of(images, np.ones((len(images), 1))).scores()[0])

    return _jackknife(labels, score)


def _jackknife(labels: NDArray[np.intp], score: Callable[[NDArray[np.bool_]], float]) -> Interval:
    """By a score without some of the prompts."""
    names = np.array([f"{place:03}" for place in range(len(labels))], dtype=object)
    every = score(np.zeros(len(labels), bool))
    return jackknife_over_prompts(every, names, lambda out: score(np.isin(names, out)), labels)


def of_pooled(scores: Array, labels: NDArray[np.intp]) -> Interval:
    return interval_of_pooled_distance(scores.astype(int), clusters=labels)


def pooled_truth(scores: Array) -> float:
    return float(discrepancies(scores.sum(axis=0)).D2)


D2_OF_5, SQUARE_OF_2 = Ends(0.0, farthest(5)), ends_of_squares(farthest(2), 50)


def populations() -> Iterator[Population]:
    """What intervals of scores are simulated on."""
    two, five = "D1, 2 groups", "D1, 5 groups"
    for like, latent in (
        ("everything between even and pure", beta(1.2, 0.8)),
        ("near even", beta(8, 8)),
        ("1 in 8 pure, others near even", mixture((7 / 8, 1 / 8), (0.5, 1.0))),
        ("1 in 4 pure, others near even", mixture((3 / 4, 1 / 4), (0.5, 1.0))),
    ):
        yield Population(two, like, latent, gap, interval_of_mean)
    yield Population(five, "two or three of the groups", groups(0.5), gap, interval_of_mean)
    yield Population(
        "D2, 5 groups",
        "two or three of the groups",
        groups(0.5),
        distance,
        lambda scores, labels: interval_of_mean(scores, labels, D2_OF_5),
    )
    for like, latent in (
        ("everything between even and pure", beta(1.2, 0.8)),
        ("even", mixture((1.0,), (0.5,))),
    ):
        yield Population(
            "D2 unbiased, squared, 25 + 25 images",
            like,
            latent,
            square,
            lambda scores, labels: interval_of_mean(scores, labels, SQUARE_OF_2),
        )
    for like, latent in (
        ("skewed", beta(1.3, 0.7)),
        ("even on the whole", beta(1.0, 1.0)),
        ("1 in 8 pure, others near even", mixture((7 / 8, 1 / 8), (0.5, 1.0))),
    ):
        yield Population("D2 pooled, 2 groups", like, latent, counts, of_pooled, pooled_truth)
    for like, latent in (
        ("even on the whole", groups(0.5)),
        ("even", lambda random, n: np.full((n, 5), 0.2)),
    ):
        yield Population("D2 pooled, 5 groups", like, latent, counts, of_pooled, pooled_truth)
    for like, latent in (
        ("none to all, 30 on average", beta(0.6, 1.4)),
        ("75 on average", beta(3, 1)),
        ("about 50", beta(30, 30)),
        ("sparse, 5 on average", beta(0.3, 5.7)),
        ("98 on average", beta(9.8, 0.2)),
        ("1 in 8 at 10, others 0", mixture((7 / 8, 1 / 8), (0.0, 0.1))),
        ("1 in 8 at 90, others 0", mixture((7 / 8, 1 / 8), (0.0, 0.9))),
        ("1 in 8 at 100, others 30", mixture((7 / 8, 1 / 8), (0.3, 1.0))),
        ("1 in 8 at 0, others 50", mixture((7 / 8, 1 / 8), (0.5, 0.0))),
        ("1 in 20 at 90, others 1", mixture((0.95, 0.05), (0.01, 0.9))),
        ("0, 3, 6 or 54", mixture((0.25,) * 4, (0.0, 0.03, 0.06, 0.54))),
        ("all 0", mixture((1.0,), (0.0,))),
        ("all 100", mixture((1.0,), (1.0,))),
    ):
        yield Population("rate of 50 images", like, latent, rate(50), interval_of_mean)
    for like, latent in (
        ("none to all, 30 on average", beta(0.6, 1.4)),
        ("sparse, 5 on average", beta(0.3, 5.7)),
    ):
        yield Population("rate of 2 images", like, latent, rate(2), interval_of_mean)
    for like, latent in (
        ("each prompt as far as it likes", lambda random, n: random.gamma(2.0, 1.0, (n, 1))),
        ("skewed", lambda random, n: np.exp(random.normal(0, 0.8, (n, 1)))),
        ("1 in 8 at 100, others 0", mixture((7 / 8, 1 / 8), (0.0, 1.0))),
        ("1 in 8 at 90, others 5", mixture((7 / 8, 1 / 8), (0.05, 0.9))),
        ("1 in 8 at 400, others 100", mixture((7 / 8, 1 / 8), (1.0, 4.0))),
        ("1 in 8 at 1600, others 100", mixture((7 / 8, 1 / 8), (1.0, 16.0))),
    ):
        yield Population("moved", like, latent, movement, of_moved)
    yield Population("CLIP score", "28, by 2 from prompt to prompt", _cosines, cosine, of_clip)
    for like, latent in (
        ("each prompt moves elsewhere", lambda random, n: random.normal(0, 0.5, (n, 4))),
        (
            "1 in 8 moves far",
            lambda random, n: random.normal(0, 0.1, (n, 4)) + 2 * (random.random((n, 1)) < 1 / 8),
        ),
    ):
        yield Population("FID, same noise", like, latent, pictures, of_fid, None)
    yield Population(
        "IS", "classes of its own", lambda random, n: random.normal(0, 2, (n, 10)), logits, of_is,
        None,
    )  # fmt: skip


# Differences of two methods -----------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What a method does to the rates of a baseline."""

    score: str
    like: str
    latent: Latent
    """Rates of the baseline, then of the method."""
    observe: Callable[[np.random.Generator, Array], Array]
    metric: str
    """Whose reach and ends count, as `compare` names it."""
    null: bool
    """Whether nothing changes on average, so that each verdict is false."""
    images: int = 50
    """Of a prompt."""

    @property
    def title(self) -> str:
        return f"{self.score}: {self.like}"


def unchanged(latent: Latent) -> Latent:
    """The same rates on both sides, by other luck."""

    def both(random: np.random.Generator, n: int) -> Array:
        rates = latent(random, n)
        return np.concatenate([rates, rates], axis=1)

    return both


def shifted(by: tuple[float, ...], shares: tuple[float, ...], start: float | Latent) -> Latent:
    """A baseline, of one rate or as drawn, and a method that moves shares of the prompts so far."""

    def both(random: np.random.Generator, n: int) -> Array:
        before = np.full((n, 1), start) if isinstance(start, float) else start(random, n)
        return np.concatenate([before, before + random.choice(by, (n, 1), p=shares)], axis=1)

    return both


def halved(random: np.random.Generator, n: int) -> Array:
    """A method that takes a part of each rate, another part each time."""
    rates = random.beta(1.4, 1.4, (n, 1))
    return np.concatenate([rates, rates * random.uniform(0.3, 1.0, (n, 1))], axis=1)


def changes() -> Iterator[Change]:
    """What comparisons are simulated on."""
    rare = ((-0.1, 0.7), (7 / 8, 1 / 8))
    for like, latent, null in (
        ("unchanged, none to all", unchanged(beta(0.6, 1.4)), True),
        ("unchanged, sparse", unchanged(beta(0.3, 5.7)), True),
        ("7 in 8 lose 10, 1 in 8 gains 70", shifted(*rare, start=0.2), True),
        ("7 in 8 gain 5, 1 in 8 loses 35", shifted((0.05, -0.35), (7 / 8, 1 / 8), 0.5), True),
        ("1 in 8 gains 30, others nothing", shifted((0.0, 0.3), (7 / 8, 1 / 8), 0.5), False),
        ("each loses a part", halved, False),
    ):
        yield Change("rate of 50 images", like, latent, rate(50), "avg_r", null)
    for like, latent in (
        ("unchanged, 50", unchanged(mixture((1.0,), (0.5,)))),
        ("unchanged, none to all", unchanged(beta(0.6, 1.4))),
    ):
        yield Change("rate of 1 image", like, latent, rate(1), "avg_r", null=True, images=1)
    yield Change("D1, 2 groups", "unchanged", unchanged(beta(1.2, 0.8)), gap, "D1", null=True)
    yield Change("CLIP score", "unchanged", unchanged(_cosines), cosine, "clip", null=True)
    for like, by in (
        ("7 in 8 gain 1, 1 in 8 loses 7", (0.01, -0.07)),
        ("7 in 8 lose 0.5, 1 in 8 gains 3.5", (-0.005, 0.035)),
    ):
        latent = shifted(by, (7 / 8, 1 / 8), _cosines)
        yield Change("CLIP score", like, latent, cosine, "clip", null=True)


def _cosines(random: np.random.Generator, n: int) -> Array:
    return random.normal(0.28, 0.02, (n, 1))


# Counting -----------------------------------------------------------------------------------------


def cover(population: Population) -> Iterator[dict[str, object]]:
    """Coverage and width under each design."""
    random = _random(population.title)
    true = None
    if population.true is not None:
        true = population.true(population.observe(random, population.latent(random, TRUTH)))
    for design, sizes in DESIGNS.items():
        labels = np.repeat(np.arange(len(sizes)), sizes)
        sets = population.observe(random, clustered(random, population.latent, sizes))
        if population.true is None:
            sets = sets[:JACKKNIFED]
        intervals = [population.interval(scores, labels) for scores in sets]
        t = [interval_of_mean(scores, labels, None) if sets.ndim < 3 else None for scores in sets]
        yield _row("interval", population, design, *_held(intervals, true, t))


def _held(
    intervals: list[Interval], true: float | None, t: Sequence[Interval | None]
) -> tuple[float, float]:
    """Of intervals that are there, the share that holds the truth; and how wide they are as a
    multiple of t intervals, the median of those that are there."""
    low, high = np.transpose(intervals)
    there = ~np.isnan(low)
    if not there.any():
        return float("nan"), float("nan")
    mean = float(((low + high) / 2)[there].mean()) if true is None else true
    held = (low - ROUNDING <= mean) & (mean <= high + ROUNDING)
    width = [
        (own.high - own.low) / (other.high - other.low)
        for own, other in zip(intervals, t, strict=True)
        if other is not None and other.high > other.low
    ]
    return float(held[there].mean()), float(np.nanmedian(width)) if width else float("nan")


def judge(change: Change) -> Iterator[dict[str, object]]:
    """Coverage of differences and, where nothing changes on average, false verdicts."""
    random = _random(change.title)
    start = change.latent(random, TRUTH)
    half = start.shape[1] // 2
    sides = [change.observe(random, part) for part in (start[:, :half], start[:, half:])]
    true = 0.0 if change.null else float((sides[1] - sides[0]).mean())
    for design, sizes in DESIGNS.items():
        pairs = list(_pairs(change, random, sizes, SETS))
        found = [differences([pair])[0] for pair in pairs]
        intervals = [Interval(one.low, one.high) for one in found]
        t = [interval_of_mean(pair.differences, pair.clusters, None) for pair in pairs]
        yield _row("difference", change, design, *_held(intervals, true, t))
        if change.null:
            told = [one.verdict in ("lower", "higher") for one in found]
            yield _row("verdict", change, design, float(np.mean(told)))
        if "unchanged" in change.like:
            p = [
                p_above(pair.differences, 0.0, pair.reach, pair.images_of_one, pair.clusters)
                for pair in _pairs(change, random, sizes, GATED)
            ]
            yield _row("gate", change, design, float(np.mean(np.array(p) < ALPHA)))


def _pairs(
    change: Change, random: np.random.Generator, sizes: tuple[int, ...], sets: int
) -> Iterator[Pair]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    drawn = clustered(random, change.latent, sizes, sets)
    half = drawn.shape[-1] // 2
    before, now = (change.observe(random, one) for one in (drawn[..., :half], drawn[..., half:]))
    for scores in zip(before, now, strict=True):
        yield _pair(change, labels, *scores)


def _pair(change: Change, labels: NDArray[np.intp], before: Array, now: Array) -> Pair:
    names = tuple(map(str, range(len(before))))
    images = np.full(len(before), change.images)
    run = Run("mini", "new", "task")
    return Pair(run, "subset", change.metric, names, tuple(map(str, labels)), images, before, now)


def _row(
    what: str, of: Population | Change, design: str, share: float, width: float = float("nan")
) -> dict[str, object]:
    return {
        "what": what,
        "score": of.score,
        "prompts": of.like,
        "design": design,
        "share": round(share, 4),
        "width": round(width, 2),
    }


def _random(title: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(title.encode()))


@click.command()
@click.option("--redo", is_flag=True, help="All of it, not what is missing alone.")
@click.option("--only", help="What has these words in its title alone.")
def main(redo: bool, only: str | None) -> None:
    """Simulate, a population at a time, and write each when it is done."""
    if redo:
        FILE.unlink(missing_ok=True)
    done = pd.read_csv(FILE) if FILE.exists() else pd.DataFrame(columns=["score", "prompts"])
    titles = set(done["score"] + ": " + done["prompts"])
    todo = [(one.title, partial(cover, one)) for one in populations()]
    todo += [(one.title, partial(judge, one)) for one in changes()]
    FILE.parent.mkdir(exist_ok=True)
    for title, simulate in todo:
        if title in titles or (only and only not in title):
            continue
        rows = pd.DataFrame(simulate())
        rows.to_csv(FILE, mode="a", header=not FILE.exists(), index=False)
        shares = rows.pivot(index="what", columns="design", values="share")[[*DESIGNS]]
        click.echo(f"{title}\n{(100 * shares).round(1).to_string()}")


if __name__ == "__main__":
    main()
