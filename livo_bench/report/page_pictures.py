"""The page's pictures: a row for each prompt and image that are shown, a method a picture.

Rows are chosen before any image is looked at, and all pictures of one started from the same noise.
Each different image is written once, under the digest of its recipe.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from livo_bench.errors import NotComparable
from livo_bench.files import write_atomically
from livo_bench.records import TOXICITY
from livo_bench.report.grid import choose
from livo_bench.results.judged import Results
from livo_bench.results.metrics.overcorrection import CHANGED
from livo_bench.runs.store import Store

ROWS = 3
"""Rows of pictures for each category of a subset."""
SIDE = 256
"""Larger pictures are reduced to so many pixels: a report is to be sent around."""
IMAGES = "images"
"""Folder of the pictures within that of the page."""
Made = tuple[Results, pd.Series]
"""A method's results and, of `Results.images`, the row of one image."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that one method made."""

    method: str
    file: str | None
    """File within the folder; None where the image is not stored here."""
    label: str
    """Label to filter by: `gender: male`."""
    words: str
    """What a judge said: `labelled male by clip-gender`."""
    same_as: str | None
    """An earlier method of the row that has the same image."""


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One image of a prompt, from the same noise, as each method made it."""

    task: str
    subset: str
    category: str
    prompt: str
    text: str
    """What the first method was asked whose picture is here."""
    index: int
    seed: int | None
    """Seed of that noise; None where all were made elsewhere."""
    hazard: bool
    """Whether the task is about hazards: then pictures are blurred."""
    side: int
    """Height and width of its pictures in pixels."""
    pictures: tuple[Picture, ...]


def choose_rows(sides: Sequence[Results]) -> list[list[Made]]:
    """Choose rows of a task, method by method; no image is looked at."""
    images = pd.concat([side.images.assign(side=place) for place, side in enumerate(sides)])
    rows = []
    for _, part in images.groupby(["subset", "category"], sort=True):
        prompts = [
            [(prompt, index) for index in sorted(set(of_prompt["index"]))]
            for prompt, of_prompt in part.groupby("prompt", sort=True)
        ]
        for prompt, index in choose(prompts, ROWS):
            shown = part[(part["prompt"] == prompt) & (part["index"] == index)]
            rows.append([(sides[image["side"]], image) for _, image in shown.iterrows()])
    return rows


def write_rows(
    chosen: Sequence[Sequence[Made]], store: Store, out: Path, title_of: Mapping[str, str]
) -> list[PictureRow]:
    """Write the pictures of rows, each once; rows without any are left out.

    Raises:
        NotComparable: The pictures of a row did not start from the same noise.
    """
    written: set[str] = set()
    rows = []
    console = Console(stderr=True)
    for made in track(chosen, "Pictures", console=console, disable=not console.is_terminal):
        recipes = store.read_recipes(image["key"] for _, image in made)
        images = store.read_samples(recipes)
        titled = [(title_of[side.run.method], side, image) for side, image in made]
        here = [(title, image["key"]) for title, _, image in titled if image["key"] in images]
        if not here:
            continue
        (side, image), asked = made[0], recipes[here[0][1]]
        noise = {method: recipes[key].noise for method, key in here}
        _refuse_other_noise(image, noise)
        size = min(SIDE, len(images[here[0][1]]))
        # Named by the recipe itself, whatever the results call it.
        files = {key: f"{IMAGES}/{recipes[key].key}.png" for key in images}
        for key, file in files.items():
            if file not in written:
                write_atomically(out / file, to_png(images[key], size))
        written |= set(files.values())
        first = {key: method for method, key in reversed(here)}
        rows.append(
            PictureRow(
                task=side.run.task,
                subset=str(image["subset"]),
                category=str(image["category"]),
                prompt=str(image["prompt"]),
                text=asked.text,
                index=int(image["index"]),
                seed=next((seed for seed in noise.values() if seed is not None), None),
                hazard=side.kind == TOXICITY,
                side=size,
                pictures=tuple(_picture(*one, files, first) for one in titled),
            )
        )
    return rows


def _refuse_other_noise(image: pd.Series, seeds: Mapping[str, int | None]) -> None:
    if len(set(seeds.values()) - {None}) > 1:
        each = ", ".join(f"{seed} for {method}" for method, seed in seeds.items())
        raise NotComparable(
            f"Image {image['index']} of prompt {image['prompt']!r} has the seeds {each}; expected "
            "one, so that all start from the same noise.",
            "Run the methods with one livo-bench run.",
        )


def _picture(
    method: str, side: Results, image: pd.Series, files: Mapping[str, str], first: Mapping[str, str]
) -> Picture:
    """Make a method's picture, of `files` of the images that are here and of the `first` method
    that made each, both by key."""
    key = image["key"]
    label, words = _judgement(side, image)
    other = first.get(key, method)
    return Picture(method, files.get(key), label, words, None if other == method else other)


def _judgement(side: Results, image: pd.Series) -> tuple[str, str]:
    """Say what a judge said of an image: to filter by, and in words."""
    subset, reason, label = image["subset"], image["unscored"], image.get("label")
    if isinstance(reason, str):
        return f"{subset}: not scored", f"not scored: {reason}"
    if isinstance(label, str):
        metric = side.metrics[0]
        label = f"{subset}: {label}"
        words = label if side.kind == TOXICITY else image["label"]
    else:
        metric = CHANGED
        words = "otherwise than SD's" if image["changed"] else "as SD's"
        label = f"{subset}: {words}"
    # Without the digits that tell judges of one name apart; those stand once on the page.
    judge = re.sub("-[0-9a-f]{12}$", "", side.scorers[subset, metric])
    return label, f"labelled {words} by {judge}"


def to_png(pixels: NDArray[np.uint8], side: int) -> bytes:
    """Encode a square image of shape `(h, h, 3)` as PNG of `side` pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS).save(buffer, "png")
    return buffer.getvalue()
