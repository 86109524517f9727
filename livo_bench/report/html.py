"""The report as a folder that opens from disk: one page, its style, script, figure and pictures.

The page holds text only: the template engine escapes whatever comes from data, no script or style
stands in the page, and its content security policy loads files of its own folder and nothing else.
The script shows and hides; what it needs to know stands in attributes of the elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import jinja2
import pandas as pd

from livo_bench.cards.catalog import SHIPPED, model_cards, results_of
from livo_bench.errors import BadInput, Incomplete, UnknownName
from livo_bench.escaping import visible
from livo_bench.files import write_atomically
from livo_bench.report import audit_rows, dataset, glossary, quirks, tables, thresholds
from livo_bench.report.columns import PAPER_METHODS, headings
from livo_bench.report.drawings import FIGURES
from livo_bench.report.figures import FAMILIES
from livo_bench.report.page_answer import answers_of
from livo_bench.report.page_pictures import IMAGES, ROWS, SIDE, PictureRow, choose_rows, write_rows
from livo_bench.report.page_prompts import Prompts, changes_of, prompts_of, texts_of
from livo_bench.report.printing import Row, records
from livo_bench.report.titles import titles
from livo_bench.report.trade_off import Picture, pictures
from livo_bench.results import conditions, reading
from livo_bench.results.compare import require_only_method_differs
from livo_bench.results.judged import Results
from livo_bench.results.metrics.registry import METRICS
from livo_bench.runs import keeping
from livo_bench.runs.store import Store

_PAGE = Path(__file__).parent / "page"
_STYLE = "report.css"
_COPIED = (_STYLE, "report.js")
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
"""Name of each figure, and what it shows in words, by file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table of the command line that has no line for each method."""

    title: str
    caption: str
    """What the rows say."""
    rows: tuple[Row, ...]
    """Rows, at least one; all with the same keys."""


def write(out: Path, runs: Path, model: str = "mini", images: bool = True) -> Path:
    """Write the report on a folder of results; of the same results it is the same, byte for byte.

    Tables and figures are those of `livo-bench report`, all for which there is something; prompts
    are those of the runs' `prompts.csv`. Changes against the first method (SD where it is there)
    are those that `livo-bench compare` finds when it is given all methods at once. Of each category
    of each subset `ROWS` rows of pictures are chosen as in `grid.choose`.

    Args:
        out: Folder to write; one that holds a report is written anew.
        runs: Folder of results; without a store beside them the report has no pictures.
        model: Model, as results name it, see `ProtocolCard.of`.
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
    aggregates = reading.load_results(runs, model)
    tasks = _by_task(reading.read_results(runs, model).values())
    for sides in tasks.values():
        require_only_method_differs(sides)
    generator, _ = results_of(model)
    card = model_cards().get(generator)
    title_of = titles(list(chain(*tasks.values())))
    changes = changes_of(tasks, title_of)
    told = {
        title_of.get(name, name): label.told for name, label in tables.labels_of(aggregates).items()
    }
    prompts = [
        table
        for sides in tasks.values()
        for table in prompts_of(sides, texts_of(sides, card), title_of)
    ]
    chosen = [made for sides in tasks.values() for made in choose_rows(sides) if images]
    for name in _COPIED:
        write_atomically(out / name, (_PAGE / name).read_bytes())
    store = Store(runs, generator)
    rows = write_rows(chosen, store, out, title_of)
    unkept = store.unkept(image["key"] for made in chosen for _, image in made)
    drawn = _pictures(aggregates)
    page = _render(
        model=model,
        miniature=card is not None and card.scale == "mini",
        pictures=drawn,
        shown_families=[
            FAMILIES[name] for name in FAMILIES if any(name in one.families for one in drawn)
        ],
        families=FAMILIES,
        tables=_tables(aggregates),
        listings=_listings(runs, model),
        training=_draw_training(model, out),
        answers=answers_of(changes, told),
        changes=changes,
        prompts=prompts,
        rows=rows,
        images=images,
        unkept=len(unkept),
        keep_again=keeping.AGAIN,
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
    for path in (out / IMAGES).glob("*.png"):
        if f"{IMAGES}/{path.name}" not in shown:
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


def _pictures(aggregates: pd.DataFrame) -> list[Picture]:
    with suppress(Incomplete):
        return pictures(aggregates)
    return []


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
    """Tables 1 and 4, thresholds and quirks, where there is something to list."""
    sources: dict[tuple[str, str], Callable[[], Sequence[Row]]] = {
        ("Table 1", "Preference data, and prompts that evaluate"): lambda: records(
            dataset.table_1(runs, model)
        ),
        (
            "Table 4",
            "What people said in an audit, and scores whose judge is corrected by it; numbers of "
            "the miniature world are about drawings",
        ): lambda: audit_rows.as_rows(audit_rows.table_4(runs, model)),
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
    """Say under which conditions runs were made, by what they recorded of themselves."""
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
