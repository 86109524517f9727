"""What the names of tables and figures stand for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from written_results import seal_again

from livo_bench.cards.catalog import SHIPPED
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import contents


@pytest.mark.parametrize(
    "table", [name for name in contents.TABLES if name not in ("1", "4", "judges", "provenance")]
)
def test_every_table_is_made_for_people_and_for_programs(table: str, few_methods: Path) -> None:
    markdown, csv = (
        str(contents.report(table, form=form, folder=few_methods)) for form in ("markdown", "csv")
    )
    assert "| --- |" in markdown
    assert "method" in csv.splitlines()[0].split(",")


def test_table_1_counts_preference_data_which_does_not_come_with_the_package() -> None:
    with pytest.raises(Incomplete, match="livo-bench data build"):
        contents.report("1", folder=SHIPPED)


def test_table_4_is_what_people_said_who_are_to_be_asked(few_methods: Path) -> None:
    with pytest.raises(Incomplete, match=r"people said nothing yet(?s:.*)livo-bench audit draw"):
        contents.report("4", folder=few_methods)


@pytest.mark.parametrize("figure", [name for name in contents.FIGURES if name != "cases"])
def test_every_figure_goes_where_it_is_asked_for(figure: str, tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    folder = SHIPPED if figure == "trade-off" else None
    assert contents.report(figure=figure, folder=folder, out=out) == str(out)
    assert out.read_text(encoding="utf-8").startswith("<?xml")


def test_a_figure_has_a_file_and_a_table_is_printed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--figure NAME --out FILE"):
        contents.report(figure="margins")
    with pytest.raises(BadInput, match=r"write it to a file with > .*table\.csv"):
        contents.report("2", out=tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("3", "(?s)No results over all subsets of bias or toxicity in .*--method livo --task all"),
        ("fid", "(?s)over all subsets.*--task all --independent-reference --model mini"),
        ("overcorrection", "(?s)of the task overcorrection.*--task overcorrection --model mini"),
    ],
)
def test_a_table_without_a_number_says_what_to_run(table: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "sd" / "bias", tmp_path / "sd" / "bias")
    path = tmp_path / "sd" / "bias" / "aggregates.csv"
    rows = pd.read_csv(path)
    rows[rows["subset"] == "gender"].to_csv(path, index=False)
    seal_again(path.parent)
    for form in ("table", "csv"):
        with pytest.raises(Incomplete, match=said):
            contents.report(table, form=form, folder=tmp_path)
