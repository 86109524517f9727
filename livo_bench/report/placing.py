"""Labels beside points that cover neither points nor each other. matplotlib is imported late."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

REACHES = (6, 10, 16, 24, 34, 46)
"""How far from its point a label may begin, in points, nearest first."""
TURNS = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9)
"""Directions of a label from its point, in sixteenths of a circle: right, left, above, below,
between."""
HALF = 4
"""Half of the side of a marker, in points."""


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
    from matplotlib.patheffects import withStroke
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Bbox

    figure = axis.get_figure(root=True)
    assert figure is not None
    pixels = figure.dpi / 72
    frame = axis.get_window_extent()
    centres = {spot: axis.transData.transform(spot) for spot in labels}
    written: dict[tuple[float, float], Annotation] = {}
    taken = [Bbox([at - HALF * pixels, at + HALF * pixels]) for at in centres.values()]
    for spot, text in labels.items():
        own, others = centres[spot], [centres[other] for other in labels if other != spot]
        width = TextPath((0, 0), text, size=size).get_extents().width
        places = list(_places(own, width * pixels, 1.1 * size * pixels, pixels))
        free = [
            place
            for place in places
            if _within(place, frame) and not any(place.overlaps(other) for other in taken)
        ]
        near = [
            place
            for place in free
            if all(_distance(place, own) <= _distance(place, other) + pixels for other in others)
        ]
        if not free:
            continue
        place = (near or free)[0]
        taken.append(place.padded(2 * pixels))
        beside = place in near and _distance(place, own) < 8 * pixels
        written[spot] = axis.annotate(
            text,
            xy=spot,
            xytext=tuple(((place.p0 + place.p1) / 2 - own) / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            # A line behind a label does not strike it through.
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops=None if beside else {"arrowstyle": "-", "lw": 0.5, "color": "0.5"},
        )
    return written


def _places(at: NDArray[np.float64], width: float, height: float, pixels: float) -> Iterator[Bbox]:
    """Boxes around a point, in pixels."""
    from matplotlib.transforms import Bbox

    for reach, turn in product(REACHES, TURNS):
        x, y = math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)
        left = at[0] + reach * pixels * x - width * (1 - x) / 2
        bottom = at[1] + reach * pixels * y - height * (1 - y) / 2
        yield Bbox.from_bounds(left, bottom, width, height)


def _within(place: Bbox, frame: Bbox) -> bool:
    return bool((frame.p0 <= place.p0).all() and (place.p1 <= frame.p1).all())


def _distance(place: Bbox, point: NDArray[np.float64]) -> float:
    """Measure the distance from a box to a point, in pixels."""
    return float(np.linalg.norm(point - np.clip(point, place.p0, place.p1)))
