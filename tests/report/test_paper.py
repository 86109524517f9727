"""The paper's numbers: beside those of its own model, and beside no others."""

import pandas as pd
import pytest

from livo_bench.records import AGGREGATE_COLUMNS, Aggregate
from livo_bench.report import columns, paper, table_forms, tables
from livo_bench.report.printing import as_csv, records


def results(model: str) -> pd.DataFrame:
    number = Aggregate(
        model, "sd", "bias", "gender", "all", "D1", 0.5, 0.4, 0.6, 0.112, 100, 100, 0, "clip-1"
    )
    return pd.DataFrame([number], columns=list(AGGREGATE_COLUMNS))


def test_every_published_number_has_a_row_and_a_column_in_the_tables() -> None:
    numbers = paper.published({"sd15"})
    layouts = (*columns.TABLE_2, columns.TABLE_3)
    cells = {
        (title, *column.place)
        for layout in layouts
        for title in layout.methods.values()
        for column in layout.columns
    }
    assert numbers.keys() <= cells
    assert len(numbers) > 80


def test_numbers_are_on_the_scale_of_aggregates() -> None:
    numbers = paper.published({"sd15"})
    assert numbers["SD", "bias", "gender", "D1"] == pytest.approx(0.5627)
    assert numbers["LiVO", "bias", "all", "fid"] == 13.11
    assert numbers["LiVO w/o m", "toxicity", "all", "max"] == pytest.approx(0.3178)
    assert ("SD", "bias", "all", "fid") not in numbers


def test_they_stand_beside_ours_and_where_we_have_none() -> None:
    rows, [table] = tables.table_2(results("sd15"))
    assert str(table.rows[0].cells[0]) == "50.0 [40.0, 60.0] (fair 11.2) (paper 56.3)"
    livo = next(row for row in table.rows if row.title == "LiVO")
    assert str(livo.cells[0]) == "- (paper 33.7)"
    assert as_csv(records(rows)).splitlines()[1].endswith("clip-1,,0.5627")


@pytest.mark.parametrize("model", ["mini", "other"])
def test_they_stand_beside_no_other_model(model: str) -> None:
    assert paper.published({model}) == {}
    assert paper.published({"sd15", model}) == {}
    for lay_out in (tables.table_2, tables.table_3):
        rows, laid_out = lay_out(results(model))
        assert list(rows.columns) == [*AGGREGATE_COLUMNS, "prompts"]
        for as_text in (table_forms.as_markdown, table_forms.as_latex):
            assert "paper" not in as_text(laid_out)
        assert not [
            cell for table in laid_out for row in table.rows for cell in row.cells if cell.paper
        ]


def test_they_stand_beside_results_of_the_released_protocol() -> None:
    _, [table] = tables.table_2(results("sd15@released"))
    assert table.rows[0].cells[0].paper == "56.3"


def test_they_do_not_stand_beside_numbers_of_other_prompts() -> None:
    rows, [table] = tables.table_2(results("sd15").assign(prompts="mine.csv 0123"))
    assert "paper" not in rows
    assert not any(cell.paper for row in table.rows for cell in row.cells)
