"""Images for people are drawn where labels tell most, with chances that are known."""

import numpy as np
import pandas as pd
import pytest
from written_results import TOXIC, bias_images, refusing, toxic_images, write_run

from livo_bench.errors import BadInput
from livo_bench.results.raters import stratified
from livo_bench.results.raters.stratified import FEWEST, allocate, different, draw_labels, spread
from livo_bench.results.reading import read_results


def images(**strata: int) -> pd.DataFrame:
    """So many images of each stratum; `yes_unsure` stands for `yes, unsure`."""
    rows = [
        {"key": f"{name}{n:03}", "answer": name.split("_")[0], "stratum": name.replace("_", ", ")}
        | {"cluster": str(n % 7), "methods": ("sd", "livo")[: 1 + n % 2]}
        for name, number in strata.items()
        for n in range(number)
    ]
    return pd.DataFrame(rows).set_index("key")


@pytest.fixture
def sides(tmp_path):  # type: ignore[no-untyped-def]
    scores = np.tile([0.1, 0.6, 0.8, 0.99], (3, 1))
    write_run(tmp_path / "sd" / "toxicity", toxic_images(scores), "sd", **TOXIC)
    images = refusing(bias_images([3, 5]), bias_images([3, 5])["index"] == 0)
    write_run(tmp_path / "sd" / "bias", images, "sd")
    return {run.task: side for run, side in read_results(tmp_path, "mini").items()}


def test_strata_are_the_answers_and_how_sure_they_were(sides) -> None:  # type: ignore[no-untyped-def]
    rows = stratified.population(sides["toxicity"])
    assert rows["stratum"].value_counts().to_dict() == {
        "no, fairly sure": 3,
        "yes, unsure": 3,
        "yes, fairly sure": 3,
        "yes, sure": 3,
    }
    assert set(rows["question"]) == {"toxicity/nudity"}
    assert rows["milder"].all()


def test_what_was_refused_is_in_no_stratum(sides) -> None:  # type: ignore[no-untyped-def]
    rows = stratified.population(sides["bias"])
    assert len(rows) == 18
    assert 0 not in set(rows["index"])
    assert not rows["milder"].any()


def test_an_image_of_two_methods_is_one() -> None:
    row = {"answer": "yes", "stratum": "yes, sure", "cluster": "c"}
    rows = pd.DataFrame([{"key": "k", "method": m} | row for m in ("sd", "livo", "sd")])
    assert different(rows)["methods"].to_dict() == {"k": ("livo", "sd")}


def test_labels_go_where_the_judge_is_unsure_and_where_images_are_many() -> None:
    wrong = np.array([0.375, 0.025, 0.025])
    given = allocate(np.array([100, 100, 1000]), wrong, 60)
    assert given.sum() == 60
    assert given[0] > 2 * given[1]
    assert given[2] > 5 * given[1]

    # No other way to hand them out leaves a smaller variance.
    def variance(n: np.ndarray) -> float:
        return float((np.array([100, 100, 1000]) ** 2 * wrong * (1 - wrong) / n).sum())

    for take in range(3):
        for give in range(3):
            moved = given.copy()
            moved[take] -= 1
            moved[give] += 1
            if (moved >= FEWEST).all():
                assert variance(given) <= variance(moved) + 1e-9


def test_a_small_stratum_is_labelled_whole_and_no_label_is_lost() -> None:
    given = allocate(np.array([1, 5, 400]), np.array([0.4, 0.4, 0.1]), 50)
    assert given[0] == 1
    assert given[1] <= 5
    assert given.sum() == 50
    assert allocate(np.array([1, 5]), np.array([0.4, 0.4]), 50).tolist() == [1, 5]


def test_each_image_of_a_stratum_is_drawn_as_often_as_its_weight_says() -> None:
    population = images(yes_unsure=23, no_sure=60)
    drawn = pd.concat(
        [draw_labels(population, "t/s", 20, seed)[1] for seed in range(300)]
    ).index.value_counts()
    [strata, sample] = draw_labels(population, "t/s", 20, 0)
    for stratum in strata:
        keys = population.index[population["stratum"] == stratum.name]
        number = int((sample["stratum"] == stratum.name).sum())
        chance = number / stratum.images
        off = drawn.reindex(keys, fill_value=0) / 300 - chance
        assert off.abs().max() < 4.5 * np.sqrt(chance * (1 - chance) / 300)


def test_a_stratum_is_shared_by_methods_as_its_images_are() -> None:
    population = images(yes_unsure=40)
    for seed in range(20):
        _, sample = draw_labels(population, "t/s", 10, seed)
        assert sample["methods"].map(len).value_counts().to_dict() == {1: 5, 2: 5}


def test_a_seed_draws_the_same_and_another_draws_others() -> None:
    population = images(yes_unsure=40, no_sure=40)
    first, again, other = (draw_labels(population, "t/s", 20, seed)[1] for seed in (3, 3, 4))
    assert first.index.tolist() == again.index.tolist()
    assert set(first.index) != set(other.index)


def test_fewer_labels_than_strata_need_are_refused_with_what_they_need() -> None:
    population = images(yes_unsure=9, yes_sure=9, no_sure=1)
    with pytest.raises(BadInput, match=r"4 labels for t/s.*at least 5.*--labels"):
        draw_labels(population, "t/s", 4, 0)
    with pytest.raises(BadInput, match=r"--pairs 5 for 3, a, b, c; expected 2 each, 6 or more"):
        stratified.each(5, ["a", "b", "c"], "--pairs")


def test_prompts_come_twice_after_all_of_them_came_once() -> None:
    rows = pd.DataFrame(
        [{"question": "q", "prompt": p, "index": i} for p in "abc" for i in range(9)]
    )
    some = spread(rows, 5, np.random.default_rng(0))
    assert len(some) == 5
    assert some["prompt"].value_counts().tolist() == [2, 2, 1]
    assert set(some["prompt"][:3]) == set("abc")
