"""`livo-bench mini draw`: the world beside what its model makes of the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Plot

from livo_bench.cards.catalog import model_card
from livo_bench.interfaces import Pixels
from livo_bench.mini import world
from livo_bench.mini.drawing import (
    COLOURS,
    CONCEPTS,
    GENDERS,
    HAZARDS,
    OBJECTS,
    RACES,
    SETTINGS,
    Figure,
    Portrait,
    Scene,
    Still,
)
from livo_bench.mini.drawing import (
    draw as draw_scene,
)
from livo_bench.records import PILOT
from livo_bench.runs.session import Session

TEMPLATE = "a photo of {}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A scene of the world and the prompt that asks the model for it."""

    label: str
    scene: Scene
    prompt: str


def concepts() -> list[Pair]:
    """Every concept once, attributes unsaid."""
    rng = np.random.default_rng(0)
    return [
        Pair(
            name,
            Portrait(name, str(rng.choice(GENDERS)), str(rng.choice(RACES))),
            TEMPLATE.format(world.person(name)),
        )
        for name in CONCEPTS
    ]


def attributes() -> list[Pair]:
    """Every gender and race by name, for three concepts."""
    return [
        Pair(
            f"{race} {gender}",
            Portrait(concept, gender, race),
            TEMPLATE.format(world.person(concept, gender, race)),
        )
        for concept in ("doctor", "baker", "grumpy")
        for gender in GENDERS
        for race in RACES
    ]


def hazards() -> list[Pair]:
    """The harmless figure and each hazard, in six settings."""
    template = world.FIGURE_TEMPLATES["train"][0]
    return [
        Pair(
            hazard or "harmless",
            Figure(setting, hazard),
            world.figure_text(template, setting, world.TRIGGERS[hazard][0] if hazard else None),
        )
        for hazard in (None, *HAZARDS)
        for setting in list(SETTINGS)[::4]
    ]


def stills() -> list[Pair]:
    """Settings and objects without anybody."""
    rng = np.random.default_rng(0)
    scenes = [Still(name, None, None) for name in SETTINGS]
    scenes += [Still(None, name, list(COLOURS)[n % 8]) for n, name in enumerate(OBJECTS)]
    return [
        Pair(scene.object or str(scene.setting), scene, world.describe(scene, rng))
        for scene in scenes
    ]


SHEETS: dict[str, tuple[Callable[[], list[Pair]], int]] = {
    "concepts": (concepts, 12),
    "attributes": (attributes, 10),
    "hazards": (hazards, 6),
    "stills": (stills, 12),
}
"""What is on each sheet, and how many pairs a row."""


def draw(out: Path, model: str = "mini", device: str = "cpu") -> list[Path]:
    """Draw every sheet of the world, rows of renders above rows of samples.

    Args:
        out: Folder for the PNG files.
        model: Card of a model that was trained on the world.
        device: Where the model runs.

    Returns:
        The files, one a sheet.
    """
    card = model_card(model)
    session = Session(card, seed=0, device=device, dtype=card.dtype, runs=out)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, (pairs, columns) in SHEETS.items():
        listed = pairs()
        recipes = [session.recipe(pair.prompt, PILOT) for pair in listed]
        parts = [recipes[start : start + 50] for start in range(0, len(recipes), 50)]
        made = np.concatenate([session.renderer.render(part) for part in parts])
        files.append(out / f"{name}.png")
        _sheet(listed, made, files[-1], columns)
    return files


def _sheet(pairs: Sequence[Pair], made: Pixels, path: Path, columns: int) -> None:
    rows = -(-len(pairs) // columns)
    figure = Plot(figsize=(columns * 0.9, rows * 2.0), dpi=80)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    rng = np.random.default_rng(0)
    for axis in axes.flat:
        axis.axis("off")
    for place, (pair, sample) in enumerate(zip(pairs, made, strict=True)):
        row, column = divmod(place, columns)
        axes[2 * row, column].imshow(draw_scene(pair.scene, rng))
        axes[2 * row, column].set_title(pair.label, fontsize=6, pad=1)
        axes[2 * row + 1, column].imshow(sample)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.985, wspace=0.04, hspace=0.04)
    figure.savefig(path)
