"""Who made the images of results, as a table says it."""

import json
from pathlib import Path

import pytest
from written_results import bias_images, seal_again, write_run

from livo_bench.errors import Incomplete
from livo_bench.report import contents, maker_rows, tables
from livo_bench.results.reading import load_results

H200, A100 = "NVIDIA H200, torch 2.15.0, float16", "NVIDIA A100, torch 2.15.0, float16"


def write_made(folder: Path, method: str, made_by: dict[str, int]) -> None:
    place = write_run(folder / method / "bias", bias_images([7, 8]), method, seed=42)
    record = json.loads((place / "run.json").read_text(encoding="utf-8"))
    del record["seal"]
    seal_again(place, record | {"made_by": made_by})


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """SD's images by two devices, LiVO's by one of them."""
    write_made(tmp_path, "sd", {A100: 300, H200: 100})
    write_made(tmp_path, "livo", {H200: 50})
    return tmp_path


def test_images_are_counted_by_what_made_them(mixed: Path) -> None:
    assert maker_rows.makers(mixed) == [
        maker_rows.Made("livo", "bias", H200, 50, 1.0),
        maker_rows.Made("sd", "bias", A100, 300, 0.75),
        maker_rows.Made("sd", "bias", H200, 100, 0.25),
    ]
    said = str(contents.report("provenance", form="markdown", folder=mixed))
    assert f"| SD | bias | 300 | 75.0 | {A100} |" in said


def test_a_table_says_by_counts_which_results_mix_machines(mixed: Path) -> None:
    _, [table] = tables.table_2(load_results(mixed))
    assert (
        "sd on bias mixes images of several devices or versions, which differ in last bits: "
        f"300 by {A100}, 100 by {H200}"
    ) in table.note
    assert "livo on bias mixes" not in table.note
    assert f"images of different devices and software ({A100} and {H200}, {H200})" in table.note


def test_results_of_older_versions_are_said_to_say_nothing(few_methods: Path) -> None:
    with pytest.raises(Incomplete, match=r"say what made their images(?s:.*)livo-bench run"):
        maker_rows.makers(few_methods)
