"""What `livo-bench report` shows: its tables and figures by name, and what makes each.

A maker imports what it needs when it is called, so that the names are there at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from livo_bench.cards.catalog import RUNS, SHIPPED
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report.drawings import FIGURES
from livo_bench.report.printing import FOR_PEOPLE, FORMS, records

if TYPE_CHECKING:
    from rich.console import RenderableType

HTML = "html"
PAGE = Path("results/report")
"""Folder of the page."""
PORT = 8077
"""Port of the page of a run that goes."""

Table: TypeAlias = "Callable[[Path | None, str, str], RenderableType]"
"""Makes a table of a folder (its own one for None), a model and a form."""


def report(
    table: str | None = None,
    figure: str | None = None,
    explain: bool = False,
    form: str = "table",
    folder: Path | None = None,
    model: str = "mini",
    out: Path | None = None,
    images: bool = True,
) -> RenderableType:
    """Lay out a table, draw a figure or write the page of all there is.

    Args:
        table: Out of `TABLES`; 2 when None.
        figure: Out of `FIGURES`, instead of a table.
        explain: Instead, how far each quirk of the released evaluation moves each number.
        form: Form of the table, out of `printing.FORMS`; or `html` for the page.
        folder: Folder of results. When None it is `RUNS`, or what comes with the package for what
            has been measured once: quirks, and the trainings behind figures.
        model: Model, as results name it, see `ProtocolCard.of`.
        out: File of the figure, or folder of the page; `PAGE` when None.
        images: Whether the page shows pictures.

    Returns:
        What to print: the table, or where the figure or the page is.

    Raises:
        BadInput: A figure without a file, or a file for a table, which is printed.
        LivoBenchError: As the function that makes it.
    """
    if form == HTML:
        from livo_bench.report import html

        return str(html.write(out or PAGE, folder or RUNS, model, images))
    if figure is not None:
        if out is None:
            raise BadInput("A figure needs a name and a file: --figure NAME --out FILE")
        FIGURES[figure](folder, model, out)
        return str(out)
    if out is not None:
        raise BadInput(
            f"--out {out} is for a figure or a page: --figure NAME --out FILE. A table is printed; "
            f"write it to a file with > {shlex.quote(str(out))}"
        )
    make = _quirks if explain else TABLES[table or "2"]
    return make(folder, model, form)


def _laid_out(name: str, options: str, what: str) -> Table:
    """A table of aggregates.

    Args:
        name: Name of the function of `report.tables` that lays it out.
        options: Options of `livo-bench run`, for results that are in it.
        what: These results in words.
    """

    def make(folder: Path | None, model: str, form: str) -> RenderableType:
        from livo_bench.cards.catalog import run_options
        from livo_bench.report import table_forms, tables
        from livo_bench.results import reading

        aggregates = reading.load_results(folder or RUNS, model)
        rows, laid_out = getattr(tables, name)(aggregates)
        if not laid_out:
            raise Incomplete(
                f"No results {what} in {folder or RUNS}.",
                f"Make some with\n    livo-bench run --method sd {options} {run_options(model)}",
            )
        if form in FOR_PEOPLE:
            return table_forms.FORMS[form](laid_out)
        return FORMS[form](records(rows))

    return make


def _preference_data(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import dataset

    return FORMS[form](records(dataset.table_1(folder or RUNS, model)))


def _thresholds(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import thresholds

    readings = thresholds.thresholds(folder or RUNS, model)
    for_people = form in FOR_PEOPLE
    return FORMS[form](thresholds.as_rows(readings) if for_people else list(map(asdict, readings)))


def _recomputed(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import recomputed

    found = recomputed.recomputed(folder or RUNS, model)
    for_people = form in FOR_PEOPLE
    return FORMS[form](recomputed.as_rows(found) if for_people else list(map(asdict, found)))


def _variety(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import variety

    found = variety.variety(folder or RUNS, model)
    for_people = form in FOR_PEOPLE
    return FORMS[form](variety.as_rows(found) if for_people else list(map(asdict, found)))


def _people(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import audit_rows

    found = audit_rows.table_4(folder, model)
    for_people = form in FOR_PEOPLE
    rows = [*audit_rows.as_rows(found), *audit_rows.of_paper(model)]
    return FORMS[form](rows if for_people else audit_rows.as_data(found))


def _judges(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import judge_rows
    from livo_bench.results.two_judges import compare_judges

    pairs = compare_judges(folder or RUNS, model)
    return FORMS[form](getattr(judge_rows, "as_rows" if form in FOR_PEOPLE else "as_data")(pairs))


def _provenance(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import maker_rows

    found = maker_rows.makers(folder or RUNS, model)
    for_people = form in FOR_PEOPLE
    return FORMS[form](maker_rows.as_rows(found) if for_people else list(map(asdict, found)))


def _quirks(folder: Path | None, model: str, form: str) -> RenderableType:
    from livo_bench.report import quirks

    measured = quirks.read(folder or SHIPPED, model)
    for_people = form in FOR_PEOPLE
    return FORMS[form](quirks.as_rows(measured) if for_people else records(measured))


_WHOLE_TASKS = ("--method livo --task all", "over all subsets of bias or toxicity")

TABLES: Mapping[str, Table] = {
    "1": _preference_data,
    "2": _laid_out("table_2", "--task all", "of a task"),
    "3": _laid_out("table_3", *_WHOLE_TASKS),
    "4": _people,
    "judges": _judges,
    "trade-off": _laid_out("trade_off", *_WHOLE_TASKS),
    "overcorrection": _laid_out(
        "overcorrection", "--task overcorrection", "of the task overcorrection"
    ),
    "fid": _laid_out("fid", "--method livo --task all --independent-reference", _WHOLE_TASKS[1]),
    "estimators": _laid_out("estimators", "--task all", "of bias or toxicity"),
    "thresholds": _thresholds,
    "recomputed": _recomputed,
    "variety": _variety,
    "provenance": _provenance,
}
"""Tables by number in the paper, or by name where they are ours."""
