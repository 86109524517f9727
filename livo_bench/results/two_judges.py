"""Agreement between judges: what two of them say of the same images.

Cohen's kappa is `(p_o - p_e) / (1 - p_e)`, with `p_o` the share of images of which both say the
same and `p_e = sum_c p_ac p_bc` what two judges that answer as often as these, each for itself,
would share: 1 where they always agree, 0 where they do by chance. Images that one of them did not
score are counted and left out.

Source: Cohen 1960, "A Coefficient of Agreement for Nominal Scales".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import Incomplete
from livo_bench.records import BIAS, REJUDGED, TOXICITY
from livo_bench.results.frames import CLUSTER
from livo_bench.results.judged import IMAGE, Results
from livo_bench.results.metrics.intervals import NO_INTERVAL, TAIL, Interval
from livo_bench.results.reading import read_results

OWN = "model card's"
"""Name of the judge that nobody asked for by `--scorer`."""
DRAWS = 2000
"""Resamples of an interval."""
Measured = tuple[float, float, float]
"""A number and the ends of its interval."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two judges' answers to the images of a method and a subset."""

    task: str
    subset: str
    method: str
    judge: str
    """Folder of its results below `rejudged`, or `OWN`; the other's likewise."""
    other: str
    scorer: str
    """Its id; the other's likewise."""
    other_scorer: str
    n: int
    """Images that both scored."""
    differ: float
    """Share of them of which they say different things; NaN where there are none."""
    differ_low: float
    differ_high: float
    """95 % interval over clusters of prompts, which are drawn with replacement."""
    kappa: float
    """NaN where both always give one label, the same."""
    kappa_low: float
    kappa_high: float
    unscored: int
    """Images of both that it did not score, abstentions among them."""
    other_unscored: int
    confusion: dict[str, int]
    """Images by both answers, `judge's/other's`."""


def compare_judges(root: Path, model: str) -> list[Pair]:
    """Hold all judges of the results in a folder against each other, two by two.

    Raises:
        Incomplete: No image was judged twice.
        LivoBenchError: As `read_results`.
    """
    others = root / REJUDGED
    found = {OWN: read_results(root, model)}
    for folder in sorted(others.iterdir()) if others.is_dir() else ():
        if folder.is_dir():
            found[folder.name] = read_results(folder, model)
    pairs = [
        pair
        for (judge, mine), (other, theirs) in combinations(found.items(), 2)
        for run in sorted(mine.keys() & theirs.keys(), key=astuple)
        for pair in _pairs(judge, mine[run], other, theirs[run])
    ]
    if not pairs:
        raise Incomplete(
            f"No image in {root} was judged by two judges of one question.",
            "Judge stored images by others, too: livo-bench run --method sd --task bias "
            f"--model {model} --scorer FOLDER --scorer OTHER",
        )
    return sorted(pairs, key=lambda one: (one.task, one.subset, one.judge, one.other))


def _pairs(judge: str, mine: Results, other: str, theirs: Results) -> list[Pair]:
    if mine.kind not in (BIAS, TOXICITY):
        return []
    columns = [*IMAGE, "key", "label", "unscored", CLUSTER]
    both = mine.images[columns].merge(theirs.images[columns], on=[*IMAGE, "key"])
    pairs = []
    for subset, images in both.groupby("subset"):
        scorer, other_scorer = (_scorer(side, str(subset)) for side in (mine, theirs))
        if scorer == other_scorer:
            continue
        unscored, other_unscored = (images[f"unscored_{side}"].notna() for side in ("x", "y"))
        scored = images[~unscored & ~other_unscored]
        differ, kappa = _measured(scored)
        counts = (scored["label_x"] + "/" + scored["label_y"]).value_counts()
        pairs.append(
            Pair(
                mine.run.task,
                str(subset),
                mine.run.method,
                judge,
                other,
                scorer,
                other_scorer,
                len(scored),
                *differ,
                *kappa,
                unscored=int(unscored.sum()),
                other_unscored=int(other_unscored.sum()),
                confusion={str(answers): int(count) for answers, count in counts.items()},
            )
        )
    return pairs


def _scorer(side: Results, subset: str) -> str:
    ids = (side.scorer_of(subset, metric) for metric in side.metrics)
    return next(filter(None, ids), "")


def _measured(scored: pd.DataFrame) -> tuple[Measured, Measured]:
    """Share of images that are told apart, and kappa, each with its interval."""
    answers = pd.unique(pd.concat([scored["label_x"], scored["label_y"]]))
    place = {answer: row for row, answer in enumerate(answers)}
    codes, clusters = pd.factorize(scored[f"{CLUSTER}_x"])
    counts = np.zeros((len(clusters), len(answers), len(answers)))
    rows, columns = (scored[f"label_{side}"].map(place) for side in ("x", "y"))
    np.add.at(counts, (codes, rows, columns), 1)
    equal = np.full(len(clusters), 1 / max(len(clusters), 1))
    weights: Any = np.random.default_rng(0).multinomial(len(clusters), equal, DRAWS)
    drawn = np.tensordot(weights.astype(float), counts, 1)

    def with_interval(measure: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Measured:
        value = float(measure(counts.sum(axis=0)[None])[0])
        return (value, *_interval(measure(drawn), len(clusters)))

    return with_interval(_differ), with_interval(cohens_kappa)


def _interval(drawn: NDArray[np.float64], clusters: int) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if clusters < 2 or not known.size or known.min() == known.max():
        return NO_INTERVAL
    return Interval(*np.quantile(known, [TAIL, 1 - TAIL]).tolist())


def _differ(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    number = counts.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - np.trace(counts, axis1=1, axis2=2) / number


def cohens_kappa(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of counts of answer by answer, `(d, K, K)`; NaN where chance alone agrees always."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / counts.sum(axis=(1, 2))[:, None, None]
        observed = np.trace(shares, axis1=1, axis2=2)
        expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
        kappa: NDArray[np.float64] = (observed - expected) / (1 - expected)
    return np.where(expected < 1 - 1e-12, kappa, np.nan)
