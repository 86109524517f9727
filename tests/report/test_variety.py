"""How far methods moved images and how varied these are, from result folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.spatial.distance import pdist
from written_vectors import IMAGES, PROMPTS, frame, write

from livo_bench.cli import main
from livo_bench.errors import Incomplete
from livo_bench.report.variety import Variety, variety
from livo_bench.results.metrics.vendi import vendi_score


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD; `half`, which left every second image alone; `one`, which draws one image a prompt."""
    folder = tmp_path_factory.mktemp("variety")
    random = np.random.default_rng(5)
    unaligned, moved = frame(random, "sd"), frame(random, "m", shift=1)
    write(folder, "sd", unaligned, unaligned, frame(random, "noise"))
    half = moved.mask(moved["index"] % 2 == 0, unaligned)
    first = moved.groupby(["subset", "prompt"])[["features", "logits", "key"]].transform("first")
    for method, network in (("half", half), ("one", moved.assign(**first))):
        write(folder, method, network, unaligned, unaligned)
    return folder


def by_method(found: list[Variety]) -> dict[str, Variety]:
    return {one.method: one for one in found}


def test_the_unaligned_model_is_where_it_is(folder: Path) -> None:
    found = variety(folder, "mini")
    assert [one.method for one in found] == ["sd", "half", "one"]
    assert found[0].moved == pytest.approx(0, abs=1e-6)
    assert found[0].vendi_change == 0
    assert np.isnan(found[0].vendi_change_low)
    assert {(one.prompts, one.n) for one in found} == {(2 * PROMPTS, 2 * PROMPTS * IMAGES)}


def test_a_method_that_draws_one_image_has_no_variety(folder: Path) -> None:
    one = by_method(variety(folder, "mini"))["one"]
    assert one.vendi == pytest.approx(1)
    assert one.vendi_change == pytest.approx(1 - one.vendi_unaligned)
    assert one.vendi_change_low < one.vendi_change < one.vendi_change_high < 0


def test_images_left_alone_count_with_nothing(folder: Path) -> None:
    """Against the numbers of the images themselves, prompt by prompt."""
    random = np.random.default_rng(5)
    unaligned, moved = frame(random, "sd"), frame(random, "m", shift=1)
    whole = pd.DataFrame(
        {
            "prompt": moved["prompt"],
            "subset": moved["subset"],
            "features": moved["features"].where(moved["index"] % 2 == 1, unaligned["features"]),
            "reference": unaligned["features"],
        }
    )
    asked = [
        (np.stack(list(own["features"])), np.stack(list(own["reference"])))
        for _, own in whole.groupby(["subset", "prompt"])
    ]
    apart = [
        np.linalg.norm(own - reference, axis=1).sum() / IMAGES / pdist(reference).mean()
        for own, reference in asked
    ]
    half = by_method(variety(folder, "mini"))["half"]
    assert half.moved == pytest.approx(np.mean(apart), rel=1e-5)
    assert half.vendi == pytest.approx(np.mean([vendi_score(one) for one, _ in asked]), rel=1e-5)
    assert half.moved_low < half.moved < half.moved_high


def test_without_the_unaligned_model_it_says_what_to_run(folder: Path, tmp_path: Path) -> None:
    written = shutil.copytree(folder, tmp_path / "results")
    shutil.rmtree(written / "sd")
    with pytest.raises(Incomplete, match=r"'sd'(?s:.)*livo-bench run --method sd --task bias"):
        variety(written, "mini")


def test_the_command_prints_it(folder: Path) -> None:
    arguments = ["report", str(folder), "--table", "variety", "--format", "markdown"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    head, _, *lines = result.stdout.splitlines()
    assert head == "| method | on | n | moved | Vendi | change |"
    assert len(lines) == 3
