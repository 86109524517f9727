"""The gate on this project itself: the committed reference against a small run, for real."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from gate import alarms, drawn, halve, pooled
from places import REFERENCE

from livo_bench.cards.catalog import DATA, task_cards
from livo_bench.cards.prompts import COLUMNS, read_task_prompts
from livo_bench.cli import main
from livo_bench.records import Run
from livo_bench.results.check import check
from livo_bench.results.frames import SEED
from livo_bench.results.reading import read_results
from livo_bench.runs.runner import run

NOISE = "same" if SEED in pd.read_parquet(REFERENCE / "sd/bias/images.parquet") else "unknown"
"""What a run with the reference's seed has: the reference may be from before seeds were written."""
PROMPTS = 6
IMAGES = 10

ADAPTER = """\
from dataclasses import replace


class Own:
    def resolve(self, request, base):
        return replace(base, text={text})


def load(context):
    return Own()
"""


@pytest.fixture(scope="module")
def few_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of the evaluation prompts of the bias task, under their own ids."""
    chosen = read_task_prompts(task_cards()["bias"], "mini")[::4][:PROMPTS]
    path = tmp_path_factory.mktemp("prompts") / "few.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(prompt, name) for name in COLUMNS] for prompt in chosen)
    return path


def gate(runs: Path, method: str = "sd", task: str = "bias") -> int:
    arguments = ["check", "--baseline", str(REFERENCE), "--runs", str(runs)]
    files = {name: runs / f"check.{name}" for name in ("md", "xml", "json")}
    out = [word for path in files.values() for word in ("--out", str(path))]
    result = CliRunner().invoke(main, [*arguments, "--method", method, "--task", task, *out])
    print(result.output)
    found = json.loads(files["json"].read_text(encoding="utf-8"))
    assert found["samples"][0]["noise"] == NOISE
    failed = ElementTree.parse(files["xml"]).findall("testcase/failure")
    assert bool(failed) == (found["verdict"] == "regression") == (result.exit_code == 1)
    assert found["verdict"] in files["md"].read_text(encoding="utf-8").splitlines()[0].lower()
    return result.exit_code


def test_reruns_become_one_pool_of_distinct_indices() -> None:
    [one] = [
        r for run, r in read_results(REFERENCE, "mini").items() if run == Run("mini", "sd", "bias")
    ]
    [pool] = pooled([[one], [one], [one]])
    assert len(pool.images) == 3 * len(one.images)
    assert not pool.images.duplicated(["subset", "prompt", "index"]).any()
    last = drawn(pool, np.array([100, 149]), seed=1).images
    expected = one.images[one.images["index"].isin([0, 49])]
    assert list(last["label"]) == list(expected["label"])
    assert set(last["index"]) == {0, 1}


@pytest.fixture(scope="module")
def as_it_is(few_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and images of the model, made here."""
    runs = tmp_path_factory.mktemp("as-it-is")
    run(["sd"], "bias", images=IMAGES, prompts=few_prompts, runs=runs)
    return runs


def test_the_model_as_it_is_passes_the_committed_reference(as_it_is: Path) -> None:
    assert gate(as_it_is) == 0


@dataclass(frozen=True)
class Own:
    """A method that was SD, and what it was."""

    folder: Path
    prompts: Path

    def run(self, text: str, runs: Path) -> Path:
        """Results when it hands the model this text."""
        (self.folder / "adapter.py").write_text(ADAPTER.format(text=text), encoding="utf-8")
        run([str(self.folder)], "bias", images=IMAGES, prompts=self.prompts, runs=runs)
        return runs

    @property
    def before(self) -> Path:
        return self.folder.parent / "before"

    def regressions(self, text: str, runs: Path) -> set[str]:
        """Metrics that fail when it hands the model another text."""
        # What it is held against lies in the store.
        shutil.copytree(self.before / "store", runs / "store")
        found = check(self.before, self.run(text, runs)).metrics
        return {one.metric for one in found if one.regression}


@pytest.fixture(scope="module")
def own(as_it_is: Path, few_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Own:
    made = Own(tmp_path_factory.mktemp("own") / "own", few_prompts)
    made.folder.mkdir()
    card = (DATA / "methods" / "sd" / "card.toml").read_text("utf-8")
    (made.folder / "card.toml").write_text(card.replace('"sd"', '"own"', 1), "utf-8")
    shutil.copytree(as_it_is / "store", made.before / "store")
    made.run("request.prompt.text", made.before)
    return made


def test_a_model_that_draws_white_men_does_not(own: Own, tmp_path: Path) -> None:
    text = 'request.prompt.text.replace("face of a", "face of a white male")'
    assert {"D1", "D2"} & own.regressions(text, tmp_path / "now")


def test_a_model_that_no_longer_draws_what_is_asked_for_does_not(own: Own, tmp_path: Path) -> None:
    assert {"clip", "content"} <= own.regressions("''", tmp_path / "now")


def test_resamples_of_a_pool_are_checked_like_runs(
    as_it_is: Path, few_prompts: Path, tmp_path: Path
) -> None:
    shutil.copytree(as_it_is / "store", tmp_path / "store")
    run(["sd"], "bias/gender", images=IMAGES, prompts=few_prompts, runs=tmp_path)
    pool = pooled([list(read_results(tmp_path, "mini").values())])
    assert alarms(pool, IMAGES // 2, 3, 0.0, (0.02, 0.2)) == (0, 0, 0)
    failed, by_mean, by_prompt = alarms(pool, IMAGES // 2, 3, None, (0.02, 0.2))
    assert max(by_mean, by_prompt) <= failed <= min(3, by_mean + by_prompt)


def test_a_value_token_of_a_quarter_of_its_length_is_caught(tmp_path: Path) -> None:
    own = DATA / "methods/livo/weights/mini/livo/value_encoder"
    weights = str(halve(halve(own, tmp_path / "half"), tmp_path / "weights"))
    run(["livo"], "toxicity/bloody", images=4, runs=tmp_path, weights=weights)
    assert gate(tmp_path, "livo", "toxicity") == 1
