"""Figures: drawn from results with every method in them, or refused."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from livo_bench.catalog import DATA
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import figures
from livo_bench.report.tables import read_aggregates


@pytest.fixture
def results() -> pd.DataFrame:
    return read_aggregates(DATA / "results" / "mini", "mini")


def test_the_trade_off_names_every_method_and_is_the_same_file_again(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "trade_off.svg"
    figures.trade_off(results, path)
    first = path.read_bytes()
    figures.trade_off(results, path)
    assert path.read_bytes() == first
    text = first.decode()
    for method in set(results["method"]):
        assert f"  {method}" in text  # as a comment beside its glyphs


def test_a_png_has_a_row_for_each_task_that_there_is(results: pd.DataFrame, tmp_path: Path) -> None:
    both, one = tmp_path / "both.png", tmp_path / "one.png"
    figures.trade_off(results, both)
    figures.trade_off(results[results["task"] == "bias"], one)
    with Image.open(both) as tall, Image.open(one) as flat:
        assert tall.width == flat.width
        assert tall.height > 1.5 * flat.height


def test_any_two_methods_of_a_table_look_different() -> None:
    assert len({figures.style(number) for number in range(30)}) == 30


def test_nothing_to_draw_and_other_formats_are_refused(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"is to be a pdf file; expected \.svg or \.png"):
        figures.trade_off(results, tmp_path / "x.pdf")
    with pytest.raises(Incomplete, match="no results over all subsets"):
        figures.trade_off(results[results["subset"] == "gender"], tmp_path / "x.svg")
    assert not list(tmp_path.iterdir())
