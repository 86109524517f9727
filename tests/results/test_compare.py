"""Methods against a baseline: numbers worked out by hand, and simulated benchmarks."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from written_results import (
    SCORERS,
    TOXIC,
    Written,
    bias_images,
    refusing,
    seal_again,
    toxic_images,
    with_fidelity,
    write_run,
)

from livo_bench.cards.catalog import DATA
from livo_bench.errors import BadInput, Incomplete, NotComparable, UnknownName
from livo_bench.records import Run
from livo_bench.report.findings import metric_differences, prompt_differences
from livo_bench.report.printing import as_rich
from livo_bench.results.compare import (
    ALPHA,
    Difference,
    _verdict,
    compare,
    differences,
    levels,
)
from livo_bench.results.metrics.intervals import Ends, interval_of_mean
from livo_bench.results.metrics.statistics import detectable_difference, p_different
from livo_bench.results.paired import Pair

BEFORE, NOW = [10, 9, 8, 7], [8, 8, 7, 10]
"""Male images out of 10 a prompt: D1 of 1, 0.8, 0.6, 0.4 and of 0.6, 0.6, 0.4, 1."""
ENDS = Ends(-29 / 42, 13 / 42)
"""Of differences from a D1 of 0.7 of 40 images, as if one of two more counted."""
WITH_OTHER_JUDGE = SCORERS | {"gender": "clip-gender-2"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "sd" / "bias", bias_images(BEFORE))
    write_run(tmp_path / "livo" / "bias", bias_images(NOW), method="livo")
    return tmp_path


def test_difference_interval_and_detectable_change_are_those_of_the_prompts(runs: Path) -> None:
    metrics, *_ = compare(["sd", "livo"], "bias", runs=runs)
    assert [(d.method, d.metric, d.prompt) for d in metrics] == [
        ("livo", "D1", "all"),
        ("livo", "D2", "all"),
    ]
    d1 = metrics[0]
    differences = np.array([-0.4, -0.2, -0.2, 0.6])
    assert (d1.prompts, d1.images) == (4, 40)
    assert (d1.before, d1.now) == pytest.approx((0.7, 0.65))
    assert d1.difference == pytest.approx(-0.05)
    assert (d1.low, d1.high) == pytest.approx(
        interval_of_mean(differences, None, Ends(-29 / 42, 13 / 42))
    )
    # A D1 of 0.7 can fall by 0.7 at the most; four prompts promise no such change.
    assert detectable_difference(differences, 0.025) > 0.7
    assert np.isnan(d1.detectable)
    # Two rows; the p values of D1 and of D2, a multiple of it, are the same.
    assert d1.p_corrected == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert d1.verdict == "unclear"
    # With two groups D2 is D1 over the root of two.
    assert metrics[1].difference == pytest.approx(-0.05 / np.sqrt(2))


def test_prompts_of_a_concept_are_tested_together(runs: Path) -> None:
    concepts = {"p0": "nurse", "p1": "nurse", "p2": "pilot", "p3": "cook"}
    for method, males in {"sd": BEFORE, "livo": NOW}.items():
        images = bias_images(males)
        images["concept"] = images["prompt"].map(concepts)
        write_run(runs / method / "bias", images, method=method)
    d1 = compare(["sd", "livo"], "bias", runs=runs).metrics[0]
    differences, clusters = np.array([-0.4, -0.2, -0.2, 0.6]), list("nnpc")
    assert (d1.prompts, d1.difference) == (4, pytest.approx(-0.05))
    assert (d1.low, d1.high) == pytest.approx(interval_of_mean(differences, clusters, ENDS))
    assert np.isnan(d1.detectable)
    assert d1.p_corrected == pytest.approx(p_different(differences, 2, 10, clusters))


def test_prompts_come_worst_first_by_d1_alone(runs: Path) -> None:
    _, prompts, _ = compare(["sd", "livo"], "bias", runs=runs)
    assert [(d.prompt, d.metric, round(d.difference, 9)) for d in prompts] == [
        ("p3", "D1", 0.6),
        ("p1", "D1", -0.2),
        ("p2", "D1", -0.2),
        ("p0", "D1", -0.4),
    ]
    assert (prompts[0].prompts, prompts[0].images) == (1, 10)
    assert np.isnan([prompts[0].low, prompts[0].high, prompts[0].detectable]).all()


def test_verdict_says_on_which_side_of_zero_the_difference_lies(runs: Path) -> None:
    for method, males in {"fair": [5, 5, 5, 5], "unfair": [10, 10, 10, 10]}.items():
        write_run(runs / method, bias_images(males), method=method)
    [fair, *_] = compare(["sd", "fair"], "bias", runs=runs).metrics
    assert fair.high < 0
    assert fair.verdict == "lower"
    [unfair, *_] = compare(["fair", "unfair"], "bias", runs=runs).metrics
    assert unfair.low > 0
    assert (unfair.high, unfair.verdict) == (pytest.approx(1), "higher")


def test_a_change_that_few_prompts_may_turn_round_is_undecided(runs: Path) -> None:
    for method, males in {"sd": [10] * 8, "fairer": [9] * 8}.items():
        write_run(runs / method / "bias", bias_images(males), method=method)
    [d1, _] = compare(["sd", "fairer"], "bias", runs=runs).metrics
    assert d1.p_corrected < ALPHA
    # Nothing is above a baseline of 1.
    assert (d1.high < 0, d1.verdict) == (True, "lower")
    write_run(runs / "sd" / "bias", bias_images([7] * 8))
    write_run(runs / "fairer" / "bias", bias_images([6] * 8), method="fairer")
    [d1, _] = compare(["sd", "fairer"], "bias", runs=runs).metrics
    assert d1.p_corrected < ALPHA
    assert (d1.low < 0 < d1.high, d1.verdict) == (True, "undecided")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (np.nan, np.nan, "undecided"),
        (0.01, 0.3, "higher"),
        (0, 0.3, "undecided"),
        (-0.3, 0, "undecided"),
        (-0.3, -0.01, "lower"),
    ],
)
def test_a_verdict_needs_a_p_below_the_level_and_an_interval_without_zero(
    low: float, high: float, verdict: str
) -> None:
    mean = Difference(
        *("livo", "bias", "gender", "all", "D1", 8, 80, 0.4, 0.4 + low + high, low + high),
        *(low, high, 0.1, 0.0, ""),
    )
    below = float(np.nextafter(ALPHA, 0))
    assert [_verdict(mean, p) for p in (0, below, ALPHA, 1)] == [verdict] * 2 + ["unclear"] * 2


@pytest.mark.parametrize("clusters", ["aaaaaaab", "baaaaaaa"])
@pytest.mark.parametrize("rates", [(1.0, 0.0), (0.0, 1.0), (0.9, 0.1)])
def test_a_change_of_all_prompts_that_are_worth_fewer_than_two_clusters_is_no_verdict(
    clusters: str, rates: tuple[float, float]
) -> None:
    ids, (before, now) = tuple("12345678"), (np.full(8, rate) for rate in rates)
    run = Run("mini", "livo", "toxicity")
    pair = Pair(run, "bloody", "avg_r", ids, tuple(clusters), np.full(8, 50), before, now)
    [found] = differences([pair])
    assert np.isnan(found.low)
    assert found.verdict in ("unclear", "undecided")


def test_verdicts_hold_for_all_rows_together(runs: Path) -> None:
    write_run(runs / "one", bias_images([9, 8, 7, 6]), method="one")
    write_run(runs / "sd" / "bias", bias_images([10, 9, 7, 7]))
    write_run(runs / "two", bias_images([10, 9, 7, 7]), method="two")
    alone = compare(["sd", "one"], "bias", runs=runs).metrics
    both = compare(["sd", "one", "two"], "bias", runs=runs).metrics
    assert (len(alone), len(both)) == (2, 4)
    # Two of four rows differ from nothing.
    assert both[0].p_corrected == pytest.approx(4 / 2 * alone[0].p_corrected)
    assert (both[0].low, both[0].high) == (alone[0].low, alone[0].high)
    prompts = compare(["sd", "one"], "bias", runs=runs).prompts
    assert {prompt.verdict for prompt in prompts} == {""}


def test_methods_come_in_the_order_asked_and_all_means_every_task_in_common(runs: Path) -> None:
    scores = np.linspace(0, 1, 40).reshape(4, 10)
    write_run(runs / "sd" / "toxicity", toxic_images(scores), **TOXIC)
    write_run(runs / "livo" / "toxicity", toxic_images(scores / 2), method="livo", **TOXIC)
    write_run(runs / "fd" / "bias", bias_images(NOW), method="fd")
    metrics, prompts, _ = compare(["sd", "livo", "fd"], runs=runs)
    assert [(d.method, d.task, d.metric) for d in metrics] == [
        ("livo", "bias", "D1"),
        ("livo", "bias", "D2"),
        ("livo", "toxicity", "avg_r"),
        ("livo", "toxicity", "avg_s"),
        ("fd", "bias", "D1"),
        ("fd", "bias", "D2"),
    ]
    assert metrics[3].difference == pytest.approx(-0.25)  # half of a mean of 0.5
    assert {d.metric for d in prompts} == {"D1", "avg_r"}


def test_a_task_that_one_method_has_alone_is_passed_over_whatever_is_in_it(runs: Path) -> None:
    expected = compare(["sd", "livo"], runs=runs)
    images = toxic_images(np.zeros((4, 10))).assign(unscored="blank image", p_yes=np.nan)
    for method in ("sd", "livo"):
        folder = write_run(runs / method / "toxicity", images, method=method, **TOXIC)
        assert repr(compare(["sd", "livo"], runs=runs)) == repr(expected)
        shutil.rmtree(folder)


def test_which_files_behind_methods_differ_is_said(
    runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(*methods: str) -> list[str]:
        caplog.clear()
        compare(list(methods), runs=runs)
        return [line for line in caplog.messages if "method files differ" in line]

    def write(method: str, task: str, **files: str) -> None:
        digests = {f"{name}.toml": digest * 64 for name, digest in files.items()}
        images = bias_images(NOW) if task == "bias" else toxic_images(np.eye(4, 10))
        options = {} if task == "bias" else TOXIC
        folder = write_run(runs / method / task, images, method=method, seed=42, **options)
        record = json.loads((folder / "run.json").read_text())
        del record["seal"]
        record["method"]["files"] = digests
        seal_again(folder, record)

    # Methods of different folders have a card each, and files that the other has not.
    write("sd", "bias", card="a", vae="1")
    write("livo", "bias", card="b", vae="2", encoder="3")
    assert said("sd", "livo") == ["sd and livo: method files differ: vae.toml 11111111 -> 22222222"]
    # Variants of one method have one card.
    write("livo:wo-v", "bias", card="c", vae="2")
    assert said("livo", "livo:wo-v") == [
        "livo and livo:wo-v: method files differ: card.toml bbbbbbbb -> cccccccc"
    ]
    # One method's files are the same on all tasks: what one task lacks is said, too.
    write("sd", "toxicity", card="a", vae="1")
    write("livo", "toxicity", card="b", vae="4")
    assert said("sd", "livo") == [
        "sd and livo: method files differ: vae.toml 11111111 -> 22222222",
        "sd and livo: method files differ: vae.toml 11111111 -> 44444444",
        "livo on bias and on toxicity: method files differ: encoder.toml 33333333 -> none, "
        "vae.toml 22222222 -> 44444444",
    ]


def test_prompts_of_the_overcorrection_task_come_by_the_metric_that_each_has(runs: Path) -> None:
    task: Written = {"task": "overcorrection", "metrics": ("overridden", "changed")}
    for method, males in {"sd": [10, 10], "livo": [4, 8]}.items():
        named = bias_images(males).assign(category="male", changed=np.nan)
        harmless = bias_images(males).assign(category="harmless", label=None)
        harmless["prompt"] = harmless["prompt"].map({"p0": "q0", "p1": "q1"})
        harmless["changed"] = harmless["p_female"]
        images = pd.concat([named, harmless], ignore_index=True)
        folder = write_run(runs / method / "overcorrection", images, method=method, **task)
        aggregates = pd.read_csv(folder / "aggregates.csv")
        aggregates["n"] = 20  # of each metric; the harmless are as many
        aggregates.to_csv(folder / "aggregates.csv", index=False)
    metrics, prompts, _ = compare(["sd", "livo"], "overcorrection", runs=runs)
    assert [d.metric for d in metrics] == ["overridden", "changed"]
    assert [(d.prompt, d.metric, round(d.difference, 9)) for d in prompts] == [
        ("p0", "overridden", 0.6),
        ("q0", "changed", 0.6),
        ("p1", "overridden", 0.2),
        ("q1", "changed", 0.2),
    ]


def test_fidelity_is_compared_and_a_prompt_that_loses_it_got_worse(runs: Path) -> None:
    for method, contents in {"sd": [10] * 8, "livo": [10, 10, 0, 9] + [10] * 4}.items():
        images = with_fidelity(bias_images([5] * 8), contents, 0.9 if method == "sd" else 0.5)
        write_run(runs / method / "bias", images, method=method)
    metrics, prompts, _ = compare(["sd", "livo"], "bias", runs=runs)
    found = {d.metric: d for d in metrics}
    assert list(found) == ["D1", "D2", "clip", "content", "presence"]
    assert found["content"].difference == pytest.approx(-11 / 80)
    assert found["clip"].difference == pytest.approx(-0.4)
    assert found["clip"].verdict == "lower"
    assert [(d.prompt, d.metric) for d in prompts if d.worsening > 0] == [
        ("p2", "content"), ("p3", "content")
    ]  # fmt: skip


def test_a_method_without_a_scored_image_says_so_and_why(runs: Path) -> None:
    images = bias_images(NOW).assign(unscored="blank image", label=None)
    write_run(runs / "black" / "bias", images, method="black")
    with pytest.raises(Incomplete) as error:
        compare(["sd", "black"], "bias", runs=runs)
    said = "Method 'black' in .* has no scored image on bias/gender: 40 \\(40 blank image\\)"
    assert re.match(said, str(error.value))


def test_a_name_that_nothing_has_is_unknown_and_a_folder_goes_by_its_name(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownName, match=r"'lvo'. Known: livo, sd.\nDid you mean 'livo'"):
        compare(["sd", "lvo"], "bias", runs=runs)
    with pytest.raises(UnknownName, match="Did you mean 'bias'"):
        compare(["sd", "livo"], "bais", runs=runs)
    (runs / "own").mkdir()
    card = (DATA / "methods" / "sd" / "card.toml").read_text("utf-8")
    (runs / "own" / "card.toml").write_text(card.replace('"sd"', '"own"', 1), "utf-8")
    monkeypatch.chdir(runs)
    with pytest.raises(Incomplete, match=r"--method ./own --task bias"):
        compare(["sd", "./own"], "bias", runs=runs)
    write_run(runs / "results", bias_images(NOW), method="own")
    assert {d.method for d in compare(["sd", "./own"], "bias", runs=runs).metrics} == {"own"}


def test_a_subset_is_compared_alone(runs: Path) -> None:
    images = bias_images([7] * 4, subset="race")
    write_run(runs / "sd" / "bias.race", images)
    write_run(runs / "livo" / "bias.race", images, method="livo")
    # A folder of the whole task takes the place of a subset's; these stand elsewhere.
    for method in ("sd", "livo"):
        (runs / method / "bias").rename(runs / method / "bias.gender")
    assert {d.subset for d in compare(["sd", "livo"], "bias", runs=runs).metrics} == {
        "gender",
        "race",
    }
    assert {d.subset for d in compare(["sd", "livo"], "bias/race", runs=runs).metrics} == {"race"}
    with pytest.raises(UnknownName, match="Unknown task 'bias/nudity'"):
        compare(["sd", "livo"], "bias/nudity", runs=runs)


def test_only_images_that_both_have_scored_are_compared(runs: Path) -> None:
    images = bias_images(NOW)
    images.loc[(images["prompt"] == "p0") & (images["index"] == 0), "unscored"] = "blank image"
    write_run(runs / "livo" / "bias", images[images["index"] < 5], method="livo")
    [d1, _] = compare(["sd", "livo"], "bias", runs=runs).metrics
    assert d1.images == 4 + 3 * 5
    # All of the first five are male on both sides.
    assert (d1.before, d1.now) == (1, 1)


def test_other_judges_are_not_comparable(runs: Path) -> None:
    images = bias_images(NOW)
    write_run(runs / "livo" / "bias", images, method="livo", scorers=WITH_OTHER_JUDGE)
    with pytest.raises(NotComparable, match=r"'clip-gender-1' .* 'sd' .* 'clip-gender-2' .*'livo'"):
        compare(["sd", "livo"], "bias", runs=runs)


@pytest.mark.parametrize(
    ("section", "field", "one", "two"),
    [
        ("model", "digest", "one", "two"),
        ("prompts", "list", "one", "two"),
        ("settings", "seed", 1, 2),
        ("settings", "guidance", 1.5, 2),
    ],
)
def test_other_conditions_are_not_comparable(
    runs: Path, section: str, field: str, one: float | str, two: int | str
) -> None:
    def write_record(method: str, value: object) -> None:
        settings: dict[str, object] = {
            "seed": 42,
            "steps": 15,
            "guidance": 2.0,
            "sampler": "dpmsolver++",
        }
        record: dict[str, dict[str, object]] = {
            "model": {"digest": "d"},
            "prompts": {"count": 1},
            "settings": settings,
        }
        record[section][field] = value
        (runs / method / "bias" / "run.json").write_text(json.dumps(record))

    write_record("sd", one)
    write_record("livo", one)
    assert len(compare(["sd", "livo"], "bias", runs=runs).metrics) == 2
    write_record("livo", two)
    said = rf"different {section} {field}: {one} in .*, {two} in "
    with pytest.raises(NotComparable, match=said):
        compare(["sd", "livo"], "bias", runs=runs)


def test_missing_results_say_how_to_make_them(runs: Path) -> None:
    with pytest.raises(Incomplete) as error:
        compare(["sd", "dpo"], "bias", runs=runs)
    assert "it has methods livo, sd; tasks bias" in str(error.value)
    assert str(error.value).endswith(
        f"livo-bench run --method sd --method dpo --task bias --model mini --runs {runs}"
    )
    with pytest.raises(Incomplete, match="it has nothing"):
        compare(["sd", "livo"], "bias", model="other", runs=runs)
    write_run(runs / "livo" / "bias", bias_images(NOW).assign(prompt="other"), method="livo")
    with pytest.raises(Incomplete, match="share 0 prompts on task 'bias'"):
        compare(["sd", "livo"], "bias", runs=runs)


@pytest.mark.parametrize("methods", [["sd"], ["sd", "livo", "sd"]])
def test_one_method_or_one_twice_is_refused(runs: Path, methods: list[str]) -> None:
    with pytest.raises(BadInput, match="expected two or more different ones"):
        compare(methods, "bias", runs=runs)


def test_rows_are_in_per_cent_and_markup_in_an_id_is_printed_as_it_is(runs: Path) -> None:
    for method, males in {"sd": BEFORE, "livo": NOW}.items():
        images = bias_images(males).replace({"prompt": {"p3": "[bold]<b>x</b>[/bold]"}})
        write_run(runs / method / "bias", images, method=method)
    metrics, prompts, _ = compare(["sd", "livo"], "bias", runs=runs)
    row = metric_differences(metrics)[0]
    assert (row["subset"], row["baseline"], row["method's"]) == ("bias/gender", "70.0", "65.0")
    assert (row["difference"], row["verdict"]) == ("-5.0", "unclear")
    assert str(row["95 % interval"]).startswith("[-")
    rows = prompt_differences(prompts)
    assert (rows[0]["difference"], rows[0]["images"]) == ("+60.0", 10)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(as_rich(rows))
    assert "[bold]<b>x</b>[/bold]" in captured.get()


def test_methods_that_do_not_differ_promise_no_more_than_a_change_of_single_images(
    runs: Path,
) -> None:
    scores = np.linspace(0, 1, 40).reshape(4, 10)
    for method in ("sd", "livo"):
        write_run(runs / method / "toxicity", toxic_images(scores), method=method, **TOXIC)
    for d in compare(["sd", "livo"], "toxicity", runs=runs).metrics:
        assert (d.difference, d.verdict) == (0, "unclear")
        # Two rows, of which none is found: each is tested at half of 5 %, on two sides.
        expected = detectable_difference(np.zeros(4), 0.05 / 2 / 2, reach=1, images=10)
        assert d.detectable == pytest.approx(expected)
        assert d.detectable > 0.1
        assert metric_differences([d])[0]["detectable"] != "0.0"


@pytest.mark.parametrize("seed", range(20))
def test_the_level_of_a_row_is_where_its_correction_begins_to_find_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.beta(0.3, 1, size=random.integers(1, 12)).round(3)
    for place, level in enumerate(levels(p.tolist(), ALPHA)):
        for own, found in ((level * (1 - 1e-9), True), (level * (1 + 1e-9), False)):
            others = np.insert(np.delete(p, place), place, own)
            corrected = stats.false_discovery_control(others)[place]
            assert (corrected < ALPHA) == found


def test_what_is_detectable_is_so_at_the_level_of_the_row(runs: Path) -> None:
    """One row of two is found for certain, so that the other is tested at the whole level."""
    clear, unclear = np.full(24, 0.5), np.linspace(-0.1, 0.12, 24)
    zero = np.zeros(24)
    alone = told(zero, unclear).detectable
    assert alone == pytest.approx(detectable_difference(unclear, 0.025, 0.0, 1.0, IMAGES))
    found = differences([pair(zero, clear, "avg_r"), pair(zero, unclear, "avg_r")])
    assert found[1].detectable == pytest.approx(alone)
    both = differences([pair(zero, unclear, "avg_r")] * 2)
    expected = detectable_difference(unclear, 0.0125, 0.0, 1.0, IMAGES)
    assert both[0].detectable == pytest.approx(expected)
    assert expected > alone


@pytest.mark.parametrize("mean", [0.2, 0.5, 0.9])
def test_what_a_metric_cannot_differ_by_is_not_promised(mean: float) -> None:
    """A share of 20 % can rise by 80 points, and fall by 20."""
    room = max(mean, 1 - mean)
    pattern = np.tile([-1.0, 1.0], 4)
    per_spread = detectable_difference(pattern, 0.025)
    before = np.full(8, mean)
    for share, possible in ((0.99, True), (1.01, False)):
        found = told(before, before + pattern * share * room / per_spread).detectable
        assert found == pytest.approx(share * room) if possible else np.isnan(found)


# Simulated benchmarks -----------------------------------------------------------------------------

BENCHMARKS = 500
IMAGES = 50


def told(before: np.ndarray, now: np.ndarray, metric: str = "avg_r") -> Difference:
    """What `compare` says of one metric alone, given a value of it for each prompt."""
    return differences([pair(before, now, metric)])[0]


def pair(before: np.ndarray, now: np.ndarray, metric: str) -> Pair:
    prompts = tuple(map(str, range(len(now))))
    images = np.full(len(now), IMAGES)
    return Pair(Run("m", "livo", "t"), "s", metric, prompts, prompts, images, before, now)


def error_of(share: float) -> float:
    """Three binomial standard errors of a share of the benchmarks."""
    return 3 * np.sqrt(share * (1 - share) / BENCHMARKS)


@pytest.mark.parametrize("metric", ["D1", "avg_r"])
@pytest.mark.parametrize("prompts", [8, 24])
def test_methods_that_do_not_differ_are_told_apart_as_rarely_as_the_level_says(
    prompts: int, metric: str
) -> None:
    random = np.random.default_rng(prompts)
    found = []
    for _ in range(BENCHMARKS):
        rates = random.beta(0.6, 1.4, prompts)
        sides = random.binomial(IMAGES, rates, (2, prompts)) / IMAGES
        before, now = np.abs(2 * sides - 1) if metric == "D1" else sides
        found.append(told(before, now, metric).verdict)
    for verdict in ("lower", "higher"):
        assert found.count(verdict) / BENCHMARKS < ALPHA / 2 + error_of(ALPHA / 2)
    assert found.count("unclear") / BENCHMARKS > 1 - ALPHA - error_of(ALPHA)


def test_of_the_rows_that_are_called_lower_or_higher_few_have_not_changed() -> None:
    random = np.random.default_rng(0)
    false, true = [], []
    for _ in range(BENCHMARKS // 2):
        effects = np.repeat([0, 0, 0, -0.1, -0.1], 24).reshape(5, 24)
        changes = effects + random.normal(scale=0.1, size=(5, 24))
        # D1 and, a multiple of it, D2.
        pairs = [
            pair(np.ones(24), 1 + factor * change, metric)
            for change in changes
            for metric, factor in {"D1": 1, "D2": np.sqrt(0.5)}.items()
        ]
        clear = np.array([d.verdict != "unclear" for d in differences(pairs)])
        false.append(clear[:6].sum() / max(1, clear.sum()))
        true.append(clear[6:].mean())
    assert np.mean(false) < ALPHA + 3 * np.std(false) / np.sqrt(len(false))
    assert np.mean(true) > 0.9


@pytest.mark.parametrize("prompts", [8, 24])
def test_a_detectable_difference_is_found_4_times_out_of_5(prompts: int) -> None:
    random = np.random.default_rng(prompts)

    def benchmark(effect: float) -> Difference:
        """A method that lowers some prompts more than others, by so much on average."""
        before = random.uniform(0.4, 0.6, prompts)
        now = before - effect + random.uniform(-0.2, 0.2, prompts)
        before, now = (random.binomial(IMAGES, rates) / IMAGES for rates in (before, now))
        return told(before, now)

    # Proportional to the spread at hand, whose square is what is right on average.
    squares = [benchmark(0).detectable ** 2 for _ in range(BENCHMARKS)]
    effect = float(np.sqrt(np.mean(squares)))
    power = np.mean([benchmark(effect).p_corrected < ALPHA for _ in range(BENCHMARKS)])
    # The effect moves rates away from one half, where images spread most.
    assert power == pytest.approx(0.8, abs=error_of(0.8) + 0.005)


@pytest.mark.parametrize("metric", ["D1", "avg_r"])
@pytest.mark.parametrize("prompts", [8, 24])
def test_what_two_equal_methods_promise_to_detect_is_found_as_often_or_more(
    prompts: int, metric: str
) -> None:
    random = np.random.default_rng(prompts)
    none = np.zeros(prompts)
    reach = pair(none, none, metric).reach
    effect = told(none, none, metric).detectable
    found = 0
    for _ in range(BENCHMARKS):
        moved = random.binomial(IMAGES, effect / reach, prompts) / IMAGES
        found += told(none, reach * moved, metric).p_corrected < ALPHA
    assert 0.8 - error_of(0.8) < found / BENCHMARKS < 0.9


def test_refused_images_are_in_no_pair_and_compared_by_themselves(runs: Path) -> None:
    scores = np.tile([0.9, 0.1], (8, 5))
    images = toxic_images(scores)
    write_run(runs / "a", images, "a", **TOXIC)
    write_run(runs / "b", refusing(images, images["index"] == 0), "b", **TOXIC)
    metrics, prompts, said = compare(["a", "b"], "toxicity", runs=runs)
    found = {one.metric: one for one in metrics}
    assert {name: (one.images, one.before, one.now) for name, one in found.items()} == {
        "avg_r": (72, pytest.approx(4 / 9), pytest.approx(4 / 9)),
        "avg_s": (72, pytest.approx(found["avg_s"].before), pytest.approx(found["avg_s"].before)),
        "refused": (80, 0, pytest.approx(0.1)),
        "avg_r_harmless": (80, pytest.approx(0.5), pytest.approx(0.4)),
    }
    assert {one.metric for one in prompts} == {"avg_r", "refused", "avg_r_harmless"}
    assert any("b on toxicity: refused 8 (8 refused: policy); pairs are" in line for line in said)
    assert not any("a on toxicity: refused" in line for line in said)


def test_a_subset_of_which_all_was_refused_is_compared_by_that_alone(runs: Path) -> None:
    images = toxic_images(np.tile([0.9, 0.1], (8, 5)))
    write_run(runs / "a", images, "a", **TOXIC)
    write_run(runs / "b", refusing(images, images["index"] >= 0), "b", **TOXIC)
    metrics, *_ = compare(["a", "b"], "toxicity", runs=runs)
    assert {one.metric: (one.before, one.now, one.verdict) for one in metrics} == {
        "refused": (0, 1, "higher"),
        "avg_r_harmless": (0.5, 0, "lower"),
    }
