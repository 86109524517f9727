"""Reading scored frames and forming rows of aggregates, the same way for every metric.

A *scored frame* has one row per (request, judge) with the columns `subset`, `prompt` (its id),
`category`, `concept`, `cluster`, `index`, `key`, `stratum`, `seed`, `text_digest`, `label`,
`p_<class>` and `unscored` (None or the reason why the judge gave no answer). Where there was no
picture to look at, for a service refused to make it or it is missing, the reason is `refused: ...`,
and no other one begins so. Frames of older results have no `cluster`, `concept`, `seed` and
`text_digest`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from livo_bench.errors import BadInput, Incomplete
from livo_bench.files import sha256
from livo_bench.records import Aggregate, Run
from livo_bench.results.metrics.intervals import SHARE, Ends, Interval, interval_of_mean

Label = TypeVar("Label", str, pd.Series)

ALL = "all"
"""The category over all categories, and the subset over all subsets."""

CONCEPT = "concept"
"""Column of scored frames: what the prompt is about."""

CLUSTER = "cluster"
"""Column of scored frames: which prompts are alike, see `Prompt.cluster`."""

SEED = "seed"
"""Column of scored frames: of the image's noise, 63 bits; NA where it is not known."""

TEXT = "text_digest"
"""Column of scored frames: which text the prompt has."""

REFUSED = "refused"
"""Column of tables of prompts, and id of the metric: of which there is no picture; reasons of such
images in `unscored` begin with it."""


class Summary(NamedTuple):
    """What a metric makes of one run."""

    aggregates: list[Aggregate]
    prompts: pd.DataFrame
    """One row per subset and prompt, ordered by both: counts of images and the metrics."""


@dataclass(frozen=True)
class Cell:
    """The images of one subset and category: where the numbers of some table cells come from."""

    run: Run
    subset: str
    category: str
    scorer: str
    images: pd.DataFrame
    """Rows of the scored frame, unscored ones included."""
    prompts: pd.DataFrame
    """Metrics per prompt, indexed by prompt."""

    @cached_property
    def clusters(self) -> pd.Series:
        """Clusters of the prompts, see `clusters_of`."""
        return clusters_of(self.images)

    def mean(
        self,
        metric: str,
        floors: pd.Series | None = None,
        drawn: pd.DataFrame | None = None,
        ends: Ends | None = SHARE,
    ) -> Aggregate:
        """The mean over prompts of the column named like the metric, with its interval.

        Args:
            metric: Metric id and column of `prompts`; prompts where it is NaN are left out.
            floors: What a fair model reads, per prompt; averaged where it is known.
            drawn: What a corrected metric would be under other confusion matrices, one a row, a
                prompt a column; the interval then holds the error of the matrix, too.
            ends: Ends of the score of a prompt, see `intervals.interval_of_mean`.
        """
        values = self.prompts[metric].dropna()
        floor = float("nan") if floors is None else float(floors[values.index].mean())
        shifts = None
        if drawn is not None:
            shifts = drawn[values.index].mean(axis=1).to_numpy() - values.mean()
        clusters = self.clusters[values.index]
        interval = interval_of_mean(values, clusters, ends, shifts)
        return self.aggregate(metric, float(values.mean()), interval, values.index, floor)

    def aggregate(
        self,
        metric: str,
        value: float,
        interval: Interval,
        contributing: pd.Index,
        floor: float = float("nan"),
    ) -> Aggregate:
        """Form a row.

        Args:
            metric: Metric id.
            value: The value, in the units of `Aggregate.value`.
            interval: Its 95 % interval.
            contributing: Prompts whose images are in the value; `n` counts those images only.
            floor: What a fair model reads.
        """
        used = scored(self.images[self.images["prompt"].isin(contributing)])
        return Aggregate(
            model=self.run.model,
            method=self.run.method,
            task=self.run.task,
            subset=self.subset,
            category=self.category,
            metric=metric,
            value=value,
            low=interval.low,
            high=interval.high,
            floor=floor,
            n=len(used),
            n_distinct=used["key"].nunique(),
            unscored=int(self.images["unscored"].notna().sum()),
            scorer=self.scorer,
        )


def scored(images: pd.DataFrame) -> pd.DataFrame:
    """The rows a judge gave an answer for."""
    return images[images["unscored"].isna()]


def as_refused(reason: str) -> str:
    """What stands in `unscored` of an image of which there is no picture."""
    return f"{REFUSED}: {reason}"


def refused(images: pd.DataFrame) -> pd.Series:
    """Which rows there is no picture of, by their reasons."""
    return images["unscored"].astype(object).fillna("").str.startswith(f"{REFUSED}:").astype(bool)


def clusters_of(images: pd.DataFrame) -> pd.Series:
    """Which prompts are alike, for `statistics`: those of one cluster, see `Prompt.cluster`.

    Args:
        images: Rows of a scored frame. Without a cluster a prompt has the default one; without a
            concept, too, it stands alone.

    Returns:
        A label for each prompt, indexed by prompt in alphabetical order.
    """
    columns = images.reindex(columns=["prompt", "category", CONCEPT, CLUSTER]).astype(object)
    told = columns.groupby("prompt", sort=True).first()
    concepts = told[CONCEPT].fillna(told.index.to_series())
    alike = default_cluster(told["category"], concepts)
    return told[CLUSTER].where(told[CLUSTER].fillna("") != "", alike)


def cluster_digest(images: pd.DataFrame) -> str:
    """Tells which prompts of a scored frame are alike, whatever their clusters are called."""
    clusters = clusters_of(images)
    first = clusters.index.to_series().groupby(clusters.to_numpy()).transform("first")
    return sha256(json.dumps(first.to_dict()))[:16]


def joined(one: pd.Series, other: pd.Series) -> pd.Series:
    """The finest clusters in which prompts are together that are so in either of two ways.

    Args:
        one: A label for each prompt, indexed by prompt, as `clusters_of` gives them.
        other: A label for each of the same prompts, indexed by prompt.

    Returns:
        A label of `one` for each prompt: as it is where `other` has no more prompts for alike.
    """
    of_one, labels = pd.factorize(one)
    of_other, others = pd.factorize(other[one.index])
    number = len(labels) + len(others)
    # Clusters are connected where they have a prompt in common.
    prompts = np.ones(len(one)), (of_one, len(labels) + of_other)
    _, component = connected_components(coo_array(prompts, (number, number)), directed=False)
    return one.groupby(component[of_one]).transform("first")


def default_cluster(category: Label, concept: Label) -> Label:
    """What a list without clusters takes for one: the prompts of one concept in one category.

    Of two categories they are not alike: a vineyard with a nude and one with a zombie in it have
    little more in common than a word.
    """
    return category + "/" + concept


def by_subset(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The images of each subset, subsets in alphabetical order."""
    for subset, images in frame.groupby("subset", sort=True):
        yield str(subset), images


def image_counts(images: pd.DataFrame) -> pd.DataFrame:
    """How many images each prompt of a subset has, and how many of them were scored.

    Returns:
        One row per prompt, indexed by prompt in alphabetical order, with the columns `category`,
        `cluster` (see `clusters_of`), `n` (scored images), `n_distinct` (different keys among them)
        and `unscored`; where some were refused also `refused`, how many of the unscored ones.
    """
    by_prompt = images.groupby("prompt", sort=True)
    counts = pd.DataFrame({"category": by_prompt["category"].first(), CLUSTER: clusters_of(images)})
    keys = scored(images).groupby("prompt")["key"]
    counts["n"] = keys.size().reindex(counts.index, fill_value=0)
    counts["n_distinct"] = keys.nunique().reindex(counts.index, fill_value=0)
    counts["unscored"] = by_prompt["unscored"].count()
    if (gone := refused(images)).any():
        counts[REFUSED] = gone.groupby(images["prompt"]).sum().astype("Int64")
    return counts


def cells(
    run: Run, subset: str, scorer: str, images: pd.DataFrame, prompts: pd.DataFrame
) -> Iterator[Cell]:
    """One cell per category, in alphabetical order, then the one over all categories."""
    for category, part in prompts.groupby("category", sort=True):
        of_category = images[images["prompt"].isin(part.index)]
        yield Cell(run, subset, str(category), scorer, of_category, part)
    yield Cell(run, subset, ALL, scorer, images, prompts)


def cell_over_subsets(
    run: Run,
    scorers: Mapping[str, str],
    images: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    columns: Sequence[str],
) -> Cell:
    """The cell over all subsets and categories.

    A prompt's value is the mean of its values in the subsets that ask for it, and there is none
    where one of these is missing. So the paper's one D2 of the bias task is the mean of gender's
    and race's (Wang et al. 2024, Table 3), and prompts of different hazards weigh alike.

    Args:
        run: Run whose images these are.
        scorers: Id of each subset's judge; the cell's is all of them, joined by `+`.
        images: Rows of the scored frame, of all subsets.
        tables: Metrics per prompt of each subset, indexed by prompt.
        columns: Columns of the tables, which to average.
    """
    values = pd.concat([table[list(columns)] for table in tables.values()])
    incomplete = values.isna().groupby(level="prompt").any()
    prompts = values.groupby(level="prompt").mean().mask(incomplete)
    scorer = "+".join(sorted({scorers[subset] for subset in tables}))
    return Cell(run, ALL, ALL, scorer, images, prompts)


def prompt_table(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack the per-prompt tables of subsets; a column some subset lacks is empty there."""
    return pd.concat(parts, names=["subset", "prompt"]).reset_index()


def require_columns(frame: pd.DataFrame, *names: str) -> None:
    """Check a scored frame.

    Raises:
        BadInput: A column is missing.
        Incomplete: There is no row.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise BadInput(
            f"The scored frame has no column {', '.join(missing)}. "
            f"It has: {', '.join(map(str, frame.columns))}.",
            "Score the images again: livo-bench run with the same options.",
        )
    if frame.empty:
        raise Incomplete("The scored frame has no image.", "Make some: livo-bench run --images 50")
