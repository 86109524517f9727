"""A grid of pictures: a prompt and seed a row, a method a column, as in Figure 5 of the paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from livo_bench.cards.catalog import (
    RUNS,
    model_cards,
    model_digest,
    results_of,
    run_options,
    value_tasks,
)
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.files import write_atomically
from livo_bench.records import TOXICITY
from livo_bench.report.columns import TABLE_2_METHODS
from livo_bench.report.titles import titles
from livo_bench.results.compare import select
from livo_bench.results.frames import refused
from livo_bench.results.judged import IMAGE, Results
from livo_bench.results.reading import load_results
from livo_bench.runs import keeping
from livo_bench.runs.store import Store

Shown = TypeVar("Shown")

SIDE = 192
"""Smaller pictures are enlarged, by the largest whole factor that keeps them within so many pixels;
larger ones are shown as they are."""
LINES = 12
"""Letters are as high as a picture divided by this."""
BLUR = 16
"""Radius of the blur: the height of a picture divided by this."""


def draw(
    path: Path,
    methods: Sequence[str],
    task: str = "all",
    model: str = "mini",
    runs: Path = RUNS,
    rows: int = 8,
    show: bool = False,
) -> None:
    """Draw what methods make of the same prompts from the same noise.

    The prompts are evenly spaced in the list of those that all methods have images of, subset by
    subset; nothing that the pictures show decides. Row r shows the r-th image of its prompt, from
    the first again where there are fewer, since a method may steer some indices and not others.
    Beside the row stands what the first method was asked.

    Args:
        path: Path of the PNG file; one that is there is replaced.
        methods: Methods, the baseline first, as for `compare.compare`.
        task: Task, as for `compare.compare`.
        model: Model, as for `compare.compare`.
        runs: Folder of runs, not of committed results: images lie in its store.
        rows: Most rows, and no more than there are prompts.
        show: Show images of toxicity as they are. Otherwise they are blurred, unless the files of
            a built-in model of scale `mini`, which makes cartoons, have made them.

    Raises:
        Incomplete: Results or images are not in this folder.
        NotComparable: The images of a row did not start from the same noise.
        BadInput: As for `compare.compare`, or the file is no PNG or cannot be written.
    """
    if path.suffix != ".png":
        raise BadInput(f"The pictures go to a PNG file, got {path}.", "Name it FILE.png")
    tasks = [sides for sides in select(methods, task, model, runs) if len(sides) == len(methods)]
    prompts = [images for sides in tasks for images in _prompts(sides)]
    if not prompts:
        raise Incomplete(
            f"{runs} has no image of task {task!r} that all of {', '.join(methods)} have made.",
            "Compare fewer methods, or name a task that all of them were run on: --task bias",
        )
    chosen = choose(prompts, rows)
    keys = [key for row in chosen for key in row.keys]
    store = Store(runs, results_of(model)[0])
    recipes = store.read_recipes(keys)
    images = store.read_samples(keys)
    if unkept := store.unkept(set(keys) - images.keys()):
        raise Incomplete(
            f"{len(unkept)} of the grid's {len(set(keys))} images were made, and their pixels not "
            f"kept in {store.folder}.",
            keeping.AGAIN,
        )
    if lost := set(keys) - (recipes.keys() & images.keys()):
        words = " ".join(dict.fromkeys(side.asked for sides in tasks for side in sides))
        raise Incomplete(
            f"{len(lost)} of the grid's {len(set(keys))} images are not in {store.folder}; results "
            "that were committed or copied come without them.",
            "Make them on this machine with\n"
            f"    livo-bench run {words} --task {task} {run_options(model)} --runs results/runs\n"
            "and compare with --runs results/runs",
        )
    # By the files, not by the name: a folder of anybody's model may be called like a built-in one.
    cartoonists = {model_digest(card) for card in model_cards().values() if card.scale == "mini"}
    pictures = []
    for row in chosen:
        seeds = [recipes[key].noise for key in row.keys]
        if len(set(seeds) - {None}) > 1:
            raise NotComparable(
                f"Image {row.index} of prompt {row.prompt!r} has the seeds "
                f"{', '.join(map(str, seeds))} for {', '.join(methods)}; expected one, so that all "
                "start from the same noise.",
                "Run them with one livo-bench run.",
            )
        made = [images[key] for key in row.keys]
        harmless = {recipes[key].model for key in row.keys} <= cartoonists
        blurred = row.hazard and not harmless and not show
        pictures.append([_blur(image) for image in made] if blurred else made)
    title_of = titles([side for sides in tasks for side in sides])
    sheet = picture_grid(
        [title_of[side.run.method] for side in tasks[0]],
        [f"{recipes[row.keys[0]].text}\n{row.subset}, image {row.index}" for row in chosen],
        pictures,
    )
    png = io.BytesIO()
    sheet.save(png, "png")
    write_atomically(path, png.getvalue())


def cases(path: Path, model: str = "mini", runs: Path = RUNS) -> None:
    """Draw Figure 5 of the paper: the methods of its Table 2 that have results on all tasks.

    Args:
        path: Path of the PNG file; one that is there is replaced.
        model: Model whose results are drawn.
        runs: Folder of runs.

    Raises:
        LivoBenchError: As for `draw`.
    """
    aggregates = load_results(runs, model)
    aggregates = aggregates[aggregates["task"].isin(value_tasks())]
    everywhere = aggregates.groupby("method")["task"].nunique() == aggregates["task"].nunique()
    methods = [name for name in TABLE_2_METHODS if everywhere.get(name, False)]
    draw(path, methods, "all", model, runs)


@dataclass(frozen=True, slots=True)
class _Row:
    """One image of a prompt, as each method made it."""

    hazard: bool
    """Whether the task is about hazards."""
    subset: str
    prompt: str
    index: int
    keys: tuple[str, ...]
    """Keys of the images, method by method."""


def _prompts(sides: Sequence[Results]) -> list[list[_Row]]:
    """For each prompt of each subset of a task, the images that all methods have, by index; without
    those that one was refused."""
    frames = [side.images[~refused(side.images)].set_index(IMAGE)["key"] for side in sides]
    shared = pd.concat(frames, axis="columns", join="inner").sort_index()
    prompts: dict[tuple[str, str], list[_Row]] = {}
    for (subset, prompt, index), *keys in shared.itertuples():
        row = _Row(sides[0].kind == TOXICITY, subset, prompt, index, tuple(keys))
        prompts.setdefault((subset, prompt), []).append(row)
    return list(prompts.values())


def choose(prompts: Sequence[Sequence[Shown]], rows: int) -> list[Shown]:
    """Choose an image of each of some prompts, as in `draw`: nothing that it shows decides.

    Args:
        prompts: Whatever stands for the images of each prompt, by index.
        rows: How many prompts, at most; evenly spaced.

    Returns:
        Of the r-th prompt chosen the r-th image, from the first again where there are fewer.
    """
    places = np.linspace(0, len(prompts) - 1, min(rows, len(prompts))).round().astype(int)
    chosen = [prompts[place] for place in places]
    return [images[number % len(images)] for number, images in enumerate(chosen)]


def _blur(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(
        Image.fromarray(picture).filter(ImageFilter.GaussianBlur(len(picture) / BLUR))
    )


def picture_grid(
    titles: Sequence[str], labels: Sequence[str], pixels: Sequence[Sequence[NDArray[np.uint8]]]
) -> Image.Image:
    """Lay out pictures in rows and columns with their names.

    Args:
        titles: Titles of the m columns.
        labels: Labels of the n rows; a line feed begins a new line.
        pixels: The m pictures of each of the n rows, RGB uint8, shape `(size, size, 3)`; those of
            another size than the first are shown as large as it.

    Returns:
        An RGB image, titles on top and labels to the left. Nothing is cut: a label that is higher
        than its pictures makes its row higher.
    """
    size = len(pixels[0][0])
    side = size * max(1, SIDE // size)
    gap = side // 24
    font = _font(side // LINES)
    headings = [_wrap(title, side, font) for title in titles]
    beside = [_wrap(label, side, font) for label in labels]
    top = 2 * gap + max(_height(text, font) for text in headings)
    heights = [gap + max(side, _height(text, font)) for text in beside]
    lefts = [gap + (side + gap) * column for column in range(1, len(titles) + 1)]
    sheet = Image.new("RGB", (lefts[-1] + side + gap, top + sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    for left, text in zip(lefts, headings, strict=True):
        pen.multiline_text((left, gap), text, "black", font)
    for text, pictures, height in zip(beside, pixels, heights, strict=True):
        pen.multiline_text((gap, top), text, "black", font)
        for left, picture in zip(lefts, pictures, strict=True):
            whole = side % len(picture) == 0
            how = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
            sheet.paste(Image.fromarray(picture).resize((side, side), how), (left, top))
        top += height
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The fixed-width font that comes with matplotlib: Latin, Greek, Cyrillic, Arabic."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / "DejaVuSansMono.ttf", size)


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Break lines at so many pixels."""
    letters = int(width / font.getlength("m"))
    return "\n".join(textwrap.fill(line, letters) for line in text.splitlines())


def _height(text: str, font: ImageFont.FreeTypeFont) -> int:
    """Measure a text's height in pixels, from the place it is written at to its lowest pixel."""
    return int(ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)[3])
