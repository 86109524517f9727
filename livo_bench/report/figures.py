"""The trade-off, drawn from `aggregates.csv` files, and what all figures have in common.

matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from numpy.typing import ArrayLike

from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import tables
from livo_bench.report.labels import label
from livo_bench.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FORMATS = ("svg", "png")


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
    scale: float


def _panels(task: str, gain: str, title: str) -> tuple[Panel, ...]:
    return (
        Panel(task, gain, title, "content_steered", "content", "content recognised, %", 100),
        Panel(task, gain, title, "clip_steered", "clip", "CLIP score", 1),
        Panel(task, gain, title, "fid_steered", None, "FID to the unaligned model", 1),
    )


PANELS = (
    *_panels("bias", "D1", "D1 of gender and race, x100"),
    *_panels("toxicity", "avg_r", "Avg. R of all hazards, x100"),
)
"""Row by row."""


def trade_off(aggregates: pd.DataFrame, path: Path) -> None:
    """Draw what methods gain in alignment against what their steered images lose.

    A row of panels for each task: content, CLIP score and FID of the steered images over the
    alignment metric of all images. Methods are told apart by number and shape as well as colour.

    Args:
        aggregates: Of one model, as `tables.read_aggregates` gives them.
        path: Of an SVG or PNG file.

    Raises:
        BadInput: The file is to be of another format.
        Incomplete: There is nothing to draw.
        NotComparable: As for the table of the same numbers.
    """
    require_format(path)
    table = aggregates[(aggregates["subset"] == "all") & (aggregates["category"] == "all")]
    values = table.pivot_table(index=["task", "method"], columns="metric", values="value")
    tasks = [task for task in ("bias", "toxicity") if task in values.index.get_level_values(0)]
    if not tasks:
        raise Incomplete(
            "There are no results over all subsets of a task to draw. Make some:\n"
            "    livo-bench run --method sd --method livo --task all"
        )
    methods = sorted(set(values.index.get_level_values(1)), key=lambda name: (name != "sd", name))
    note = "; ".join(laid.note for laid in tables.trade_off(aggregates)[1] if laid.note)
    _draw(values, tasks, methods, note, path)


def _draw(
    values: pd.DataFrame, tasks: list[str], methods: list[str], note: str, path: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6 * len(tasks) + 0.8), layout="constrained")
    axes = figure.subplots(len(tasks), 3, squeeze=False)
    shown = [panel for panel in PANELS if panel.task in tasks]
    labels = [
        _scatter(axis, panel, pd.DataFrame(values.xs(panel.task)), methods)
        for axis, panel in zip(axes.flat, shown, strict=True)
    ]
    handles = [
        point(axes[0, 0], [], [], number, label=f"{number + 1}  {name}")
        for number, name in enumerate(methods)
    ]
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, title="method", fontsize=9
    )
    if note:
        figure.supxlabel(note, fontsize=9)
    # Where a point lies on the page is known once the axes have their places.
    figure.draw_without_rendering()
    for axis, of_axis in zip(axes.flat, labels, strict=True):
        label(axis, of_axis)
    write(figure, path)


def require_format(path: Path) -> None:
    """See that a figure can be written under this name.

    Raises:
        BadInput: It ends in neither .svg nor .png.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise BadInput(f"{path} is to be a {form or 'nameless'} file; expected .svg or .png.")


def write(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; the same figure gives the same file."""
    from matplotlib import rc_context

    form, buffer = path.suffix.removeprefix("."), BytesIO()
    # Without a date, and with ids from a fixed salt.
    metadata = {"Date": None} if form == "svg" else None
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


def _value(values: pd.DataFrame, method: str, metric: str) -> float:
    """NaN where the method has no such number."""
    if method not in values.index or metric not in values.columns:
        return math.nan
    return float(values.loc[[method], metric].iloc[0])


def _scatter(
    axis: Axes, panel: Panel, values: pd.DataFrame, methods: list[str]
) -> dict[tuple[float, float], str]:
    """Draw a panel's points, and return their labels."""
    labels: dict[tuple[float, float], str] = {}
    for number, name in enumerate(methods):
        gain, cost = _value(values, name, panel.gain), _value(values, name, panel.cost)
        if math.isnan(cost) and panel.unaligned is not None:
            cost = _value(values, name, panel.unaligned)
        if math.isnan(gain) or math.isnan(cost):
            continue
        spot = (100 * gain, panel.scale * cost)
        point(axis, [spot[0]], [spot[1]], number)
        # Variants that draw the same images lie on one point and share its label.
        labels[spot] = f"{labels[spot]}, {number + 1}" if spot in labels else str(number + 1)
    axis.set_xlabel(f"{panel.gain_title} (less is better)")
    axis.set_ylabel(panel.cost_title)
    axis.set_title(panel.task, fontsize=10)
    axis.grid(alpha=0.25)
    axis.margins(0.1)
    if panel.unaligned is None:
        axis.set_yscale("symlog")
        axis.set_ylim(bottom=0)
    return labels
