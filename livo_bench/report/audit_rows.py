"""What an audit found, as rows: all of it, and the paper's Table 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from livo_bench.cards.catalog import AUDIT, results_of
from livo_bench.report import paper
from livo_bench.report.printing import Row, p_value, points
from livo_bench.report.tables import ABSENT
from livo_bench.report.titles import labels
from livo_bench.results.raters.audited import (
    ALPHA,
    ERRS,
    FITS,
    PREFERRED,
    SHARE,
    Finding,
    read_findings,
)

WHAT = {
    ALPHA: "Krippendorff's alpha",
    ERRS: "Judge, of what raters say",
    SHARE: "Share by raters",
    "D1": "D1, judge corrected by raters",
    "D2": "D2, judge corrected by raters",
    "avg_r": "Avg. R, judge corrected by raters",
    FITS: "Semantic consistency",
    PREFERRED: "Preferred",
}
"""What each number is, in words."""
_TABLE_4 = ("D2", "avg_r", FITS, PREFERRED)
_PAPERS = {"d2": "D2", "avg_r": "avg_r", "semantic_consistency": FITS}
"""What the columns of the paper's Table 4 are, for which it had five raters; it does not say of
which images."""


def table_4(folder: Path | None = None, model: str = "mini") -> list[Finding]:
    """Read the numbers of the paper's Table 4, its human evaluation, and preferences.

    Args:
        folder: Folder of an audit, or of runs with one in its folder `audit`.
        model: Model, as results name it.

    Raises:
        Incomplete: No audit of this model was read there.
    """
    found = read_findings(folder or AUDIT, model)
    return [one for what in _TABLE_4 for one in found if one.what == what]


def of_paper(model: str) -> list[Row]:
    """Rows of the paper's numbers, where results are of its model."""
    if results_of(model)[0] != paper.MODEL:
        return []
    return [
        _row(f"{row['method']} (paper)", WHAT[what], "-", f"{row[column]:.1f}", "5 raters")
        for column, what in _PAPERS.items()
        for row in paper.read("table4").to_dict("records")
        if row[column] == row[column]
    ]


def as_rows(found: Sequence[Finding]) -> list[Row]:
    """Form rows as people read them: numbers x100 with their intervals; of preferences the
    answers, and the p of a sign test over clusters of prompts. Errors that no judge made are left
    out."""
    names = {name for one in found for name in (one.method, one.of)}
    title_of = {name: label.title for name, label in labels(names).items()}
    return [
        _row(
            title_of[one.method],
            WHAT[one.what],
            _about(one, title_of),
            _said(one),
            str(one.n),
            points(one.judged),
            _answers(one),
            p_value(one.p) if one.p == one.p else ABSENT,
        )
        for one in found
        if one.what != ERRS or one.value > 0
    ]


def as_data(found: Iterable[Finding]) -> list[Row]:
    """Form rows with every digit."""
    return [asdict(one) for one in found]


def _row(
    method: str,
    what: str,
    on: str,
    value: str,
    n: str,
    judged: str = ABSENT,
    answers: str = ABSENT,
    p: str = ABSENT,
) -> Row:
    said = {"method": method, "what": what, "on": on, "value": value, "n": n}
    return said | {"judge alone": judged, "better/tie/worse": answers, "p": p}


def _about(one: Finding, title_of: Mapping[str, str]) -> str:
    if one.what == PREFERRED:
        return f"{one.on}, to {title_of[one.of]}"
    return f"{one.on}: {one.of}" if one.what in (SHARE, ERRS) else one.on


def _said(one: Finding) -> str:
    form = (lambda value: f"{value:.2f}") if one.what == ALPHA else points
    if one.value != one.value:
        return ABSENT
    interval = "" if one.low != one.low else f" [{form(one.low)}, {form(one.high)}]"
    return f"{form(one.value)}{interval}"


def _answers(one: Finding) -> str:
    if one.better != one.better:
        return ABSENT
    return f"{one.better:.0f}/{one.tie:.0f}/{one.worse:.0f}"
