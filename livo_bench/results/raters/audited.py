"""An audit read back: what raters answered becomes numbers, and these are kept beside the draw."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from livo_bench.cards.catalog import AUDIT, RUNS
from livo_bench.csvs import read_csv
from livo_bench.errors import Incomplete
from livo_bench.files import write_atomically
from livo_bench.records import BIAS, TOXICITY
from livo_bench.results.frames import ALL
from livo_bench.results.judged import Results
from livo_bench.results.metrics import bias, toxicity
from livo_bench.results.metrics.intervals import TAIL
from livo_bench.results.metrics.judge_error import COLUMNS, Confusion
from livo_bench.results.raters import drawn, ratings
from livo_bench.results.raters.agreement import agreement
from livo_bench.results.raters.drawn import LABEL, Draw, Question
from livo_bench.results.raters.estimates import Labelled
from livo_bench.results.raters.preferences import fits, preferences
from livo_bench.results.reading import read_results

FINDINGS, CONFUSION = "findings.csv", "confusion.csv"
ABSENT = "-"
ALPHA, ERRS, SHARE, FITS, PREFERRED = "alpha", "confusion", "share", "fits", "preferred"
SCORES = {"D1_corrected": "D1", "D2_corrected": "D2", "avg_r_corrected": "avg_r"}
"""Corrected metrics, and what each is a correction of."""
MORE = "Rate on: open the page, and read the files again."


@dataclass(frozen=True, slots=True)
class Finding:
    """One number of an audit, with its interval and what it is of."""

    model: str
    what: str
    """`ALPHA`, `ERRS`, `SHARE`, `FITS`, `PREFERRED`, or a metric of `SCORES`."""
    method: str
    """The method; `ABSENT` for what is of a judge or of raters."""
    on: str
    """Id of the question."""
    of: str
    """Which answer a share is of, `male as female` of an error; the baseline of a preference."""
    value: float
    """A fraction, or alpha."""
    low: float
    high: float
    n: int
    """Images or pairs that raters answered for, of an error those that some rater calls so; of a
    metric, images that the judge scored."""
    judged: float = float("nan")
    """The same as the judge has it."""
    better: float = float("nan")
    """Answers for the method; of a preference, like the next two."""
    tie: float = float("nan")
    worse: float = float("nan")
    p: float = float("nan")
    """Of the sign test over clusters of prompts."""


TEXTS = ("model", "what", "method", "on", "of")


class Audit(NamedTuple):
    """What an audit found."""

    findings: list[Finding]
    notes: list[str]
    """What could not be said and why, a line each."""


def read_audit(files: Sequence[Path], folder: Path = AUDIT, runs: Path = RUNS) -> Audit:
    """Read what raters answered, and write `confusion.csv` and `findings.csv` beside the draw.

    Args:
        files: A file a rater, as the page saves it.
        folder: Folder of the draw.
        runs: Folder of results whose scores are corrected.

    Raises:
        BadInput: A file is damaged.
        NotComparable: The answers are to another draw.
        Incomplete: There is no draw, or no file was given.
    """
    draw = drawn.read(folder)
    if not files:
        raise Incomplete("There is no file of ratings.", "Save one on the page, and name it here.")
    answers = ratings.read(files, draw)
    of_item = {item.id: item for item in draw.items}
    answers = answers.assign(
        question=[of_item[name].question for name in answers["item"]],
        cluster=[of_item[name].cluster for name in answers["item"]],
    )
    found: list[Finding] = []
    notes: list[str] = []
    judges: dict[str, Confusion] = {}
    raters = answers["rater"].nunique()
    for question in draw.questions:
        own = answers[answers["question"] == question.id]
        asked = sum(item.question == question.id for item in draw.items)
        if len(own) < asked * raters:
            notes.append(f"{question.id}: {len(own)} answers of {asked * raters}. {MORE}")
        found += _agreement(draw, question, own)
        if question.kind == LABEL and len(own):
            labelled = Labelled.of(draw, question, own)
            judge, said = _judge(labelled)
            notes += said
            found += _errors(draw, labelled, judge)
            if judge is not None:
                judges[question.id] = judge
            if not labelled.unlabelled:
                found += _shares(draw, labelled)
    found += _scores(draw, judges, runs)
    found += _fits(draw, answers)
    found += _preferences(draw, answers)
    notes += [
        f"{method}: {number} images are {draw.baseline}'s own, and in no pair"
        for method, number in draw.same.items()
        if number
    ]
    write_atomically(folder / CONFUSION, _confusion_csv(judges.values()), "--draw DIR")
    table = pd.DataFrame(map(asdict, found), columns=[field.name for field in fields(Finding)])
    write_atomically(folder / FINDINGS, table.to_csv(index=False).encode(), "--draw DIR")
    return Audit(found, notes)


def _agreement(draw: Draw, question: Question, answers: pd.DataFrame) -> Iterator[Finding]:
    if answers["rater"].nunique() > 1:
        alpha, (low, high), items = agreement(answers)
        yield Finding(draw.model, ALPHA, ABSENT, question.id, ALL, alpha, low, high, items)


def _judge(labelled: Labelled) -> tuple[Confusion | None, list[str]]:
    """The matrix that corrects a judge's answers, or why there is none."""
    name = labelled.question.id
    if labelled.unlabelled:
        return None, [f"{name}: no label yet for {'; '.join(labelled.unlabelled)}. {MORE}"]
    judge = labelled.confusion()
    if judge is None:
        images = zip(labelled.question.classes, labelled.worth, strict=True)
        few = ", ".join(one for one, worth in images if worth < 1)
        said = f"{name}: too few labels say how the judge errs on what raters call {few}."
        return None, [f"{said} Draw more images to label, --labels, into another folder."]
    wrong = [
        f"{one} in {100 * rate:.0f} % of images"
        for one, rate in zip(judge.classes, np.diag(judge.rates), strict=True)
        if rate <= 0.5
    ]
    if wrong:
        said = f"{name}: the judge is right on {', '.join(wrong)}; not above half, so that nothing "
        said += "can be corrected."
        return None, [said]
    return judge, []


def _errors(draw: Draw, labelled: Labelled, judge: Confusion | None) -> Iterator[Finding]:
    if judge is None:
        return
    low, high = np.quantile(judge.drawn(), [TAIL, 1 - TAIL], axis=0)
    for row, truth in enumerate(judge.classes):
        called = int((labelled.images[truth] > 0).sum())
        for column, label in enumerate(judge.classes):
            yield Finding(
                *(draw.model, ERRS, ABSENT, labelled.question.id, f"{truth} as {label}"),
                float(judge.rates[row, column]),
                # The draws begin with half an image wrong, the rates do not.
                min(float(low[row, column]), float(judge.rates[row, column])),
                max(float(high[row, column]), float(judge.rates[row, column])),
                called,
            )


def _shares(draw: Draw, labelled: Labelled) -> Iterator[Finding]:
    for one in labelled.shares():
        yield Finding(
            *(draw.model, SHARE, one.method, labelled.question.id, one.label),
            *(one.value, *one.interval, one.n, one.judged),
        )


def _scores(draw: Draw, judges: Mapping[str, Confusion], runs: Path) -> Iterator[Finding]:
    """Scores of runs, corrected as `report --table estimators` does, by the raters' matrices."""
    if not judges or not runs.is_dir():
        return
    for side in read_results(runs, draw.model).values():
        of_side = {
            subset: judges[f"{side.run.task}/{subset}"]
            for subset in sorted(set(side.images["subset"]))
            if f"{side.run.task}/{subset}" in judges
            and judges[f"{side.run.task}/{subset}"].scorer
            == side.scorer_of(str(subset), side.metrics[0])
        }
        if side.kind in (BIAS, TOXICITY) and of_side:
            yield from _corrected(draw, side, of_side)


def _corrected(draw: Draw, side: Results, judges: Mapping[str, Confusion]) -> Iterator[Finding]:
    images = side.images[side.images["subset"].isin(judges)]
    scorers = {subset: judge.scorer for subset, judge in judges.items()}
    if side.kind == TOXICITY:
        summary = toxicity.summarise(images, side.run, scorers, confusions=judges)
    else:
        summary = bias.summarise(images, side.run, side.groups, scorers, judges)
    rows = [row for row in summary.aggregates if row.category == ALL]
    judged = {(row.subset, row.metric): row.value for row in rows}
    for row in rows:
        if row.metric in SCORES:
            raw = SCORES[row.metric]
            yield Finding(
                *(draw.model, raw, side.run.method, f"{side.run.task}/{row.subset}", "corrected"),
                *(row.value, row.low, row.high, row.n, judged[row.subset, raw]),
            )


def _fits(draw: Draw, answers: pd.DataFrame) -> Iterator[Finding]:
    for one in fits(draw, answers):
        yield Finding(
            draw.model, FITS, one.method, drawn.FITS, "yes", one.value, *one.interval, one.n
        )


def _preferences(draw: Draw, answers: pd.DataFrame) -> Iterator[Finding]:
    for one in preferences(draw, answers):
        yield Finding(
            *(draw.model, PREFERRED, one.method, one.question, draw.baseline),
            *(one.value, *one.interval, one.n, float("nan")),
            *(one.better, one.tie, one.worse, one.p),
        )


def _confusion_csv(judges: Collection[Confusion]) -> bytes:
    rows = [
        (judge.scorer, truth, label, images)
        for judge in judges
        for truth, counts in zip(judge.classes, judge.counts, strict=True)
        for label, images in zip(judge.classes, counts, strict=True)
    ]
    text = io.StringIO()
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(text, index=False)
    return text.getvalue().encode()


def read_findings(folder: Path, model: str) -> list[Finding]:
    """Read what an audit found.

    Args:
        folder: Folder of the draw, or of runs with one in its folder `audit`.
        model: Whose numbers are asked for.

    Raises:
        Incomplete: No audit of this model was read there.
        BadInput: The file is damaged.
    """
    names = [field.name for field in fields(Finding)]
    for path in (folder / FINDINGS, folder / AUDIT.name / FINDINGS):
        if path.is_file():
            numbers = [name for name in names if name not in TEXTS]
            table = read_csv(path, names, "Make it with livo-bench audit read.", numbers)
            break
    else:
        table = pd.DataFrame(columns=names)
    rows = table[table["model"] == model]
    if rows.empty:
        raise Incomplete(
            f"{folder} has no audit of model {model!r} that was read, so people said nothing yet.",
            "Draw one and rate it\n    livo-bench audit draw\n    livo-bench audit read FILE...",
        )
    return [Finding(**{str(k): v for k, v in row.items()}) for row in rows.to_dict("records")]
