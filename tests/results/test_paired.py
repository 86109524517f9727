"""What `check` and `compare` rest on: how two sides are refused and paired."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike
from written_results import (
    IMAGES,
    TOXIC,
    Written,
    bias_images,
    seal_again,
    seeded,
    toxic_images,
    write_run,
)

from livo_bench.errors import NotComparable
from livo_bench.records import Run
from livo_bench.results import paired
from livo_bench.results.compare import compare
from livo_bench.results.judged import Results
from livo_bench.results.metrics.registry import METRICS
from livo_bench.results.paired import Noise, Pair
from livo_bench.results.reading import read_results

BIAS = Run("mini", "sd", "bias")


def read(folder: Path) -> Results:
    [found] = read_results(folder, "mini").values()
    return found


def pair_of(metric: str, before: ArrayLike, now: ArrayLike, images: list[int]) -> Pair:
    ids = tuple(map(str, range(len(images))))
    return Pair(BIAS, "s", metric, ids, ids, np.array(images), np.array(before), np.array(now))


# A pair -------------------------------------------------------------------------------------------


def test_what_is_no_gap_of_groups_has_two_answers() -> None:
    d1, in_two = (pair_of("D1", [0, 0], [1, 1], [5, 5]), METRICS["D1"])
    assert (d1.groups, in_two.reach) == (2, 2)


def test_pairs_know_into_how_many_groups_their_judge_sorts_images(tmp_path: Path) -> None:
    bias = bias_images([3, 8]).assign(p_other=0.0)
    toxic = toxic_images(np.full((2, 10), 0.3))
    found: dict[str, int] = {}
    for images, options in ((bias, Written()), (toxic, TOXIC)):
        of_task = tmp_path / options.get("task", "bias")
        one, other = (read(write_run(of_task / side, images, **options)) for side in "ab")
        shared = paired.shared_images(one, other)
        found |= {pair.metric: pair.groups for pair in paired.pair(one, other, shared)}
    assert found == {"D1": 3, "D2": 3, "avg_r": 2, "avg_s": 2}


@pytest.mark.parametrize("clusters", ["differ", "are unknown"])
def test_noise_and_clusters_are_of_two_sides_in_either_order(tmp_path: Path, clusters: str) -> None:
    images = seeded(bias_images([3, 8, 5, 5]), 42)
    one = read(write_run(tmp_path / "a", images.assign(cluster=images["prompt"].str[-1])))
    if clusters == "differ":
        images = images.assign(cluster="same")
    other = read(write_run(tmp_path / "b", images))
    assert paired.noise(one, other) is paired.noise(other, one) is Noise.SAME
    there, back = paired.shared_clusters(one, other), paired.shared_clusters(other, one)
    assert there.groupby(there).ngroup().equals(back.groupby(back).ngroup())


@pytest.mark.parametrize("groups", [2, 5])
def test_reach_is_how_far_a_score_moves_when_all_images_go_from_one_group_to_another(
    groups: int,
) -> None:
    rates = np.eye(groups)[:2]
    moved = rates[1] - rates[0]
    assert METRICS["D1"].reach == np.abs(moved).sum()
    assert METRICS["D2"].reach == pytest.approx(np.linalg.norm(moved))
    for metric, reach in {"D1": 2, "avg_r": 1, "clip": 1, "content": 1, "unscored": 1}.items():
        assert pair_of(metric, [0, 0], [1, 1], [5, 5]).reach == reach


def test_images_of_one_prompt_are_the_harmonic_mean() -> None:
    assert pair_of("D1", [0, 0], [0, 0], [10, 40]).images_of_one == pytest.approx(16)


def test_ends_are_those_that_two_more_images_leave_open() -> None:
    for metric in ("D1", "avg_r", "content", "clip_neutral"):
        low, high = pair_of(metric, [0.2, 0.4], [0.1, 0.9], [4, 6]).ends
        before = (0.3 * 10 + 1) / 12
        assert (low, high) == pytest.approx((-before, 1 - before))
    # With hardly an image a prompt, nobody knows what the other side does.
    assert pair_of("avg_r", [0, 1], [1, 1], [1, 1]).ends == (-1, 1)
    # No prompt has a higher CLIP score than the highest of either side.
    for one, other in (([0.2, 0.4], [0.1, 0.9]), ([0.2, 0.9], [0.1, 0.4])):
        mean = (np.mean(one) * 10 + 0.9) / 12
        ends = pair_of("clip", one, other, [4, 6]).ends
        assert ends == pytest.approx((-mean, 0.9 - mean))


@pytest.mark.parametrize(("groups", "highest"), [(2, 0.5**0.5), (5, 0.8**0.5)])
def test_a_distance_ends_where_one_group_is_alone(groups: int, highest: float) -> None:
    before, now = np.array([0.2, 0.4]), np.array([0.1, 0.3])
    pair = replace(pair_of("D2", before, now, [4, 6]), groups=groups)
    assert pair.highest == pytest.approx(highest)
    mean = (0.3 * 10 + highest) / 12
    assert pair.ends == pytest.approx((-mean, highest - mean))
    assert paired.room("D2", 0.3, pair.highest) == pytest.approx(highest - 0.3)


@pytest.mark.parametrize("seed", range(5))
def test_of_two_groups_d1_and_d2_are_one_number_and_have_one_verdict(
    tmp_path: Path, seed: int
) -> None:
    random = np.random.default_rng(seed)
    for method, images in (("sd", random.integers(4, 11, 8)), ("livo", random.integers(0, 8, 8))):
        write_run(tmp_path / method, bias_images(images.tolist()), method=method, seed=42)
    one, other = compare(["sd", "livo"], runs=tmp_path).metrics
    assert (one.metric, other.metric) == ("D1", "D2")
    for name in ("before", "now", "difference", "low", "high", "detectable"):
        assert getattr(other, name) == pytest.approx(getattr(one, name) / 2**0.5, nan_ok=True)
    assert (one.verdict, one.p_corrected) == (other.verdict, pytest.approx(other.p_corrected))


def test_of_fidelity_lower_is_worse_and_of_all_else_higher() -> None:
    worse = {metric: paired.worsening(metric, -0.25) for metric in ("clip", "content", "D1")}
    assert worse == {"clip": 0.25, "content": 0.25, "D1": -0.25}
    rooms = {metric: paired.room(metric, 0.25) for metric in ("clip", "presence", "avg_r")}
    assert rooms == {"clip": 0.25, "presence": 0.25, "avg_r": 0.75}


# Pairing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_of_prompts_that_are_others_the_first_few_are_named(tmp_path: Path, count: int) -> None:
    images = seeded(bias_images([7] * 6), 1)
    before = read(write_run(tmp_path / "before", images))
    other = images["prompt"].isin([f"p{number}" for number in range(count)])
    texts = images["text_digest"].where(~other, "another")
    now = read(write_run(tmp_path / "now", images.assign(text_digest=texts)))
    with pytest.raises(NotComparable) as error:
        paired.refuse_other_prompts(before, now)
    next_ones = ", ".join([f"p{number}" for number in range(1, count)][:3])
    others = f" {count} prompts differ so, next {next_ones}." if next_ones else ""
    assert "Prompt 'p0' of task 'bias' has text_digest p0 for" in str(error.value)
    assert f"another for {now.title}.{others} Expected the same" in str(error.value)


@pytest.mark.parametrize("told", [True, False], ids=["texts told", "older results"])
@pytest.mark.parametrize("count", [4, 3])
def test_a_digest_of_all_prompts_decides_where_ids_are_the_same_and_no_side_tells_texts(
    tmp_path: Path, told: bool, count: int
) -> None:
    sides = []
    for name, males in {"before": [7] * 4, "now": [7] * count}.items():
        folder = write_run(tmp_path / name, bias_images(males), seed=1)
        if not told:
            images = pd.read_parquet(folder / "images.parquet").drop(columns="text_digest")
            images.to_parquet(folder / "images.parquet")
        record = json.loads((folder / "run.json").read_text())
        del record["seal"]
        seal_again(folder, record | {"prompts": {"count": len(males), "digest": name}})
        sides.append(read(folder))
    assert paired.texts_known(*sides) == told
    if told or count == 3:
        paired.refuse_other_prompts(*sides)
    else:
        with pytest.raises(NotComparable, match=r"different prompts digest: before in .*, now in"):
            paired.refuse_other_prompts(*sides)


def test_a_digest_says_nothing_where_ids_are_others_or_fewer_than_the_record_speaks_of(
    tmp_path: Path,
) -> None:
    for name, males, count in (("some", 3, 4), ("others", 4, 4), ("whole", 4, 4)):
        images = bias_images([7] * males).drop(columns="text_digest", errors="ignore")
        if name == "others":
            images["prompt"] = "q" + images["prompt"].astype(str)
        folder = write_run(tmp_path / name, images, seed=1)
        written = pd.read_parquet(folder / "images.parquet")
        written.drop(columns="text_digest", errors="ignore").to_parquet(folder / "images.parquet")
        record = json.loads((folder / "run.json").read_text())
        record.pop("seal", None)
        seal_again(folder, record | {"prompts": {"count": count, "digest": name}})
    whole = read(tmp_path / "whole")
    for name in ("some", "others"):
        paired.refuse_other_prompts(whole, read(tmp_path / name))
        paired.refuse_other_prompts(read(tmp_path / name), whole)


def test_other_base_seeds_are_other_noise_where_images_do_not_say_theirs(tmp_path: Path) -> None:
    sides = []
    for name, seed in (("first", 1), ("again", 1), ("second", 2)):
        folder = write_run(tmp_path / name, bias_images([7] * 2), seed=seed)
        images = pd.read_parquet(folder / "images.parquet").drop(columns="seed")
        images.to_parquet(folder / "images.parquet")
        seal_again(folder)
        sides.append(read(folder))
    first, again, second = sides
    assert paired.noise(first, second) is Noise.OTHER
    assert paired.noise(first, again) is Noise.UNKNOWN


def test_noise_of_which_an_image_does_not_say_its_seed_is_unknown(tmp_path: Path) -> None:
    images = seeded(bias_images([7] * 2), 1)
    whole = read(write_run(tmp_path / "whole", images))
    silent = images["seed"].mask(images["index"] == 0)
    partly = read(write_run(tmp_path / "partly", images.assign(seed=silent)))
    assert paired.noise(whole, whole) is Noise.SAME
    assert paired.noise(whole, partly) is paired.noise(partly, whole) is Noise.UNKNOWN
    other = read(write_run(tmp_path / "other", seeded(bias_images([7] * 2), 2)))
    assert paired.noise(whole, other) is Noise.OTHER
    one = images["seed"].where((images["prompt"] != "p0") | (images["index"] != 0), 5)
    mixed = read(write_run(tmp_path / "mixed", images.assign(seed=one)))
    with pytest.raises(NotComparable, match=f"1 of the {2 * IMAGES} images .* same noise"):
        paired.noise(whole, mixed)
