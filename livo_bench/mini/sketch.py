"""A one-line language for flat shapes, and the pen that paints it.

A sketch is a text such as ``"ink disc 0 0 7; paper box -2 -5 2 5"``: shapes parted by semicolons,
each a tone (a name looked up when painting, or a literal ``#rrggbb``), a kind and its numbers:

========  ==========================  =====================================================
kind      numbers                     meaning
========  ==========================  =====================================================
disc      x y r                       filled circle
oval      x y rx ry                   filled ellipse
box       x0 y0 x1 y1                 filled rectangle
poly      x y x y ...                 filled polygon
line      w x y x y ...               stroke of width w with round ends
pie       x y r a0 a1                 filled sector, degrees clockwise from east
arc       x y r w a0 a1               ring sector with outer radius r and width w
========  ==========================  =====================================================

Drawings are data rather than code so that a hundred of them stay readable side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from PIL import ImageDraw

RGB = tuple[int, int, int]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """One parsed shape: ``tone`` is a tone name or a literal colour."""

    tone: str | RGB
    kind: str
    numbers: Numbers


Sketch = tuple[Shape, ...]

# Length of each kind's numbers; None for kinds that take any number of points.
_ARITY: dict[str, int | None] = {
    "disc": 3, "oval": 4, "box": 4, "poly": None, "line": None, "pie": 5, "arc": 6,
}  # fmt: skip


def rgb(text: str) -> RGB:
    """Return the colour written ``#rrggbb`` as three ints in 0..255; ValueError if malformed."""
    if len(text) != 7 or text[0] != "#":
        raise ValueError(f"not a #rrggbb colour: {text!r}")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def shade(colour: RGB, gain: float) -> RGB:
    """Return ``colour`` multiplied by ``gain`` and clipped to 0..255."""
    r, g, b = colour
    return min(255, int(r * gain)), min(255, int(g * gain)), min(255, int(b * gain))


@cache
def sketch(text: str) -> Sketch:
    """Parse a sketch; ValueError for an unknown kind or a wrong count of numbers."""
    shapes: list[Shape] = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        tone, kind, *rest = part.split()
        if kind not in _ARITY:
            raise ValueError(f"unknown shape kind in {part!r}")
        numbers = tuple(float(word) for word in rest)
        arity = _ARITY[kind]
        odd_points = arity is None and (len(numbers) % 2 == 1) != (kind == "line")
        if odd_points or (arity is not None and len(numbers) != arity):
            raise ValueError(f"wrong count of numbers in {part!r}")
        shapes.append(Shape(rgb(tone) if tone.startswith("#") else tone, kind, numbers))
    return tuple(shapes)


class Pen:
    """Paints sketches on a Pillow drawing surface through a shift, a scale and a tint.

    Sketch coordinates are pixels of a 64x64 picture; ``unit`` is how many surface pixels one of
    them spans, ``(x, y)`` the surface position of the sketch's origin, ``gain`` a factor per
    colour channel (the tint of the light in the scene).
    """

    __slots__ = ("gain", "surface", "unit", "x", "y")

    def __init__(
        self,
        surface: ImageDraw.ImageDraw,
        unit: float,
        x: float = 0.0,
        y: float = 0.0,
        gain: tuple[float, float, float] | None = None,
    ) -> None:
        self.surface, self.unit, self.x, self.y, self.gain = surface, unit, x, y, gain

    def at(
        self,
        x: float,
        y: float,
        scale: float = 1.0,
        gain: tuple[float, float, float] | None = None,
    ) -> Pen:
        """Return a pen whose origin is this pen's ``(x, y)``, ``scale`` times as large."""
        unit = self.unit
        return Pen(self.surface, unit * scale, self.x + x * unit, self.y + y * unit, gain)

    def paint(
        self, shapes: Sketch, tones: Mapping[str, RGB] | None = None, grow: float = 0.0
    ) -> None:
        """Paint ``shapes`` in order; KeyError if a tone name is missing from ``tones``.

        ``grow`` widens every shape by that many picture pixels on each side; painting a grown
        copy in one colour first gives the drawing an outline.
        """
        for shape in shapes:
            tone = shape.tone
            fill = (tones or {})[tone] if isinstance(tone, str) else tone
            if self.gain is not None:
                (r, g, b), (gr, gg, gb) = fill, self.gain
                fill = min(255, int(r * gr)), min(255, int(g * gg)), min(255, int(b * gb))
            _PAINTERS[shape.kind](self, shape.numbers, fill, grow)

    def _points(self, numbers: Numbers) -> list[tuple[float, float]]:
        u, x, y = self.unit, self.x, self.y
        return [(x + a * u, y + b * u) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]

    def oval(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        """Fill an ellipse given in sketch coordinates."""
        u = self.unit
        x, y, rx, ry = self.x + x * u, self.y + y * u, rx * u, ry * u
        self.surface.ellipse((x - rx, y - ry, x + rx - 1, y + ry - 1), fill)

    def stroke(self, width: float, points: Numbers, fill: RGB) -> None:
        """Draw a line of ``width`` with round ends through ``points`` in sketch coordinates."""
        path = self._points(points)
        w = width * self.unit
        self.surface.line(path, fill, max(1, round(w)), joint="curve" if len(path) > 2 else None)
        # Pillow's lines have butt ends; discs of the same width round them off.
        for x, y in (path[0], path[-1]):
            self.surface.ellipse((x - w / 2, y - w / 2, x + w / 2 - 1, y + w / 2 - 1), fill)


def _disc(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    pen.oval(n[0], n[1], n[2] + grow, n[2] + grow, fill)


def _oval(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    pen.oval(n[0], n[1], n[2] + grow, n[3] + grow, fill)


def _box(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    u, x, y = pen.unit, pen.x, pen.y
    x0, y0 = x + (n[0] - grow) * u, y + (n[1] - grow) * u
    x1, y1 = x + (n[2] + grow) * u - 1, y + (n[3] + grow) * u - 1
    pen.surface.rectangle((x0, y0, x1, y1), fill)


def _poly(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    pen.surface.polygon(pen._points(n), fill)
    if grow:
        pen.stroke(2 * grow, n + n[:2], fill)


def _line(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    pen.stroke(n[0] + 2 * grow, n[1:], fill)


def _pie(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    u, r = pen.unit, (n[2] + grow) * pen.unit
    x, y = pen.x + n[0] * u, pen.y + n[1] * u
    pen.surface.pieslice((x - r, y - r, x + r - 1, y + r - 1), n[3], n[4], fill)


def _arc(pen: Pen, n: Numbers, fill: RGB, grow: float) -> None:
    u, r = pen.unit, (n[2] + grow) * pen.unit
    x, y = pen.x + n[0] * u, pen.y + n[1] * u
    width = max(1, round((n[3] + 2 * grow) * u))
    pen.surface.arc((x - r, y - r, x + r - 1, y + r - 1), n[4], n[5], fill, width)


_PAINTERS: dict[str, Callable[[Pen, Numbers, RGB, float], None]] = {
    "disc": _disc, "oval": _oval, "box": _box, "poly": _poly,
    "line": _line, "pie": _pie, "arc": _arc,
}  # fmt: skip
