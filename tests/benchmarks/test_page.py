"""The page of many methods: what it weighs and how long a browser takes."""

import shutil
from pathlib import Path

import page
import pytest

from livo_bench.report import html
from livo_bench.results.reading import load_results


def test_made_up_results_are_of_as_many_methods_and_pass_their_seals(tmp_path: Path) -> None:
    page.make_up(tmp_path, 3)
    rows = load_results(tmp_path, "mini")
    assert rows["method"].nunique() == 3
    assert set(rows["task"]) == set(page.TASKS)


@pytest.mark.slow
def test_40_methods_of_2_tasks_open_in_2_seconds_and_5_megabytes(tmp_path: Path) -> None:
    pytest.importorskip("selenium")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed")
    page.make_up(tmp_path / "runs", 40)
    found = page.measure(html.write(tmp_path / "page", tmp_path / "runs", images=False))
    assert found.marks > 200
    assert found.megabytes < 5
    assert found.seconds < 2, "on a machine with nothing else to do it takes a quarter of that"
