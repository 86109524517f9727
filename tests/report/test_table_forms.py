"""The tables of methods in the forms that people read."""

import pytest
from written_aggregates import SD, ablation, aggregate, frame, printed

from livo_bench.cards.catalog import SHIPPED
from livo_bench.report import table_forms, tables
from livo_bench.results import reading


def test_markdown_has_a_line_a_method_and_as_many_cells_as_heads() -> None:
    others = [aggregate(name, "gender", "D1", 0.1) for name in ("fd", "uce", "livo")]
    _, laid_out = tables.table_2(frame(*SD, *others))
    title, body, absent = table_forms.as_markdown(laid_out).split("\n\n")
    assert absent.startswith("No results of DAPT, DPO, LiVO w/ R. ")
    assert title == "**Table 2, bias**"
    lines = body.splitlines()
    assert lines[0].startswith("| Method | Told | Gender D1 | Gender D2 |")
    assert lines[2].startswith("| SD | nothing | 56.3 [50.1, 62.0] (fair 11.2) |")
    assert lines[2].endswith("| 1190-1200 | 1190-1200 | 0-10 |")
    assert [line.split(" | ")[1] for line in lines[2:]] == [
        "nothing", "category", "value", "attributes",
    ]  # fmt: skip
    assert len({line.count(" | ") for line in lines}) == 1


def test_latex_has_a_line_a_method_a_rule_between_what_is_told_and_escaped_text() -> None:
    odd = aggregate("50%_off", "gender", "D1", 0.1)
    _, laid_out = tables.table_2(frame(*SD, odd))
    lines = table_forms.as_latex(laid_out).splitlines()
    assert lines[0] == "% Table 2, bias"
    assert lines[1] == r"\begin{tabular}{ll" + "r" * (9 + 3) + "}"
    assert r"\multicolumn{2}{c}{Gender} & \multicolumn{2}{c}{Race}" in lines[3]
    assert lines[6].startswith("SD & nothing & 56.3 [50.1, 62.0] (fair 11.2) & ")
    assert lines[6].endswith(r"1190-1200 & 1190-1200 & 0-10 \\")
    assert [line for line in lines if "rule" in line] == [
        r"\toprule", *[r"\midrule"] * 2, r"\bottomrule",
    ]  # fmt: skip
    assert lines[-4].startswith(r"50\%\_off & - & 10.0 ")
    assert {line.count(" & ") for line in lines[4:] if line.endswith(r"\\")} == {13}


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_terminal_table_cuts_no_number_however_narrow(width: int) -> None:
    toxic = [
        aggregate("sd", subset, metric, 0.9144, task="toxicity")
        for subset in ("nudity", "bloody", "horror")
        for metric in ("avg_r", "avg_s")
    ]
    text = printed(tables.table_2(frame(*SD, *toxic))[1], width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("91.4") == 6
    text = printed(tables.table_3(frame(*ablation("sd")))[1], width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("44.1") == 1


@pytest.fixture(scope="module")
def of_reference() -> list[list[tables.Table]]:
    aggregates = reading.load_results(SHIPPED, "mini")
    names = ("table_2", "table_3", "trade_off", "fid", "estimators", "overcorrection")
    return [getattr(tables, name)(aggregates)[1] for name in names]


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 200])
def test_every_table_of_the_reference_is_whole_at_any_width(
    of_reference: list[list[tables.Table]], width: int
) -> None:
    for laid_out in of_reference:
        text = printed(laid_out, width)
        assert max(map(len, text.splitlines())) <= width
        for table in laid_out:
            for row in table.rows:
                for cell in row.cells:
                    for part in filter(None, (cell.value, cell.interval, cell.floor)):
                        assert part in text


def test_a_table_is_split_between_its_groups_and_each_part_has_the_methods() -> None:
    _, laid_out = tables.table_2(frame(*SD))
    text = printed(laid_out, width=70)
    assert [line.strip() for line in text.splitlines() if "Table 2" in line] == [
        f"Table 2, bias, part {part} of 3" for part in (1, 2, 3)
    ]
    first, second, third = text.split("Table 2, bias")[1:]
    for part, group, titles in (
        (first, "Gender", "Told D1 D2"),
        (second, "Race images", "D1 D2 FID Content"),
        (third, "published", "IS FID CLIP"),
    ):
        assert group in " ".join(part.split())
        assert f"Method {titles}" in " ".join(part.split())
        assert "1190-1200 scored" in part
    assert text.count("In %, IS, FID and CLIP as such") == 1
    assert "part" not in printed(laid_out, width=160)


def test_terminal_table_shows_number_interval_floor_and_counts() -> None:
    _, laid_out = tables.table_2(frame(*SD))
    text = printed(laid_out, width=160)
    for part in (
        "Table 2, bias",
        "Gender",
        "56.3",
        "[50.1, 62.0]",
        "fair 11.2",
        "1190-1200 scored",
        "1190-1200 distinct",
        "0-10 unscored",
    ):
        assert part in text
