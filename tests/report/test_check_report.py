"""What a check found, in every form it is written in."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from written_checks import BLANK, FOUND, MEAN, OTHERWISE, PROMPT, SAMPLE

from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.report.check_report import (
    metric_rows,
    prompt_rows,
    render,
    sample_line,
    summary,
    write,
)
from livo_bench.results.check import Check

NASTY = replace(PROMPT, prompt="a|b<script>\x0b&", method="<i>")


def test_rows_are_in_per_cent_with_a_verdict() -> None:
    row = metric_rows([MEAN])[0]
    assert row["subset"] == "bias/gender"
    assert (row["before"], row["now"], row["difference"]) == ("42.5", "50.0", "+7.5")
    assert (row["detectable"], row["p"], row["verdict"]) == ("+2.0", "<0.001", "regression")
    row = prompt_rows([replace(PROMPT, regression=False)])[0]
    assert (row["prompt"], row["labelled"], row["verdict"]) == ("nurse-0", "male", "pass")


def test_of_fidelity_lower_is_worse_and_what_cannot_be_found_is_a_dash() -> None:
    row, none = metric_rows(
        [replace(MEAN, metric="content", p=0.25), replace(MEAN, detectable=float("nan"))]
    )
    assert (row["detectable"], row["p"], none["detectable"]) == ("-2.0", "0.250", "-")


def test_a_pass_says_what_could_have_passed() -> None:
    passed = replace(MEAN, regression=False)
    larger = replace(passed, detectable=0.1234)
    check = Check([SAMPLE], [passed, larger], [], 0.05, 0.02, 0.2)
    assert summary(check).endswith(
        "tests failed. A true change of less than 12.3 points could have passed."
    )
    check = replace(check, metrics=[passed, replace(passed, detectable=float("nan"))])
    assert summary(check).endswith(
        " A true change of less than 2.0 points, or of any size in 1 of the metrics could have "
        "passed."
    )
    assert "could have passed" not in summary(FOUND)


def test_fidelity_that_one_side_lacks_is_told() -> None:
    assert "Not compared" not in sample_line(SAMPLE)
    line = sample_line(replace(SAMPLE, lacking_before=("clip", "content")))
    assert "Not compared, for the baseline has none of them: clip, content. Run it again" in line
    line = sample_line(replace(SAMPLE, lacking=("clip",)))
    assert "the new results have none of them: clip." in line


def test_the_comment_says_the_verdict_first_and_hides_the_details() -> None:
    text = render(FOUND, "markdown")
    first, _, rest = text.partition("\n")
    assert first == f"**livo-bench check: {summary(FOUND)}**"
    assert "1 of 2 metrics regressed, and 1 of 2 single-prompt tests failed" in first
    shown, _, hidden = rest.partition("<details>")
    assert "nurse-0" in shown
    assert f"made otherwise: {OTHERWISE[0]}" in shown
    assert "pilot-0" not in shown
    for part in (
        "pilot-0",
        "without a score 3 (3 blank image), before 0",
    ):
        assert part in hidden


def test_the_comment_escapes_what_others_wrote() -> None:
    text = render(replace(FOUND, prompts=[NASTY]), "markdown")
    assert "a\\|b&lt;script&gt;" in text
    assert "<script>" not in text
    text = render(Incomplete("no ``` here"), "markdown")
    assert text.count("```") == 2


def test_junit_has_a_case_a_metric_and_one_for_the_prompts_of_each() -> None:
    suite = ElementTree.fromstring(render(FOUND, "junit"))
    assert suite.attrib["tests"] == "3"
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("2", "0")
    names = {case.attrib["name"]: case for case in suite.iter("testcase")}
    assert list(names) == ["gender D1", "gender D2", "gender D1 of each prompt"]
    assert {case.attrib["classname"] for case in names.values()} == {"sd.bias"}
    failure = names["gender D1"].find("failure")
    assert failure is not None
    assert "42.5 before, 50.0 now (+7.5)" in failure.attrib["message"]
    assert names["gender D2"].find("failure") is None
    assert names["gender D1 of each prompt"].findtext("failure", "").startswith("nurse-0, images")
    ElementTree.fromstring(render(replace(FOUND, prompts=[NASTY]), "junit"))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NotComparable("a < b"), "not comparable"),
        (Incomplete("c"), "incomplete"),
        (BadInput("torn"), "error"),
        (BadInput(""), "error"),
    ],
)
def test_why_there_is_no_check_is_written_too(
    error: BadInput | Incomplete | NotComparable, verdict: str
) -> None:
    suite = ElementTree.fromstring(render(error, "junit"))
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("1", "1")
    failure = suite.find("testcase/error")
    assert failure is not None
    assert failure.attrib == {"type": verdict, "message": str(error)}
    assert json.loads(render(error, "json")) == {"verdict": verdict, "message": str(error)}
    assert verdict in render(error, "markdown").splitlines()[0]


def test_json_and_csv_hold_every_digit_and_nothing_that_is_no_number() -> None:
    record = json.loads(render(FOUND, "json"))
    assert (record["verdict"], record["alpha"], record["margin"]) == ("regression", 0.05, 0.02)
    assert record["metrics"][0]["difference"] == 0.075
    assert record["prompts"][0]["detectable"] is None
    assert record["samples"][0]["unscored"] == BLANK
    lines = render(FOUND, "csv").splitlines()
    assert len(lines) == 1 + 4
    assert ",0.075," in lines[1]


def test_a_file_is_written_in_the_form_of_its_suffix(tmp_path: Path) -> None:
    for name in ("check.md", "check.xml", "check.json", "check.csv"):
        write(FOUND, tmp_path / name)
    ElementTree.parse(tmp_path / "check.xml")
    with pytest.raises(BadInput, match="ends in nothing"):
        write(FOUND, tmp_path / "check")
