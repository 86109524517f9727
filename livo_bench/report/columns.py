"""What each table holds before there are results: its columns, and the paper's rows in its order.

A column names one number of a method by task, subset and metric. The tables are the paper's, ours
beside them, and one like Table 2 for each task of a user's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from livo_bench.cards.catalog import method_labels
from livo_bench.records import BIAS, TOXICITY
from livo_bench.results.frames import ALL, REFUSED
from livo_bench.results.metrics.metric import Metric
from livo_bench.results.metrics.registry import METRICS, in_table_2
from livo_bench.results.metrics.toxicity import AVG_R, AVG_R_HARMLESS

TABLE_2_METHODS = {
    "sd": "SD",
    "fd": "FD",
    "ca": "CA",
    "uce": "UCE",
    "dapt": "DAPT",
    "dpo": "DPO",
    "livo": "LiVO",
    "livo:retrieved": "LiVO w/ R",
}
TABLE_3_METHODS = {
    "sd": "SD",
    "livo:wo-v": "LiVO w/o v",
    "livo:wo-m": "LiVO w/o m",
    "dpo:d": "DPO-d",
    "livo": "LiVO",
}
PAPER_METHODS = TABLE_2_METHODS | TABLE_3_METHODS
"""What the paper calls its methods, by name; their cards call them the same."""


BASELINE = "sd"
"""The unaligned model, which stands in every section."""
PAPERS, BESIDE = "the paper's methods", "cited and neighbouring methods"
"""Sections of Table 2."""
_BASES = {method.partition(":")[0] for method in PAPER_METHODS}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: one number of each method."""

    group: str
    """Heading over neighbouring columns."""
    title: str
    task: str
    subset: str
    metric: str
    floor: str = "fair"
    """Who reads the floor: a fair model, or the unaligned one."""
    optional: bool = False
    """Whether a table in which nobody has the number has no such column."""

    @property
    def scale(self) -> float:
        """What the stored value is multiplied with to print it."""
        return METRICS[self.metric].scale

    @property
    def place(self) -> tuple[str, str, str]:
        """Where the number stands among the aggregates of a method."""
        return self.task, self.subset, self.metric


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table holds, before there are results."""

    title: str
    methods: Mapping[str, str]
    """Titles of the paper's rows by method, in its order; other methods follow."""
    columns: tuple[Column, ...]
    section: str | None = None
    """Which methods stand in it: `PAPERS`, the paper's and users' own, or `BESIDE`, the other ones
    of this package; None for all."""

    def holds(self, method: str) -> bool:
        """Whether a method's row belongs into it."""
        if self.section is None or method == BASELINE:
            return True
        ours = method in method_labels() and method.partition(":")[0] not in _BASES
        return ours == (self.section == BESIDE)


STEERED = "Steered images"
AS_PUBLISHED = "All images, as published"
"""What the paper's tables have: a method that leaves half of its images alone has half of SD's."""


def _main(task: str, measures: Iterable[Metric], subsets: Iterable[str]) -> Layout:
    of_subsets = [
        Column(subset.capitalize(), metric.title, task, subset, metric.id)
        for subset in subsets
        for metric in measures
    ]
    steered = [
        Column(STEERED, "FID", task, ALL, "fid_steered"),
        Column(STEERED, "Content", task, ALL, "content_steered"),
    ]
    if TOXICITY in {metric.kind for metric in measures}:
        steered.append(Column(STEERED, "Neutral CLIP", task, ALL, "clip_neutral_steered"))
    quality = [
        Column(AS_PUBLISHED, "IS", task, ALL, "is"),
        Column(AS_PUBLISHED, "FID", task, ALL, "fid"),
        Column(AS_PUBLISHED, "CLIP", task, ALL, "clip"),
    ]
    return Layout(f"Table 2, {task}", TABLE_2_METHODS, (*of_subsets, *steered, *quality))


def _over_values(group: str, metric: str, subsets: Iterable[str]) -> tuple[Column, ...]:
    return tuple(
        Column(group, subset.capitalize(), "overcorrection", subset, metric) for subset in subsets
    )


_TASKS = (
    _main("bias", in_table_2(BIAS), ("gender", "race")),
    _main("toxicity", in_table_2(TOXICITY), ("nudity", "bloody", "horror")),
)
TABLE_2 = tuple(
    part
    for layout in _TASKS
    for part in (
        replace(layout, section=PAPERS),
        replace(layout, title=f"{layout.title}: {BESIDE}", methods={}, section=BESIDE),
    )
)
TABLE_3 = Layout(
    "Table 3, ablation",
    TABLE_3_METHODS,
    (
        Column("Bias", "D2", "bias", ALL, "D2"),
        Column("Bias", "FID", "bias", ALL, "fid"),
        Column("Bias", "CLIP", "bias", ALL, "clip"),
        Column("Toxicity", "Max", "toxicity", ALL, "max"),
        Column("Toxicity", "FID", "toxicity", ALL, "fid"),
        Column("Toxicity", "CLIP", "toxicity", ALL, "clip"),
        Column("Steered FID", "Bias", "bias", ALL, "fid_steered"),
        Column("Steered FID", "Toxicity", "toxicity", ALL, "fid_steered"),
        Column("Steered content", "Bias", "bias", ALL, "content_steered"),
        Column("Steered content", "Toxicity", "toxicity", ALL, "content_steered"),
    ),
)
"""The last four columns are ours: the paper's FID is of all images, and a method that draws noise
does well in some of the others."""
_VALUES = ("gender", "race", "nudity", "bloody", "horror")


def _trade_off(task: str, gain: str, title: str, clip: tuple[str, str]) -> Layout:
    clip_title, clip_metric = clip
    return Layout(
        f"Trade-off, {task}",
        PAPER_METHODS,
        (
            Column("All images", title, task, ALL, gain),
            Column("All images", "Content", task, ALL, "content"),
            Column("All images", "One person", task, ALL, "one_person", optional=True),
            Column(STEERED, "Content", task, ALL, "content_steered"),
            Column(STEERED, "Somebody there", task, ALL, "presence_steered"),
            Column(STEERED, "One person", task, ALL, "one_person_steered", optional=True),
            Column(STEERED, clip_title, task, ALL, clip_metric),
            Column(STEERED, "FID", task, ALL, "fid_steered"),
        ),
    )


TRADE_OFF = (
    _trade_off("bias", "D1", "D1", ("CLIP", "clip_steered")),
    _trade_off("toxicity", "avg_r", "Avg. R", ("Neutral CLIP", "clip_neutral_steered")),
)
"""Lower D1 and Avg. R are the gain; the steered images show what it costs."""


def _fid(task: str) -> Layout:
    return Layout(
        f"FID against SD, {task}",
        PAPER_METHODS,
        (
            Column("All images", "Same noise", task, ALL, "fid"),
            Column("All images", "Other noise", task, ALL, "fid_independent", floor="SD"),
            Column(STEERED, "Same noise", task, ALL, "fid_steered"),
        ),
    )


FID = (_fid("bias"), _fid("toxicity"))
"""The floor of the second column is SD against SD."""


def _estimators(task: str, subset: str, *columns: tuple[str, str, str]) -> Layout:
    return Layout(
        f"Other estimates, {task}/{subset}",
        PAPER_METHODS,
        tuple(Column(group, title, task, subset, metric) for group, title, metric in columns),
    )


ESTIMATORS = (
    *(
        _estimators(
            "bias",
            subset,
            ("D1", "As judged", "D1"),
            ("D1", "Corrected", "D1_corrected"),
            ("D2", "As judged", "D2"),
            ("D2", "Corrected", "D2_corrected"),
            ("D2", "Unbiased", "D2_unbiased"),
            ("D2", "Pooled", "D2_pooled"),
        )
        for subset in ("gender", "race")
    ),
    *(
        _estimators(
            "toxicity",
            subset,
            ("Avg. R", "As judged", "avg_r"),
            ("Avg. R", "Corrected", "avg_r_corrected"),
            ("Max", "Groups", "max"),
            ("Max", "Exact", "max_exact"),
            ("Prob", "Groups", "prob"),
            ("Prob", "Exact", "prob_exact"),
        )
        for subset in ("nudity", "bloody", "horror")
    ),
)
"""What the paper reports, and the same corrected for the judge's error, without the bias that few
images give D2, over all groups of images; and D2 as its formula reads, where prompts cancel."""
OVERCORRECTION = (
    Layout(
        "Over-correction: images with another label",
        TABLE_2_METHODS,
        (
            *_over_values("Overridden", "overridden", ("gender", "race")),
            *_over_values("Harmless, changed", "changed", _VALUES),
        ),
    ),
    Layout(
        "Over-correction: distance moved, 100 is another image of the prompt",
        TABLE_2_METHODS,
        _over_values("Harmless, moved", "moved", _VALUES),
    ),
)
"""Two tables, for one with all columns is wider than a page."""


def of_other_tasks(aggregates: pd.DataFrame) -> list[Layout]:
    """A layout like Table 2's for each task that no layout of ours is for, a user's own."""
    known = {column.task for layout in (*TABLE_2, *OVERCORRECTION) for column in layout.columns}
    found = aggregates[aggregates["category"] == ALL].sort_values("task", kind="stable")
    layouts = []
    for task, rows in found[~found["task"].isin(known)].groupby("task"):
        measures = [metric for metric in in_table_2() if metric.id in set(rows["metric"])]
        subsets = [subset for subset in dict.fromkeys(rows["subset"]) if subset != ALL]
        layout = _main(str(task), measures, subsets)
        layouts.append(replace(layout, title=f"Task {task}", methods={}))
    return layouts


def with_refusals(layout: Layout, tasks: Collection[str]) -> Layout:
    """A layout that shows what was refused: Avg. R both ways, and the share of refused images.

    Args:
        layout: Without.
        tasks: Tasks of which results have refused images; for none the layout is as it was.
    """
    shown: list[Column] = []
    places: dict[str, list[str]] = {}
    for column in layout.columns:
        shown.append(column)
        if column.task in tasks:
            places.setdefault(column.task, []).append(column.subset)
            if column.metric == AVG_R:
                harmless = METRICS[AVG_R_HARMLESS]
                shown.append(replace(column, title=harmless.title, metric=harmless.id))
    for task, subsets in places.items():
        single = [subset for subset in dict.fromkeys(subsets) if subset != ALL]
        for subset in single or [ALL]:
            title = task if subset == ALL else subset
            shown.append(Column(METRICS[REFUSED].title, title.capitalize(), task, subset, REFUSED))
    return replace(layout, columns=tuple(shown))


def headings(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """The headings over neighbouring columns, and over how many each stands."""
    groups = groupby(columns, key=lambda column: column.group)
    return [(group, len(list(found))) for group, found in groups]
