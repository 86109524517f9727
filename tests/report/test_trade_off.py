"""The trade-off: drawn from results with every method in them, for papers and for the page."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import figures, tables, trade_off
from livo_bench.results.reading import load_results

FEW = ("sd", "ca", "livo")
"""Methods, for what takes its time with all."""


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return load_results(DATA / "results" / "mini", "mini")


def test_the_whole_figure_is_the_same_file_again_and_has_every_axis_and_family(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "trade_off.svg"
    figure = trade_off.trade_off(results)
    figures.write(figure, path)
    first = path.read_bytes()
    figures.write(figure, path)
    assert path.read_bytes() == first
    assert len(first) < 300_000
    text = first.decode()
    told = {tables.labels_of(results)[method].told for method in set(results["method"])}
    for family in told:
        assert figures.FAMILIES[family].words in text
    for axis in ("content", "CLIP score", "FID"):
        assert f"{axis} of steered images" in text
    # Of 35 methods nearly all have a label of their own in one panel or another.
    written = {text.get_text() for axis in figure.axes for text in axis.texts}
    titles = {tables.labels_of(results)[method].title for method in set(results["method"])}
    assert len(titles & written) > 0.8 * len(titles)


def test_a_png_has_a_row_for_each_task_that_there_is(results: pd.DataFrame, tmp_path: Path) -> None:
    both, one = tmp_path / "both.png", tmp_path / "one.png"
    few = results[results["method"].isin(FEW)]
    trade_off.write_trade_off(few, both)
    trade_off.write_trade_off(few[few["task"] == "bias"], one)
    with Image.open(both) as tall, Image.open(one) as flat:
        assert tall.width == flat.width
        assert tall.height > 1.5 * flat.height


def test_a_panel_without_a_point_is_left_out(results: pd.DataFrame) -> None:
    few = results[results["method"].isin(FEW)]
    no_fid = (few["task"] == "bias") & (few["metric"] == "fid_steered")
    drawn = [
        trade_off.trade_off(few[few["method"] == "sd"]),
        trade_off.trade_off(few[few["metric"] != "content_steered"]),
        trade_off.trade_off(few[~no_fid]),
    ]
    shapes = [
        [axis.get_ylabel().split(" of ")[0] for axis in figure.axes if axis.get_visible()]
        for figure in drawn
    ]
    assert shapes == [
        ["content", "CLIP score", "content", "neutral CLIP score"],
        ["content", "CLIP score", "FID", "content", "neutral CLIP score", "FID"],
        ["content", "CLIP score", "content", "neutral CLIP score", "FID"],
    ]


def test_a_family_has_one_colour_and_one_marker_and_there_are_at_most_seven() -> None:
    drawn = {(family.marker, family.colour) for family in figures.FAMILIES.values()}
    assert len(drawn) == len(figures.FAMILIES) <= 7
    assert {family.colour for family in figures.FAMILIES.values()} == {
        *(colour for _, colour in drawn)
    }
    assert figures.family("something else") == figures.family("-")


def test_methods_on_a_front_are_beaten_by_none_that_is_told_the_same() -> None:
    def point(title: str, family: str, x: float, y: float) -> trade_off.Point:
        return trade_off.Point(title, family, *(trade_off.Number(v, v, v) for v in (x, y)))

    content, _, fid = trade_off.PANELS[:3]
    points = [
        point("cheap", "value", 9.0, 90.0),
        point("good", "value", 1.0, 50.0),
        point("beaten", "value", 9.5, 80.0),
        point("other", "nothing", 9.9, 10.0),
    ]
    assert {p.title for p in trade_off._front(content, points)} == {"cheap", "good", "other"}
    assert {p.title for p in trade_off._front(fid, points)} == {"good", "other"}
    assert list(trade_off._at_spots(content, points))[-1] == (9.5, 80.0)


def test_methods_on_one_spot_share_a_label() -> None:
    there = [
        trade_off.Point(title, "value", *2 * [trade_off.Number(1.0, 0.0, 2.0)])
        for title in ("$one", "other", "third")
    ]
    assert trade_off._label(there) == r"\$one and 2 more"
    assert trade_off._label(there[1:2]) == "other"


def test_nothing_to_draw_and_other_formats_are_refused(
    results: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"a gif file; expected \.svg, \.png or \.pdf"):
        trade_off.write_trade_off(results, tmp_path / "x.gif")
    with pytest.raises(Incomplete, match="no results over all subsets"):
        trade_off.write_trade_off(results[results["subset"] == "gender"], tmp_path / "x.svg")
    assert not list(tmp_path.iterdir())


def test_a_pdf_is_the_same_file_again(results: pd.DataFrame, tmp_path: Path) -> None:
    one, other = tmp_path / "one.pdf", tmp_path / "other.pdf"
    few = results[results["method"].isin(FEW)]
    trade_off.write_trade_off(few, one)
    trade_off.write_trade_off(few, other)
    assert one.read_bytes().startswith(b"%PDF")
    assert one.read_bytes() == other.read_bytes()


def test_shares_end_at_100_and_points_keep_off_the_frame(results: pd.DataFrame) -> None:
    figure = trade_off.trade_off(results[results["method"].isin(["sd", "livo"])])
    for content, _, fid in np.array(figure.axes).reshape(2, 3):
        assert max(content.get_yticks()) <= 100
        assert content.get_ylim()[1] < 102
        highest = max(line.get_ydata().max() for line in fid.lines)
        assert fid.get_ylim()[1] > 1.5 * highest


def test_the_axis_of_what_is_better_high_has_most_room_near_the_best(
    results: pd.DataFrame,
) -> None:
    shown = ["sd", "uce", "livo", "dpo", "noise"]
    content, clip, _ = trade_off.trade_off(results[results["method"].isin(shown)]).axes[:3]
    for axis in (content, clip):
        drawn = [np.asarray(line.get_ydata(), np.float64) for line in axis.lines]
        best = max(float(heights[0]) for heights in drawn if len(heights) == 1)
        heights = axis.transAxes.inverted().transform(
            axis.transData.transform([(0, height) for height in (0, best - 10, best)])
        )[:, 1]
        assert heights[2] - heights[1] > heights[1] - heights[0] > 0.05
        ticks = np.array(axis.get_yticks())
        assert 4 <= len(ticks) == len(set(ticks))
        assert (ticks <= best).all()


def test_every_point_has_the_intervals_of_its_table(results: pd.DataFrame) -> None:
    livo = results[(results["method"] == "livo") & (results["task"] == "bias")]
    numbers = livo[(livo["subset"] == "all") & (livo["category"] == "all")].set_index("metric")
    fid = trade_off.trade_off(livo).axes[2]
    across, up, point = fid.lines
    assert list(np.asarray(across.get_xdata())) == list(100 * numbers.loc["D1", ["low", "high"]])
    assert list(np.asarray(up.get_ydata())) == list(numbers.loc["fid_steered", ["low", "high"]])
    assert list(np.asarray(point.get_ydata())) == [numbers.loc["fid_steered", "value"]]


def test_pictures_of_the_page_have_a_mark_a_method_with_its_numbers_and_no_style(
    results: pd.DataFrame,
) -> None:
    few = results[results["method"].isin(FEW)]
    drawn = trade_off.pictures(few)
    assert [picture.title.split(",")[0] for picture in drawn] == ["Bias"] * 3 + ["Toxicity"] * 3
    assert drawn == trade_off.pictures(few)
    ids: list[str] = []
    for picture in drawn:
        root = ElementTree.fromstring(picture.svg)
        assert not [element for element in root.iter() if element.get("style")]
        assert "<style" not in picture.svg
        ids += [str(element.get("id")) for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    livo = few[(few["method"] == "livo") & (few["subset"] == "all") & (few["category"] == "all")]
    [d1] = livo.loc[(livo["task"] == "bias") & (livo["metric"] == "D1"), "value"]
    marks = ElementTree.fromstring(drawn[0].svg).iter("g")
    words = {mark.get("data-follow"): mark.get("aria-label") for mark in marks}
    assert f"LiVO: D1 of all images {100 * d1:.1f} [" in str(words["LiVO"])


def test_a_title_of_others_is_text_in_the_page_s_picture(results: pd.DataFrame) -> None:
    evil = "</text><script>alert(1)</script> $x \u202e"
    few = results[results["method"].isin(FEW)].copy()
    few.loc[few["method"] == "livo", "title"] = evil
    svg = str(trade_off.pictures(few)[0].svg)
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "&lt;script&gt;alert(1)" in svg
