"""One list of conditions, held against every command: each field of `run.json`, changed alone."""

import dataclasses
import json
import random
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Unpack, get_type_hints

import pandas as pd
import pytest
from click.testing import CliRunner
from places import REFERENCE
from written_results import SCORERS, Written, bias_images, seal_again, seeded, write_run

from livo_bench.cli import main
from livo_bench.errors import NotComparable
from livo_bench.report import html, tables, trade_off
from livo_bench.report.thresholds import thresholds
from livo_bench.results import conditions, paired, reading
from livo_bench.results.check import check, hold
from livo_bench.results.compare import compare, notes
from livo_bench.results.conditions import AGREE, CONDITIONS, FINER, FREE, SAID, Condition, Use
from livo_bench.results.frames import cluster_digest
from livo_bench.results.paired import Noise
from livo_bench.results.record import RunRecord, from_json

MALES = [7, 8, 6, 9]
IDENTITY = ("model name", "protocol", "method name", "task name")
"""Conditions that results are looked up by: those of another name are not even found."""


NUMBERS = {
    *("method version", "task version", "prompts count", "hardware cores"),
    *(f"settings {name}" for name in ("images", "block", "seed", "steps", "guidance", "size")),
}
"""Fields that hold one; `guidance` may have a fraction."""


def value_of(condition: Condition, text: str) -> object:
    """Something that a record may hold for a field."""
    if condition.place == "prompts list" and text == "one":
        return ""
    if condition.place in NUMBERS:
        return 10 if text == "one" else 20
    if condition.place == "made_by":
        return {text: 40}
    if condition.place in (
        "prompts subsets",
        "prompts clusters",
        "method files",
        "judges",
        "repositories",
        "options images",
        "options measures",
    ):
        return {"gender": text}
    return [text] if condition.place in ("scorers", "settings switches") else text


def both_of(condition: Condition) -> set[str]:
    """The two values of a field as texts."""
    return {
        value_in(condition, record)
        for record in (record_with(known=[condition]), record_with(condition))
    }


def value_in(condition: Condition, record: dict[str, object]) -> str:
    return condition.value(from_json(record, Path("run.json")))


def record_with(*changed: Condition, known: Collection[Condition] = ()) -> dict[str, object]:
    """A record of every field but those that name the run, in which some have another value.

    How the run asked for its method stands in it only where that is one of them: hints repeat it;
    and a service only there or where it is said to be known, for it has no noise to compare.
    """
    record: dict[str, Any] = {}
    for condition in CONDITIONS:
        if condition.name in IDENTITY:
            continue
        rare = condition.name in ("method asked", "image service")
        if rare and condition not in (*changed, *known):
            continue
        value = value_of(condition, "two" if condition in changed else "one")
        if condition.field:
            record.setdefault(condition.section, {})[condition.field] = value
        else:
            record[condition.section] = value
    return record


def write_side(folder: Path, method: str, record: dict[str, object]) -> Path:
    """Results of four prompts, seeds and texts alike whatever the record says."""
    place = folder / method / "bias"
    write_run(place, seeded(bias_images(MALES), 42), method=method)
    rows = pd.read_csv(place / "aggregates.csv")
    overall = rows.assign(subset="all")
    beside = [overall.head(1).assign(metric=name) for name in ("content_steered", "content")]
    pd.concat([rows, overall, *beside]).to_csv(place / "aggregates.csv", index=False)
    seal_again(place, record)
    return folder


def two_methods(folder: Path, *changed: Condition) -> Path:
    """`sd` and `livo`, whose records differ in some fields."""
    write_side(folder, "sd", record_with(known=changed))
    return write_side(folder, "livo", record_with(*changed))


def command(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def cases(use: Use, *rules: str) -> list:
    chosen = [one for one in CONDITIONS if one.rule(use) in rules and one.name not in IDENTITY]
    return [pytest.param(one, id=one.name.replace(" ", "-")) for one in chosen]


def test_every_field_of_a_record_is_a_condition_and_the_other_way_round() -> None:
    known = {(one.section, one.field) for one in CONDITIONS}
    of_record = set()
    for section, kind in get_type_hints(RunRecord).items():
        named = (
            [field.name for field in dataclasses.fields(kind)]
            if dataclasses.is_dataclass(kind)
            else [""]
        )
        of_record |= {(section, name) for name in named}
    by_name = {"versions"}
    assert {one for one in known if one[0] not in by_name} == {
        one for one in of_record if one[0] not in by_name
    }


def test_every_field_of_a_committed_record_is_a_condition() -> None:
    known = {(one.section, one.field) for one in CONDITIONS}
    for path in REFERENCE.rglob("run.json"):
        for section, fields in json.loads(path.read_text("utf-8")).items():
            if (section, "") not in known and section not in ("format", "seal"):
                assert {(section, field) for field in fields} <= known, path


def test_no_condition_stands_twice_and_each_has_a_reason() -> None:
    for key in ("name", "place"):
        assert len({getattr(one, key) for one in CONDITIONS}) == len(CONDITIONS)
    assert all(one.why.endswith(".") for one in CONDITIONS)
    rows = conditions.as_rows()
    fields = ", ".join(row["in `run.json`"] for row in rows).split(", ")
    assert len(fields) == len(CONDITIONS)
    assert [*rows[0]] == ["in `run.json`", *conditions.USES, "why"]
    assert {row[use] for row in rows for use in conditions.USES} == {
        rule.value for rule in (AGREE, FINER, SAID, FREE)
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, conditions.UNKNOWN),
        ("euler", "euler"),
        (15, "15"),
        (15.0, "15"),
        (2.5, "2.5"),
        ({"b": 1, "a": {"d": 2, "c": 3}}, '{"a": {"c": 3, "d": 2}, "b": 1}'),
        (["xformers", 2], "xformers, 2"),
        ([], "none"),
    ],
    ids=str,
)
def test_the_same_value_is_the_same_text(value: object, text: str) -> None:
    assert conditions.as_text(value) == text


@pytest.mark.parametrize("name", IDENTITY)
def test_what_names_a_run_must_agree_wherever_it_is_looked_at(name: str) -> None:
    [condition] = [one for one in CONDITIONS if one.name == name]
    records = {
        Path(text): from_json({condition.section: {condition.field: value}}, Path(text))
        if condition.field
        else from_json({condition.section: value}, Path(text))
        for text in ("one", "two")
        for value in [value_of(condition, text)]
    }
    for use in conditions.USES:
        if condition.rule(use) is AGREE:
            with pytest.raises(NotComparable, match=f"different {condition.place}: .+ in one, "):
                conditions.refuse(records, conditions.of(use, AGREE), "Run both.")


# In a table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", cases("table", AGREE))
def test_what_must_agree_in_a_table_is_refused_by_table_thresholds_and_figure(
    tmp_path: Path, condition: Condition
) -> None:
    runs = two_methods(tmp_path, condition)
    code, said = command("report", runs, "--table", "2")
    assert code == 3, said
    assert "Not in one table" in said
    assert condition.name in said
    with pytest.raises(NotComparable, match=condition.name):
        thresholds(runs, "mini", at=(0.5,))
    if condition.name == reading.OF_SUBSET:
        return  # the figure is of all subsets together
    with pytest.raises(NotComparable, match=condition.name):
        trade_off.trade_off(reading.load_results(runs, "mini"))


@pytest.mark.parametrize("condition", cases("table", SAID))
def test_what_may_differ_in_a_table_is_said_under_it(tmp_path: Path, condition: Condition) -> None:
    runs = two_methods(tmp_path, condition)
    _, [table] = tables.table_2(reading.load_results(runs, "mini"))
    if condition.name == "images":
        assert "methods have 10 and 20 images of a prompt" in table.note
    elif condition.of_method:
        assert table.note == ""  # two methods differ by it
    elif condition is conditions.CLUSTERS:
        assert table.note == f"bias/gender: {condition.said(['one', 'two'])}"
    else:
        assert condition.said(both_of(condition)) in table.note


def test_methods_differ_by_what_they_say_of_themselves_and_by_nothing_else() -> None:
    said = [condition for condition in CONDITIONS if condition.table is SAID]
    assert {one.name for one in said if one.section == "method"} == {
        one.name for one in CONDITIONS if one.of_method
    }


@pytest.mark.parametrize("condition", [c for c in cases("table", SAID) if c.values[0].of_method])
def test_what_a_method_has_of_two_kinds_in_a_table_is_said(
    tmp_path: Path, condition: Condition
) -> None:
    rows = reading.load_results(two_methods(tmp_path, condition), "mini").assign(method="sd")
    assert tables.said(rows) == [f"sd: {condition.said(both_of(condition))}"]


@pytest.mark.parametrize("condition", cases("table", FREE, FINER))
def test_what_is_free_in_a_table_changes_nothing(tmp_path: Path, condition: Condition) -> None:
    _, [table] = tables.table_2(reading.load_results(two_methods(tmp_path, condition), "mini"))
    assert table.note == ""


# Compared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", cases("compare", AGREE))
def test_what_must_agree_is_refused_by_compare_and_page(
    tmp_path: Path, condition: Condition
) -> None:
    runs = two_methods(tmp_path, condition)
    code, said = command("compare", "sd", "livo", "--runs", runs)
    assert code == 3, said
    assert f"different {condition.place}: " in said
    assert "livo-bench run --method sd --method livo --task bias" in said
    with pytest.raises(NotComparable, match=f"different {condition.place}: "):
        html.write(tmp_path / "page", runs)


def test_what_compare_lets_differ_is_said_or_free(tmp_path: Path) -> None:
    alike = compare(["sd", "livo"], runs=two_methods(tmp_path / "alike"))
    assert alike.said == []
    free = [one for one in CONDITIONS if one.compare in (FREE, FINER) and one.name not in IDENTITY]
    found = compare(["sd", "livo"], runs=two_methods(tmp_path / "free", *free))
    assert found.said == []
    assert repr(found.metrics) == repr(alike.metrics)
    said = conditions.of("compare", SAID)
    found = compare(["sd", "livo"], runs=two_methods(tmp_path / "said", *said))
    assert found.said == [one.said(both_of(one)) for one in said]
    assert repr(found.metrics) == repr(alike.metrics)


# Checked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", cases("check", AGREE))
def test_what_must_agree_is_refused_by_check(tmp_path: Path, condition: Condition) -> None:
    baseline = write_side(tmp_path / "baseline", "sd", record_with())
    runs = write_side(tmp_path / "runs", "sd", record_with(condition))
    code, said = command("check", "--baseline", baseline, "--runs", runs)
    assert code == 3, said
    assert f"different {condition.place}: " in said
    assert "livo-bench run --method sd --task bias" in said


def test_what_check_lets_differ_is_said_or_free(tmp_path: Path) -> None:
    everything = record_with(known=[one for one in CONDITIONS if one.check is SAID])
    baseline = write_side(tmp_path / "baseline", "sd", everything)
    alike = check(baseline, baseline)
    assert (alike.samples[0].noise, alike.samples[0].changed) == (Noise.SAME, ())
    for rules in ((FREE, FINER), (SAID,)):
        differ = [one for one in CONDITIONS if one.check in rules]
        found = check(baseline, write_side(tmp_path / "runs", "sd", record_with(*differ)))
        [sample] = found.samples
        assert sample.noise is Noise.SAME
        assert found.metrics == alike.metrics
        expected = [f"{one.place}: {value_in(one, everything)}, now " for one in differ]
        told = [re.sub("now .*", "now ", line) for line in sample.changed]
        assert sorted(told) == (sorted(expected) if rules == (SAID,) else [])


def test_what_check_lets_differ_reaches_the_reader(tmp_path: Path) -> None:
    steps = next(one for one in CONDITIONS if one.name == "steps")
    baseline = write_side(tmp_path / "baseline", "sd", record_with())
    runs = write_side(tmp_path / "runs", "sd", record_with(steps))
    code, said = command("check", "--baseline", baseline, "--runs", runs)
    assert code == 0
    assert "sd on bias, made otherwise: settings steps: 10, now 20" in said


# Image by image, number by number ----------------------------------------------------------------


def sides(folder: Path, images: pd.DataFrame, **options: Unpack[Written]) -> tuple[Path, Path]:
    """A baseline of SD, and a new run whose images are given; `livo` beside each, for compare."""
    before = write_side(folder / "before", "sd", record_with())
    now = folder / "now"
    write_run(now / "sd" / "bias", images, method="sd", **options)
    seal_again(now / "sd" / "bias", record_with())
    write_side(now, "livo", record_with())
    return before, now


def both_commands(before: Path, now: Path) -> list[tuple[int, str]]:
    return [
        command("check", "--baseline", before, "--runs", now, "--method", "sd"),
        command("compare", "livo", "sd", "--runs", now),
    ]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("column", ["text_digest", "category"])
def test_another_prompt_under_an_id_is_refused_and_named(
    tmp_path: Path, column: str, seed: int
) -> None:
    draw = random.Random(seed)
    images = seeded(bias_images(MALES), draw.choice([42, 43]))
    changed = sorted(draw.sample(sorted(set(images["prompt"])), draw.randint(1, len(MALES))))
    images.loc[images["prompt"].isin(changed), column] = "another"
    for code, said in both_commands(*sides(tmp_path, images)):
        assert code == 3, said
        assert re.search(rf"Prompt '{changed[0]}' of task 'bias' has {column} ", said)
        assert all(name in said for name in changed)


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_decided_image_by_image(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    images = seeded(bias_images(MALES), 42)
    before, now = sides(tmp_path, images)
    assert [code for code, _ in both_commands(before, now)] == [0, 0]
    assert check(before, now, methods=["sd"]).samples[0].noise is Noise.SAME
    # Some, of a prompt or several: nobody can say which test is right.
    other = draw.sample(range(len(images)), draw.randint(1, len(images) - 1))
    images.loc[other, "seed"] += 1
    for code, said in both_commands(*sides(tmp_path, images)):
        assert code == 3, said
        assert f"{len(other)} of the {len(images)} images" in said
        first = images.loc[min(other)]
        assert f"image {first['index']} of prompt '{first['prompt']}' has seed " in said


def test_all_of_other_noise_has_another_test_in_check_and_is_refused_by_compare(
    tmp_path: Path,
) -> None:
    images = seeded(bias_images(MALES), 43)
    [checked, compared] = both_commands(*sides(tmp_path, images))
    assert checked[0] == 0
    assert "sd on bias: other noise; " in checked[1]
    assert compared[0] == 3
    assert "40 of the 40 images" in compared[1]


@pytest.mark.parametrize("lost", ["all", "one"])
def test_without_a_seed_same_noise_cannot_be_shown_and_it_is_said(
    tmp_path: Path, lost: str
) -> None:
    images = seeded(bias_images(MALES), 42)
    if lost == "all":  # as results were before seeds stood in them
        images = images.drop(columns=["seed", "text_digest"])
    else:
        images.loc[7, "seed"] = pd.NA
    before, now = sides(tmp_path, images)
    [sample] = check(before, now, methods=["sd"]).samples
    assert sample.noise is Noise.UNKNOWN
    for code, said in both_commands(before, now):
        assert code == 0
        assert "cannot be shown, for " in said


def test_older_results_of_the_same_ids_with_other_texts_are_refused(tmp_path: Path) -> None:
    older = bias_images(MALES)
    prompts = {"count": len(MALES), "digest": "one"}
    for name in ("before", "now"):
        write_run(tmp_path / name / "sd" / "bias", older)
        record = {"prompts": prompts | ({"digest": "two"} if name == "now" else {})}
        (tmp_path / name / "sd" / "bias" / "run.json").write_text(json.dumps(record))
    code, said = command("check", "--baseline", tmp_path / "before", "--runs", tmp_path / "now")
    assert code == 3, said
    assert "different prompts digest: one in " in said


def test_another_scorer_is_refused_and_named(tmp_path: Path) -> None:
    scorers = SCORERS | {"gender": "clip-gender-2"}
    before, now = sides(tmp_path, seeded(bias_images(MALES), 42), scorers=scorers)
    for code, said in both_commands(before, now):
        assert code == 3, said
        assert "has scorer 'clip-gender-" in said


@pytest.mark.parametrize("seed", range(2))
def test_one_image_of_other_noise_is_refused_by_tables_as_well(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    images = seeded(bias_images(MALES), 42)
    place = draw.randrange(len(images))
    images.loc[place, "seed"] = images["seed"][place] + 1
    _, now = sides(tmp_path, images)
    for words in (("report", now), ("report", now, "--table", "3"), ("compare", "livo", "sd")):
        options = ("--runs", now) if words[0] == "compare" else ()
        code, said = command(*words, *options)
        assert code == 3, said
        assert " has seed " in said
    with pytest.raises(NotComparable, match="both of base seed 10"):
        thresholds(now, "mini", at=(0.5,))


# Clusters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [("aabb", "abcd", 2), ("abbc", "aacd", 2), ("abcd", "abcc", 3)])
def test_prompts_are_alike_that_are_so_on_either_side_and_it_is_said(
    tmp_path: Path, told: tuple[str, str, int]
) -> None:
    *of_sides, counted = told
    images = [seeded(bias_images(males), 42) for males in (MALES, [9, 9, 9, 10])]
    for side, of in zip(images, of_sides, strict=True):
        clusters = {f"p{place}": name for place, name in enumerate(of)}
        side["cluster"] = side["prompt"].map(clusters)
    write_run(tmp_path / "before" / "sd" / "bias", images[0], seed=42)
    write_run(tmp_path / "now" / "sd" / "bias", images[1], seed=42)
    before, now = (
        next(iter(reading.read_results(tmp_path / name, "mini").values()))
        for name in ("before", "now")
    )
    numbers = [len({*of}) for of in of_sides]
    for one, other, (first, second) in (
        (before, now, numbers),
        (now, before, reversed(numbers)),
    ):
        assert paired.shared_clusters(one, other).nunique() == counted
        said = f"clusters of prompts: {first}, now {second}, of which {counted} are counted"
        assert any(line.startswith(said) for line in hold([(one, other)]).samples[0].changed)
        assert any(said in line for line in notes([one, other]))
    assert paired.differing_clusters(before, before) == []


def test_a_side_that_does_not_say_its_clusters_differs_from_nothing(tmp_path: Path) -> None:
    images = seeded(bias_images(MALES), 42)
    write_run(tmp_path / "old" / "sd" / "bias", images, seed=42)
    told = images.assign(cluster=images["prompt"].isin(["p0", "p1"]).map({True: "a", False: "b"}))
    write_run(tmp_path / "new" / "sd" / "bias", told, seed=42)
    old, new = (
        next(iter(reading.read_results(tmp_path / name, "mini").values()))
        for name in ("old", "new")
    )
    for sides_ in ((old, new), (new, old)):
        assert paired.shared_clusters(*sides_).nunique() == 2
        assert paired.differing_clusters(*sides_) == []


def test_the_digest_of_clusters_is_of_which_prompts_are_alike_not_of_names() -> None:
    images, ids = bias_images(MALES), ["p0", "p1", "p2", "p3"]
    named = [
        images.assign(cluster=images["prompt"].map(dict(zip(ids, of, strict=True))))
        for of in ("aabb", "yyxx", "abab")
    ]
    one, renamed, other = map(cluster_digest, named)
    assert one == renamed != other
