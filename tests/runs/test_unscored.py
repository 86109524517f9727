"""Written results without a score: an error that names them, unless there was no picture."""

from pathlib import Path

import pandas as pd
import pytest
from written_results import bias_images, write_run

from livo_bench.errors import NothingScored
from livo_bench.runs.unscored import refuse_unscored


def written(folder: Path, **reasons: str) -> Path:
    """Results of two subsets; of those named, no image has a score."""
    images = pd.concat([bias_images([3, 8], subset) for subset in ("gender", "race")])
    images["unscored"] = images["subset"].map(reasons).astype(object)
    return write_run(folder, images.where(images.notna(), None), seed=42)


def test_results_with_scores_are_not_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_unscored([written(tmp_path)])
    assert caplog.messages == []


def test_a_subset_without_a_score_is_named_with_the_reason(tmp_path: Path) -> None:
    folders = [written(tmp_path / "good"), written(tmp_path / "bad", race="blank image")]
    message = r"bad, subset race: none of 20 images by clip-race-1 \(20 blank image\)\. The results"
    with pytest.raises(NothingScored, match=message):
        refuse_unscored(folders)


def test_a_subset_of_which_there_is_no_picture_is_an_outcome_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_unscored([written(tmp_path, race="refused: no picture")])
    [said] = caplog.messages
    assert "refused 20 of 40 images, of which there is no score (20 refused: no picture)" in said
    with pytest.raises(NothingScored, match="subset gender"):
        refuse_unscored(
            [written(tmp_path / "both", race="refused: no picture", gender="blank image")]
        )
