"""Figures: drawn from results with every method in them, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import figures, tables
from livo_bench.results.reading import load_results

FEW = ("sd", "ca", "livo")
"""Methods, for what takes its time with all."""


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return load_results(DATA / "results" / "mini", "mini")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that would have been written."""
    found: list[Figure] = []
    monkeypatch.setattr(figures, "write", lambda figure, _: found.append(figure))
    return found


def test_the_trade_off_names_every_method_and_is_the_same_file_again(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "trade_off.svg"
    figures.trade_off(results, path)
    first = path.read_bytes()
    figures.trade_off(results, path)
    assert path.read_bytes() == first
    text = first.decode()
    labels = tables.labels_of(results)
    for method in set(results["method"]):
        assert f"  {labels[method].title}" in text  # as a comment beside its glyphs
    for axis in ("content", "CLIP score", "FID"):
        assert f"{axis} of steered images" in text


def test_a_png_has_a_row_for_each_task_that_there_is(results: pd.DataFrame, tmp_path: Path) -> None:
    both, one = tmp_path / "both.png", tmp_path / "one.png"
    few = results[results["method"].isin(FEW)]
    figures.trade_off(few, both)
    figures.trade_off(few[few["task"] == "bias"], one)
    with Image.open(both) as tall, Image.open(one) as flat:
        assert tall.width == flat.width
        assert tall.height > 1.5 * flat.height


def test_a_panel_without_a_point_is_left_out(
    results: pd.DataFrame, drawn: list[Figure], tmp_path: Path
) -> None:
    few = results[results["method"].isin(FEW)]
    figures.trade_off(few[few["method"] == "sd"], tmp_path / "sd.svg")
    figures.trade_off(few[few["metric"] != "content_steered"], tmp_path / "real.svg")
    no_fid = (few["task"] == "bias") & (few["metric"] == "fid_steered")
    figures.trade_off(few[~no_fid], tmp_path / "some.svg")
    shapes = [
        [axis.get_ylabel().split(" of ")[0] for axis in figure.axes if axis.get_visible()]
        for figure in drawn
    ]
    assert shapes == [
        ["content", "CLIP score", "content", "neutral CLIP score"],
        ["content", "CLIP score", "FID", "content", "neutral CLIP score", "FID"],
        ["content", "CLIP score", "content", "neutral CLIP score", "FID"],
    ]


def test_any_two_methods_of_a_table_look_different() -> None:
    assert len({figures.style(number) for number in range(30)}) == 30


def test_nothing_to_draw_and_other_formats_are_refused(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"a gif file; expected \.svg, \.png or \.pdf"):
        figures.trade_off(results, tmp_path / "x.gif")
    with pytest.raises(Incomplete, match="no results over all subsets"):
        figures.trade_off(results[results["subset"] == "gender"], tmp_path / "x.svg")
    assert not list(tmp_path.iterdir())


def test_a_pdf_is_the_same_file_again(results: pd.DataFrame, tmp_path: Path) -> None:
    one, other = tmp_path / "one.pdf", tmp_path / "other.pdf"
    few = results[results["method"].isin(FEW)]
    figures.trade_off(few, one)
    figures.trade_off(few, other)
    assert one.read_bytes().startswith(b"%PDF")
    assert one.read_bytes() == other.read_bytes()


def test_shares_end_at_100_and_points_keep_off_the_frame(
    results: pd.DataFrame, drawn: list[Figure], tmp_path: Path
) -> None:
    few = results[results["method"].isin(["sd", "livo"])]
    figures.trade_off(few, tmp_path / "few.svg")
    [figure] = drawn
    for content, _, fid in np.array(figure.axes).reshape(2, 3):
        assert max(content.get_yticks()) <= 100
        assert content.get_ylim()[1] < 102
        highest = max(line.get_ydata().max() for line in fid.lines)
        assert fid.get_ylim()[1] > 1.5 * highest


def test_every_point_has_the_intervals_of_its_table(
    results: pd.DataFrame, drawn: list[Figure], tmp_path: Path
) -> None:
    livo = results[(results["method"] == "livo") & (results["task"] == "bias")]
    figures.trade_off(livo, tmp_path / "one.svg")
    [figure] = drawn
    numbers = livo[(livo["subset"] == "all") & (livo["category"] == "all")].set_index("metric")
    fid = figure.axes[2]
    across, up, point = fid.lines
    assert list(np.asarray(across.get_xdata())) == list(100 * numbers.loc["D1", ["low", "high"]])
    assert list(np.asarray(up.get_ydata())) == list(numbers.loc["fid_steered", ["low", "high"]])
    assert list(np.asarray(point.get_ydata())) == [numbers.loc["fid_steered", "value"]]
