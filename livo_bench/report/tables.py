"""The paper's tables from `aggregates.csv` files, with n, interval and floor beside each number."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from livo_bench.cards.declared import TOLD
from livo_bench.errors import NotComparable
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate
from livo_bench.report import absent, paper
from livo_bench.report.columns import (
    BASELINE,
    BESIDE,
    ESTIMATORS,
    FID,
    OVERCORRECTION,
    PAPER_METHODS,
    TABLE_2,
    TABLE_3,
    TRADE_OFF,
    Column,
    Layout,
    of_other_tasks,
    with_refusals,
)
from livo_bench.report.printing import records, spread
from livo_bench.report.titles import Label, labels
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import AGREE, IMAGE_SERVICE, SAID, UNKNOWN
from livo_bench.results.frames import ALL, REFUSED
from livo_bench.results.metrics import refusals
from livo_bench.results.metrics.registry import HEADLINES, METRICS
from livo_bench.results.metrics.toxicity import AVG_R, AVG_R_HARMLESS
from livo_bench.results.reading import ABOUT, JUDGE, MADE_BY, looked_at
from livo_bench.results.record import Method, RunRecord

ABSENT = "-"
FLOORS = {"fair": "fair: a perfectly fair model's", "SD": "SD: SD's own"}
"""Who reads a floor, and in words."""
MORE = "see docs/metrics.md"
_OF_ALL_ASKED = (REFUSED, AVG_R_HARMLESS)
"""Numbers of all images that were asked for, not of those that there are."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as printed: scaled, rounded; empty texts where there is nothing to say."""

    value: str = ABSENT
    interval: str = ""
    floor: str = ""
    """Floor as printed, with who reads it."""
    paper: str = ""
    """What the paper prints there."""
    n: str = ""
    """Scored images behind a number over all subsets, where that is not what its row says."""

    def __str__(self) -> str:
        beside = (self.floor, self.n, self.paper and f"paper {self.paper}")
        said = (f"({part})" for part in beside if part)
        return " ".join(part for part in (self.value, self.interval, *said) if part)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: one method's cells."""

    title: str
    told: str
    """What the method is told at sampling time besides the prompt."""
    cells: tuple[Cell, ...]
    n: str = ABSENT
    """Scored images behind a number, `low-high` where numbers differ, as are the next two. Where
    there are numbers of subsets, those over all subsets do not count."""
    n_distinct: str = ABSENT
    unscored: str = ABSENT


@dataclass(frozen=True, slots=True)
class Table:
    """The methods and their numbers."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Methods that are told the same stand together, those that are told nothing first: the
    paper's, in its order, then others. Each has results, or the paper's numbers beside those of
    its own model."""
    note: str = ""
    """What sets these numbers apart, if anything: a list of one's own, another judge, different
    numbers of images, what else may differ (see `conditions`), an IS that means nothing."""
    absent: absent.Absent | None = None
    """The paper's methods that have no results here, if any."""

    @property
    def groups(self) -> list[list[Row]]:
        """The rows by what methods are told; only within a group is an order one of methods."""
        return [list(rows) for _, rows in groupby(self.rows, key=lambda row: row.told)]

    @property
    def caption(self) -> str:
        """How to read the numbers, in a line."""
        cells = [cell for row in self.rows for cell in row.cells]
        floors = [
            said
            for name, said in FLOORS.items()
            if any(cell.floor.startswith(f"{name} ") for cell in cells)
        ]
        return "; ".join(
            ["In %, IS, FID and CLIP as such", "[95 % interval over prompts]", *floors, MORE]
        )


def table_2(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out the paper's Table 2, one row a method: for each task that has results one table of
    the paper's methods, their variants and users' own, and one of the others of this package.
    Tasks that are not the paper's, a user's own, follow in the same form.

    Args:
        aggregates: Aggregates of one model, as `load_results` gives them.

    Returns:
        The aggregates that are in the tables, as tidy rows with fractions as stored, and the
        tables as printed. For the paper's own model on the task's prompts both have the paper's
        numbers, too: in the rows under `paper`, NaN where it prints none.

    Raises:
        NotComparable: Two methods were judged by different scorers, on different prompts or
            under other `conditions`, or one appears twice.
    """
    return _lay_out([*TABLE_2, *of_other_tasks(aggregates)], aggregates)


def table_3(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out the paper's Table 3, the ablation, as `table_2` does: one table over both tasks."""
    return _lay_out([TABLE_3], aggregates)


def overcorrection(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out what methods do where they should do nothing, as `table_2` does: not the paper's."""
    return _lay_out(OVERCORRECTION, aggregates)


def trade_off(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out what methods gain and what their steered images lose, as `table_2` does: ours."""
    return _lay_out(TRADE_OFF, aggregates)


def estimators(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out the estimates of one quantity side by side, as `table_2` does: ours."""
    return _lay_out(ESTIMATORS, aggregates)


def fid(aggregates: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Lay out the forms of FID side by side, as `table_2` does: ours."""
    return _lay_out(FID, aggregates)


def _lay_out(
    layouts: Sequence[Layout], aggregates: pd.DataFrame
) -> tuple[pd.DataFrame, list[Table]]:
    refusing = {*aggregates.loc[aggregates["metric"] == REFUSED, "task"]}
    if refusing:
        layouts = [with_refusals(layout, refusing) for layout in layouts]
        aggregates = _with_none_refused(aggregates, refusing)
    wanted = {column.place for layout in layouts for column in layout.columns}
    names = aggregates[["task", "subset", "metric"]].itertuples(index=False, name=None)
    chosen = pd.Series([name in wanted for name in names], index=aggregates.index, dtype=bool)
    rows = aggregates[chosen & (aggregates["category"] == ALL)].reset_index(drop=True)
    rows["prompts"] = rows.get("prompts", "")
    refuse_mixtures(rows)
    named = labels_of(rows)
    own_prompts = (rows["prompts"] != "").any()
    published = {} if own_prompts else paper.published(set(rows["model"]))
    laid_out = [_table(layout, rows, named, published) for layout in layouts]
    beside = {condition.name for condition in looked_at()} - {"prompts"}
    rows = rows.drop(columns=[*ABOUT, JUDGE, MADE_BY, *beside], errors="ignore")
    if published:
        titles = rows["method"].map(PAPER_METHODS)
        places = zip(titles, rows["task"], rows["subset"], rows["metric"], strict=True)
        rows["paper"] = [published.get(place, math.nan) for place in places]
    return rows, [table for table in laid_out if table is not None]


def _with_none_refused(aggregates: pd.DataFrame, tasks: Collection[str]) -> pd.DataFrame:
    """Give methods that were refused nothing, beside others that were, the numbers that say so."""
    runs = ["method", "task"]
    refused = aggregates.loc[aggregates["metric"] == REFUSED, runs].apply(tuple, axis="columns")
    others = ~aggregates[runs].apply(tuple, axis="columns").isin(refused)
    left = aggregates[others & aggregates["task"].isin(tasks)]
    harmless = left[left["metric"] == AVG_R].assign(metric=AVG_R_HARMLESS)
    of_all = left[left["metric"].isin(HEADLINES)]
    none = of_all.assign(
        metric=REFUSED,
        value=0.0,
        low=math.nan,
        high=math.nan,
        floor=math.nan,
        n=of_all["n"] + of_all["unscored"],
        n_distinct=of_all["n_distinct"] + of_all["unscored"],
        unscored=0,
        scorer=refusals.COUNTED,
    )
    return pd.concat([aggregates, harmless, none], ignore_index=True)


def refuse_mixtures(rows: pd.DataFrame) -> None:
    """See that numbers may stand in one table.

    Args:
        rows: With the columns `task`, `subset`, `metric`, `method`, `scorer` and `prompts`, and
            `conditions` where they are known.

    Raises:
        NotComparable: Two methods were judged by different scorers, on different prompt lists or
            under other conditions, or one appears twice.
    """
    for (task, subset, metric), column in rows.groupby(["task", "subset", "metric"]):
        where = f"{metric} of {task}/{subset}" if subset != ALL else f"{metric} of {task}"
        repeated = column[column.duplicated("method")]
        if not repeated.empty:
            raise NotComparable(
                f"Method {repeated['method'].iloc[0]!r} has two results for {where}.",
                "Point at one folder of results.",
            )
        first = column.iloc[0]
        for _, other in column.iterrows():
            if other["scorer"] != first["scorer"]:
                raise NotComparable(
                    f"Not in one table: {where} has scorer {first['scorer']!r} for method "
                    f"{first['method']!r} and {other['scorer']!r} for {other['method']!r}.",
                    "Run the older one again; its images are kept.",
                )
            if other["prompts"] != first["prompts"]:
                raise NotComparable(
                    f"Not in one table: {where} has {_said(first['prompts'])} for method "
                    f"{first['method']!r} and {_said(other['prompts'])} for {other['method']!r}.",
                    "Run both on the same prompts, or write results of a list of your own "
                    "elsewhere: --runs DIR",
                )
        for name in (one.name for one in conditions.of("table", AGREE) if one.name in column):
            known = column[column[name] != UNKNOWN]
            if known[name].nunique() > 1:
                (one, its), (another, other) = known.drop_duplicates(name)[
                    ["method", name]
                ].to_numpy()[:2]
                asked = known.set_index("method").get("asked", pd.Series(dtype=str)).to_dict()
                again = " ".join(asked.get(side) or f"--method {side}" for side in (one, another))
                raise NotComparable(
                    f"Not in one table: {where} has {name} {its} for method {one!r} and {other} "
                    f"for {another!r}.",
                    f"Run both alike (livo-bench run {again} --task {task}), or write results of "
                    "other conditions elsewhere: --runs DIR",
                )


def _said(prompts: str) -> str:
    return f"prompts from {prompts!r}" if prompts else "the task's own prompts"


def labels_of(rows: pd.DataFrame) -> dict[str, Label]:
    """How methods are printed, by name.

    Args:
        rows: Aggregates, with what `load_results` knows of their runs.
    """
    told = rows.reindex(columns=["method", "title", "told"], fill_value="").drop_duplicates()
    recorded = {name: Label(title, what) for name, title, what in told.to_numpy() if title}
    return labels(set(rows["method"]), recorded)


def _table(
    layout: Layout, rows: pd.DataFrame, named: Mapping[str, Label], published: paper.Numbers
) -> Table | None:
    """The table, None without a number in it."""
    methods = layout.methods
    places = [*rows[["task", "subset", "metric"]].itertuples(index=False, name=None)]
    known = {*places}
    columns = tuple(c for c in layout.columns if not c.optional or c.place in known)
    wanted = {column.place for column in columns}
    held = {method for method in set(rows["method"]) if layout.holds(method)}
    shown = [
        place in wanted and method in held
        for place, method in zip(places, rows["method"], strict=True)
    ]
    present = rows.loc[shown]
    # How much was refused belongs to other numbers, and is no table alone.
    if set(present["metric"]) <= {REFUSED}:
        return None
    if layout.section == BESIDE and set(present["method"]) == {BASELINE}:
        return None
    others = sorted(
        set(present["method"]) - set(methods), key=lambda name: (name != BASELINE, name)
    )
    grouped = sorted([*methods, *others], key=lambda name: _knows(named[name]))
    laid_out = [_row(present, name, named[name], columns, published) for name in grouped]
    return Table(
        title=layout.title,
        columns=columns,
        rows=tuple(row for row in laid_out if row.n != ABSENT or any(c.paper for c in row.cells)),
        note="; ".join([*_notes(present), *_misleading(present, named), *_refused(present, named)]),
        absent=absent.from_layout(layout, present, named),
    )


def _knows(label: Label) -> int:
    """How much a method is told; of which it is not known are last."""
    return TOLD.index(label.told) if label.told in TOLD else len(TOLD)


CONTENT_BREAKS = 0.9
"""Share of steered images that show what was asked for, below which their variety is no merit."""


def _misleading(rows: pd.DataFrame, named: Mapping[str, Label]) -> list[str]:
    """Which methods IS calls better than the unaligned model though their pictures dissolve."""
    score, content = (
        rows[(rows["subset"] == ALL) & (rows["metric"] == metric)].set_index("method")["value"]
        for metric in ("is", "content_steered")
    )
    if "sd" not in score:  # as where a table has no such column
        return []
    better = score.index[score > score["sd"]]
    found = content[content.index.isin(better) & (content < CONTENT_BREAKS)].sort_values()
    if found.empty:
        return []
    said = ", ".join(
        f"{named[str(method)].title} ({100 * share:.0f} % content)"
        for method, share in found.items()
    )
    return [f"IS is above SD's for {said}: pictures that dissolve vary more, which it rewards"]


def _refused(rows: pd.DataFrame, named: Mapping[str, Label]) -> list[str]:
    """Say of which methods images were refused, and what that means for the numbers."""
    said = []
    for method, gone in rows[rows["metric"] == REFUSED].groupby("method"):
        # Each prompt of a run has as many images as any other.
        count = round(float((gone["value"] * gone["n"]).sum()))
        if count:
            said.append(f"{named[str(method)].title} {count:,} of {gone['n'].sum():,} images")
    if not said:
        return []
    title = METRICS[AVG_R_HARMLESS].title
    return [
        f"refused: {', '.join(said)}; they are among the unscored, and no number is of them "
        f"but Refused, their share, and {title}, which takes them for harmless"
    ]


def _notes(rows: pd.DataFrame) -> list[str]:
    own = rows.loc[rows["prompts"] != "", ["task", "prompts"]].drop_duplicates()
    notes = [f"{task}: not its own prompts, but {name}" for task, name in own.to_numpy()]
    judges = sorted(set(rows.get(JUDGE, "")) - {""})
    notes += [f"judged by {judge}, not by the model card's judges" for judge in judges]
    services = sorted(set(rows.get(IMAGE_SERVICE.name, "")) - {UNKNOWN})
    notes += [
        f"made by the image service {service}, which draws its own noise for each image, so that "
        "methods share none"
        for service in services
    ]
    if "images" in rows:
        for task, images in rows.loc[rows["images"] != UNKNOWN].groupby("task")["images"]:
            if len(counts := sorted(set(images), key=int)) > 1:
                notes.append(
                    f"{task}: methods have {' and '.join(counts)} images of a prompt, and D1, D2, "
                    "IS and FID depend on how many"
                )
    if "files" in rows:
        notes += _file_notes(rows[rows["files"] != UNKNOWN])
    return [*notes, *_mixed(rows), *said(rows)]


def _mixed(rows: pd.DataFrame) -> list[str]:
    """Say by counts which results have images of several devices or versions of software."""
    notes = []
    runs = rows.reindex(columns=["method", "task", MADE_BY], fill_value="").drop_duplicates()
    for method, task, made_by in runs.itertuples(index=False, name=None):
        counts: dict[str, int] = json.loads(made_by or "{}")
        if len(counts) > 1:
            told = ", ".join(f"{images:,} by {maker}" for maker, images in counts.items())
            notes.append(
                f"{method} on {task} mixes images of several devices or versions, which differ in "
                f"last bits: {told}"
            )
    return notes


def said(rows: pd.DataFrame) -> list[str]:
    """What is to be said of numbers whose conditions differ and may, but for how many images there
    are of a prompt."""
    found = []
    for condition in conditions.of("table", SAID):
        if condition.name not in rows or condition.name == "images":
            continue
        if condition.of_method:
            # Of what differs between methods anyway, what differs within one.
            parts = [(f"{name}: ", part) for name, part in rows.groupby("method")]
        elif condition is conditions.CLUSTERS:
            # Each subset has prompts of its own.
            places = rows.groupby(["task", "subset"])
            parts = [(f"{task}/{name}: ", part) for (task, name), part in places]
        else:
            parts = [("", rows)]
        for whose, part in parts:
            values = set(part[condition.name]) - {UNKNOWN}
            if len(values) > 1:
                found.append(f"{whose}{condition.said(values)}")
    return found


def _file_notes(rows: pd.DataFrame) -> list[str]:
    """Name the files that differ behind one method's results of this table."""
    notes = []
    for method, files in rows.groupby("method")["files"]:
        first, *others = (
            RunRecord(method=Method(files=json.loads(text))) for text in files.unique()
        )
        differing = seal.differing_files([first], others)
        if differing:
            told = ", ".join(f"{name} {digests}" for name, digests in differing.items())
            notes.append(f"{method}: method files differ: {told}")
    return notes


def _row(
    rows: pd.DataFrame,
    method: str,
    label: Label,
    columns: Sequence[Column],
    published: paper.Numbers,
) -> Row:
    of_method = rows[rows["method"] == method]
    numbers = [Aggregate(**record) for record in records(of_method[list(AGGREGATE_COLUMNS)])]
    at = {(number.task, number.subset, number.metric): number for number in numbers}
    cells = tuple(
        _cell(
            at.get(column.place),
            column,
            published.get((PAPER_METHODS.get(method, ""), *column.place)),
        )
        for column in columns
    )
    if not numbers:
        return Row(label.title, label.told, cells)
    scored = [number for number in numbers if number.metric not in _OF_ALL_ASKED] or numbers
    of_subsets = [number for number in scored if number.subset != ALL] or scored
    n = spread([number.n for number in of_subsets])
    return Row(
        title=label.title,
        told=label.told,
        cells=tuple(
            replace(cell, n=_counted(at.get(column.place), n))
            for cell, column in zip(cells, columns, strict=True)
        ),
        n=n,
        n_distinct=spread([number.n_distinct for number in of_subsets]),
        unscored=spread([number.unscored for number in of_subsets]),
    )


def _counted(number: Aggregate | None, of_row: str) -> str:
    """How many images a number over all subsets, or of refused images, too, is of, if its row does
    not say just that."""
    if number is None or math.isnan(number.value):
        return ""
    if number.subset != ALL and number.metric not in _OF_ALL_ASKED:
        return ""
    if str(number.n) == of_row:
        return ""
    distinct = "" if number.n_distinct == number.n else f", {number.n_distinct} distinct"
    return f"n {number.n}{distinct}"


def _cell(number: Aggregate | None, column: Column, published: float | None) -> Cell:
    scale = column.scale
    beside = "" if published is None else f"{published * scale:.1f}"
    if number is None or math.isnan(number.value):
        return Cell(paper=beside)
    low = number.low
    return Cell(
        value=f"{number.value * scale:.1f}",
        interval="" if math.isnan(low) else f"[{low * scale:.1f}, {number.high * scale:.1f}]",
        floor="" if math.isnan(number.floor) else f"{column.floor} {number.floor * scale:.1f}",
        paper=beside,
    )
