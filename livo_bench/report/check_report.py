"""What a check found, for a terminal, a pull request, a CI server or a program."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from livo_bench.errors import BadInput, Incomplete, LivoBenchError, NotComparable
from livo_bench.escaping import in_json, markdown, redacted, visible
from livo_bench.files import write_atomically
from livo_bench.report.printing import Row, as_csv, as_markdown, p_value, points, without_nan
from livo_bench.results.check import Check, Comparison, Sample
from livo_bench.results.judged import counted
from livo_bench.results.paired import Noise, worsening
from livo_bench.results.tallies import UNSCORED

PASS, REGRESSION = "pass", "regression"
SUITE = "livo-bench check"
WORST = 10
"""Prompts that a comment lists besides those that fail."""

NOISE = {
    Noise.SAME: "same noise",
    Noise.OTHER: "other noise",
    Noise.UNSHARED: "noise is not shared, for an image service draws its own for each image",
    Noise.UNKNOWN: "same noise cannot be shown, for a side does not say its seeds",
}

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verdict(outcome: Check | LivoBenchError) -> str:
    """`pass`, `regression`, `not comparable`, `incomplete`, or `error`."""
    if isinstance(outcome, Check):
        return REGRESSION if outcome.regressions else PASS
    if isinstance(outcome, NotComparable):
        return "not comparable"
    return "incomplete" if isinstance(outcome, Incomplete) else "error"


def summary(check: Check) -> str:
    """The verdict in one line, with what a pass could have missed."""
    means, prompts = (
        f"{sum(one.regression for one in some)} of {len(some)}"
        for some in (check.metrics, check.prompts)
    )
    found = (
        f"{verdict(check).capitalize()}: {means} metrics regressed, "
        f"and {prompts} single-prompt tests failed."
    )
    return found if check.regressions else f"{found} {_blindness(check.metrics)}"


def _blindness(metrics: Sequence[Comparison]) -> str:
    """What true change of a mean could have passed, about which a pass is silent."""
    sizes = [one.detectable for one in metrics if not math.isnan(one.detectable)]
    blind = len(metrics) - len(sizes)
    missed = [f"less than {points(max(sizes))} points"] if sizes else []
    missed += [f"any size in {blind} of the metrics"] if blind else []
    return f"A true change of {', or of '.join(missed)} could have passed."


def promise(check: Check) -> str:
    """What the verdict rests on."""
    return (
        f"Unchanged code fails at most {100 * check.alpha:g} % of such checks. Margins: "
        f"{100 * check.margin:g} points for a mean over prompts, {100 * check.prompt_margin:g} "
        "for one prompt."
    )


def sample_line(sample: Sample) -> str:
    """What was compared of one run."""
    return (
        f"{sample.method} on {sample.task}: {NOISE[sample.noise]}; {sample.prompts} of "
        f"{sample.prompts_before} prompts, {sample.images} of {sample.images_before} images; "
        f"without a score {counted(sample.unscored)}, before {counted(sample.unscored_before)}."
        f"{_not_compared('the baseline has', sample.lacking_before)}"
        f"{_not_compared('the new results have', sample.lacking)}"
        f"{_files(sample)}{_unsealed(sample)}"
    )


def changed_lines(sample: Sample) -> list[str]:
    """What else differs between the two sides that may, a line each."""
    return [f"{sample.method} on {sample.task}, made otherwise: {what}" for what in sample.changed]


def _files(sample: Sample) -> str:
    return f" Method files differ: {', '.join(sample.files)}." if sample.files else ""


def _unsealed(sample: Sample) -> str:
    return f" Unsealed: {' and '.join(sample.unsealed)}." if sample.unsealed else ""


def _not_compared(whose: str, metrics: Sequence[str]) -> str:
    if not metrics:
        return ""
    return (
        f" Not compared, for {whose} none of them: {', '.join(metrics)}. Run it again; its images "
        "are kept."
    )


# Rows --------------------------------------------------------------------------------------------


def metric_rows(metrics: Sequence[Comparison]) -> list[Row]:
    """One row a mean over prompts, as people read them: per cent, rounded."""
    return [
        {
            **_place(one),
            "metric": one.metric,
            "prompts": one.prompts,
            "images": one.images,
            **_values(one),
            "detectable": points(worsening(one.metric, one.detectable), "+.1f"),
            **_decision(one),
        }
        for one in metrics
    ]


def prompt_rows(prompts: Sequence[Comparison]) -> list[Row]:
    """One row a prompt, as people read them: per cent, rounded."""
    return [
        {
            **_place(one),
            "prompt": one.prompt,
            "metric": one.metric,
            "labelled": one.label,
            "images": one.images,
            **_values(one),
            **_decision(one),
        }
        for one in prompts
    ]


def _place(one: Comparison) -> dict[str, object]:
    return {"method": one.method, "subset": f"{one.task}/{one.subset}"}


def _values(one: Comparison) -> dict[str, object]:
    return {
        "before": points(one.before),
        "now": points(one.now),
        "difference": points(one.difference, "+.1f"),
    }


def _decision(one: Comparison) -> dict[str, object]:
    return {
        "p": p_value(one.p),
        "verdict": REGRESSION if one.regression else PASS,
    }


# Forms -------------------------------------------------------------------------------------------


def render(outcome: Check | LivoBenchError, form: str) -> str:
    """A check, or why there is none, as a text.

    Args:
        outcome: What `check` returned or raised.
        form: `markdown` (the comment on a pull request), `json`, `junit` or `csv`; the last two
            hold every digit of fractions, `csv` the metrics and prompts only.
    """
    return {"markdown": _markdown, "json": _json, "junit": _junit, "csv": _csv}[form](outcome)


SUFFIXES = {".md": "markdown", ".json": "json", ".xml": "junit", ".csv": "csv"}
"""Forms of a file."""


def form_of(path: Path) -> str:
    """The form that a file's suffix asks for.

    Raises:
        BadInput: It asks for none.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"{path} ends in {path.suffix or 'nothing'}; expected one of {', '.join(SUFFIXES)}.",
            "Pass e.g. livo-bench check --out check.md --out check.xml",
        )
    return SUFFIXES[path.suffix]


def write(outcome: Check | LivoBenchError, path: Path) -> None:
    """Write `render` in the form of the file's suffix."""
    write_atomically(path, (render(outcome, form_of(path)) + "\n").encode())


def _markdown(outcome: Check | LivoBenchError) -> str:
    if isinstance(outcome, LivoBenchError):
        fence = "```"
        message = visible(redacted(str(outcome))).replace(fence, "'''")
        return f"**{SUITE}: {verdict(outcome)}**\n\n{fence}text\n{message}\n{fence}"
    failed = [one for one in outcome.prompts if one.regression]
    parts = [f"**{SUITE}: {summary(outcome)}**", promise(outcome)]
    parts.append(as_markdown(metric_rows(outcome.metrics)))
    if failed:
        parts += ["Prompts that failed:", as_markdown(prompt_rows(failed))]
    if changed := [line for sample in outcome.samples for line in changed_lines(sample)]:
        parts.append(_items(changed))
    parts += ["<details><summary>What was compared</summary>"]
    parts.append(_items([sample_line(sample) for sample in outcome.samples]))
    worst = [one for one in outcome.prompts if one not in failed and one.metric != UNSCORED]
    worst = sorted(worst, key=lambda one: one.worsening, reverse=True)[:WORST]
    if worst:
        parts += ["Other prompts, worst change first:", as_markdown(prompt_rows(worst))]
    parts += [
        "Values are per cent. `detectable` is the true difference that is found 4 times out of 5, "
        "`-` where the metric cannot get so much worse; `p` is corrected for all tests (Holm).",
        "</details>",
    ]
    return "\n\n".join(parts)


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)


def _json(outcome: Check | LivoBenchError) -> str:
    if isinstance(outcome, LivoBenchError):
        record: dict[str, Any] = {
            "verdict": verdict(outcome),
            "message": redacted(str(outcome)),
        }
    else:
        record = {"verdict": verdict(outcome), **asdict(outcome)}
        for part in ("metrics", "prompts"):
            record[part] = [without_nan(row, None) for row in record[part]]
    return in_json(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))


def _csv(outcome: Check | LivoBenchError) -> str:
    if isinstance(outcome, LivoBenchError):
        return ""
    return as_csv([asdict(one) for one in (*outcome.metrics, *outcome.prompts)])


def _junit(outcome: Check | LivoBenchError) -> str:
    suite = ElementTree.Element("testsuite", name=SUITE)
    if isinstance(outcome, LivoBenchError):
        case = _case(suite, SUITE, "comparison")
        _tell(case, "error", verdict(outcome), redacted(str(outcome)))
    else:
        settings = ElementTree.SubElement(suite, "properties")
        for name in ("alpha", "margin", "prompt_margin"):
            value = str(getattr(outcome, name))
            ElementTree.SubElement(settings, "property", name=name, value=value)
        for line in (line for sample in outcome.samples for line in changed_lines(sample)):
            ElementTree.SubElement(settings, "property", name="changed", value=_xml(line))
        for one in outcome.metrics:
            case = _case(suite, f"{one.method}.{one.task}", f"{one.subset} {one.metric}")
            _report(case, [one])
        by_metric = sorted(outcome.prompts, key=_metric_of)
        for (method, task, subset, metric), some in groupby(by_metric, key=_metric_of):
            case = _case(suite, f"{method}.{task}", f"{subset} {metric} of each prompt")
            _report(case, [one for one in some if one.regression])
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for kind in ("failure", "error"):
        suite.set(f"{kind}s", str(sum(case.find(kind) is not None for case in cases)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _metric_of(one: Comparison) -> tuple[str, str, str, str]:
    return one.method, one.task, one.subset, one.metric


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    names: Mapping[str, str] = {"classname": _xml(classname), "name": _xml(name)}
    return ElementTree.SubElement(suite, "testcase", {**names, "time": "0"})


def _report(case: ElementTree.Element, compared: Sequence[Comparison]) -> None:
    told = "\n".join(map(_sentence, compared))
    if any(one.regression for one in compared):
        _tell(case, "failure", REGRESSION, told)
    elif told:
        ElementTree.SubElement(case, "system-out").text = _xml(told)


def _tell(case: ElementTree.Element, kind: str, what: str, message: str) -> None:
    first = _xml(next(iter(message.splitlines()), ""))
    found = ElementTree.SubElement(case, kind, type=what, message=first)
    found.text = _xml(message)


def _sentence(one: Comparison) -> str:
    whose = f"{one.prompt}, images labelled {one.label}: " if one.label else ""
    return (
        f"{whose}{one.metric} {100 * one.before:.1f} before, {100 * one.now:.1f} now "
        f"({100 * one.difference:+.1f}), {one.images} images, p {one.p:.2g}, detectable "
        f"{points(one.detectable)}"
    )


def _xml(text: str) -> str:
    """Free a text of characters that steer a terminal, or that XML cannot hold, escaped or not."""
    return _NOT_XML.sub("\ufffd", visible(text))
