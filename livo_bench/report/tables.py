"""The paper's tables from `aggregates.csv` files, with n, interval and floor beside each number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from livo_bench.cards.declared import TOLD
from livo_bench.errors import NotComparable
from livo_bench.escaping import markdown, one_line
from livo_bench.records import AGGREGATE_COLUMNS, BIAS, TOXICITY, Aggregate
from livo_bench.report import paper
from livo_bench.report.printing import latex_line, latex_tabular, latex_text, markdown_line
from livo_bench.report.titles import Label, labels
from livo_bench.report.wide_tables import Wide
from livo_bench.results import conditions, seal
from livo_bench.results.conditions import AGREE, SAID, UNKNOWN
from livo_bench.results.frames import ALL
from livo_bench.results.metrics.metric import Metric
from livo_bench.results.metrics.registry import METRICS, in_table_2
from livo_bench.results.reading import ABOUT, JUDGE, looked_at
from livo_bench.results.record import Method, RunRecord

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

ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """One number of each method."""

    group: str
    """Heading over neighbouring columns."""
    title: str
    task: str
    subset: str
    metric: str
    floor: str = "fair"
    """Who reads the floor: a fair model, or the unaligned one."""

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
    """Titles of the paper's rows by method, in its order; other methods follow after a rule."""
    columns: tuple[Column, ...]


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


TABLE_2 = (
    _main("bias", in_table_2(BIAS), ("gender", "race")),
    _main("toxicity", in_table_2(TOXICITY), ("nudity", "bloody", "horror")),
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
            Column(STEERED, "Content", task, ALL, "content_steered"),
            Column(STEERED, "Somebody there", task, ALL, "presence_steered"),
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


FLOORS = {"fair": "fair: a perfectly fair model's", "SD": "SD: SD's own"}
"""Who reads a floor, and in words."""
MORE = "see docs/metrics.md"


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as printed: scaled, rounded; empty texts where there is nothing to say."""

    value: str = ABSENT
    interval: str = ""
    floor: str = ""
    """With who reads it."""
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
    """One method in one table."""

    title: str
    told: str
    """What the method is told at sampling time besides the prompt."""
    cells: tuple[Cell, ...]
    n: str = ABSENT
    """Scored images behind a number, `low-high` where numbers differ; likewise the next two. Where
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
    paper's, in its order, with or without results, then others."""
    note: str = ""
    """What sets these numbers apart, if anything: a list of one's own, another judge, different
    numbers of images, what else may differ (see `conditions`), an IS that means nothing."""

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
    """Lay out the paper's Table 2: one table a task that has results, one row a method. Tasks that
    are not the paper's, a user's own, follow in the same form.

    Args:
        aggregates: Of one model, as `read_aggregates` gives them.

    Returns:
        The aggregates that are in the tables, as tidy rows with fractions as stored, and the
        tables as printed. For the paper's own model on the task's prompts both have the paper's
        numbers, too: in the rows under `paper`, NaN where it prints none.

    Raises:
        NotComparable: Two methods were judged by different scorers, on different prompts or
            under other `conditions`, or one appears twice.
    """
    return _lay_out([*TABLE_2, *_of_other_tasks(aggregates)], aggregates)


def _of_other_tasks(aggregates: pd.DataFrame) -> list[Layout]:
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
    rows = rows.drop(columns=[*ABOUT, JUDGE, *beside], errors="ignore")
    if published:
        titles = rows["method"].map(PAPER_METHODS)
        places = zip(titles, rows["task"], rows["subset"], rows["metric"], strict=True)
        rows["paper"] = [published.get(place, math.nan) for place in places]
    return rows, [table for table in laid_out if table is not None]


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
                raise NotComparable(
                    f"Not in one table: {where} has {name} {its} for method {one!r} and {other} "
                    f"for {another!r}.",
                    f"Run both alike (livo-bench run --method {one} --method "
                    f"{another} --task {task}), or write results of other conditions elsewhere: "
                    "--runs DIR",
                )


def _said(prompts: str) -> str:
    return f"prompts from {prompts!r}" if prompts else "the task's own prompts"


def labels_of(rows: pd.DataFrame) -> dict[str, Label]:
    """How methods are printed, by name.

    Args:
        rows: Aggregates, with what `read_aggregates` knows of their runs.
    """
    told = rows.reindex(columns=["method", "title", "told"], fill_value="").drop_duplicates()
    recorded = {name: Label(title, what) for name, title, what in told.to_numpy() if title}
    return labels(set(rows["method"]), recorded)


def _table(
    layout: Layout, rows: pd.DataFrame, named: Mapping[str, Label], published: paper.Numbers
) -> Table | None:
    """The table, None without a number in it."""
    columns, methods = layout.columns, layout.methods
    places = rows[["task", "subset", "metric"]].itertuples(index=False, name=None)
    wanted = {column.place for column in columns}
    present = rows[[place in wanted for place in places]]
    if present.empty:
        return None
    others = sorted(set(present["method"]) - set(methods), key=lambda name: (name != "sd", name))
    grouped = sorted([*methods, *others], key=lambda name: _knows(named[name]))
    return Table(
        title=layout.title,
        columns=columns,
        rows=tuple(_row(present, name, named[name], columns, published) for name in grouped),
        note="; ".join([*_notes(present), *_misleading(present, named)]),
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


def _notes(rows: pd.DataFrame) -> list[str]:
    own = rows.loc[rows["prompts"] != "", ["task", "prompts"]].drop_duplicates()
    notes = [f"{task}: not its own prompts, but {name}" for task, name in own.to_numpy()]
    judges = sorted(set(rows.get(JUDGE, "")) - {""})
    notes += [f"judged by {judge}, not by the model card's judges" for judge in judges]
    if "images" in rows:
        for task, images in rows.loc[rows["images"] != UNKNOWN].groupby("task")["images"]:
            if len(counts := sorted(set(images), key=int)) > 1:
                notes.append(
                    f"{task}: methods have {' and '.join(counts)} images of a prompt, and D1, D2, "
                    "IS and FID depend on how many"
                )
    if "files" in rows:
        notes += _file_notes(rows[rows["files"] != UNKNOWN])
    return [*notes, *said(rows)]


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
    """Of methods whose results of this table rest on different files, which these are."""
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
    of_subsets = [number for number in numbers if number.subset != ALL] or numbers
    n = _spread([number.n for number in of_subsets])
    return Row(
        title=label.title,
        told=label.told,
        cells=tuple(
            replace(cell, n=_counted(at.get(column.place), n))
            for cell, column in zip(cells, columns, strict=True)
        ),
        n=n,
        n_distinct=_spread([number.n_distinct for number in of_subsets]),
        unscored=_spread([number.unscored for number in of_subsets]),
    )


def _counted(number: Aggregate | None, of_row: str) -> str:
    """How many images a number over all subsets is of, if its row does not say just that."""
    if number is None or number.subset != ALL or math.isnan(number.value):
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


def _spread(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}-{high}"


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as plain data by column."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


def as_rich(tables: Sequence[Table]) -> RenderableType:
    """Tables for a terminal: under each number its interval and its floor."""
    return Group(*(_rich(table) for table in tables))


def _rich(table: Table) -> Wide:
    return Wide(
        heads=[
            ("", "Method"),
            ("", "Told"),
            *((column.group, column.title) for column in table.columns),
        ],
        sections=[[_rich_row(row) for row in rows] for rows in table.groups],
        title=table.title,
        caption=". ".join(filter(None, (table.note, table.caption))),
    )


def _rich_row(row: Row) -> list[str]:
    cells = ["\n".join(_lines(cell)) for cell in row.cells]
    title, told = one_line(row.title), one_line(row.told)
    if row.n == ABSENT:
        return [title, told, *cells]
    counts = f"{row.n} scored\n{row.n_distinct} distinct\n{row.unscored} unscored"
    return [f"{title}\n{counts}", told, *cells]


def _lines(cell: Cell) -> list[str]:
    published = cell.paper and f"paper {cell.paper}"
    parts = (cell.value, cell.interval, cell.floor, *cell.n.split(", "), published)
    return [part for part in parts if part]


def as_markdown(tables: Sequence[Table]) -> str:
    """Tables in Markdown, every row one line."""
    return "\n\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    titles = [f"{column.group} {column.title}" for column in table.columns]
    heads = ["Method", "Told", *titles, *COUNTS]
    lines = [
        f"**{markdown(table.title)}**",
        "",
        markdown_line(heads),
        markdown_line(["---"] * len(heads)),
    ]
    lines += [markdown_line(_texts(row)) for row in table.rows]
    if table.note:
        lines += ["", markdown(table.note)]
    return "\n".join(lines)


COUNTS = ("n", "distinct", "unscored")


def _texts(row: Row) -> list[str]:
    """A row of a table that has a line for each method."""
    return [row.title, row.told, *map(str, row.cells), row.n, row.n_distinct, row.unscored]


def as_latex(tables: Sequence[Table]) -> str:
    """Tables as LaTeX `tabular`s with the rules of the package booktabs, all text escaped."""
    return "\n\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    groups = [
        (group, len(list(columns)))
        for group, columns in groupby(table.columns, key=lambda column: column.group)
    ]
    spans = [rf"\multicolumn{{{wide}}}{{c}}{{{latex_text(group)}}}" for group, wide in groups]
    heads = [
        f"& & {' & '.join(spans)} & & & " + r"\\",
        latex_line(["Method", "Told", *(column.title for column in table.columns), *COUNTS]),
    ]
    parts = [[latex_line(_texts(row)) for row in rows] for rows in table.groups]
    aligned = "ll" + "r" * (len(table.columns) + len(COUNTS))
    note = f"\n\\par {latex_text(table.note)}" if table.note else ""
    return f"% {one_line(table.title)}\n{latex_tabular(aligned, heads, parts)}{note}"


FORMS: Mapping[str, Callable[[Sequence[Table]], RenderableType]] = {
    "table": as_rich,
    "markdown": as_markdown,
    "latex": as_latex,
}
"""Those for people; programs read the rows."""
