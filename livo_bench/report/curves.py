"""Figures 3 and 4 of the paper: what training makes of its data, its margins and its steps.

All are drawn from numbers that training took on dev prompts by the annotator (`livo.dev`), with few
images: they show how settings compare, and are none of the results in the tables.

    sweeps.csv    written by benchmarks/sweep.py: `SWEEP_COLUMNS`, a row a training, subset, metric
    dev.csv       written by training, beside its training.json
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from livo_bench.cards.catalog import results_of
from livo_bench.csvs import read_csv
from livo_bench.errors import BadInput, Incomplete
from livo_bench.methods.training import training_record
from livo_bench.report.columns import PAPER_METHODS
from livo_bench.report.figures import (
    caption_above,
    family,
    pareto_front,
    plain,
    require_format,
    write,
)
from livo_bench.report.placing import label
from livo_bench.report.titles import labels as names_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEV_COLUMNS = ("step", "subset", "metric", "value", "n")
"""Columns of a training's `dev.csv`."""
SWEEPS = "sweeps.csv"
SWEEP_COLUMNS = (
    "model",
    "method",
    "fraction",
    "gamma_1_factor",
    "gamma_2_factor",
    "steps",
    "seed",
    "subset",
    "metric",
    "value",
    "n",
)
"""`fraction` is that of the preference data; the factors multiply the method's margins of every
value, for a common margin would be too far for one value and too near for another."""
SETTING = ["method", "fraction", "gamma_1_factor", "gamma_2_factor", "seed"]

ALIGNMENT = (
    ("D1", "D1_plain", "D1 of gender and race, %"),
    ("avg_r_steered", "avg_r_plain", "Avg. R of steered images, %"),
)
"""Metrics of `Dev.evaluate`, less is better: of a method, of the unaligned model, and in words."""
PRESENCE = "presence_steered"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Of settings of one method."""
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
"""Of methods of one family."""
UNALIGNED = "Unaligned model: D1 of half as many images, so it reads a little higher"


def read_sweeps(folder: Path, model: str) -> pd.DataFrame:
    """Read `sweeps.csv` of a folder, with `SWEEP_COLUMNS`.

    Raises:
        Incomplete: There is none, or none of this model.
        BadInput: It has other columns.
    """
    path = folder / SWEEPS
    if not path.is_file():
        raise Incomplete(
            f"There is no {path}.",
            "Train what it tells of, which takes about two hours, with\n"
            f"    python benchmarks/sweep.py --out {path}",
        )
    texts = ("model", "method", "subset", "metric")
    numbers = [name for name in SWEEP_COLUMNS if name not in texts]
    rows = read_csv(path, SWEEP_COLUMNS, "Make it again: python benchmarks/sweep.py", numbers)
    name, _ = results_of(model)
    of_model = rows[rows["model"] == name]
    if of_model.empty:
        raise Incomplete(f"{path} has no training of model {name!r}.")
    return of_model.reset_index(drop=True)


def read_training_curves(folder: Path, model: str) -> pd.DataFrame:
    """Read the `dev.csv` of every training in a folder.

    Returns:
        Columns `method`, `step`, `subset`, `metric`, `value`, `n`.

    Raises:
        Incomplete: There is no training of this model.
        BadInput: A method was trained twice, or a file is not what it should be.
    """
    curves = {}
    name, _ = results_of(model)
    for path in sorted(folder.rglob("dev.csv")):
        made = training_record.read(path.parent) or {}
        if made.get("model") == name:
            # A training that goes on has not named its curve yet.
            if path.name in made.get("files", {}):
                training_record.require_named(path, training_record.digest_of(path))
            method = str(made.get("method"))
            if method in curves:
                raise BadInput(
                    f"{folder} holds several trainings of {method!r}.",
                    "Point at a folder with one of each method.",
                )
            again = f"Make it again: livo-bench train --method {method}"
            curves[method] = read_csv(path, DEV_COLUMNS, again, ("step", "value", "n"))
    if not curves:
        raise Incomplete(
            f"There is no training of model {name!r} in {folder}.",
            f"Train something:\n    livo-bench train --method livo --model {name}",
        )
    return pd.concat(curves, names=["method", None]).reset_index(level="method")


def data_efficiency(sweeps: pd.DataFrame, path: Path) -> None:
    """Draw alignment over the fraction of the preference data, a line a method (Figure 3).

    Args:
        sweeps: Sweeps of one model, with `SWEEP_COLUMNS`.
        path: Path of an SVG, PNG or PDF file.

    Raises:
        BadInput: The file is to be of another format.
    """
    as_in_recipe = sweeps[(sweeps["gamma_1_factor"] == 1) & (sweeps["gamma_2_factor"] == 1)]
    _draw_lines(
        as_in_recipe.assign(percent=100 * as_in_recipe["fraction"]),
        "percent",
        "preference data, %",
        _of_sweeps(sweeps),
        path,
    )


def convergence(curves: pd.DataFrame, path: Path) -> None:
    """Draw alignment over training steps, a line a method (Figure 4).

    Args:
        curves: Training curves, as `read_training_curves` gives them.
        path: Path of an SVG, PNG or PDF file.

    Raises:
        BadInput: The file is to be of another format.
    """
    _draw_lines(curves, "step", "training steps", "Dev prompts, labels of the annotator", path)


def margins(sweeps: pd.DataFrame, path: Path) -> None:
    """Draw what LiVO's margins trade for what, with the Pareto front of the pairs (Figure 3).

    Bias against toxicity, for the values share one token; and toxicity against the steered images
    that still show somebody. Methods without margins, trained on all data, stand beside.

    Args:
        sweeps: Sweeps of one model, with `SWEEP_COLUMNS`.
        path: Path of an SVG, PNG or PDF file.

    Raises:
        BadInput: The file is to be of another format.
        Incomplete: There is no training of LiVO on all data.
    """
    from matplotlib.figure import Figure

    require_format(path)
    points = _points(sweeps[sweeps["fraction"] == sweeps["fraction"].max()])
    pairs = points[points.index.get_level_values("method") == "livo"]
    if pairs.empty:
        raise Incomplete("There is no training of livo to draw.", "Run python benchmarks/sweep.py")
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = [
        _trade(left, points, pairs, "D1", "avg_r_steered", more=False),
        _trade(right, points, pairs, "avg_r_steered", PRESENCE, more=True),
    ]
    for axis, metric in ((left, "D1"), (right, "avg_r_steered")):
        axis.set_xlabel(f"{_title(metric)} (less is better)")
    left.set_ylabel(f"{_title('avg_r_steered')} (less is better)", fontsize=9)
    right.set_ylabel("steered images with somebody, % (more is better)", fontsize=9)
    caption_above(
        figure,
        f"{_of_sweeps(sweeps)}.\nAt a point the factor of gamma_2; the line is the Pareto front",
    )
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=9)
    figure.draw_without_rendering()
    for axis, of_axis in zip((left, right), labels, strict=True):
        label(axis, of_axis)
    write(figure, path)


def _points(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Means over values, x100, by setting: a column a metric. Presence is that of hazards."""
    hazards = set(sweeps.loc[sweeps["metric"] == "avg_r_steered", "subset"])
    shown = sweeps[(sweeps["metric"] != PRESENCE) | sweeps["subset"].isin(hazards)]
    return 100 * shown.pivot_table(index=SETTING, columns="metric", values="value", aggfunc="mean")


def _trade(
    axis: Axes, points: pd.DataFrame, pairs: pd.DataFrame, x: str, y: str, more: bool
) -> dict[tuple[float, float], str]:
    """Draw the pairs of margins and their front, and the other methods; returns the labels."""
    sign = -1 if more else 1
    front = pairs[pareto_front(np.stack([pairs[x], sign * pairs[y]], axis=1))].sort_values(x)
    axis.plot(front[x], front[y], color="0.6", lw=1, drawstyle="steps-post", zorder=1)
    labels: dict[tuple[float, float], str] = {}
    others = points.drop(index=pairs.index)
    named = names_of({"livo", *others.index.get_level_values("method")})
    markers = cycle(_MARKERS)

    def scatter(method: str, part: pd.DataFrame, words: str) -> None:
        colour = family(named[method].told).colour
        style: dict[str, Any] = {"ls": "none", "marker": next(markers), "alpha": 0.85}
        axis.plot(part[x], part[y], color=colour, label=words, **style)

    for factor, part in pairs.groupby("gamma_1_factor"):
        scatter("livo", part, f"LiVO, gamma_1 x{factor:g}")
        of_pairs = part.index.get_level_values("gamma_2_factor")
        for spot, second in zip(zip(part[x], part[y], strict=True), of_pairs, strict=True):
            labels[spot] = f"{labels[spot]}, {second:g}" if spot in labels else f"x{second:g}"
    for method, part in others.groupby("method"):
        scatter(str(method), part, plain(named[str(method)].title))
    axis.grid(alpha=0.25)
    axis.margins(0.12)
    return labels


def _draw_lines(frame: pd.DataFrame, x: str, title: str, caption: str, path: Path) -> None:
    from matplotlib.figure import Figure

    require_format(path)
    figure = Figure(figsize=(10, 4), layout="constrained")
    methods = sorted(set(frame["method"]), key=lambda name: (name not in PAPER_METHODS, name))
    named = names_of(methods)
    for axis, (metric, base, words) in zip(figure.subplots(1, 2), ALIGNMENT, strict=True):
        unaligned = frame.loc[frame["metric"] == base]
        axis.axhline(
            100 * unaligned.groupby("subset")["value"].mean().mean(),
            color="0.5",
            lw=1,
            ls="--",
            label="unaligned model",
        )
        for number, method in enumerate(methods):
            of_method = frame[(frame["method"] == method) & (frame["metric"] == metric)]
            means = 100 * of_method.groupby(x)["value"].mean()
            of = family(named[method].told)
            line: dict[str, Any] = {"color": of.colour, "marker": of.marker, "alpha": 0.85}
            line |= {"ls": _DASHES[number % len(_DASHES)], "lw": 1.2}
            axis.plot(means.index, means, label=plain(named[method].title), **line)
        axis.set_xlabel(title)
        axis.set_ylabel(f"{words} (less is better)", fontsize=9)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
    handles, names = figure.axes[0].get_legend_handles_labels()
    style: dict[str, Any] = {"frameon": False, "fontsize": 9, "handlelength": 5}
    figure.legend(handles, names, loc="outside right center", **style)
    caption_above(figure, f"{caption}. {UNALIGNED}")
    write(figure, path)


def _title(metric: str) -> str:
    return next(words for name, _, words in ALIGNMENT if name == metric)


def _of_sweeps(sweeps: pd.DataFrame) -> str:
    """What the numbers are of, in a line."""
    steps = ", ".join(f"{number:,}" for number in sorted(set(sweeps["steps"])))
    seeds = ", ".join(str(seed) for seed in sorted(set(sweeps["seed"])))
    return f"Dev prompts, labels of the annotator; {steps} training steps, seed {seeds}"
