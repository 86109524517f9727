"""Scores at several thresholds, from stored judgements."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from written_results import SCORERS, TOXIC, Written, bias_images, refusing, toxic_images, write_run

from livo_bench.cli import main
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.records import Run
from livo_bench.report.thresholds import THRESHOLDS, Reading, as_rows, thresholds
from livo_bench.results.frames import ALL
from livo_bench.results.metrics import bias, toxicity

P_YES = np.random.default_rng(0).uniform(size=(8, 10))


def by_metric(readings: list[Reading], threshold: float) -> dict[str, Reading]:
    return {reading.metric: reading for reading in readings if reading.threshold == threshold}


def test_toxicity_is_what_it_would_be_with_another_threshold(tmp_path: Path) -> None:
    images = toxic_images(P_YES)
    write_run(tmp_path / "sd", images, **TOXIC)
    readings = thresholds(tmp_path)
    assert {reading.metric for reading in readings} == {"avg_r", "prob", "prob_exact"}
    run = Run("mini", "sd", "toxicity")
    for threshold in THRESHOLDS:
        scored = toxicity.summarise(images, run, SCORERS, threshold).aggregates
        expected = {row.metric: row for row in scored if row.category == ALL}
        for metric, reading in by_metric(readings, threshold).items():
            row = expected[metric]
            assert reading.value == pytest.approx(row.value)
            assert (reading.low, reading.high) == pytest.approx((row.low, row.high))
            assert (reading.n, reading.left_out) == (80, 0)
    rates = [by_metric(readings, threshold)["avg_r"].value for threshold in THRESHOLDS]
    assert rates == pytest.approx([(threshold < P_YES).mean() for threshold in THRESHOLDS])
    assert len(set(rates)) == len(THRESHOLDS)


def test_intervals_resample_concepts(tmp_path: Path) -> None:
    images = toxic_images(P_YES)
    images["concept"] = images["prompt"].map(lambda prompt: f"scene {int(prompt[1:]) // 2}")
    write_run(tmp_path / "sd", images, **TOXIC)
    scored = toxicity.summarise(images, Run("mini", "sd", "toxicity"), SCORERS).aggregates
    expected = {row.metric: row for row in scored if row.category == ALL}
    for metric, reading in by_metric(thresholds(tmp_path), 0.5).items():
        row = expected[metric]
        assert (reading.low, reading.high) == pytest.approx((row.low, row.high))


def test_bias_leaves_out_labels_that_the_judge_was_not_sure_of(tmp_path: Path) -> None:
    images = bias_images([8, 5, 1, 6])
    unsure = images["index"] < 2
    images.loc[unsure, ["p_male", "p_female"]] = 0.65, 0.35
    write_run(tmp_path / "sd", images)
    readings = thresholds(tmp_path)
    run, groups = Run("mini", "sd", "bias"), {"gender": ("male", "female")}
    for threshold in THRESHOLDS:
        kept = images if threshold < 0.65 else images[~unsure]
        scored = bias.summarise(kept, run, groups, SCORERS).aggregates
        expected = {row.metric: row.value for row in scored if row.category == ALL}
        for metric, reading in by_metric(readings, threshold).items():
            assert reading.value == pytest.approx(expected[metric])
            assert (reading.n, reading.left_out) == (len(kept), 40 - len(kept))


def test_a_group_that_no_image_shows_still_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", bias_images([10, 10]))
    assert {reading.value for reading in thresholds(tmp_path) if reading.metric == "D1"} == {1}


def test_images_without_a_score_are_neither_counted_nor_left_out(tmp_path: Path) -> None:
    images = toxic_images(P_YES)
    images.loc[images["index"] == 3, ["label", "p_yes", "p_no", "unscored"]] = (
        None,
        np.nan,
        np.nan,
        "blank image",
    )
    write_run(tmp_path / "sd", images, **TOXIC)
    assert {(reading.n, reading.left_out) for reading in thresholds(tmp_path)} == {(72, 0)}


def test_people_read_one_row_a_score(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", toxic_images(P_YES), **TOXIC)
    readings = thresholds(tmp_path)
    row = as_rows(readings)[0]
    assert list(row) == [
        "method", "subset", "metric", "0.3", "0.4", "0.5", "0.6", "0.7",
        "moves by", "95 % at 0.5", "images", "left out at most",
    ]  # fmt: skip
    values = [100 * reading.value for reading in readings if reading.metric == row["metric"]]
    assert row["moves by"] == f"{max(values) - min(values):.1f}"
    middle = next(r for r in readings if (r.metric, r.threshold) == (row["metric"], 0.5))
    assert row["95 % at 0.5"] == f"[{100 * middle.low:.1f}, {100 * middle.high:.1f}]"


def test_the_command_prints_the_functions_numbers(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", bias_images([8, 5, 1]))
    arguments = ["report", str(tmp_path), "--table", "thresholds"]
    printed = CliRunner().invoke(main, [*arguments, "--format", "json"], catch_exceptions=False)
    readings = thresholds(tmp_path)
    assert [row["value"] for row in json.loads(printed.stdout)] == [r.value for r in readings]
    table = CliRunner().invoke(main, arguments, catch_exceptions=False).stdout
    assert "bias/gender" in table
    assert "moves" in table


def test_scores_of_two_judges_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", bias_images([8, 5]))
    write_run(tmp_path / "livo", bias_images([6, 5]), "livo", scorers={"gender": "clip-2"})
    with pytest.raises(NotComparable, match="'clip-2' for method"):
        thresholds(tmp_path)


def test_images_without_a_label_are_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "sd", bias_images([8, 5])) / "images.parquet"
    pd.read_parquet(path).drop(columns="label").to_parquet(path)
    with pytest.raises(BadInput, match="no valid answer"):
        thresholds(tmp_path)


def test_results_without_images_are_incomplete(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", bias_images([8, 5])).joinpath("images.parquet").unlink()
    with pytest.raises(Incomplete, match=r"no images\.parquet"):
        thresholds(tmp_path)
    with pytest.raises(Incomplete, match="There is no folder"):
        thresholds(tmp_path / "none")


def test_one_prompt_has_values_and_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path / "sd", bias_images([8]))
    readings = thresholds(tmp_path)
    assert np.isnan([reading.low for reading in readings]).all()
    assert as_rows([replace(readings[0], value=0.25)])[0]["95 % at 0.3"] == ""


@pytest.mark.parametrize("task", ["bias", "toxicity"])
def test_a_method_without_a_scored_image_has_dashes(tmp_path: Path, task: str) -> None:
    images = bias_images([3, 4])
    options: Written = {}
    if task == "toxicity":
        images, options = toxic_images(P_YES[:2]), TOXIC
    write_run(tmp_path / "sd", images, **options)
    unscored = images.assign(unscored="blank image", label=None)
    unscored[[str(name) for name in images if str(name).startswith("p_")]] = np.nan
    write_run(tmp_path / "noise", unscored, "noise", **options)
    readings = [reading for reading in thresholds(tmp_path) if reading.method == "noise"]
    assert {reading.n for reading in readings} == {0}
    assert np.isnan([reading.value for reading in readings]).all()
    for row in as_rows(readings):
        assert (row["0.5"], row["moves by"], row["95 % at 0.5"]) == ("-", "-", "")
    assert as_rows(thresholds(tmp_path))[-1]["0.5"] != "-"


def test_refused_images_are_beside_the_others_as_harmless_ones(tmp_path: Path) -> None:
    images = toxic_images(P_YES)
    gone = images["index"] < 2
    write_run(tmp_path / "sd", refusing(images, gone), **TOXIC)
    run = Run("mini", "sd", "toxicity")
    for threshold in THRESHOLDS:
        rows, _ = toxicity.summarise(refusing(images, gone), run, SCORERS, threshold)
        expected = {row.metric: row for row in rows if row.category == ALL}
        readings = by_metric(thresholds(tmp_path), threshold)
        assert list(readings)[:2] == ["avg_r", "avg_r_harmless"]
        for metric in ("avg_r", "avg_r_harmless"):
            assert readings[metric].value == pytest.approx(expected[metric].value)
            assert (readings[metric].n, readings[metric].left_out) == (expected[metric].n, 0)
