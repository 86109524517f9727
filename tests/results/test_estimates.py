"""What labelled images say of all, held against populations whose truth is known."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from livo_bench.results.metrics.judge_error import unbiased_rates
from livo_bench.results.raters.drawn import LABEL, UNSURE, Draw, Item, Question, Stratum
from livo_bench.results.raters.estimates import Labelled, Share, images_worth
from livo_bench.results.raters.stratified import draw_labels

QUESTION = Question("t/s", LABEL, "?", ("yes", "no", UNSURE), "judge-1")
DRAWS = 100
BANDS = {"unsure": 0.3, "fairly sure": 0.1, "sure": 0.01}
"""How often the judge is wrong in each band; of `livo` half as often again."""


@cache
def population() -> pd.DataFrame:
    """1,500 images of two methods, some of both, whose truth is known."""
    random = np.random.default_rng(5)
    number = 1500
    band = random.choice(list(BANDS), number, p=[0.15, 0.25, 0.6])
    methods = [(("livo",), ("sd",), ("livo", "sd"))[n % 3] for n in range(number)]
    truth = np.where(random.random(number) < np.where(["sd" in m for m in methods], 0.6, 0.2), 1, 0)
    more = np.array([1.5 if m == ("livo",) else 1.0 for m in methods])
    wrong = random.random(number) < more * np.array([BANDS[name] for name in band])
    answer = np.where(truth ^ wrong, "yes", "no")
    return pd.DataFrame(
        {
            "answer": answer,
            "stratum": [f"{a}, {b}" for a, b in zip(answer, band, strict=True)],
            "cluster": [str(n) for n in range(number)],
            "methods": pd.Series(methods),
            "truth": np.where(truth, "yes", "no"),
        }
    )


def truth_of(method: str) -> float:
    images = population()
    own = images[images["methods"].map(lambda made: method in made)]
    return float((own["truth"] == "yes").mean())


def labelled(seed: int, labels: int = 120) -> Labelled:
    """What two raters who are always right say of a sample."""
    strata, drawn = draw_labels(population(), QUESTION.id, labels, seed)
    items = tuple(
        Item(str(n), QUESTION.id, (str(key),), "", row["cluster"], row["methods"], row["stratum"])
        for n, (key, row) in enumerate(drawn.iterrows())
    )
    draw = Draw("mini", seed, "sd", (QUESTION,), tuple(strata), items, {})
    answers = [
        {"item": str(n), "rater": rater, "answer": truth}
        for n, truth in enumerate(drawn["truth"])
        for rater in "ab"
    ]
    return Labelled.of(draw, QUESTION, pd.DataFrame(answers))


@cache
def samples() -> list[Labelled]:
    return [labelled(seed) for seed in range(DRAWS)]


@cache
def shares() -> list[Share]:
    return [share for one in samples() for share in one.shares()]


@pytest.mark.parametrize("method", ["sd", "livo"])
def test_shares_are_unbiased_and_their_intervals_hold_the_truth(method: str) -> None:
    found = [one for one in shares() if (one.method, one.label) == (method, "yes")]
    values = np.array([one.value for one in found])
    truth = truth_of(method)
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(DRAWS)
    held = np.mean([one.interval.low <= truth <= one.interval.high for one in found])
    assert held >= 0.9
    # The judge alone, and labelled images without their weights, are off.
    assert abs(found[0].judged - truth) > 0.01


def test_the_confusion_matrix_is_that_of_all_images() -> None:
    images = population()
    truth = pd.crosstab(images["truth"], images["answer"], normalize="index")
    truth = truth.loc[list(QUESTION.classes), list(QUESTION.classes)]
    totals = np.mean([one.totals for one in samples()], axis=0)
    spread = np.std([one.totals for one in samples()], axis=0)
    known = pd.crosstab(images["truth"], images["answer"]).loc[truth.index, truth.columns]
    assert (np.abs(totals - known.to_numpy()) < 3 * spread / np.sqrt(DRAWS) + 1e-9).all()
    judges = [one.confusion() for one in samples()]
    rates = np.mean([judge.rates for judge in judges if judge is not None], axis=0)
    assert np.abs(rates - truth.to_numpy()).max() < 0.01


def test_rates_that_the_matrix_corrects_hold_the_truth_with_its_error() -> None:
    images = population()
    judged = np.array([[(images["answer"] == name).mean() for name in QUESTION.classes]])
    truth = (images["truth"] == "yes").mean()
    held = []
    for one in samples():
        judge = one.confusion()
        assert judge is not None
        low, high = np.quantile(unbiased_rates(judged, judge.drawn())[:, 0, 0], [0.025, 0.975])
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.9


def test_without_weights_the_matrix_would_be_wrong() -> None:
    def right(weighted: bool) -> float:
        rates = []
        for one in samples():
            images = one.images
            size = images.groupby("stratum").size()
            known = {stratum.name: stratum.images for stratum in one.strata}
            weight = images["stratum"].map(pd.Series(known) / size)
            own = images["yes"] * (weight if weighted else 1)
            rates.append(own[images["stratum"].str.startswith("yes")].sum() / own.sum())
        return float(np.mean(rates))

    images = population()
    truth = (images["answer"] == "yes")[images["truth"] == "yes"].mean()
    assert abs(right(True) - truth) < 0.01
    assert abs(right(False) - truth) > 0.03


def of(rows: list[tuple[str, dict[str, str]]], sizes: dict[str, int]) -> Labelled:
    """Answers of raters by image: its stratum, and what each rater said."""
    items = tuple(
        Item(str(n), QUESTION.id, (str(n),), "", str(n), ("sd",), stratum)
        for n, (stratum, _) in enumerate(rows)
    )
    strata = tuple(
        Stratum(QUESTION.id, name, name.split(",")[0], number, {"sd": number})
        for name, number in sizes.items()
    )
    answers = pd.DataFrame(
        [
            {"item": str(n), "rater": rater, "answer": answer}
            for n, (_, said) in enumerate(rows)
            for rater, answer in said.items()
        ]
    )
    return Labelled.of(Draw("m", 0, "sd", (QUESTION,), strata, items, {}), QUESTION, answers)


def test_of_raters_who_disagree_each_counts_half_and_who_is_unsure_does_not() -> None:
    found = of(
        [
            ("yes, sure", {"a": "yes", "b": "no"}),
            ("yes, sure", {"a": "yes", "b": "yes"}),
            ("no, sure", {"a": "no", "b": UNSURE}),
            ("no, sure", {"a": UNSURE, "b": UNSURE}),
        ],
        {"yes, sure": 20, "no, sure": 40},
    )
    # By hand: of 20 a quarter no; of 40 half of one image in two.
    np.testing.assert_allclose(found.totals, [[15, 0], [5, 10]])
    [yes, no] = found.shares()
    assert (yes.value, no.value) == (pytest.approx(15 / 30), pytest.approx(15 / 30))
    assert yes.judged == pytest.approx(1 / 3)


def test_a_class_that_raters_never_name_has_no_matrix() -> None:
    rows = [("yes, sure", {"a": "yes"}), ("no, sure", {"a": "yes"})]
    assert of(rows, {"yes, sure": 20, "no, sure": 40}).confusion() is None


def test_a_large_stratum_without_an_error_leaves_more_doubt_than_a_small_one() -> None:
    rows = [("yes, sure", {"a": "yes"})] * 10 + [("no, sure", {"a": "no"})] * 10
    small = of(rows, {"yes, sure": 100, "no, sure": 100}).confusion()
    large = of(rows, {"yes, sure": 100, "no, sure": 400}).confusion()
    assert small is not None
    assert large is not None
    assert small.rates.tolist() == large.rates.tolist() == [[1, 0], [0, 1]]
    assert sum(large.counts[0]) < sum(small.counts[0]) / 2
    # So large that all that raters call yes may lie hidden in it.
    assert of(rows, {"yes, sure": 100, "no, sure": 10_000}).confusion() is None


def test_images_that_are_no_sample_have_intervals_that_are_no_point() -> None:
    rows = [("yes, sure", {"a": "yes"})] * 10 + [("no, sure", {"a": "no"})] * 10
    yes = of(rows, {"yes, sure": 100, "no, sure": 100}).shares()[0]
    assert yes.interval.low < yes.value < yes.interval.high
    everything = of(rows, {"yes, sure": 10, "no, sure": 10}).shares()[0]
    assert everything.interval == (0.5, 0.5)


@pytest.mark.parametrize("number", [8, 60, 900])
def test_a_plain_sample_is_worth_the_images_that_it_has(number: int) -> None:
    rates = np.array([0.9, 0.1])
    drawn = np.random.default_rng(0).dirichlet(number * rates + [0.5, 0.5], 20_000)
    square = float(((drawn - rates) ** 2).sum(axis=1).mean())
    assert images_worth(rates, 0, square) == pytest.approx(number, rel=0.06)
