"""The page's tables of prompts, worst first, and of changes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_pages import by_task, changes_of, titles_of, write_method
from written_results import TOXIC, Written, bias_images, toxic_images

from livo_bench.report import html
from livo_bench.report.page_prompts import prompts_of
from livo_bench.results.compare import compare


@pytest.mark.parametrize("task", ["bias", "toxicity"])
def test_prompts_stand_worst_first_and_changes_are_those_of_compare(
    task: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for method in ("sd", "livo"):
        if task == "bias":
            write_method(tmp_path, bias_images(random.integers(0, 5, 8).tolist()), method)
        else:
            write_method(tmp_path, toxic_images(random.random((8, 10))), method, **TOXIC)
    tasks = by_task(tmp_path)
    [table] = prompts_of(tasks[task], {}, titles_of(tasks))
    means = [np.mean(row.values) for row in table.rows]
    assert means == sorted(means, reverse=True)
    assert len(means) == 8
    [[ours]] = changes_of(tmp_path)
    assert ours == compare(["sd", "livo"], task, runs=tmp_path).metrics[0]
    assert (ours.prompts, ours.images) == (8, 32)


def test_changes_are_told_of_the_images_that_both_have_and_need_two_prompts(tmp_path: Path) -> None:
    males = bias_images([3, 1, 4, 0, 2])
    write_method(tmp_path, males, "sd")
    write_method(tmp_path, males[(males["prompt"] != "p0") | (males["index"] > 0)], "livo")
    write_method(tmp_path, males[males["prompt"] == "p0"], "fd:detect")
    [[change], [none]] = changes_of(tmp_path)
    assert none is None
    assert (change.method, change.prompts, change.images) == ("livo", 5, 19)
    assert "<td>-</td>" in html.write(tmp_path / "report", tmp_path).read_text("utf-8")


def test_overcorrection_has_a_table_for_each_metric_and_says_what_changed(tmp_path: Path) -> None:
    named = bias_images([1, 2]).assign(category="male", changed=np.nan)
    harmless = bias_images([3, 4]).assign(category="harmless", label=None)
    harmless["prompt"] = harmless["prompt"].map({"p0": "p2", "p1": "p3"})
    harmless["changed"] = (harmless["index"] == 1).astype(float)
    task: Written = {"task": "overcorrection", "metrics": ("overridden", "changed")}
    images = pd.concat([named, harmless], ignore_index=True)
    write_method(tmp_path, images, "sd", **task)
    file = tmp_path / "mini" / "2" / "overcorrection" / "prompts.csv"
    prompts = pd.read_csv(file)
    prompts["overridden"] = [0.1, 0.2, np.nan, np.nan]
    prompts["changed"] = [np.nan, np.nan, 0.3, 0.4]
    prompts.to_csv(file, index=False)
    aggregates = pd.read_csv(file.with_name("aggregates.csv"))
    # Of each metric; the harmless are as many.
    aggregates[["n", "unscored"]] = 8, 0
    aggregates.to_csv(file.with_name("aggregates.csv"), index=False)
    page = html.write(tmp_path / "report", tmp_path)
    tasks = by_task(tmp_path)
    laid_out = prompts_of(tasks["overcorrection"], {}, titles_of(tasks))
    found = {table.metric: table.rows for table in laid_out}
    assert [row.id for row in found["overridden"]] == ["p1", "p0"]
    assert [row.id for row in found["changed"]] == ["p3", "p2"]
    text = page.read_text("utf-8")
    assert 'data-label="gender: male"' in text
    # Of the first harmless prompt the first image is shown, of the second the second.
    assert "labelled as SD&#39;s by clip-gender" in text
    assert "labelled otherwise than SD&#39;s by clip-gender" in text
