"""A run that all executors have to come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_inputs import Asked, write_prompts

from livo_bench.runs import runner

ROWS = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]


@pytest.fixture(scope="session")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Asked, Path]:
    """Arguments of a run of six blocks, and the folder of one that this process made."""
    folder = tmp_path_factory.mktemp("whole")
    prompts = write_prompts(folder / "own.csv", ROWS)
    options: Any = {"methods": ["sd"], "task": "bias", "model": str(tiny_model), "images": 7,
               "prompts": prompts, "device": "cpu", "runs": folder / "runs"}  # fmt: skip
    runner.run(**options)
    return options, folder / "runs"
