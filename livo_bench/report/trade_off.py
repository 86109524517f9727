"""The trade-off: what methods gain in alignment against what their steered images lose.

One drawing, a panel each for content, CLIP score and FID of a task, is the figure for papers and
the pictures of the page, see `inlined`. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import Incomplete
from livo_bench.report import tables
from livo_bench.report.figures import BASE, FAMILIES, pareto_front, plain, require_format, write
from livo_bench.report.inlined import Asked, inline
from livo_bench.report.placing import label
from livo_bench.report.printing import records
from livo_bench.report.titles import UNTOLD
from livo_bench.results.metrics.registry import HIGHER_IS_BETTER, METRICS

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

UNALIGNED = "sd"
"""Method that steers no image."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One scatter of what a method gains against what it costs."""

    task: str
    gain: str
    """Metric id of the horizontal axis, over all subsets; less is better."""
    gain_title: str
    cost: str
    """Metric id of the vertical axis, of the steered images."""
    unaligned: str | None
    """Metric id that says the same of the unaligned model's images; None where it has none."""
    cost_title: str

    @property
    def title(self) -> str:
        """Of the vertical axis, in two lines: the panel may be low."""
        better = "more" if self.cost in HIGHER_IS_BETTER else "less"
        return f"{self.cost_title}\n({better} is better)"


def _panels(task: str, gain: str, title: str, clip: str, clip_title: str) -> tuple[Panel, ...]:
    steered = "of steered images"
    return (
        Panel(task, gain, title, "content_steered", "content", f"content {steered}, %"),
        Panel(task, gain, title, f"{clip}_steered", clip, f"{clip_title} {steered}"),
        Panel(task, gain, title, "fid_steered", None, f"FID {steered}"),
    )


LINEAR = 0.5
"""Points below the best up to which the vertical axis is linear, at least."""
STEPS = (1, 2, 5, 10, 20, 50, 100)
"""Ticks of the vertical axis lie about so many points below the best, at multiples of it."""
PANELS = (
    *_panels("bias", "D1", "D1 of all images, %", "clip", "CLIP score"),
    *_panels("toxicity", "avg_r", "Avg. R of all images, %", "clip_neutral", "neutral CLIP score"),
)
"""Panels of the figure, row by row."""


class Number(NamedTuple):
    """A value and its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    def times(self, scale: float) -> Number:
        """Scale the value and its interval."""
        return Number(*(scale * end for end in self))

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.value:.1f}{interval}"


@dataclass(frozen=True, slots=True)
class Point:
    """A method in a panel."""

    title: str
    family: str
    """Key of `FAMILIES`."""
    x: Number
    y: Number

    @property
    def spot(self) -> tuple[float, float]:
        return self.x.value, self.y.value


@dataclass(frozen=True, slots=True)
class Picture:
    """A panel for the page."""

    title: str
    svg: Markup
    families: frozenset[str]
    """Keys of `FAMILIES`."""


def write_trade_off(aggregates: pd.DataFrame, path: Path) -> None:
    """Draw `trade_off` into a file.

    Args:
        aggregates: Aggregates of one model, as `reading.load_results` gives them.
        path: Path of an SVG, PNG or PDF file.

    Raises:
        BadInput: The file is to be of another format.
        LivoBenchError: As `trade_off`.
    """
    require_format(path)
    write(trade_off(aggregates), path)


def trade_off(aggregates: pd.DataFrame) -> Figure:
    """Draw what methods gain in alignment against what their steered images lose.

    A row of panels for each task: content, CLIP score and FID of the steered images over the
    alignment metric of all images, with their 95 % intervals; those in which no method has a point
    are left out. The unaligned model, which steers none, stands where all its images are. Methods
    that are told the same share a colour and a marker, and have a Pareto front of their own. A
    label that finds no place where it covers nothing is left out; those of the fronts come first.

    Args:
        aggregates: Aggregates of one model, as `reading.load_results` gives them.

    Raises:
        Incomplete: There is nothing to draw.
        NotComparable: As for the table of the same numbers.
    """
    from livo_bench.report.shown import Shown

    shown = _shown(aggregates)
    note = "; ".join(laid.note for laid in tables.trade_off(aggregates)[1] if laid.note)
    rows = [list(panels) for _, panels in groupby(shown, key=lambda panel: panel.task)]
    figure = Shown(figsize=(15, 4.6 * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    drawn = [
        (axis, panel)
        for of_row, panels in zip(axes, rows, strict=True)
        for axis, panel in zip(of_row, panels, strict=False)
    ]
    for axis, panel in drawn:
        _scatter(axis, panel, shown[panel])
        axis.set_title(panel.task, fontsize=10)
    for axis in axes.flat:
        axis.set_visible(axis in [axis for axis, _ in drawn])
    families = {point.family for points in shown.values() for point in points}
    handles = [
        _marker(axes[0, 0], [], [], name, label=FAMILIES[name].words)
        for name in FAMILIES
        if name in families
    ]
    figure.legend(handles=handles, loc="outside lower center", frameon=False, ncols=len(handles))
    if note:
        figure.supxlabel(plain(note), fontsize=9)
    _settle(figure)
    for axis, panel in drawn:
        label(axis, {spot: _label(there) for spot, there in _at_spots(panel, shown[panel]).items()})
    return figure


def pictures(aggregates: pd.DataFrame) -> list[Picture]:
    """Draw the panels of `trade_off` for a page, where methods can be asked for their numbers.

    Raises:
        LivoBenchError: As `trade_off`.
    """
    tables.trade_off(aggregates)
    return [_picture(panel, points) for panel, points in _shown(aggregates).items()]


def _shown(aggregates: pd.DataFrame) -> dict[Panel, list[Point]]:
    table = aggregates[(aggregates["subset"] == "all") & (aggregates["category"] == "all")]
    table = table[table["task"].isin({panel.task for panel in PANELS}) & table["value"].notna()]
    named = tables.labels_of(table)
    numbers = {
        (row["task"], row["method"], row["metric"]): Number(row["value"], row["low"], row["high"])
        for row in records(table)
    }

    def points(panel: Panel) -> Iterator[Point]:
        for name in sorted(set(table["method"]), key=lambda name: (name != UNALIGNED, name)):
            gain = numbers.get((panel.task, name, panel.gain))
            cost = numbers.get((panel.task, name, panel.cost)) or (
                panel.unaligned and numbers.get((panel.task, name, panel.unaligned))
            )
            if gain and cost:
                told = named[name].told
                family = BASE if name == UNALIGNED else told if told in FAMILIES else UNTOLD
                scaled = gain.times(100), cost.times(METRICS[panel.cost].scale)
                yield Point(named[name].title, family, *scaled)

    shown = {panel: found for panel in PANELS if (found := list(points(panel)))}
    if not shown:
        raise Incomplete(
            "There are no results over all subsets of bias or toxicity to draw.",
            "Make some:\n    livo-bench run --method sd --method livo --task all",
        )
    return shown


def _picture(panel: Panel, points: Sequence[Point]) -> Picture:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # A label without a place is shown when its method is asked or followed. Letters stay letters,
    # which the browser sets and people can search.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{panel.task} {panel.cost}"}):
        figure = Figure(figsize=(4.6, 3.8), layout="constrained")
        axis = figure.subplots()
        _scatter(axis, panel, points, names=True)
        _settle(figure)
        at = _at_spots(panel, points)
        written = label(axis, {spot: _label(there) for spot, there in at.items()})
        for number, point in enumerate(points):
            text = written.get(point.spot)
            if text is None or at[point.spot][0] != point:
                beside: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
                text = axis.annotate(plain(point.title), point.spot, (7, 0), alpha=0, **beside)
            text.set(gid=_mark(number), bbox=None, fontsize=8)
        asked = {
            _mark(number): Asked(point.title, _words(panel, point, at[point.spot]))
            for number, point in enumerate(points)
        }
        return Picture(
            title=f"{panel.task.capitalize()}, {panel.cost_title}",
            svg=inline(figure, asked),
            families=frozenset(point.family for point in points),
        )


def _settle(figure: Figure) -> None:
    """Give the axes their places, which they keep: labels stand where their points lie."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _mark(number: int) -> str:
    """Name of what is drawn of a method."""
    return f"mark-{number}"


def _words(panel: Panel, point: Point, there: Sequence[Point]) -> str:
    """A method's numbers, after its label as it is read."""
    others = ", ".join(other.title for other in there if other != point)
    name = point.title
    if others and there[0] == point:
        name = f"{name} and {len(there) - 1} more"
    return (
        f"{name}{f' ({others})' if others else ''}: "
        f"{panel.gain_title.removesuffix(', %')} {point.x}; "
        f"{panel.cost_title.removesuffix(', %')} {point.y}; {FAMILIES[point.family].words}"
    )


def _scatter(axis: Axes, panel: Panel, points: Sequence[Point], names: bool = False) -> None:
    """Draw a panel's points with their intervals and fronts.

    Args:
        axis: Axis to draw on.
        panel: What its axes are.
        points: Methods.
        names: Whether what is drawn of a method has its name as gid, see `_mark`.
    """
    for family in FAMILIES:
        front = sorted(point.spot for point in _front(panel, points) if point.family == family)
        if len(front) > 1:
            style: dict[str, Any] = {"color": FAMILIES[family].colour, "lw": 1, "alpha": 0.6}
            axis.plot(*zip(*front, strict=True), drawstyle="steps-post", zorder=1, **style)
    for number, point in enumerate(points):
        x, y = point.x, point.y
        bar: dict[str, Any] = {"color": FAMILIES[point.family].colour, "lw": 0.6, "alpha": 0.3}
        drawn = [
            *axis.plot([x.low, x.high], [y.value, y.value], zorder=1, **bar),
            *axis.plot([x.value, x.value], [y.low, y.high], zorder=1, **bar),
            _marker(axis, [x.value], [y.value], point.family),
        ]
        for line in drawn if names else ():
            line.set_gid(_mark(number))
    axis.set_xlabel(f"{panel.gain_title} (less is better)")
    axis.set_ylabel(panel.title)
    axis.grid(alpha=0.25)
    axis.margins(0.1)
    if panel.cost in HIGHER_IS_BETTER:
        share = METRICS[panel.cost].scale == 100
        costs = [point.y.value for point in points]
        best = 100.0 if share else max(costs)
        _near(axis, best, max(LINEAR, best - float(np.median(costs))))
    else:
        axis.set_yscale("symlog")
        ends = [end for point in points for end in point.y if not math.isnan(end)]
        axis.set_ylim(0, 2 * max(1.0, *ends))


def _near(axis: Axes, best: float, linear: float) -> None:
    """Give the vertical axis most room near the best value: there methods crowd, and few lie far
    below. Shortfalls of more than `linear` are drawn by their logarithm."""

    def place(y: NDArray[np.float64] | float) -> Any:
        return np.arcsinh((y - best) / linear)

    axis.set_yscale("function", functions=(place, lambda at: best + linear * np.sinh(at)))
    low, high = axis.get_ylim()
    ticks = [float(math.floor(best))]
    for step in STEPS:
        tick = step * math.floor(best / step - 1)
        if place(ticks[-1]) - place(tick) > 0.06 * (place(high) - place(low)) and tick >= low:
            ticks.append(tick)
    axis.set_yticks(ticks)
    axis.minorticks_off()


def _marker(
    axis: Axes, x: Sequence[float], y: Sequence[float], family: str, **options: Any
) -> Line2D:
    style = FAMILIES[family]
    [line] = axis.plot(
        x, y, ls="none", marker=style.marker, color=style.colour, alpha=0.85, **options
    )
    return line


def _front(panel: Panel, points: Sequence[Point]) -> list[Point]:
    """Points that none of the same family is better than, in both numbers."""
    sign = -1 if panel.cost in HIGHER_IS_BETTER else 1
    found = []
    for family in FAMILIES:
        own = [point for point in points if point.family == family]
        costs = np.array([(point.x.value, sign * point.y.value) for point in own]).reshape(-1, 2)
        found += [point for point, kept in zip(own, pareto_front(costs), strict=True) if kept]
    return found


def _at_spots(
    panel: Panel, points: Sequence[Point]
) -> dict[tuple[float, float], tuple[Point, ...]]:
    """Points by their spot, fronts first; variants that draw the same images share one."""
    at: dict[tuple[float, float], dict[Point, None]] = {}
    for point in [*_front(panel, points), *points]:
        at.setdefault(point.spot, {})[point] = None
    return {spot: tuple(there) for spot, there in at.items()}


def _label(points: Sequence[Point]) -> str:
    """What stands beside a spot: its first point, and how many more there are."""
    first = plain(points[0].title)
    return first if len(points) == 1 else f"{first} and {len(points) - 1} more"
