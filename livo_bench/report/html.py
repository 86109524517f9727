"""The report as a folder that opens from disk: one page, its style, script, figure and pictures.

The page holds text only: the template engine escapes whatever comes from data, no script or style
stands in the page, and its content security policy loads files of its own folder and nothing else.
The script shows and hides; what it needs to know stands in attributes of the elements.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from livo_bench.cards.catalog import SHIPPED, model_cards, results_of, task_cards
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import digest_of, read_task_prompts
from livo_bench.errors import BadInput, Incomplete, NotComparable, UnknownName
from livo_bench.escaping import visible
from livo_bench.files import write_atomically
from livo_bench.records import TOXICITY
from livo_bench.report import dataset, figures, glossary, quirks, tables, thresholds
from livo_bench.report.columns import PAPER_METHODS, headings
from livo_bench.report.drawings import FIGURES
from livo_bench.report.grid import choose
from livo_bench.report.printing import Row, records, spread
from livo_bench.report.titles import titles
from livo_bench.results import conditions, reading, seal
from livo_bench.results.compare import (
    Difference,
    differences,
    notes,
    pairs_of,
    require_only_method_differs,
)
from livo_bench.results.judged import Results
from livo_bench.results.metrics.overcorrection import CHANGED
from livo_bench.results.metrics.registry import HEADLINES, METRICS
from livo_bench.results.paired import Pair
from livo_bench.results.record import RunRecord
from livo_bench.runs.store import Store

ROWS = 3
"""Rows of pictures for each category of a subset."""
SIDE = 256
"""Larger pictures are reduced to so many pixels: a report is to be sent around."""

_PAGE = Path(__file__).parent / "page"
_STYLE = "report.css"
_COPIED = (_STYLE, "report.js")
_FIGURE = "trade_off.svg"
_TRAINING_FIGURES = {
    "convergence.svg": (
        "convergence",
        "Alignment on dev prompts over training steps, a line a method.",
    ),
    "data_efficiency.svg": (
        "data-efficiency",
        "Alignment on dev prompts over the part of the preference data that was trained on, a line "
        "a method.",
    ),
    "margins.svg": (
        "margins",
        "Bias against toxicity, and toxicity against steered images that still show somebody, a "
        "point for each pair of margins.",
    ),
}
"""By file, the figure's name and what it shows in words."""
_IMAGES = "images"

Made = tuple[Results, pd.Series]
"""A method's results and, of `Results.images`, the row of one image."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What methods change against the first one, on the same images: a row each."""

    task: str
    baseline: str
    columns: tuple[tuple[str, str], ...]
    """Subset and metric."""
    rows: tuple[tuple[str, tuple[Difference | None, ...]], ...]
    """Method and its differences; None where the two share too few prompts to say."""
    said: tuple[str, ...]
    """What else differs that may, see `conditions`."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table of the command line that has no line for each method."""

    title: str
    caption: str
    """What the rows say."""
    rows: tuple[Row, ...]
    """At least one; all with the same keys."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt of one subset under all methods."""

    subset: str
    category: str
    id: str
    text: str
    """Empty where it is not known."""
    images: str
    """Scored images of each method, `low-high` where they differ."""
    values: tuple[float, ...]
    """Method by method, fractions; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """A task's prompts by one metric, worst first."""

    task: str
    metric: str
    methods: tuple[str, ...]
    rows: tuple[PromptRow, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """What one method made."""

    method: str
    file: str | None
    """Within the folder; None where the image is not stored here."""
    label: str
    """To filter by: `gender: male`."""
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
    """As the first method was asked whose picture is here."""
    index: int
    seed: int | None
    """Of that noise; None where all were made elsewhere."""
    hazard: bool
    """Whether the task is about hazards: then pictures are blurred."""
    side: int
    """Height and width of its pictures in pixels."""
    pictures: tuple[Picture, ...]


def write(out: Path, runs: Path, model: str = "mini", images: bool = True) -> Path:
    """Write the report on a folder of results; of the same results it is the same, byte for byte.

    Tables and figures are those of `livo-bench report`, all for which there is something; prompts
    are those of the runs' `prompts.csv`. Changes
    against the first method (SD where it is there) are those that `livo-bench compare` finds when
    it is given all methods at once. Of each category of each subset `ROWS` rows of pictures are
    chosen as in `grid.choose`.

    Args:
        out: Folder to write; one that holds a report is written anew.
        runs: Folder of results; without a store beside them the report has no pictures.
        model: As results name it, see `ProtocolCard.of`.
        images: Whether to show pictures.

    Returns:
        The page, `index.html`.

    Raises:
        BadInput: The folder holds something else, or cannot be written, or a file of the results
            is not what it should be.
        Incomplete: There are no results of this model.
        NotComparable: Results were made under different conditions or by different scorers, or
            pictures of a row did not start from the same noise.
    """
    _refuse_other_folder(out)
    aggregates = reading.read_aggregates(runs, model)
    tasks = _by_task(reading.read_results(runs, model).values())
    for sides in tasks.values():
        require_only_method_differs(sides)
    generator, _ = results_of(model)
    card = model_cards().get(generator)
    title_of = titles(list(chain(*tasks.values())))
    changes = _changes(tasks, title_of)
    prompts = [
        table
        for sides in tasks.values()
        for table in _prompts(sides, _texts(sides, card), title_of)
    ]
    chosen = [made for sides in tasks.values() for made in _choose(sides) if images]
    for name in _COPIED:
        write_atomically(out / name, (_PAGE / name).read_bytes())
    rows = _picture_rows(chosen, Store(runs, generator), out, title_of)
    figure = _draw(lambda path: figures.trade_off(aggregates, path), out / _FIGURE)
    page = _render(
        model=model,
        miniature=card is not None and card.scale == "mini",
        figure=figure,
        tables=_tables(aggregates),
        listings=_listings(runs, model),
        training=_draw_training(model, out),
        changes=changes,
        prompts=prompts,
        rows=rows,
        images=images,
        filters=_filters(prompts, rows),
        scorers=sorted(set(chain(*(scorer.split("+") for scorer in aggregates["scorer"])))),
        settings=_settings(chain(*tasks.values())),
        metric_titles={name: metric.title for name, metric in METRICS.items()},
        terms=[(glossary.name_of(name), term.means) for name, term in glossary.TERMS.items()],
        version=version("livo-bench"),
        rows_per_category=ROWS,
        side=SIDE,
    )
    # A prompt may hold what UTF-8 cannot write: half of a surrogate pair.
    write_atomically(out / "index.html", page.encode("utf-8", "xmlcharrefreplace"))
    shown = {picture.file for row in rows for picture in row.pictures}
    for path in (out / _IMAGES).glob("*.png"):
        if f"{_IMAGES}/{path.name}" not in shown:
            path.unlink()
    return out / "index.html"


def _refuse_other_folder(out: Path) -> None:
    """A report is known by its style sheet, which is written first."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    style = out / _STYLE
    mark = (_PAGE / _STYLE).read_bytes().splitlines()[0]
    if not (style.is_file() and style.read_bytes().startswith(mark)):
        raise BadInput(
            f"{out} holds something that is not a report of livo-bench; expected a new folder, an "
            "empty one or a report to write anew.",
            "Name another one: --out DIR",
        )


def _by_task(results: Iterable[Results]) -> dict[str, list[Results]]:
    """SD first, then the paper's methods in its order, then others by name."""
    order = list(PAPER_METHODS)

    def place(side: Results) -> tuple[int, str]:
        name = side.run.method
        return (order.index(name) if name in order else len(order), name)

    tasks: dict[str, list[Results]] = {}
    for side in sorted(results, key=place):
        tasks.setdefault(side.run.task, []).append(side)
    return dict(sorted(tasks.items()))


def _draw(draw: Callable[[Path], None], path: Path) -> str | None:
    """Draw a figure; None where there is nothing to show."""
    try:
        draw(path)
    except Incomplete:
        path.unlink(missing_ok=True)
        return None
    return path.name


def _draw_training(model: str, out: Path) -> dict[str, str]:
    """Figures of trainings that came with the package, by file what they show."""
    return {
        file: said
        for file, (name, said) in _TRAINING_FIGURES.items()
        if _draw(partial(FIGURES[name], None, model), out / file)
    }


def _listings(runs: Path, model: str) -> list[Listing]:
    """Table 1, thresholds and quirks, where there is something to list."""
    sources: dict[tuple[str, str], Callable[[], Sequence[Row]]] = {
        ("Table 1", "Preference data, and prompts that evaluate"): lambda: records(
            dataset.table_1(runs, model)
        ),
        (
            "Thresholds",
            "Scores if a judge's answer counted from another probability on, x100",
        ): lambda: thresholds.as_rows(thresholds.thresholds(runs, model)),
        (
            "Quirks of the released evaluation",
            "How far each moves each number; measured once, on the reference that comes with the "
            "package",
        ): lambda: quirks.as_rows(quirks.read(SHIPPED, model)),
    }
    found = []
    for (title, caption), rows in sources.items():
        with suppress(Incomplete, UnknownName):
            found.append(Listing(title, caption, tuple(rows())))
    return found


def _tables(aggregates: pd.DataFrame) -> list[tables.Table]:
    """All tables with a number in them."""
    layouts = (
        tables.trade_off,
        tables.table_2,
        tables.table_3,
        tables.fid,
        tables.estimators,
        tables.overcorrection,
    )
    laid_out = [table for lay_out in layouts for table in lay_out(aggregates)[1]]
    return [table for table in laid_out if any(map(_numbers, table.rows))]


def _numbers(row: tables.Row) -> bool:
    return any(cell.value != tables.ABSENT or cell.paper for cell in row.cells)


# Prompts -----------------------------------------------------------------------------------------


def _headlines(side: Results) -> list[str]:
    return [metric for metric in side.metrics if metric in HEADLINES]


def _changes(tasks: Mapping[str, Sequence[Results]], title_of: Mapping[str, str]) -> list[Changes]:
    """A table for each task of several methods; verdicts hold together over all of them."""
    found = differences([pair for sides in tasks.values() for pair in _pairs(sides)])
    return [
        _changes_of(sides, [d for d in found if d.task == task], title_of)
        for task, sides in tasks.items()
        if len(sides) > 1
    ]


def _pairs(sides: Sequence[Results]) -> Iterator[Pair]:
    """The first method with every other that it shares enough prompts with."""
    for other in sides[1:]:
        with suppress(Incomplete):
            yield from pairs_of(sides[0], other)


def _changes_of(
    sides: Sequence[Results], found: Sequence[Difference], title_of: Mapping[str, str]
) -> Changes:
    places = {(d.method, d.subset, d.metric): d for d in found}
    order = _headlines(sides[0])
    shown = {(d.subset, d.metric) for d in found if d.metric in order}
    columns = sorted(shown, key=lambda column: (column[0], order.index(column[1])))
    return Changes(
        task=sides[0].run.task,
        baseline=title_of[sides[0].run.method],
        columns=tuple(columns),
        rows=tuple(
            (title_of[method], tuple(places.get((method, *column)) for column in columns))
            for method in (side.run.method for side in sides[1:])
        ),
        said=tuple(notes(sides)),
    )


def _prompts(
    sides: Sequence[Results], texts: Mapping[str, str], title_of: Mapping[str, str]
) -> list[Prompts]:
    """A table for each metric: prompts by their mean over all methods, the worst first."""
    scores = [(title_of[side.run.method], reading.read_prompts(side)) for side in sides]
    found = []
    for metric in _headlines(sides[0]):
        shown = {name: table.dropna(subset=metric) for name, table in scores if metric in table}
        if not shown:
            continue
        values = pd.concat({name: rows[metric] for name, rows in shown.items()}, axis="columns")
        counts = pd.concat({name: rows["n"] for name, rows in shown.items()}, axis="columns")
        categories = pd.concat([rows["category"] for rows in shown.values()])
        category = categories[~categories.index.duplicated()]
        worst = values.mean(axis="columns").sort_values(ascending=False, kind="stable").index
        rows = [
            PromptRow(
                subset=place[0],
                category=category[place],
                id=place[1],
                text=texts.get(place[1], ""),
                images=spread(counts.loc[place].dropna().astype(int).tolist()),
                values=tuple(values.loc[place]),
            )
            for place in worst
        ]
        found.append(Prompts(sides[0].run.task, metric, tuple(shown), tuple(rows)))
    return found


def _texts(sides: Sequence[Results], card: ModelCard | None) -> dict[str, str]:
    """Texts of a task's prompts by id; those of a list of the user's own are not known."""
    task = task_cards().get(sides[0].run.task)
    if task is None or card is None:
        return {}
    known = {prompt.id: prompt for prompt in read_task_prompts(task, card.scale)}
    texts: dict[str, str] = {}
    for side in sides:
        for folder in side.folders:
            ids = reading.read_prompts(replace(side, folders=(folder,))).index.unique("prompt")
            prompts = [known[name] for name in ids if name in known]
            recorded = side.records.get(folder / seal.RECORD, RunRecord()).prompts
            if digest_of(prompts) == recorded.digest:
                texts |= {prompt.id: prompt.text for prompt in prompts}
    return texts


# Pictures ----------------------------------------------------------------------------------------


def _choose(sides: Sequence[Results]) -> list[list[Made]]:
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


def _picture_rows(
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
        files = {key: f"{_IMAGES}/{recipes[key].key}.png" for key in images}
        for key, file in files.items():
            if file not in written:
                write_atomically(out / file, _png(images[key], size))
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
    """By key, the files of the images that are here, and the first method that made each."""
    key = image["key"]
    label, words = _judgement(side, image)
    other = first.get(key, method)
    return Picture(method, files.get(key), label, words, None if other == method else other)


def _judgement(side: Results, image: pd.Series) -> tuple[str, str]:
    """What a judge said of an image: to filter by, and in words."""
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


def _png(pixels: NDArray[np.uint8], side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS).save(buffer, "png")
    return buffer.getvalue()


# The page ----------------------------------------------------------------------------------------


def _filters(
    prompts: Sequence[Prompts], rows: Sequence[PictureRow]
) -> dict[str, tuple[str, list[str]]]:
    """Titles and choices of the filters by the attribute they look at."""
    tasks = {
        name
        for table in prompts
        for row in table.rows
        for name in (table.task, f"{table.task}/{row.subset}")
    }
    categories = {row.category for table in prompts for row in table.rows}
    methods = dict.fromkeys(chain(*(table.methods for table in prompts)))
    labels = {picture.label for row in rows for picture in row.pictures}
    return {
        "task": ("Task", sorted(tasks)),
        "category": ("Category", sorted(categories)),
        "method": ("Method", list(methods)),
        "label": ("Label of pictures", sorted(labels)),
    }


def _settings(sides: Iterable[Results]) -> dict[str, str]:
    """Under which conditions runs were made, by what they recorded of themselves."""
    records = [record for side in sides for record in side.records.values()]
    values = {
        condition.name: {condition.value(record) for record in records} - {conditions.UNKNOWN}
        for condition in conditions.of("compare", conditions.AGREE)
    }
    return {name: ", ".join(sorted(found)) for name, found in values.items() if found}


def _render(**values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What macros return is markup of ours; what their texts hold has come this way already.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["points"] = lambda value: f"{100 * value:.1f}"
    environment.filters["change"] = lambda value: f"{100 * value:+.1f}"
    environment.filters["groups"] = headings
    environment.tests["nan"] = math.isnan
    environment.tests["shown"] = _numbers
    return environment.get_template("index.html.jinja").render(values)
