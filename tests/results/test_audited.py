"""An audit from its draw to its numbers: what raters said, and what judges' scores become."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_audit import doubtful, draw, honest, judged, ratings, write_runs

from livo_bench.errors import BadInput, Incomplete
from livo_bench.records import Run
from livo_bench.results.judged import YES
from livo_bench.results.metrics import bias
from livo_bench.results.metrics.judge_error import read_confusions
from livo_bench.results.raters import drawn
from livo_bench.results.raters.audited import Audit, Finding, read_audit, read_findings
from livo_bench.results.raters.drawn import LABEL, PAIR, Draw, Item
from livo_bench.results.reading import read_results


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audit")
    draw(runs, out)
    return out


@pytest.fixture(scope="module")
def drew(folder: Path) -> Draw:
    return drawn.read(folder)


@pytest.fixture(scope="module")
def found(runs: Path, folder: Path, drew: Draw) -> Audit:
    files = [ratings(folder, drew, "Ada", honest), ratings(folder, drew, "Grace", doubtful)]
    return read_audit(files, folder, runs)


def one(found: Audit, **fields: str) -> Finding:
    [only] = [
        finding
        for finding in found.findings
        if all(getattr(finding, name) == value for name, value in fields.items())
    ]
    return only


# What is drawn -----------------------------------------------------------------------------------


def test_questions_stand_together_and_methods_are_shuffled(drew: Draw) -> None:
    asked = [item.question for item in drew.items]
    blocks = [name for place, name in enumerate(asked) if place == 0 or asked[place - 1] != name]
    assert blocks == ["bias/gender", "toxicity/nudity", "fits", "better", "milder toxicity/nudity"]
    assert len({item.id for item in drew.items}) == len(drew.items)
    pairs = [item for item in drew.items if drew.question(item.question).kind == PAIR]
    assert {item.methods[0] for item in pairs} == {"sd", "livo"}
    assert all(len(set(item.keys)) == 2 for item in pairs)


def test_pairs_are_of_one_prompt_and_noise_and_never_one_image(runs: Path, drew: Draw) -> None:
    sides = read_results(runs, "mini").values()
    places = {
        (side.run.method, row["key"]): (side.run.task, row["prompt"], row["index"])
        for side in sides
        for _, row in side.images.iterrows()
    }
    for item in drew.items:
        if drew.question(item.question).kind == PAIR:
            first, second = (
                places[method, key] for method, key in zip(item.methods, item.keys, strict=True)
            )
            assert first == second
    # Odd images of `livo` are those of `sd`: 2 of 4 of 9 prompts.
    assert drew.same == {"livo": 18}


def test_labels_say_what_they_stand_for(drew: Draw) -> None:
    for stratum in drew.strata:
        of_it = [item for item in drew.items if item.stratum == stratum.name]
        of_it = [item for item in of_it if item.question == stratum.question]
        assert min(2, stratum.images) <= len(of_it) <= stratum.images
        assert {judged(item) for item in of_it} == {stratum.answer}
    # What is drawn from has one image of `livo` and `sd` once.
    assert sum(one.images for one in drew.strata if one.question == "bias/gender") == 36


def test_raters_are_asked_what_the_judge_was_asked(drew: Draw) -> None:
    gender, nudity = drew.questions[:2]
    assert gender.classes == ("male", "female")
    assert nudity.text.startswith("Does the image contain nudity content, which is generally")
    assert "Answer" not in nudity.text
    assert (gender.judge, nudity.judge) == ("clip-gender-1", "llava-1")


def test_another_seed_draws_other_questions(runs: Path, tmp_path: Path, drew: Draw) -> None:
    from livo_bench.report.audit_page import draw_audit

    draw_audit(tmp_path, runs, labels=28, fits=8, pairs=8, seed=1)
    assert drawn.read(tmp_path).items != drew.items


# What is read ------------------------------------------------------------------------------------


def test_the_matrix_is_read_by_the_model_card_and_is_what_raters_say(
    found: Audit, folder: Path, drew: Draw
) -> None:
    judge = read_confusions(folder / "confusion.csv")["clip-gender-1"]
    assert judge.classes == ("male", "female")
    # By hand: each image of a stratum stands for as many, and each rater for a half.
    totals = np.zeros((2, 2))
    for stratum in drew.strata:
        if stratum.question != "bias/gender":
            continue
        items = [item for item in drew.items if item.question == "bias/gender"]
        items = [item for item in items if item.stratum == stratum.name]
        for item in items:
            for rater in (honest, doubtful):
                answer = rater(drew, item)
                if answer in judge.classes:
                    place = judge.classes.index(answer), judge.classes.index(stratum.answer)
                    totals[place] += stratum.images / len(items) / 2
    np.testing.assert_allclose(judge.rates, totals / totals.sum(axis=1, keepdims=True), atol=1e-5)
    error = one(found, what="confusion", on="bias/gender", of="male as female")
    assert error.value == pytest.approx(judge.rates[0, 1])
    assert error.low <= error.value <= error.high


def test_scores_are_corrected_as_a_run_with_the_matrix_corrects_them(
    found: Audit, folder: Path, runs: Path
) -> None:
    judges = read_confusions(folder / "confusion.csv")
    [side] = [
        s for r, s in read_results(runs, "mini").items() if (r.method, r.task) == ("sd", "bias")
    ]
    scorers = {"gender": "clip-gender-1"}
    confusions = {"gender": judges["clip-gender-1"]}
    rows = bias.summarise(side.images, Run("mini", "sd", "bias"), side.groups, scorers, confusions)
    [theirs] = [r for r in rows.aggregates if (r.metric, r.category) == ("D1_corrected", "all")]
    ours = one(found, what="D1", method="sd")
    assert (ours.value, ours.low, ours.high, ours.n) == pytest.approx(
        (theirs.value, theirs.low, theirs.high, theirs.n), rel=1e-4
    )
    assert ours.judged == pytest.approx(np.mean([0.5, 0.5, 0.0, 1.0, 0.0, 1.0]))


def test_shares_alpha_fits_and_preferences_are_there_with_their_n(found: Audit, drew: Draw) -> None:
    share = one(found, what="share", on="bias/gender", method="livo", of="male")
    assert share.judged == pytest.approx(0.5)
    assert share.low <= share.value <= share.high
    alpha = one(found, what="alpha", on="bias/gender")
    assert 0.4 < alpha.value < 1
    assert alpha.n == sum(item.question == "bias/gender" for item in drew.items)
    assert one(found, what="fits", method="livo").value == 1
    preferred = one(found, what="preferred", method="livo", on="better")
    assert (preferred.n, preferred.worse) == (8, 0)
    assert preferred.better + preferred.tie == 16
    assert preferred.of == "sd"
    clusters = {item.cluster for item in drew.items if item.question == "better"}
    assert preferred.p == pytest.approx(2 / 2 ** len(clusters))


def test_what_was_read_is_read_again(found: Audit, folder: Path) -> None:
    again = read_findings(folder, "mini")
    assert len(again) == len(found.findings)
    for first, second in zip(found.findings, again, strict=True):
        assert (first.what, first.method, first.on, first.of) == (
            second.what, second.method, second.on, second.of,
        )  # fmt: skip
        assert second.value == pytest.approx(first.value, nan_ok=True)
    with pytest.raises(Incomplete, match=r"no audit of model 'sd15'.*(?s:.*)audit draw"):
        read_findings(folder, "sd15")
    (folder / "findings.csv").write_text("what\n")
    with pytest.raises(BadInput, match="audit read"):
        read_findings(folder, "mini")


def test_one_rater_has_no_alpha_and_one_who_stopped_leaves_out_what_is_not_answered(
    runs: Path, folder: Path, drew: Draw, tmp_path: Path
) -> None:
    labels = sum(item.question == "bias/gender" for item in drew.items)
    path = ratings(tmp_path, drew, "Ada", honest, first=labels + 1)
    found, notes = read_audit([path], folder, runs)
    assert {finding.what for finding in found} == {"confusion", "share", "D1", "D2"}
    assert any("toxicity/nudity: no label yet for" in note for note in notes)
    assert any(note.startswith("fits: 0 answers of") for note in notes)
    assert any("18 images are sd's own" in note for note in notes)


def test_a_judge_that_is_mostly_wrong_is_not_corrected_by(
    runs: Path, folder: Path, drew: Draw, tmp_path: Path
) -> None:
    def contrary(draw: Draw, item: Item) -> str:
        question = draw.question(item.question)
        other = [choice for choice in question.classes if choice != judged(item)]
        return other[0] if question.kind == LABEL else honest(draw, item)

    def always_yes(draw: Draw, item: Item) -> str:
        return YES if item.question == "toxicity/nudity" else contrary(draw, item)

    _, notes = read_audit([ratings(tmp_path, drew, "Ada", always_yes)], folder, runs)
    assert any("bias/gender: the judge is right on male in 0 % of images" in n for n in notes)
    assert any("toxicity/nudity: too few labels say how the judge errs on" in n for n in notes)
    assert (folder / "confusion.csv").read_text() == "scorer,truth,label,images\n"


def test_runs_that_went_away_leave_what_raters_said(
    folder: Path, drew: Draw, tmp_path: Path
) -> None:
    path = ratings(tmp_path, drew, "Ada", honest)
    found, _ = read_audit([path], folder, tmp_path / "none")
    assert {finding.what for finding in found} == {"confusion", "share", "fits", "preferred"}
    assert all(math.isnan(finding.judged) for finding in found if finding.what == "fits")


def test_confusion_rows_are_a_frame_that_names_the_judges(folder: Path) -> None:
    rows = pd.read_csv(folder / "confusion.csv")
    assert set(rows["scorer"]) == {"clip-gender-1", "llava-1"}
