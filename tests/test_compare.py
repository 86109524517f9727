"""Methods against a baseline: numbers against those worked out by hand."""

import json

import numpy as np
import pytest
from scipy import stats
from written_results import SCORERS, TOXIC, bias_images, toxic_images, write_run

from livo_bench.compare import compare, metric_rows, prompt_rows
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.metrics.statistics import bootstrap_over_prompts, detectable_difference
from livo_bench.report.rows import as_rich

BEFORE, NOW = [10, 9, 8, 7], [8, 8, 7, 10]
"""Male images out of 10 a prompt: D1 of 1, 0.8, 0.6, 0.4 and of 0.6, 0.6, 0.4, 1."""
WITH_OTHER_JUDGE = SCORERS | {"gender": "clip-gender-2"}


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "sd" / "bias", bias_images(BEFORE))
    write_run(tmp_path / "livo" / "bias", bias_images(NOW), method="livo")
    return tmp_path


def test_difference_interval_and_detectable_change_are_those_of_the_prompts(runs):
    metrics, _ = compare(["sd", "livo"], "bias", runs=runs)
    assert [(d.method, d.metric, d.prompt) for d in metrics] == [
        ("livo", "D1", "all"),
        ("livo", "D2", "all"),
    ]
    d1 = metrics[0]
    differences = np.array([-0.4, -0.2, -0.2, 0.6])
    assert (d1.prompts, d1.images) == (4, 40)
    assert (d1.before, d1.now) == pytest.approx((0.7, 0.65))
    assert d1.difference == pytest.approx(-0.05)
    assert (d1.low, d1.high) == pytest.approx(bootstrap_over_prompts(differences))
    assert d1.detectable == pytest.approx(detectable_difference(differences, 0.025))
    # Two rows; the p values of D1 and of D2, a multiple of it, are the same.
    assert d1.p_corrected == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert d1.verdict == "unclear"
    # With two groups D2 is D1 over the root of two.
    assert metrics[1].difference == pytest.approx(-0.05 / np.sqrt(2))


def test_prompts_come_worst_first_by_d1_alone(runs):
    _, prompts = compare(["sd", "livo"], "bias", runs=runs)
    assert [(d.prompt, d.metric, round(d.difference, 9)) for d in prompts] == [
        ("p3", "D1", 0.6),
        ("p1", "D1", -0.2),
        ("p2", "D1", -0.2),
        ("p0", "D1", -0.4),
    ]
    assert (prompts[0].prompts, prompts[0].images) == (1, 10)
    assert np.isnan([prompts[0].low, prompts[0].high, prompts[0].detectable]).all()


def test_verdict_says_on_which_side_of_zero_the_difference_lies(runs):
    for method, males in {"fair": [5, 5, 5, 5], "unfair": [10, 10, 10, 10]}.items():
        write_run(runs / method, bias_images(males), method=method)
    [fair, *_] = compare(["sd", "fair"], "bias", runs=runs).metrics
    assert fair.high < 0
    assert fair.verdict == "lower"
    [unfair, *_] = compare(["fair", "unfair"], "bias", runs=runs).metrics
    assert (unfair.low, unfair.high, unfair.verdict) == (1, 1, "higher")


def test_verdicts_hold_for_all_rows_together(runs):
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


def test_methods_come_in_the_order_asked_and_all_means_every_task_in_common(runs):
    scores = np.linspace(0, 1, 40).reshape(4, 10)
    write_run(runs / "sd" / "toxicity", toxic_images(scores), **TOXIC)
    write_run(runs / "livo" / "toxicity", toxic_images(scores / 2), method="livo", **TOXIC)
    write_run(runs / "fd" / "bias", bias_images(NOW), method="fd")
    metrics, prompts = compare(["sd", "livo", "fd"], runs=runs)
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


def test_a_subset_is_compared_alone(runs):
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
    with pytest.raises(Incomplete, match="bias/nudity"):
        compare(["sd", "livo"], "bias/nudity", runs=runs)


def test_only_images_that_both_have_scored_are_compared(runs):
    images = bias_images(NOW)
    images.loc[(images["prompt"] == "p0") & (images["index"] == 0), "unscored"] = "blank image"
    write_run(runs / "livo" / "bias", images[images["index"] < 5], method="livo")
    [d1, _] = compare(["sd", "livo"], "bias", runs=runs).metrics
    assert d1.images == 4 + 3 * 5
    # All of the first five are male on both sides.
    assert (d1.before, d1.now) == (1, 1)


def test_other_judges_are_not_comparable(runs):
    images = bias_images(NOW)
    write_run(runs / "livo" / "bias", images, method="livo", scorers=WITH_OTHER_JUDGE)
    with pytest.raises(NotComparable, match=r"'clip-gender-1' .* 'sd' .* 'clip-gender-2' .*'livo'"):
        compare(["sd", "livo"], "bias", runs=runs)


@pytest.mark.parametrize(
    ("section", "field"),
    [("model", "digest"), ("prompts", "list"), ("settings", "seed"), ("settings", "guidance")],
)
def test_other_conditions_are_not_comparable(runs, section, field):
    def write_record(method: str, value: str) -> None:
        settings = {"seed": 42, "steps": 15, "guidance": 2.0, "sampler": "dpmsolver++"}
        record = {"model": {"digest": "d"}, "prompts": {"count": 1}, "settings": settings}
        record[section][field] = value
        (runs / method / "bias" / "run.json").write_text(json.dumps(record))

    write_record("sd", "one")
    write_record("livo", "one")
    assert len(compare(["sd", "livo"], "bias", runs=runs).metrics) == 2
    write_record("livo", "two")
    with pytest.raises(NotComparable, match=rf"different {section} {field}: one in .*, two in "):
        compare(["sd", "livo"], "bias", runs=runs)


def test_missing_results_say_how_to_make_them(runs):
    with pytest.raises(Incomplete) as error:
        compare(["sd", "dpo"], "bias", runs=runs)
    assert "it has livo on bias, sd on bias" in str(error.value)
    assert str(error.value).endswith(
        f"livo-bench run --method sd --method dpo --task bias --model mini --runs {runs}"
    )
    with pytest.raises(Incomplete, match="it has nothing"):
        compare(["sd", "livo"], "bias", model="other", runs=runs)
    write_run(runs / "livo" / "bias", bias_images(NOW).assign(prompt="other"), method="livo")
    with pytest.raises(Incomplete, match="share 0 prompts on task 'bias'"):
        compare(["sd", "livo"], "bias", runs=runs)


@pytest.mark.parametrize("methods", [["sd"], ["sd", "livo", "sd"]])
def test_one_method_or_one_twice_is_refused(runs, methods):
    with pytest.raises(BadInput, match="expected two or more different ones"):
        compare(methods, "bias", runs=runs)


def test_rows_are_in_per_cent_and_markup_in_an_id_is_printed_as_it_is(runs):
    for method, males in {"sd": BEFORE, "livo": NOW}.items():
        images = bias_images(males).replace({"prompt": {"p3": "[bold]<b>x</b>[/bold]"}})
        write_run(runs / method / "bias", images, method=method)
    metrics, prompts = compare(["sd", "livo"], "bias", runs=runs)
    row = metric_rows(metrics)[0]
    assert (row["subset"], row["before"], row["now"]) == ("bias/gender", "70.0", "65.0")
    assert (row["difference"], row["verdict"]) == ("-5.0", "unclear")
    assert str(row["95 % interval"]).startswith("[-")
    rows = prompt_rows(prompts)
    assert (rows[0]["difference"], rows[0]["images"]) == ("+60.0", 10)
    [first, *_] = as_rich(rows).columns[2].cells
    assert str(first) == "[bold]<b>x</b>[/bold]"
