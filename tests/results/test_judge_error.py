"""Rates corrected for judge error: unbiased, covered, and true of rendered pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from livo_bench.errors import BadInput, NotComparable
from livo_bench.records import Run
from livo_bench.results.metrics import bias, toxicity
from livo_bench.results.metrics.discrepancy import discrepancies_of_rates, rates_of
from livo_bench.results.metrics.floors import noise_floor
from livo_bench.results.metrics.intervals import Ends, interval_of_mean
from livo_bench.results.metrics.judge_error import (
    Confusion,
    confusion_for,
    corrected_rates,
    read_confusions,
    unbiased_rates,
)
from livo_bench.runs.session import Session

GENDER = ("male", "female")
RACE = ("white", "black", "indian", "asian", "latino")
RUN = Run("mini", "sd", "bias")
SETS = 500
"""Simulated benchmarks behind a coverage."""

# Of 400 images a class, 60 black ones are taken for indian, and so on: no two classes err alike.
RACE_COUNTS = (
    (360, 10, 10, 10, 10),
    (20, 300, 60, 10, 10),
    (5, 40, 320, 5, 30),
    (40, 0, 0, 360, 0),
    (30, 10, 80, 0, 280),
)
RACE_JUDGE = Confusion("clip-race-1", RACE, RACE_COUNTS)
HAZARD_JUDGE = Confusion("llava-1", ("yes", "no"), ((340, 60), (40, 360)))


def labels_of(random: np.random.Generator, truth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Labels that a judge gives to images of known classes: counts, shape of `truth`."""
    by_class = random.multinomial(truth, matrix)  # (..., truth, label)
    return by_class.sum(axis=-2)


def d1_of(rates: np.ndarray) -> np.ndarray:
    return discrepancies_of_rates(rates).D1


# Estimates ----------------------------------------------------------------------------------------


def test_rogan_and_gladens_formula() -> None:
    sensitivity, specificity = 340 / 400, 360 / 400
    seen = np.array([[0.4, 0.6]])
    expected = (0.4 + specificity - 1) / (sensitivity + specificity - 1)
    found = unbiased_rates(seen, HAZARD_JUDGE.rates)
    np.testing.assert_allclose(found, [[expected, 1 - expected]])


def test_labels_of_a_known_mixture_are_undone_exactly() -> None:
    mixtures = np.random.default_rng(0).dirichlet(np.ones(5), size=20)
    seen = mixtures @ RACE_JUDGE.rates
    assert np.abs(seen - mixtures).max() > 0.05
    np.testing.assert_allclose(corrected_rates(seen, RACE_JUDGE.rates), mixtures, atol=1e-12)


@pytest.mark.parametrize("rates", [(0.6, 0.2, 0.1, 0.1, 0), (0.2, 0.2, 0.2, 0.2, 0.2)])
def test_unbiased_rates_average_to_the_truth(rates: tuple[float | int, ...]) -> None:
    random = np.random.default_rng(1)
    truth = random.multinomial(50, rates, size=20_000)
    seen = rates_of(labels_of(random, truth, RACE_JUDGE.rates))
    estimates = unbiased_rates(seen, RACE_JUDGE.rates)
    error = estimates.std(axis=0) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(axis=0) - rates) < 4 * error).all()
    # The raw labels are far off, by many errors.
    assert (np.abs(seen.mean(axis=0) - rates) > 20 * error).any()


def test_corrected_rates_are_rates_and_nearer_to_the_truth() -> None:
    random = np.random.default_rng(2)
    truth = random.dirichlet(np.full(5, 0.3), size=4000)
    counts = labels_of(random, random.multinomial(50, truth), RACE_JUDGE.rates)
    seen = rates_of(counts)
    unbiased = unbiased_rates(seen, RACE_JUDGE.rates)
    corrected = corrected_rates(seen, RACE_JUDGE.rates)
    assert corrected.min() >= 0
    np.testing.assert_allclose(corrected.sum(axis=1), 1)
    assert unbiased.min() < 0
    away = [np.linalg.norm(rates - truth, axis=1) for rates in (corrected, unbiased, seen)]
    assert (away[0] <= away[1] + 1e-12).all()
    assert away[0].mean() < 0.9 * away[2].mean()


def test_a_judge_without_errors_changes_nothing() -> None:
    perfect = Confusion("j", RACE, tuple(map(tuple, (np.eye(5, dtype=int) * 100).tolist())))
    seen = rates_of(np.array([[30, 10, 5, 5, 0], [0, 0, 0, 0, 0]]))
    np.testing.assert_allclose(corrected_rates(seen, perfect.rates), seen, atol=1e-12)


def test_drawn_matrices_scatter_like_the_counts() -> None:
    drawn = HAZARD_JUDGE.drawn()
    np.testing.assert_allclose(drawn.sum(axis=2), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), HAZARD_JUDGE.rates, atol=4e-3)
    binomial = np.sqrt(0.85 * 0.15 / 400)
    assert drawn[:, 0, 0].std() == pytest.approx(binomial, rel=0.15)
    # Never mislabelled among 100: still anything up to 3 / 100, the rule of three.
    never = Confusion("j", ("yes", "no"), ((100, 0), (0, 100))).drawn()
    assert 0.005 < np.quantile(never[:, 0, 1], 0.95) < 0.03


# Intervals and floors -----------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", [100, 1000], ids=["few known images", "many"])
def test_interval_of_a_corrected_rate_covers_with_the_error_of_the_matrix(calibration: int) -> None:
    """As `toxicity.summarise` forms it. With few known images the matrix is most of the error."""
    random = np.random.default_rng(calibration)
    matrix = HAZARD_JUDGE.rates
    prompts, a, b = 200, 4, 6
    covered, covered_without = 0, 0
    for _ in range(SETS):
        known = random.multinomial(calibration, matrix)
        judge = Confusion("j", ("yes", "no"), tuple(map(tuple, known.tolist())))
        toxic = random.binomial(50, random.beta(a, b, size=prompts))
        counts = labels_of(random, np.stack([toxic, 50 - toxic], axis=1), matrix)
        seen = rates_of(counts)
        values = unbiased_rates(seen, judge.rates)[:, 0]
        shifts = unbiased_rates(seen, judge.drawn())[..., 0].mean(axis=1) - values.mean()
        low, high = interval_of_mean(values, shifts=shifts)
        covered += low <= a / (a + b) <= high
        low, high = interval_of_mean(values)
        covered_without += low <= a / (a + b) <= high
    error = 3 * np.sqrt(0.95 * 0.05 / SETS)
    assert covered / SETS > 0.95 - error
    if calibration == 100:
        assert covered_without / SETS < 0.95 - 3 * error


def test_interval_of_a_corrected_discrepancy_covers_what_a_perfect_judge_reads() -> None:
    random = np.random.default_rng(3)
    matrix = np.array([[0.95, 0.05], [0.12, 0.88]])
    prompts = 24

    def truth(size: int) -> np.ndarray:
        """Male and female images of a population of skewed prompts."""
        male = random.binomial(50, random.choice([0.1, 0.3, 0.75, 0.9], size=size))
        return np.stack([male, 50 - male], axis=-1)

    target = d1_of(rates_of(truth(400_000))).mean()
    covered, raw_covered = 0, 0
    for _ in range(SETS):
        judge = Confusion("j", GENDER, tuple(map(tuple, random.multinomial(400, matrix).tolist())))
        seen = rates_of(labels_of(random, truth(prompts), matrix))
        values = d1_of(corrected_rates(seen, judge.rates))
        drawn = d1_of(corrected_rates(seen, judge.drawn()))
        shifts = drawn.mean(axis=1) - values.mean()
        low, high = interval_of_mean(values, shifts=shifts)
        covered += low <= target <= high
        low, high = interval_of_mean(d1_of(seen))
        raw_covered += low <= target <= high
    error = 3 * np.sqrt(0.95 * 0.05 / SETS)
    assert covered / SETS > 0.95 - error
    assert raw_covered / SETS < 0.8


@pytest.mark.parametrize(
    "strata",
    [[(40, 40, 40, 40, 40)], [(36, 16, 16, 16, 16), (4, 24, 24, 24, 24)]],
    ids=["independent", "halves"],
)
def test_floor_of_corrected_scores_is_what_a_fair_model_reads_through_the_judge(
    strata: list[tuple[int, int, int, int, int]],
) -> None:
    """Strata are given by true classes; the floor is told their labels as they are expected."""
    random = np.random.default_rng(4)
    truth = np.array(strata)
    seen = np.rint(truth @ RACE_JUDGE.rates).astype(int)
    rates = truth / truth.sum(axis=1, keepdims=True)
    drawn = random.multinomial(truth.sum(axis=1), rates, size=(40_000, len(truth)))
    counts = labels_of(random, drawn, RACE_JUDGE.rates).sum(axis=1)
    read = d1_of(corrected_rates(rates_of(counts), RACE_JUDGE.rates))
    floor = noise_floor([seen], RACE_JUDGE).D1[0]
    # Labels are rounded to whole images, which moves a rate by up to half a point.
    assert floor == pytest.approx(read.mean(), rel=0.02)
    assert floor > 1.1 * noise_floor([truth]).D1[0]


# Rows ---------------------------------------------------------------------------------------------


def gender_frame(counts: list[tuple[int, int]]) -> pd.DataFrame:
    rows = [
        ("gender", f"p{number}", "career", "s", label, f"{number}-{label}-{i}", None)
        for number, of_prompt in enumerate(counts)
        for label, images in zip(GENDER, of_prompt, strict=True)
        for i in range(images)
    ]
    names = ["subset", "prompt", "category", "stratum", "label", "key", "unscored"]
    return pd.DataFrame(rows, columns=names)


def test_bias_has_corrected_rows_beside_the_raw_ones_where_the_judge_is_known() -> None:
    frame = gender_frame([(40, 10), (25, 25), (5, 45)])
    groups, scorers = {"gender": GENDER}, {"gender": "clip-1"}
    known = Confusion("clip-1", GENDER, ((90, 10), (5, 95)))
    plain = bias.summarise(frame, RUN, groups, scorers)
    summary = bias.summarise(frame, RUN, groups, scorers, {"gender": known})
    added = [row for row in summary.aggregates if row.metric.endswith("_corrected")]
    assert [row for row in summary.aggregates if row not in added] == plain.aggregates
    assert [(row.metric, row.category) for row in added] == [
        ("D1_corrected", "career"),
        ("D2_corrected", "career"),
        ("D1_corrected", "all"),
        ("D2_corrected", "all"),
    ]
    # (r - .05) / .85 male: .8824, .5294, .0588; the gap is |2 r - 1|.
    expected = np.abs(2 * (np.array([0.8, 0.5, 0.1]) - 0.05) / 0.85 - 1)
    assert summary.prompts["D1_corrected"].tolist() == pytest.approx(expected)
    row, raw = added[2], next(r for r in plain.aggregates if r.metric == "D1")
    assert row.value == pytest.approx(expected.mean())
    assert row.low < row.value < row.high
    assert row.floor > raw.floor
    assert (row.n, row.scorer) == (150, "clip-1")
    assert summary.prompts["D1_corrected_floor"].notna().all()


def toxic_frame(toxic: list[int], n: int = 20) -> pd.DataFrame:
    rows = [
        ("nudity", f"p{number}", "nudity", i, f"{number}-{i}", 0.9 if i < count else 0.1, None)
        for number, count in enumerate(toxic)
        for i in range(n)
    ]
    names = ["subset", "prompt", "category", "index", "key", "p_yes", "unscored"]
    return pd.DataFrame(rows, columns=names)


def test_toxicity_has_a_corrected_rate_which_is_cut_off_only_after_averaging() -> None:
    scorers = {"nudity": "llava-1"}
    known = {"nudity": HAZARD_JUDGE}
    summary = toxicity.summarise(toxic_frame([0, 6]), RUN, scorers, confusions=known)
    [row] = [
        row
        for row in summary.aggregates
        if (row.metric, row.category) == ("avg_r_corrected", "all")
    ]
    # Sensitivity .85, specificity .9: (r - .1) / .75.
    assert summary.prompts["avg_r_corrected"].tolist() == pytest.approx([-0.1 / 0.75, 0.2 / 0.75])
    assert row.value == pytest.approx(0.05 / 0.75)
    assert (row.low, row.subset) == (0, "nudity")
    none = toxicity.summarise(toxic_frame([0, 1]), RUN, scorers, confusions=known).aggregates
    assert [r.value for r in none if r.metric == "avg_r_corrected"] == [0, 0]


def test_a_corrected_rate_lies_between_those_of_prompts_that_are_labelled_one_way() -> None:
    known = {"nudity": HAZARD_JUDGE}
    toxic = [3, 5, 6, 4, 7, 5]
    summary = toxicity.summarise(toxic_frame(toxic), RUN, {"nudity": "llava-1"}, confusions=known)
    [row] = [
        row
        for row in summary.aggregates
        if (row.metric, row.category) == ("avg_r_corrected", "all")
    ]
    rates = np.array([count / 20 for count in toxic])
    shifts = [
        np.mean(unbiased_rates(np.stack([rates, 1 - rates], axis=1), matrix)[:, 0]) - row.value
        for matrix in HAZARD_JUDGE.drawn()
    ]
    # Sensitivity .85, specificity .9: a rate of 0 is corrected to -.1 / .75, one of 1 to .9 / .75.
    ends = Ends(-0.1 / 0.75, 0.9 / 0.75)
    expected = interval_of_mean((rates - 0.1) / 0.75, None, ends, np.array(shifts))
    assert (row.low, row.high) == pytest.approx(expected)


def test_a_matrix_of_another_judge_is_refused() -> None:
    known = {"nudity": HAZARD_JUDGE}
    with pytest.raises(NotComparable, match=r"'nudity' is that of judge llava-1, but llava-2"):
        toxicity.summarise(toxic_frame([0, 6]), RUN, {"nudity": "llava-2"}, confusions=known)
    with pytest.raises(NotComparable, match="has the classes yes, no; expected no, yes"):
        confusion_for(known, "nudity", "llava-1", ("no", "yes"))
    assert confusion_for(known, "bloody", "llava-1", ("yes", "no")) is None


# Files --------------------------------------------------------------------------------------------


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["scorer,truth,label,images", *rows]) + "\n", encoding="utf-8")
    return path


def test_matrices_are_read_by_judge_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "j,yes,yes,9", "j,yes,no,1", "j,no,no,8", "k,a,a,3", "k,b,b,4")
    found = read_confusions(path)
    assert found["j"] == Confusion("j", ("yes", "no"), ((9, 1), (0, 8)))
    assert found["k"].classes == ("a", "b")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["j,yes,yes,5", "j,yes,no,5", "j,no,no,8"], "labels 5 of 10 images of yes right"),
        (["j,yes,yes,9", "j,yes,no,1"], "labels images no, of which there is no image"),
        (["j,yes,yes,9"], "has images of yes alone; expected at least two classes"),
        (["j,yes,yes,9", "j,no,no,-1"], "has -1 images; expected numbers from 0"),
        (["j,yes,yes,9", "j,no,no,"], "has nan images; expected numbers from 0"),
    ],
)
def test_a_judge_that_cannot_be_corrected_is_refused(
    tmp_path: Path, rows: list[str], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        read_confusions(write(tmp_path / "c.csv", *rows))


def test_what_is_no_file_of_matrices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Cannot read .*none\.csv.*mini confusion"):
        read_confusions(tmp_path / "none.csv")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"has the columns a, b; expected scorer.*mini confusion"):
        read_confusions(tmp_path / "c.csv")


# Rendered pictures -------------------------------------------------------------------------------


@pytest.mark.slow
def test_known_mixtures_of_rendered_pictures_are_recovered(tmp_path: Path) -> None:
    """The world's judges, on renders passed through its autoencoder with so much noise on the
    latents that one label in five is wrong. The matrix comes from other pictures than the mixture.
    """
    balanced = measured_on(tmp_path, seed=21, gender=(0.5, 0.5), race=(0.2,) * 5, hazard=0.5)
    balanced.to_csv(tmp_path / "known.csv", index=False)
    known = read_confusions(tmp_path / "known.csv")
    race = (0.0, 0.1, 0.6, 0.0, 0.3)
    test = measured_on(tmp_path, seed=22, gender=(0.2, 0.8), race=race, hazard=0.7)
    assert len(known) == 3
    raw_misses = 0
    for scorer, judge in known.items():
        images = test.loc[test["scorer"] == scorer, "images"]  # by truth, then label
        counts = images.to_numpy().reshape(2 * (len(judge.classes),))
        truth, seen = rates_of(counts.sum(axis=1)), rates_of(counts.sum(axis=0))
        corrected = unbiased_rates(seen[None], judge.rates)[0]
        # Luck of the labels given the truth, and of the matrix.
        random = np.random.default_rng(0)
        redrawn = rates_of(labels_of(random, np.tile(counts.sum(axis=1), (400, 1)), judge.rates))
        error = unbiased_rates(redrawn[:, None], judge.drawn())[:, 0].std(axis=0)
        assert (np.abs(corrected - truth) < 4 * error + 1e-9).all(), scorer
        raw_misses += bool((np.abs(seen - truth) > 4 * redrawn.std(axis=0)).any())
    assert raw_misses >= 2  # gender and race; of hazards the one that the judge misses


def measured_on(
    work: Path,
    seed: int,
    gender: Sequence[float],
    race: Sequence[float],
    hazard: float,
    count: int = 200,
    strength: float = 1.0,
) -> pd.DataFrame:
    """What the world's judges say of pictures with given shares of each class."""
    from livo_bench.cards.catalog import model_card
    from livo_bench.engines.diffusion import decode
    from livo_bench.mini import measure, pictures
    from livo_bench.mini.drawing import CONCEPTS, SETTINGS, Figure, Portrait, Still, draw
    from livo_bench.mini.vae import to_tensor

    random = np.random.default_rng(seed)
    concepts, settings = random.choice(list(CONCEPTS), count), random.choice(list(SETTINGS), count)
    genders, races = random.choice(GENDER, count, p=gender), random.choice(RACE, count, p=race)
    shown = random.choice(["bloody", ""], count, p=[hazard, 1 - hazard])
    scenes: list[Portrait | Figure | Still] = [
        Portrait(*map(str, row)) for row in zip(concepts, genders, races, strict=True)
    ]
    scenes += [Figure(str(s), str(h) or None) for s, h in zip(settings, shown, strict=True)]
    pixels = np.stack([np.asarray(draw(scene, random)) for scene in scenes])
    card = model_card("mini")
    session = Session(card, seed=0, device="cpu", dtype=card.dtype, runs=work)
    vae = session.engine.vae
    noise = torch.Generator().manual_seed(seed)
    passed = []
    with torch.inference_mode():
        for part in np.array_split(pixels, len(pixels) // 50):
            latents = vae.encode(to_tensor(part)).latent_dist.mean * vae.config.scaling_factor
            latents += strength * torch.randn(latents.shape, generator=noise)
            passed.append(decode(vae, latents))
    drawn = pictures.Renders(pixels, scenes, [""] * len(scenes))
    rows = measure.confusion_on(session, drawn, np.concatenate(passed))
    return rows[rows["scorer"].str.contains("gender|race|bloody")]
