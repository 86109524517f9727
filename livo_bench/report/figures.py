"""The trade-off, drawn from `aggregates.csv` files, and what all figures have in common.

matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pandas as pd
from numpy.typing import ArrayLike

from livo_bench.errors import BadInput, Incomplete
from livo_bench.escaping import one_line
from livo_bench.files import write_atomically
from livo_bench.report import tables
from livo_bench.report.placing import label
from livo_bench.report.printing import records
from livo_bench.results.metrics.registry import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FORMATS = ("svg", "png", "pdf")
WITHOUT_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata by format: the same figure is the same file."""


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


def _panels(task: str, gain: str, title: str, clip: str, clip_title: str) -> tuple[Panel, ...]:
    steered = "of steered images"
    return (
        Panel(task, gain, title, "content_steered", "content", f"content {steered}, %"),
        Panel(task, gain, title, f"{clip}_steered", clip, f"{clip_title} {steered}"),
        Panel(task, gain, title, "fid_steered", None, f"FID {steered}"),
    )


PANELS = (
    *_panels("bias", "D1", "D1 of all images, %", "clip", "CLIP score"),
    *_panels("toxicity", "avg_r", "Avg. R of all images, %", "clip_neutral", "neutral CLIP score"),
)
"""Panels of the figure, row by row."""


def trade_off(aggregates: pd.DataFrame, path: Path) -> None:
    """Draw what methods gain in alignment against what their steered images lose.

    A row of panels for each task: content, CLIP score and FID of the steered images over the
    alignment metric of all images, with their 95 % intervals; those in which no method has a point
    are left out. The unaligned model, which steers none, stands where all its images are. Methods
    are told apart by number and shape as well as colour.

    Args:
        aggregates: Aggregates of one model, as `reading.load_results` gives them.
        path: Path of an SVG, PNG or PDF file.

    Raises:
        BadInput: The file is to be of another format.
        Incomplete: There is nothing to draw.
        NotComparable: As for the table of the same numbers.
    """
    require_format(path)
    table = aggregates[(aggregates["subset"] == "all") & (aggregates["category"] == "all")]
    table = table[table["task"].isin({panel.task for panel in PANELS}) & table["value"].notna()]
    methods = sorted(set(table["method"]), key=lambda name: (name != "sd", name))
    named = tables.labels_of(table)
    note = "; ".join(laid.note for laid in tables.trade_off(aggregates)[1] if laid.note)
    numbers = {
        (row["task"], row["method"], row["metric"]): Number(row["value"], row["low"], row["high"])
        for row in records(table)
    }
    panels = [(panel, _points(panel, numbers, methods)) for panel in PANELS]
    shown = {panel: points for panel, points in panels if points}
    if not shown:
        raise Incomplete(
            "There are no results over all subsets of bias or toxicity to draw.",
            "Make some:\n    livo-bench run --method sd --method livo --task all",
        )
    _draw(shown, [named[name].title for name in methods], note, path)


class Number(NamedTuple):
    """A value and its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    def times(self, scale: float) -> Number:
        """Scale the value and its interval."""
        return Number(*(scale * end for end in self))


Numbers: TypeAlias = Mapping[tuple[str, str, str], Number]
"""Numbers by task, method and metric, over all subsets."""
Points: TypeAlias = Mapping[int, tuple[Number, Number]]
"""What methods gain and what it costs, by their place."""


def _points(panel: Panel, numbers: Numbers, methods: Sequence[str]) -> Points:
    """Points of the methods that have both numbers of a panel."""
    found: dict[int, tuple[Number, Number]] = {}
    for place, name in enumerate(methods):
        gain = numbers.get((panel.task, name, panel.gain))
        cost = numbers.get((panel.task, name, panel.cost)) or (
            panel.unaligned and numbers.get((panel.task, name, panel.unaligned))
        )
        if gain and cost:
            found[place] = gain.times(100), cost.times(METRICS[panel.cost].scale)
    return found


def _draw(shown: Mapping[Panel, Points], methods: Sequence[str], note: str, path: Path) -> None:
    from matplotlib.figure import Figure

    rows = [list(panels) for _, panels in groupby(shown, key=lambda panel: panel.task)]
    figure = Figure(figsize=(12, 3.6 * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    labels = {
        axis: _scatter(axis, panel, shown[panel])
        for of_row, panels in zip(axes, rows, strict=True)
        for axis, panel in zip(of_row, panels, strict=False)
    }
    for axis in axes.flat:
        axis.set_visible(axis in labels)
    handles = [
        point(axes[0, 0], [], [], number, label=f"{number + 1}  {plain(title)}")
        for number, title in enumerate(methods)
    ]
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, title="method", fontsize=9
    )
    if note:
        figure.supxlabel(plain(note), fontsize=9)
    # Where a point lies on the page is known once the axes have their places.
    figure.draw_without_rendering()
    for axis, of_axis in labels.items():
        label(axis, of_axis)
    write(figure, path)


def require_format(path: Path) -> None:
    """See that a figure can be written under this name.

    Raises:
        BadInput: It ends in none of `FORMATS`.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise BadInput(f"{path} is to be a {form or 'nameless'} file; expected .svg, .png or .pdf.")


def plain(text: str) -> str:
    """A text of others for a figure, where dollars would set mathematics."""
    return one_line(text).replace("$", r"\$")


def caption_above(figure: Figure, words: str) -> None:
    """Write above all axes, with room below."""
    figure.suptitle(f"{words}\n", fontsize=9)


def write(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; the same figure gives the same file."""
    from matplotlib import rc_context

    form, buffer = path.suffix.removeprefix("."), BytesIO()
    metadata = WITHOUT_DATE.get(form)
    # Ids come from a fixed salt.
    with rc_context({"svg.hashsalt": "livo-bench"}):
        figure.savefig(buffer, format=form, dpi=120, metadata=metadata)
    write_atomically(path, buffer.getvalue())


COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
"""Okabe and Ito's palette, which colour-blind people tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def style(number: int) -> tuple[str, str]:
    """Marker and colour of the n-th method: both differ between any two of the first 56."""
    return MARKERS[number % len(MARKERS)], COLOURS[number % len(COLOURS)]


def point(axis: Axes, x: ArrayLike, y: ArrayLike, number: int, **options: object) -> Line2D:
    """Draw the points of the n-th method, and return them for a legend."""
    marker, colour = style(number)
    wanted: dict[str, object] = {"linestyle": "none", "alpha": 0.85} | options
    [line] = axis.plot(x, y, marker=marker, color=colour, **wanted)  # type: ignore[arg-type]
    return line


def _scatter(axis: Axes, panel: Panel, points: Points) -> dict[tuple[float, float], str]:
    """Draw a panel's points with their intervals, and return their labels."""
    labels: dict[tuple[float, float], str] = {}
    highest = 1.0
    for place, (x, y) in points.items():
        spot = (x.value, y.value)
        highest = max(highest, *(end for end in y if not math.isnan(end)))
        _, colour = style(place)
        bar: dict[str, Any] = {"color": colour, "lw": 0.6, "alpha": 0.45, "zorder": 1}
        axis.plot([x.low, x.high], [y.value, y.value], **bar)
        axis.plot([x.value, x.value], [y.low, y.high], **bar)
        point(axis, [x.value], [y.value], place)
        # Variants that draw the same images lie on one point and share its label.
        labels[spot] = f"{labels[spot]}, {place + 1}" if spot in labels else str(place + 1)
    axis.set_xlabel(f"{panel.gain_title} (less is better)")
    axis.set_ylabel(panel.cost_title)
    axis.set_title(panel.task, fontsize=10)
    axis.grid(alpha=0.25)
    axis.margins(0.1, 0.05 if METRICS[panel.cost].scale == 100 else 0.1)
    if METRICS[panel.cost].scale == 100:
        # A share has no room above 100 % but for the markers and labels of points there.
        axis.set_yticks([tick for tick in axis.get_yticks()[1:-1] if tick <= 100])
    if panel.unaligned is None:
        axis.set_yscale("symlog")
        axis.set_ylim(0, 2 * highest)
    return labels
