"""Labels beside points that cover neither points nor each other. matplotlib is imported late."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

REACHES = (6, 10, 16, 24, 34, 46)
"""How far from its point a label may begin, in points, nearest first."""
TURNS = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9)
"""Directions of a label from its point, in sixteenths of a circle: right, left, above, below,
between."""
HALF = 4
"""Half of the side of a marker, in points."""
Boxes = NDArray[np.float64]
"""Left, bottom, right and top of each, in pixels: shape `(n, 4)`."""


def label(
    axis: Axes, labels: Mapping[tuple[float, float], str], size: float = 8
) -> dict[tuple[float, float], Annotation]:
    """Write beside points.

    A label takes the first free place that is nearer to its own point than to others, otherwise
    the first free one; unless it stands right beside its point, a thin line leads there. One that
    has no free place is not written.

    Args:
        axis: Axis with the points; it has its place on the page.
        labels: Labels of the points, by their data coordinates; the first choose first.
        size: Size of the letters, in points.

    Returns:
        Labels that were written.
    """
    figure = axis.get_figure(root=True)
    assert figure is not None
    pixels = figure.dpi / 72
    frame = np.array(axis.get_window_extent().extents, np.float64)
    centres = np.array([axis.transData.transform(spot) for spot in labels]).reshape(-1, 2)
    written: dict[tuple[float, float], Annotation] = {}
    taken = np.hstack([centres - HALF * pixels, centres + HALF * pixels])
    for number, (spot, text) in enumerate(labels.items()):
        own, others = centres[number], np.delete(centres, number, axis=0)
        places = np.array(
            list(_places(own, _width(text, size) * pixels, 1.1 * size * pixels, pixels))
        )
        free = places[_within(places, frame) & ~_overlap(places, taken).any(axis=1)]
        if not len(free):
            continue
        away = _distances(free, own[None])
        is_near = np.asarray((away <= _distances(free, others) + pixels).all(axis=1))
        chosen = int(is_near.argmax())  # the first, if there is none
        place = free[chosen]
        padding = 2 * pixels * np.array([-1, -1, 1, 1])
        taken = np.vstack([taken, place + padding])
        beside = is_near[chosen] and away[chosen, 0] < 8 * pixels
        written[spot] = axis.annotate(
            text,
            xy=spot,
            xytext=tuple(((place[:2] + place[2:]) / 2 - own) / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            # A line behind a label does not strike it through. A halo would, too, but makes each
            # letter of an SVG a path of its own.
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none"},
            arrowprops=None if beside else {"arrowstyle": "-", "lw": 0.5, "color": "0.5"},
        )
    return written


@cache
def _width(text: str, size: float) -> float:
    """How wide a line is, in points; a method's title stands in several panels."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().width)


def _places(
    at: NDArray[np.float64], width: float, height: float, pixels: float
) -> Iterator[tuple[float, float, float, float]]:
    """Boxes around a point, in pixels."""
    for reach, turn in product(REACHES, TURNS):
        x, y = math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)
        left = at[0] + reach * pixels * x - width * (1 - x) / 2
        bottom = at[1] + reach * pixels * y - height * (1 - y) / 2
        yield left, bottom, left + width, bottom + height


def _within(places: Boxes, frame: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside = (frame[:2] <= places[:, :2]) & (places[:, 2:] <= frame[2:])
    return np.asarray(inside.all(axis=1))


def _overlap(places: Boxes, taken: Boxes) -> NDArray[np.bool_]:
    """Which overlap which, shape `(places, taken)`."""
    begins = places[:, None, :2] <= taken[None, :, 2:]
    return np.asarray((begins & (taken[None, :, :2] <= places[:, None, 2:])).all(axis=2))


def _distances(places: Boxes, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """From boxes to points, in pixels: shape `(places, points)`."""
    nearest = np.clip(points[None], places[:, None, :2], places[:, None, 2:])
    return np.asarray(np.linalg.norm(points[None] - nearest, axis=2))
