"""Who made what, as `report --table provenance` and the notes of other tables say it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from written_results import bias_images, seal_again, write_run

from livo_bench.cli import main
from livo_bench.errors import Incomplete
from livo_bench.report import tables
from livo_bench.report.provenance import provenance
from livo_bench.results import reading
from livo_bench.results.record import NOT_RECORDED

A, B = "card A, torch 2.15.0", "card B, torch 2.14.0"


def made(folder: Path, method: str, **makers: dict[str, int]) -> None:
    place = folder / method / "bias"
    write_run(place, bias_images([7, 8, 6, 9]), method=method)
    names = {"model": "mini", "method": method, "task": "bias"}
    record = {what: {"name": name} for what, name in names.items()}
    seal_again(place, {**record, **({"makers": makers} if makers else {})})


def test_counts_of_each_maker_are_rows(tmp_path: Path) -> None:
    made(tmp_path, "sd", images={A: 30, B: 10}, scores={A: 80})
    made(tmp_path, "old")
    rows = provenance(tmp_path, "mini")
    assert [tuple(row.values()) for row in rows] == [
        ("old", "bias", "images", NOT_RECORDED, None),
        ("old", "bias", "scores", NOT_RECORDED, None),
        ("sd", "bias", "images", A, 30),
        ("sd", "bias", "images", B, 10),
        ("sd", "bias", "scores", A, 80),
    ]
    words = ["report", str(tmp_path), "--table", "provenance", "--format", "csv"]
    said = CliRunner().invoke(main, words).output
    assert f'sd,bias,images,"{A}",30' in said


def test_a_folder_without_results_of_the_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match="No results of model 'sd15'"):
        provenance(tmp_path, "sd15")


def test_a_table_of_one_maker_says_nothing_of_it(tmp_path: Path) -> None:
    for method in ("sd", "livo"):
        made(tmp_path, method, images={A: 40}, scores={A: 80})
    _, [table] = tables.table_2(reading.load_results(tmp_path, "mini"))
    assert "machines" not in table.note


def test_a_table_of_several_makers_says_so_by_counts(tmp_path: Path) -> None:
    made(tmp_path, "sd", images={A: 40}, scores={A: 80})
    made(tmp_path, "livo", images={A: 30, NOT_RECORDED: 10}, scores={B: 80})
    _, [table] = tables.table_2(reading.load_results(tmp_path, "mini"))
    assert f"images made on different machines differ in last bits: 70 on {A}; 10 on" in table.note
    assert f"scores made on different machines differ in last bits: 80 on {A}; 80 on {B}" in (
        table.note
    )
