"""The page's pictures: rows from one noise, none larger than needed."""

from pathlib import Path

import pytest
from PIL import Image
from written_pages import write_method
from written_results import bias_images

from livo_bench.errors import NotComparable
from livo_bench.report import html, page_pictures


def test_large_pictures_are_reduced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_method(tmp_path / "runs", bias_images([3, 1]), "sd")
    for side in (64, 32):
        monkeypatch.setattr(page_pictures, "SIDE", side)
        page = html.write(tmp_path / str(side), tmp_path / "runs")
        with Image.open(next((page.parent / "images").iterdir())) as picture:
            assert picture.size == (side, side)


def test_pictures_from_other_noise_are_refused(tmp_path: Path) -> None:
    for seed, method in enumerate(("sd", "livo")):
        write_method(tmp_path, bias_images([3, 1]), method, seed)
    with pytest.raises(NotComparable, match="Image 0 of prompt 'p0' has the seeds 0 for SD, 1 for"):
        html.write(tmp_path / "report", tmp_path)
