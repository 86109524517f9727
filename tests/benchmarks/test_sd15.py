"""The benchmark of Stable Diffusion 1.5's size runs, with few channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import sd15
import torch
from click.testing import CliRunner


def test_released_scripts_make_two_fifths_more_images_than_are_distinct() -> None:
    # Two halves of each bias prompt are the plain model's, for gender and for race, and so is SD.
    assert sd15.sharing() == pytest.approx(199_300 / 140_500)


@pytest.mark.slow
def test_it_measures_everything_at_reduced_size(tmp_path: Path) -> None:
    few = ["--prompts", "2", "--images", "50", "--block", "50", "--steps", "1"]
    hub = torch.hub.get_dir()
    try:
        result = CliRunner().invoke(
            sd15.main, ["--work", str(tmp_path), "--reduced", *few], catch_exceptions=False
        )
    finally:
        torch.hub.set_dir(hub)
    assert result.exit_code == 0, result.output
    assert "| released scripts' loop |" in result.output
    for name in ("with channels-last", "fuse, compile", "fuse, cuda-graphs", "blocks of 50"):
        assert name in result.output
    assert "| livo-bench train |" in result.output
