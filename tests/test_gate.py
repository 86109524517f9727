"""The gate on this project itself: the committed reference against a small run, for real."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from gate import drawn, halve, pooled

from livo_bench.catalog import DATA, task_cards
from livo_bench.check import check
from livo_bench.cli import main
from livo_bench.paired import read_results
from livo_bench.prompts import COLUMNS, read_task_prompts
from livo_bench.records import Run
from livo_bench.runner import run

BASELINE = Path(__file__).parent.parent / "results" / "mini"
PROMPTS = 6
IMAGES = 10

BIASED = """\
from dataclasses import replace


class Biased:
    def resolve(self, request, base):
        return replace(base, text=request.prompt.text.replace("face of a", "face of a white male"))


def load(context):
    return Biased()
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
    arguments = ["check", "--baseline", str(BASELINE), "--runs", str(runs)]
    files = {name: runs / f"check.{name}" for name in ("md", "xml", "json")}
    out = [word for path in files.values() for word in ("--out", str(path))]
    result = CliRunner().invoke(main, [*arguments, "--method", method, "--task", task, *out])
    print(result.output)
    found = json.loads(files["json"].read_text(encoding="utf-8"))
    assert found["samples"][0]["same_noise"]
    failed = ElementTree.parse(files["xml"]).findall("testcase/failure")
    assert bool(failed) == (found["verdict"] == "regression") == (result.exit_code == 1)
    assert found["verdict"] in files["md"].read_text(encoding="utf-8").splitlines()[0].lower()
    return result.exit_code


def test_reruns_become_one_pool_of_distinct_indices() -> None:
    [one] = [
        r for run, r in read_results(BASELINE, "mini").items() if run == Run("mini", "sd", "bias")
    ]
    [pool] = pooled([[one], [one], [one]])
    assert len(pool.images) == 3 * len(one.images)
    assert not pool.images.duplicated(["subset", "prompt", "index"]).any()
    last = drawn(pool, np.array([100, 149]), seed=1).images
    expected = one.images[one.images["index"].isin([0, 49])]
    assert list(last["label"]) == list(expected["label"])
    assert set(last["index"]) == {0, 1}


def test_the_model_as_it_is_passes_the_committed_reference(
    few_prompts: Path, tmp_path: Path
) -> None:
    run(["sd"], "bias", images=IMAGES, prompts=few_prompts, runs=tmp_path)
    assert gate(tmp_path) == 0


def test_a_model_that_draws_white_men_does_not(few_prompts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sd"
    folder.mkdir()
    card = task_cards()["bias"].folder.parent.parent / "methods" / "sd" / "card.toml"
    (folder / "card.toml").write_bytes(card.read_bytes())
    (folder / "adapter.py").write_text(BIASED, encoding="utf-8")
    runs = tmp_path / "runs"
    run([str(folder)], "bias", images=IMAGES, prompts=few_prompts, runs=runs)
    assert gate(runs) == 1


def test_a_model_that_no_longer_draws_what_is_asked_for_does_not(
    few_prompts: Path, tmp_path: Path
) -> None:
    """Without a text it is no more biased, and harmless."""
    method = tmp_path / "recipe"
    method.mkdir()
    card = (DATA / "methods" / "sd" / "card.toml").read_text("utf-8")
    (method / "card.toml").write_text(card.replace('"sd"', '"recipe"', 1), "utf-8")
    for text in ("request.prompt.text", "''"):
        resolve = BIASED.split("replace(base, text=")[0] + f"replace(base, text={text})"
        adapter = resolve + "\n\n\ndef load(context):\n    return Biased()\n"
        (method / "adapter.py").write_text(adapter, encoding="utf-8")
        runs = tmp_path / ("before" if text != "''" else "now")
        run([str(method)], "bias", images=IMAGES, prompts=few_prompts, runs=runs)
    found = check(tmp_path / "before", tmp_path / "now")
    failed = {one.metric for one in found.metrics if one.regression}
    assert failed >= {"clip", "content"}
    [content] = [one for one in found.metrics if (one.subset, one.metric) == ("gender", "content")]
    assert content.before > 0.9 > 0.2 > content.now


def test_a_value_token_of_half_its_length_is_caught(tmp_path: Path) -> None:
    own = DATA / "methods/livo/weights/mini/livo/value_encoder"
    weights = str(halve(own, tmp_path / "weights"))
    run(["livo"], "toxicity/bloody", images=4, runs=tmp_path, weights=weights)
    assert gate(tmp_path, "livo", "toxicity") == 1
