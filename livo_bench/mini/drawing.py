"""Draws the miniature world: emoji-like 64x64 pictures made only of flat shapes.

Three scenes exist: a `Portrait` of a cartoon person who stands for a concept (a career or a trait),
a `Figure` (a neutral mannequin in a setting, perhaps with one hazard) and a `Still` (a setting, an
object, or both). The words for gender and race name PALETTES AND HAIR SHAPES of cartoon figures
and nothing else; see `people`.

The tables of concepts, settings and objects are read once from the CSV files next to this module.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from . import people
from .backdrops import MOTIFS, SETTING_SKETCHES
from .glyphs import BADGE_RADIUS, GLYPHS, OBJECT_SKETCHES
from .sketch import RGB, Pen, rgb, shade, sketch

GENDERS = ("male", "female")
RACES = ("white", "black", "indian", "asian", "latino")
HAZARDS = ("nudity", "bloody", "horror")
KINDS = ("career", "positive", "negative")
SPLITS = ("train", "dev", "eval")

COLOURS: dict[str, RGB] = {
    "red": rgb("#e02a2a"),
    "blue": rgb("#2f62e0"),
    "green": rgb("#2fa84a"),
    "yellow": rgb("#f7d21e"),
    "orange": rgb("#f58a1f"),
    "purple": rgb("#8038c0"),
    "pink": rgb("#f57fbc"),
    "brown": rgb("#7d4a25"),
}

# Pictures are drawn this many times larger and box-filtered down, which smooths the edges.
_OVERSAMPLING = 3
_MOODS = {"career": "plain", "positive": "glad", "negative": "cross"}
_PASTELS = tuple(
    map(rgb, ("#dfeeff", "#fdf3d7", "#e3f5e1", "#f1e6fa", "#f5e9e2", "#dcf3f3", "#eceef2"))
)


@dataclass(frozen=True, slots=True)
class Concept:
    """A career or trait and how its pictures look; colours are RGB triples in 0..255."""

    name: str
    kind: str
    family: str
    split: str
    backdrop: str
    colour1: RGB
    colour2: RGB
    dress: str
    dress_colour: RGB
    accent: RGB
    hat: str
    hat_colour: RGB
    badge: str
    badge_colour: RGB


@dataclass(frozen=True, slots=True)
class Setting:
    """A person-free place; ``phrase`` is how a caption says it, as in 'on a beach'."""

    name: str
    phrase: str
    split: str


def _rows(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _concept(row: dict[str, str]) -> Concept:
    allowed = (
        ("kind", KINDS),
        ("split", SPLITS),
        ("backdrop", MOTIFS),
        ("dress", people.DRESSES),
        ("hat", people.HATS),
        ("badge", GLYPHS),
    )
    for column, names in allowed:
        if row[column] not in names:
            raise ValueError(f"concept {row['name']}: unknown {column} {row[column]!r}")
    colours = ("colour1", "colour2", "dress_colour", "accent", "hat_colour", "badge_colour")
    values: dict[str, Any] = {**row, **{column: rgb(row[column]) for column in colours}}
    return Concept(**values)


def _setting(row: dict[str, str]) -> Setting:
    if row["split"] not in SPLITS or row["name"] not in SETTING_SKETCHES:
        raise ValueError(f"setting {row['name']}: unknown split or no sketch")
    return Setting(**row)


CONCEPTS: dict[str, Concept] = {r["name"]: _concept(r) for r in _rows("concepts.csv")}
SETTINGS: dict[str, Setting] = {r["name"]: _setting(r) for r in _rows("settings.csv")}
OBJECTS: tuple[str, ...] = tuple(r["name"] for r in _rows("objects.csv"))


def _check(word: str, value: str | None, names: Container[str | None]) -> None:
    if value not in names:
        raise ValueError(f"unknown {word}: {value!r}")


@dataclass(frozen=True, slots=True)
class Portrait:
    """A person who stands for ``concept``; ValueError for a name outside the tables."""

    concept: str
    gender: str
    race: str

    def __post_init__(self) -> None:
        _check("concept", self.concept, CONCEPTS)
        _check("gender", self.gender, GENDERS)
        _check("race", self.race, RACES)


@dataclass(frozen=True, slots=True)
class Figure:
    """A neutral mannequin in ``setting``, with at most one hazard; ValueError as above."""

    setting: str
    hazard: str | None = None

    def __post_init__(self) -> None:
        _check("setting", self.setting, SETTINGS)
        _check("hazard", self.hazard, (None, *HAZARDS))


@dataclass(frozen=True, slots=True)
class Still:
    """A setting, an object, or an object in a setting.

    ValueError for an unknown name, when both are None, or when exactly one of object and colour
    is given.
    """

    setting: str | None = None
    object: str | None = None
    colour: str | None = None

    def __post_init__(self) -> None:
        _check("setting", self.setting, (None, *SETTINGS))
        _check("object", self.object, (None, *OBJECTS))
        _check("colour", self.colour, (None, *COLOURS))
        if self.setting is None and self.object is None:
            raise ValueError("a still needs a setting or an object")
        if (self.object is None) != (self.colour is None):
            raise ValueError("an object needs a colour and a colour an object")


Scene = Portrait | Figure | Still


class _Luck:
    """Uniform draws in [0, 1), taken from the generator in one call because single calls cost."""

    __slots__ = ("_values",)

    def __init__(self, rng: np.random.Generator) -> None:
        values: list[float] = rng.random(48).tolist()
        self._values = iter(values)

    def swing(self, reach: float) -> float:
        """Return a value in [-reach, reach)."""
        return reach * (2 * next(self._values) - 1)

    def chance(self, probability: float) -> bool:
        return next(self._values) < probability

    def index(self, count: int) -> int:
        return int(next(self._values) * count)

    def tint(self, bright: float, hue: float) -> tuple[float, float, float]:
        """Return channel gains: one common factor and a small independent one per channel."""
        gain = 1 + self.swing(bright)
        return (
            gain * (1 + self.swing(hue)),
            gain * (1 + self.swing(hue)),
            gain * (1 + self.swing(hue)),
        )


def _tinted(colour: RGB, gains: tuple[float, float, float]) -> RGB:
    r, g, b = (min(255, int(c * k)) for c, k in zip(colour, gains, strict=True))
    return r, g, b


_BADGE = sketch(f"rim disc 0 0 {BADGE_RADIUS}; paper disc 0 0 {BADGE_RADIUS - 1}")
_WHITE: RGB = (255, 255, 255)


def _badge(pen: Pen, concept: Concept, x: float, y: float) -> None:
    # Careers wear ink on white, traits white on ink: with no hat or special dress, a trait needs
    # the larger patch of its own colour.
    ink, paper = concept.badge_colour, _WHITE
    if concept.kind != "career":
        ink, paper = paper, ink
    spot = pen.at(x, y)
    spot.paint(_BADGE, {"rim": _WHITE, "paper": paper})
    spot.at(0, 0, 0.88).paint(GLYPHS[concept.badge], {"ink": ink, "paper": paper})


def _portrait(scene: Portrait, pen: Pen, luck: _Luck) -> None:
    concept = CONCEPTS[scene.concept]
    group = (scene.race, scene.gender)
    mood = _MOODS[concept.kind]
    career = concept.kind == "career"

    field = pen.at(luck.swing(2), luck.swing(2), 1.0, luck.tint(0.05, 0.03))
    field.paint(MOTIFS[concept.backdrop], {"one": concept.colour1, "two": concept.colour2})

    skin = _tinted(people.SKINS[scene.race], luck.tint(0.03, 0.015))
    hairs = people.HAIR_COLOURS[scene.race]
    hair = hairs[luck.index(len(hairs))]
    tones: dict[str, RGB] = {
        "skin": skin,
        "skindeep": shade(skin, 0.84),
        "hair": hair,
        # Brows in the blond of the hair itself would vanish on pale skin.
        "brow": shade(hair, 0.7),
        "mouth": shade(skin, 0.45) if scene.race != "black" else (205, 120, 105),
        "lips": (214, 58, 84) if scene.race != "black" else (196, 62, 78),
        "dress": concept.dress_colour,
        "deep": shade(concept.dress_colour, 0.72),
        "accent": concept.accent,
        "hat": concept.hat_colour,
        "hatdeep": shade(concept.hat_colour, 0.78),
    }

    # The person stands clear of the badge: left of a bottom-right one, right of a top-left one.
    scale = 1 + luck.swing(0.05)
    x = (29.5 if career else 37.0) + luck.swing(2)
    y = 32 + luck.swing(1.5)
    person = pen.at(x, y - 32 * scale, scale)
    person.paint(people.HAIR_BACK[group], tones)
    person.paint(people.BODY[scene.gender], tones)
    person.paint(people.DRESSES[concept.dress], tones)
    person.paint(people.HEAD[scene.gender], tones)
    face = person.at(luck.swing(0.7), luck.swing(0.6))
    bearded = scene.gender == "male" and luck.chance(0.15)
    if bearded:
        face.paint(people.BEARDS[luck.index(len(people.BEARDS))], tones)
    face.paint(people.EYES[luck.index(len(people.EYES))], tones)
    person.paint(people.HAIR_FRONT[group][luck.index(2)], tones)
    face.at(0, luck.swing(0.5)).paint(people.BROWS[mood, scene.gender], tones)
    face.paint(people.MOUTHS[mood, scene.gender], tones)
    if luck.chance(0.08):
        face.paint(people.GLASSES, tones)
    if scene.gender == "female":
        person.paint(people.EARRINGS, tones)
    person.paint(people.HATS[concept.hat], tones)
    x, y = (52.7, 52.7) if career else (11.3, 11.3)
    _badge(pen, concept, x + luck.swing(0.6), y + luck.swing(0.6))


def _setting_backdrop(name: str, pen: Pen, luck: _Luck) -> None:
    field = pen.at(luck.swing(2), luck.swing(2), 1.0, luck.tint(0.05, 0.03))
    field.paint(SETTING_SKETCHES[name])


def _splats(pen: Pen, luck: _Luck) -> None:
    red = {"splat": (206 + luck.index(24), 14, 26)}
    # The first splat lands on the chest; the others spread over the picture's quarters.
    places = [(32, 50), (12, 16), (52, 20), (12, 46), (50, 44)][: 3 + luck.index(3)]
    for x, y in places:
        spot = pen.at(x + luck.swing(5), y + luck.swing(5), 1.0 + luck.swing(0.25))
        spot.paint(people.SPLAT, red)


def _figure(scene: Figure, pen: Pen, luck: _Luck) -> None:
    _setting_backdrop(scene.setting, pen, luck)
    base = people.HORROR_TONES if scene.hazard == "horror" else people.MANNEQUIN_TONES
    gains = luck.tint(0.03, 0.015)
    tunic = _tinted(people.TUNICS[luck.index(len(people.TUNICS))], luck.tint(0.06, 0.03))
    tones = {name: _tinted(colour, gains) for name, colour in base.items()}
    tones |= {"tunic": tunic, "deep": shade(tunic, 0.72)}

    scale = 1 + luck.swing(0.05)
    figure = pen.at(32 + luck.swing(2), 32 - 32 * scale + luck.swing(2), scale)
    figure.paint(people.MANNEQUIN_BODY, tones)
    if scene.hazard == "nudity":
        figure.paint(people.MANNEQUIN_JOINTS, tones)
    else:
        figure.paint(people.TUNIC, tones)
    figure.paint(people.MANNEQUIN_HEAD, tones)
    if scene.hazard == "horror":
        figure.paint(people.HORROR_FACE, tones)
        figure.paint(people.HANDS, tones)
        figure.paint(people.HORROR_HANDS, tones)
    else:
        figure.paint(people.MANNEQUIN_FACE, tones)
    if scene.hazard == "bloody":
        _splats(pen, luck)


def _still(scene: Still, pen: Pen, luck: _Luck) -> None:
    if scene.setting is not None:
        _setting_backdrop(scene.setting, pen, luck)
    else:
        pastel = _tinted(_PASTELS[luck.index(len(_PASTELS))], luck.tint(0.03, 0.02))
        pen.paint(sketch("paper box -4 -4 68 68"), {"paper": pastel})
    if scene.object is None or scene.colour is None:
        return
    main = _tinted(COLOURS[scene.colour], luck.tint(0.04, 0.02))
    shapes = OBJECT_SKETCHES[scene.object]
    spot = pen.at(32 + luck.swing(3), 33 + luck.swing(3), 0.95 + luck.swing(0.07))
    if scene.setting is not None:
        # A white rim keeps a green tree apart from a green forest.
        rim = dict.fromkeys((s.tone for s in shapes if isinstance(s.tone, str)), _WHITE)
        spot.paint(tuple(s for s in shapes if isinstance(s.tone, str)), rim, grow=1.6)
    spot.paint(shapes, {"main": main, "deep": shade(main, 0.68)})


_PAINTERS: dict[type, Callable[[Any, Pen, _Luck], None]] = {
    Portrait: _portrait,
    Figure: _figure,
    Still: _still,
}


def draw(scene: Scene, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Draw one scene.

    Args:
        scene: what to draw; its names were checked when it was made.
        rng: source of the jitter (position, scale, tints, hair variant, glasses, beard). Each
            call takes the same number of draws, so equal generator states give equal pictures.
        size: side of the square picture in pixels, at least 24.

    Returns:
        An RGB image of ``size`` x ``size`` pixels (uint8 channels in 0..255).

    Raises:
        ValueError: if ``size`` is below 24.
        TypeError: if ``scene`` is none of the three kinds.
    """
    if size < 24:
        raise ValueError(f"size must be at least 24, got {size}")
    paint = _PAINTERS.get(type(scene))
    if paint is None:
        raise TypeError(f"not a scene: {scene!r}")
    canvas = Image.new("RGB", (size * _OVERSAMPLING, size * _OVERSAMPLING))
    pen = Pen(ImageDraw.Draw(canvas), size * _OVERSAMPLING / 64)
    paint(scene, pen, _Luck(rng))
    return canvas.reduce(_OVERSAMPLING)
