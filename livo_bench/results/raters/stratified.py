"""Which images people are asked about: a stratified random sample, and its weights.

A *stratum* holds the different images that one judge gave the same answer, equally sure. Within it
each image has the same chance n/N, so that an answer stands for N/n images, and a sum with these
weights is unbiased whatever is drawn most. Unsure answers are more often wrong, so a label there
says more: labels go where they lower the variance of the number of wrong answers most, which is in
proportion to `N sqrt(w (1 - w))` for a share w of wrong ones (Neyman), the middle of what the
judge's own probabilities are in the stratum. Labels are handed out one by one, each to the stratum
with the highest `N sqrt(w (1 - w)) / sqrt(n (n + 1))`, which is exactly optimal.

Within a stratum images are shuffled, put in the order of the methods that made them, and every
N/n-th is taken from a random start: each method has its share. (Systematic sampling, Cochran 1977,
"Sampling Techniques", chapter 8.)

Source of the allocation: Wright 2012, "The Equivalence of Neyman Optimum Allocation for Sampling
and Equal Proportions for Apportioning the U.S. House of Representatives", The American Statistician
66, 217-224.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import TOXICITY
from livo_bench.results.frames import SEED, clusters_of, refused, scored
from livo_bench.results.judged import Results
from livo_bench.results.raters.drawn import Stratum

BANDS = {"unsure": 0.75, "fairly sure": 0.95, "sure": 1.0}
"""The largest probability of a judge's answer in each band."""
FEWEST = 2
"""Labels of a stratum, where it has as many images: one alone tells no variance."""


def population(side: Results) -> pd.DataFrame:
    """The images of a run that a judge answered for.

    Returns:
        A row a request and subset, with `question` (task and subset), `method`, `prompt`, `index`,
        `key`, `cluster`, `seed`, `answer` (the judge's), `stratum` and `milder`, whether it may be
        asked which of two images has less of it.
    """
    images = side.images[~refused(side.images)]
    found = side.findings.loc[images.index]
    sure = images.filter(regex="^p_").max(axis="columns")
    band = pd.cut(sure, [0.0, *BANDS.values()], labels=list(BANDS), include_lowest=True)
    rows = images[["prompt", "index", "key", SEED]].assign(
        method=side.run.method,
        question=side.run.task + "/" + images["subset"],
        milder=side.kind == TOXICITY,
        answer=found["label"],
        stratum=found["label"].astype(str) + ", " + band.astype(str),
        # Clusters are names within a task and category.
        cluster=side.run.task + "/" + images["prompt"].map(clusters_of(images)).astype(str),
    )
    return rows.loc[scored(images).index].reset_index(drop=True)


def different(rows: pd.DataFrame) -> pd.DataFrame:
    """The different images of one question, each with the `methods` that made it as a tuple."""
    by_key = rows.sort_values("method", kind="stable").groupby("key", sort=True)
    first = by_key[["answer", "stratum", "cluster"]].first()
    return first.assign(methods=by_key["method"].agg(lambda made: tuple(dict.fromkeys(made))))


def random_for(seed: int, what: str) -> np.random.Generator:
    """A generator of its own for each part of a draw, so that one does not move another."""
    return np.random.default_rng(int(sha256(f"{seed} {what}")[:16], 16))


def draw_labels(
    images: pd.DataFrame, question: str, labels: int, seed: int
) -> tuple[list[Stratum], pd.DataFrame]:
    """Draw the images of one question that are to be labelled.

    Args:
        images: The different ones, see `different`.
        question: Id of the question.
        labels: How many to draw.
        seed: Seed of the draw.

    Returns:
        All strata, and the drawn rows of `images` in random order.

    Raises:
        BadInput: There are more strata than labels for them.
    """
    random = random_for(seed, question)
    parts = dict(list(images.groupby("stratum", sort=True)))
    sizes = np.array([len(part) for part in parts.values()])
    wrong = np.array([1 - _sureness(str(name)) for name in parts])
    given = allocate(sizes, wrong, labels)
    if given.sum() > labels:
        raise BadInput(
            f"{labels} labels for {question}, whose images are {len(parts)} kinds by the judge's "
            f"answer and how sure it was; expected at least {given.sum()}.",
            "Ask for more with --labels, or for fewer tasks with --task.",
        )
    chosen = [
        _systematic(part, number, random)
        for part, number in zip(parts.values(), given, strict=True)
    ]
    strata = [
        Stratum(question, str(name), str(part["answer"].iloc[0]), len(part), _made_by(part))
        for name, part in parts.items()
    ]
    drawn = pd.concat(chosen)
    return strata, drawn.iloc[random.permutation(len(drawn))]


def _sureness(stratum: str) -> float:
    """The middle of the band that a stratum's name ends with."""
    edges = [0.5, *BANDS.values()]
    place = list(BANDS).index(stratum.rpartition(", ")[2])
    return (edges[place] + edges[place + 1]) / 2


def allocate(
    sizes: NDArray[np.integer], wrong: NDArray[np.float64], labels: int
) -> NDArray[np.intp]:
    """How many images of each stratum to label, see above.

    Args:
        sizes: Images of each stratum.
        wrong: Share of them that the judge is thought to be wrong about.
        labels: Labels to give, all in all; strata get `FEWEST` each in any case.
    """
    given = np.minimum(sizes, FEWEST).astype(np.intp)
    gain = sizes * np.sqrt(wrong * (1 - wrong))
    while given.sum() < min(labels, sizes.sum()):
        worth = np.where(given < sizes, gain / np.sqrt(given * (given + 1.0)), -1.0)
        given[int(worth.argmax())] += 1
    return given


def _systematic(part: pd.DataFrame, number: int, random: np.random.Generator) -> pd.DataFrame:
    shuffled = part.iloc[random.permutation(len(part))]
    ordered = shuffled.iloc[np.argsort(shuffled["methods"].map(" ".join), kind="stable")]
    step = len(part) / number
    places = (random.uniform(0, step) + step * np.arange(number)).astype(int)
    return ordered.iloc[np.minimum(places, len(part) - 1)]


def _made_by(part: pd.DataFrame) -> dict[str, int]:
    methods = part["methods"].explode()
    return {str(name): int(times) for name, times in methods.value_counts(sort=False).items()}


def spread(rows: pd.DataFrame, number: int, random: np.random.Generator) -> pd.DataFrame:
    """Draw rows of as many prompts as can be: a second of one after the first of all.

    Args:
        rows: Rows with `question` and `prompt`.
        number: How many to draw.
        random: Where chance comes from.
    """
    shuffled = rows.iloc[random.permutation(len(rows))]
    turn = shuffled.groupby(["question", "prompt"]).cumcount()
    return shuffled.iloc[np.argsort(turn, kind="stable")][:number]


def each(number: int, among: Sequence[str], option: str) -> int:
    """How many each gets of a number.

    Raises:
        BadInput: That is fewer than `FEWEST`.
    """
    if number and number // len(among) < FEWEST:
        raise BadInput(
            f"{option} {number} for {len(among)}, {', '.join(among)}; expected {FEWEST} each, "
            f"{FEWEST * len(among)} or more, or 0.",
            "Ask for more, or name what it is about: --method, --task",
        )
    return number // max(len(among), 1)
