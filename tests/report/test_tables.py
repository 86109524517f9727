import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from written_aggregates import NAN, SD, ablation, aggregate, frame, printed

from livo_bench.cards.catalog import SHIPPED
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate
from livo_bench.report import columns, table_forms, tables
from livo_bench.report import printing as forms
from livo_bench.results import conditions, reading


def named(table: tables.Table, title: str) -> tables.Row:
    [row] = [row for row in table.rows if row.title == title]
    return row


def bias_table(*aggregates: Aggregate) -> tables.Table:
    _, laid_out = tables.table_2(frame(*aggregates))
    [table] = laid_out
    return table


def write_run(folder: Path, *aggregates: Aggregate) -> Path:
    folder.mkdir(parents=True)
    frame(*aggregates).to_csv(folder / "aggregates.csv", index=False)
    return folder


def test_rates_are_printed_times_100_with_interval_and_floor_and_quality_as_it_is() -> None:
    sd = bias_table(*SD).rows[0]
    assert [str(cell) for cell in sd.cells] == [
        "56.3 [50.1, 62.0] (fair 11.2)",
        "39.8 [34.8, 44.8] (fair 7.9)",
        "56.9 [51.9, 61.9] (fair 14.7)",
        "-",
        "-",
        "-",
        "8.9 [8.9, 9.0] (n 2390, 1200 distinct)",
        "-",
        "21.2 [21.2, 21.3] (n 2390, 1200 distinct)",
    ]


def test_a_number_of_a_whole_task_has_its_own_n_beside_it_where_its_row_says_another() -> None:
    numbers = [
        aggregate("sd", "gender", "D1", 0.5),
        aggregate("sd", "race", "D1", 0.5),
        aggregate("sd", "all", "is", 9.0, n=2400),
        aggregate("sd", "all", "fid", 1.0, n=2400, n_distinct=2400),
        aggregate("sd", "all", "clip", 20.0),
    ]
    table = bias_table(*numbers)
    cells = table.rows[0].cells
    beside = {column.metric: cell.n for column, cell in zip(table.columns, cells, strict=True)}
    assert beside["is"] == "n 2400, 1200 distinct"
    assert beside["fid"] == "n 2400"
    assert beside["clip"] == beside["D1"] == ""
    assert table_forms._lines(cells[6])[2:] == ["n 2400", "1200 distinct"]


def test_counts_show_a_range_where_subsets_differ() -> None:
    sd = bias_table(*SD).rows[0]
    assert (sd.n, sd.n_distinct, sd.unscored) == ("1190-1200", "1190-1200", "0-10")


def test_rows_are_grouped_by_what_is_told_then_as_in_the_paper_then_others() -> None:
    others = [aggregate(name, "gender", "D1", 0.1) for name in ("livo:wo-m", "mine", "dpo", "dapt")]
    table = bias_table(*SD, *others)
    assert [(rows[0].told, [row.title for row in rows]) for rows in table.groups] == [
        ("nothing", ["SD", "DAPT"]),
        ("value", ["DPO", "LiVO w/o m"]),
        ("-", ["mine"]),
    ]


def test_a_method_without_results_has_no_row_but_a_line_that_says_how_to_get_it() -> None:
    made = [aggregate(name, "gender", "D1", 0.1) for name in ("sd", "fd", "uce", "dapt", "livo")]
    table = bias_table(*made)
    assert [row.title for row in table.rows] == ["SD", "DAPT", "UCE", "LiVO", "FD"]
    assert table.absent is not None
    # CA is made for toxicity.
    assert table.absent.titles == ("DPO", "LiVO w/ R")
    command = "livo-bench run --method dpo --method livo:retrieved --task bias --model mini"
    assert table.absent.command == command
    line = f"No results of DPO, LiVO w/ R. For their rows run them like the others: {command}"
    assert line in printed([table], 200).splitlines()
    assert printed([table], 60).splitlines()[-3:] == [
        "the others:",
        "livo-bench run --method dpo --method livo:retrieved --task \\",
        "bias --model mini",
    ]
    assert table_forms.as_markdown([table]).endswith(line.replace(command, f"`{command}`"))
    assert table_forms.as_latex([table]).splitlines()[-1] == f"% {line}"


def test_what_a_model_does_not_offer_is_not_told_to_be_run_on_it() -> None:
    made = [aggregate(name, "gender", "D1", 0.1, model="mini-flow") for name in ("sd", "dpo")]
    absent = bias_table(*made).absent
    assert absent is not None
    # FD asks for a prediction of noise, UCE and DAPT for a UNet.
    assert absent.titles == ("LiVO", "LiVO w/ R")


def test_methods_of_a_table_over_both_tasks_are_run_on_all() -> None:
    table = ablation_table(*ablation("sd"), *ablation("livo"))
    assert table.absent is not None
    assert table.absent.command == (
        "livo-bench run --method livo:wo-v --method livo:wo-m --method dpo:d --task all "
        "--model mini"
    )


def test_a_table_that_lacks_none_of_the_papers_methods_says_nothing_of_it() -> None:
    made = [
        aggregate(name, "gender", "D1", 0.1) for name in columns.TABLE_2_METHODS if name != "ca"
    ]
    table = bias_table(*made)
    assert table.absent is None
    assert "No results of" not in printed([table], 80)


def test_variants_that_are_told_what_livo_is_stand_together() -> None:
    toxic = {"task": "toxicity"}
    methods = ("livo", "negative", "negative:subset", "sld", "sld:subset")
    rows = [aggregate(name, "nudity", "avg_r", 0.1, **toxic) for name in methods]
    papers, beside = (
        [row.title for rows in table.groups if rows[0].told == "value" for row in rows]
        for table in tables.table_2(frame(*rows))[1]
    )
    assert papers == ["LiVO"]
    assert beside == ["Negative prompt, told the hazard", "SLD strong, told the hazard"]


def test_an_inception_score_that_rises_while_pictures_dissolve_is_named() -> None:
    def read(method: str, score: float, content: float) -> list[Aggregate]:
        return [
            aggregate(method, "all", "is", score, scorer="inception"),
            aggregate(method, "all", "content_steered", content),
        ]

    dissolved = [*read("uce", 10, 0.77), *read("mine", 9, 0.2)]
    sound = [*read("livo", 10, 0.99), *read("dapt", 8, 0.5)]
    assert bias_table(*SD, *dissolved, *sound).note == (
        "IS is above SD's for mine (20 % content), UCE (77 % content): pictures that dissolve vary "
        "more, which it rewards"
    )
    assert bias_table(*SD, *sound).note == bias_table(*dissolved).note == ""


def test_a_number_without_interval_is_printed_alone() -> None:
    table = bias_table(aggregate("sd", "all", "fid", 13.11, low=NAN, high=NAN))
    assert str(table.rows[0].cells[7]) == "13.1"


def test_rows_judged_by_different_scorers_are_refused_naming_both() -> None:
    with pytest.raises(NotComparable) as error:
        bias_table(*SD, aggregate("livo", "gender", "D1", 0.3, scorer="clip-2"))
    for part in ("D1 of bias/gender", "scorer", "'clip-1'", "'sd'", "'clip-2'", "'livo'"):
        assert part in str(error.value)


def test_different_metrics_may_have_different_scorers() -> None:
    assert bias_table(*SD).rows[0].cells[6].value == "8.9"


def test_a_method_with_two_results_is_refused() -> None:
    with pytest.raises(NotComparable, match=r"'sd' has two results for D1 of bias/gender"):
        bias_table(*SD, SD[0])


def test_results_are_read_from_all_folders_below_for_one_model(tmp_path: Path) -> None:
    write_run(tmp_path / "mini" / "sd" / "bias", *SD)
    write_run(tmp_path / "mini" / "noise" / "bias", aggregate("noise", "gender", "D1", 0.1))
    write_run(tmp_path / "sd15" / "sd" / "bias", aggregate("sd", "race", "D1", 1, model="sd15"))
    aggregates = reading.load_results(tmp_path, "mini")
    assert set(aggregates["method"]) == {"sd", "noise"}
    assert set(aggregates["model"]) == {"mini"}
    assert len(aggregates) == len(SD) + 1
    rows, _ = tables.table_2(aggregates)
    assert len(rows) == len(SD) - 2 + 1  # D2_unbiased and the category stay out


def test_folders_without_results_of_the_model_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"no folder .*nowhere(?s:.)*livo-bench run --method sd"):
        reading.load_results(tmp_path / "nowhere", "mini")
    write_run(tmp_path / "sd" / "bias", *SD)
    with pytest.raises(Incomplete, match=r"'sd15'.* with results: mini(?s:.)*--model sd15"):
        reading.load_results(tmp_path, "sd15")


def test_a_file_with_other_columns_or_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "aggregates.csv"
    path.write_text("method,value\nsd,1\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"aggregates.csv has the columns method, value; expected"):
        reading.load_results(tmp_path, "mini")
    path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"Cannot read .*aggregates.csv"):
        reading.load_results(tmp_path, "mini")


def test_rows_in_latex_are_escaped_and_no_cell_is_taken_for_an_option() -> None:
    rows: list[dict[str, object]] = [
        {"name": "a_b & c", "value": r"[1, 2] \ {x}"},
        {"name": "[n]", "value": 3},
    ]
    lines = forms.as_latex(rows).splitlines()
    assert lines[4] == r"a\_b \& c & {}[1, 2] \textbackslash{} \{x\} \\"
    assert lines[5] == r"{}[n] & 3 \\"
    assert forms.as_latex([]) == ""


# Table 3 ------------------------------------------------------------------------------------------


def ablation_table(*aggregates: Aggregate) -> tables.Table:
    _, laid_out = tables.table_3(frame(*aggregates))
    [table] = laid_out
    return table


def test_both_tasks_stand_in_one_row() -> None:
    table = ablation_table(*ablation("livo"))
    livo = named(table, "LiVO")
    assert [cell.value for cell in livo.cells] == [
        "44.1", "13.1", "21.2", "82.1", "45.6", "29.8", "21.5", "51.5", "61.3", "50.0",
    ]  # fmt: skip
    assert str(livo.cells[0]) == "44.1 [39.1, 49.1] (fair 9.9) (n 1200)"
    assert str(livo.cells[5]).endswith("(n 400)")
    assert (livo.n, livo.n_distinct) == ("400-1200", "400-1200")


def test_rows_are_the_papers_then_the_others_and_what_is_missing_is_a_dash() -> None:
    unaligned = [
        number
        for number in ablation("sd")
        if number.metric not in ("fid", "fid_steered", "content_steered")
    ]
    fd = [number for number in ablation("fd") if number.task == "bias"]
    table = ablation_table(*ablation("livo:wo-m"), *unaligned, *fd)
    assert [row.title for row in table.rows] == ["SD", "LiVO w/o m", "FD"]
    shown = {row.title: [cell.value != "-" for cell in row.cells] for row in table.rows}
    assert shown["SD"] == [True, False, True, True, False, True, *[False] * 4]
    assert all(shown["LiVO w/o m"])
    assert shown["FD"] == [True] * 3 + [False] * 3 + [True, False] * 2


def test_rows_of_table_3_are_those_that_are_in_it_and_one_task_is_enough() -> None:
    rows, _ = tables.table_3(frame(*ablation("livo")))
    assert len(rows) == 10
    assert tables.table_3(frame(SD[0]))[1] == []
    toxic = [number for number in ablation("livo") if number.task == "toxicity"]
    assert [cell.value for cell in named(ablation_table(*toxic), "LiVO").cells][:3] == ["-"] * 3


def test_table_3_refuses_other_judges_too() -> None:
    other = aggregate("livo", "all", "content_steered", 1, task="toxicity", scorer="world-2")
    with pytest.raises(NotComparable, match=r"content_steered of toxicity has scorer 'clip-1'"):
        ablation_table(*ablation("sd"), other)


def test_the_caption_says_how_to_read_the_floors_that_there_are() -> None:
    [table] = tables.table_2(frame(*SD))[1]
    assert table.caption == (
        "In %, IS, FID and CLIP as such; [95 % interval over prompts]; fair: a perfectly fair "
        "model's; see docs/metrics.md"
    )
    toxic = aggregate("sd", "nudity", "avg_r", 0.9, task="toxicity")
    [table] = tables.table_2(frame(toxic))[1]
    assert "fair" not in table.caption


def test_rows_of_texts_wrap_between_words_and_wide_ones_repeat_what_they_are_about() -> None:
    row = {"method": "livo:calibrated", "prompt": "a photo of a baker who looks rather tired"}
    numbers = {f"{number} of a long heading": f"{number}.25" for number in range(9)}
    console = Console(width=60)
    with console.capture() as captured:
        console.print(forms.as_rich([row | numbers]))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("livo:calibrated") == text.count("part ") > 1
    assert all(text.count(value) == 1 for value in numbers.values())
    assert all(word in text for word in row["prompt"].split())
    console = Console(width=60)
    with console.capture() as captured:
        console.print(forms.as_rich([]))
    assert not captured.get().strip()


OWN = "mine.csv 0123456789ab"


def test_a_list_of_ones_own_is_named_under_its_table() -> None:
    toxic = frame(aggregate("sd", "nudity", "avg_r", 0.9, task="toxicity"))
    both = pd.concat([frame(*SD).assign(prompts=OWN), toxic.assign(prompts="")])
    bias, toxicity = tables.table_2(both)[1]
    assert (bias.note, toxicity.note) == (f"bias: not its own prompts, but {OWN}", "")
    assert f"\n\n{bias.note}\n" in table_forms.as_markdown([bias])
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table_forms.as_rich([bias]))
    assert bias.note in captured.get()


def test_results_of_another_judge_name_it(tmp_path: Path) -> None:
    folder = tmp_path / "rejudged" / "my-clip-0123abcd"
    write_run(folder / "mini" / "sd" / "bias", *SD)
    said = "judged by my-clip-0123abcd, not by the model card's judges"
    for place in (folder, folder / "mini"):
        [table] = tables.table_2(reading.load_results(place, "mini"))[1]
        assert table.note == said
        assert said in printed([table], 200)
    rows, _ = tables.table_2(reading.load_results(folder, "mini"))
    assert list(rows.columns) == [*AGGREGATE_COLUMNS, "prompts"]


def test_different_numbers_of_images_of_a_prompt_are_told() -> None:
    rows = [made_with("sd", images="50"), made_with("livo", images="9")]
    _, [bias] = tables.table_2(pd.concat(rows))
    assert bias.note == (
        "bias: methods have 9 and 50 images of a prompt, and D1, D2, IS and FID depend on how many"
    )
    [known, unknown] = [made_with("sd", images="50"), made_with("livo", images="")]
    assert tables.table_2(pd.concat([known, unknown]))[1][0].note == ""


def test_a_task_of_ones_own_follows_in_the_same_form() -> None:
    fields = {"task": "age", "category": "all"}
    mine = [
        aggregate("livo", "old", "D1", 0.25, **fields),
        aggregate("sd", "old", "D1", 0.5, floor=0.1, **fields),
        aggregate("sd", "old", "D2", 0.375, **fields),
        aggregate("sd", "old", "D2_unbiased", 0.2, **fields),
        aggregate("sd", "all", "clip", 21.24, **fields),
        aggregate("sd", "old", "D1", 0.9, task="age", category="career"),
    ]
    gore = aggregate("sd", "gore", "avg_r", 0.125, task="gore")
    rows, [bias, age, toxic] = tables.table_2(frame(*SD, *mine, gore))
    assert (bias.title, age.title, toxic.title) == ("Table 2, bias", "Task age", "Task gore")
    assert [f"{column.group} {column.title}" for column in age.columns] == [
        "Old D1", "Old D2", "Steered images FID", "Steered images Content",
        "All images, as published IS", "All images, as published FID",
        "All images, as published CLIP",
    ]  # fmt: skip
    assert [row.title for row in age.rows] == ["SD", "LiVO"]
    assert [cell.value for cell in age.rows[0].cells] == ["50.0", "37.5", *"----", "21.2"]
    assert toxic.rows[0].cells[0].value == "12.5"
    assert len(rows[rows["task"] == "age"]) == 4
    assert "**Task age**" in table_forms.as_markdown([age])
    assert "Task age" in printed([age], 80)
    assert "Task age" in table_forms.as_latex([age])


def test_a_method_of_ones_own_is_called_and_told_as_its_run_says(tmp_path: Path) -> None:
    for method, said in {
        "mine": {"title": "My [red]way", "told": "value"},
        "theirs": {"title": "LiVO", "told": "nothing"},
        "old": {},
    }.items():
        folder = write_run(tmp_path / method, aggregate(method, "gender", "D1", 0.5))
        record = {"prompts": {}, "method": {"name": method} | said}
        (folder / "run.json").write_text(json.dumps(record))
    rows, [table] = tables.table_2(reading.load_results(tmp_path, "mini"))
    others = [row for row in table.rows if row.n != "-"]
    assert {row.title: row.told for row in others} == {
        "My [red]way": "value", "LiVO (theirs)": "nothing", "old": "-",
    }  # fmt: skip
    assert "My [red]way" in printed([table], 200)
    assert list(rows.columns) == [*AGGREGATE_COLUMNS, "prompts"]


def test_built_in_methods_are_called_alike_in_all_tables() -> None:
    labels = tables.labels_of(frame(*SD))
    assert {name: labels[name].title for name in columns.PAPER_METHODS} == columns.PAPER_METHODS
    aggregates = reading.load_results(SHIPPED, "mini")
    for lay_out in (tables.table_2, tables.table_3, tables.trade_off):
        for table in lay_out(aggregates)[1]:
            found = {row.title for row in table.rows}
            assert found <= {labels[name].title for name in labels}


def test_a_damaged_file_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "sd", *SD)
    path = folder / "aggregates.csv"
    whole = path.read_bytes()
    for damaged, said in (
        (whole.replace(b"0.5627", b"O.5627"), "has 'O.5627' for value in line 2"),
        (whole.replace(b",1200,1200,0", b",1200,,0", 1), "has no n_distinct in line 2"),
        (whole[:-20], "ends within a line"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match=rf"{said}.*Make it again with livo-bench run"):
            reading.load_results(tmp_path, "mini")


def test_different_prompt_lists_are_not_in_one_table() -> None:
    livo = frame(aggregate("livo", "gender", "D1", 0.3)).assign(prompts=OWN)
    with pytest.raises(NotComparable, match=r"the task's own prompts .*'sd'.*'mine\.csv 0123"):
        tables.table_2(pd.concat([frame(*SD).assign(prompts=""), livo]))


def test_the_list_is_read_from_the_record_beside_the_aggregates(tmp_path: Path) -> None:
    for method, record in (("sd", {}), ("livo", {"list": OWN}), ("fd", None)):
        folder = tmp_path / method / "bias"
        folder.mkdir(parents=True)
        numbers = frame(aggregate(method, "gender", "D1", 0.3))
        numbers.to_csv(folder / "aggregates.csv", index=False)
        if record is not None:
            (folder / "run.json").write_text(json.dumps({"prompts": record}))
    lists = reading.load_results(tmp_path, "mini").set_index("method")["prompts"].to_dict()
    assert lists == {"sd": "", "livo": OWN, "fd": ""}


def made_with(method: str, **settings: str) -> pd.DataFrame:
    """A number of one method with the conditions that its run recorded."""
    names = (*reading.ABOUT, *(condition.name for condition in reading.looked_at()))
    known = dict.fromkeys(names, tables.UNKNOWN)
    return frame(aggregate(method, "gender", "D1", 0.3)).assign(**known | settings)


@pytest.mark.parametrize(
    "name", [one.name for one in conditions.of("table", conditions.AGREE) if one.name != "prompts"]
)
def test_other_conditions_are_not_in_one_table(name: str) -> None:
    rows = [made_with("sd", **{name: "1"}), made_with("livo", **{name: "2"})]
    with pytest.raises(NotComparable, match=rf"{name} 1 for method 'sd' and 2 for 'livo'.*--runs"):
        tables.table_2(pd.concat(rows))


def test_conditions_that_are_not_known_differ_from_nothing() -> None:
    rows, [bias] = tables.table_2(pd.concat([made_with("sd", seed="1"), made_with("livo")]))
    assert bias.note == ""
    assert list(rows.columns) == [*AGGREGATE_COLUMNS, "prompts"]


def test_a_table_that_mixes_last_bits_says_so() -> None:
    rows = [made_with("sd", torch="2.14"), made_with("livo", torch="2.15")]
    _, [bias] = tables.table_2(pd.concat(rows))
    assert bias.note == "images of different torch (2.14, 2.15) differ in last bits"
    assert bias.note in table_forms.as_markdown([bias])


def test_conditions_are_read_from_the_record_beside_the_aggregates(tmp_path: Path) -> None:
    for method, seed in (("sd", 1), ("livo", 2)):
        folder = tmp_path / method / "bias"
        folder.mkdir(parents=True)
        numbers = frame(aggregate(method, "gender", "D1", 0.3))
        numbers.to_csv(folder / "aggregates.csv", index=False)
        record = {"prompts": {}, "settings": {"seed": seed}, "versions": {"torch": "2.15"}}
        (folder / "run.json").write_text(json.dumps(record))
    rows = reading.load_results(tmp_path, "mini")
    assert rows["torch"].tolist() == ["2.15"] * 2
    assert rows["steps"].tolist() == [tables.UNKNOWN] * 2
    with pytest.raises(NotComparable, match="seed"):
        tables.table_2(rows)


def test_methods_that_are_not_the_papers_have_a_section_with_the_baseline() -> None:
    others = [aggregate(name, "gender", "D1", 0.1) for name in ("noise", "safree:subset", "mine")]
    papers, beside = tables.table_2(frame(*SD, *others))[1]
    assert (papers.title, beside.title) == (
        "Table 2, bias",
        "Table 2, bias: cited and neighbouring methods",
    )
    assert {row.title for row in papers.rows} == {"SD", "mine"}
    assert [row.title for row in beside.rows] == ["SD", "noise", "SAFREE, told the hazard"]
    without = frame(*others[:1])
    assert [row.title for row in tables.table_2(without)[1][-1].rows] == ["noise"]


def test_a_task_without_results_has_no_table() -> None:
    toxic = aggregate("sd", "nudity", "avg_r", 0.9, task="toxicity")
    assert [table.title for table in tables.table_2(frame(*SD))[1]] == ["Table 2, bias"]
    assert [table.title for table in tables.table_2(frame(toxic))[1]] == ["Table 2, toxicity"]
    assert len(tables.table_2(frame(*SD, toxic))[1]) == 2


def test_csv_and_json_hold_the_rows_as_stored() -> None:
    rows, _ = tables.table_2(frame(*SD))
    records = forms.records(rows)
    lines = forms.as_csv(records).splitlines()
    assert lines[0] == ",".join([*AGGREGATE_COLUMNS, "prompts"])
    assert lines[1] == "mini,sd,bias,gender,all,D1,0.5627,0.501,0.62,0.112,1200,1200,0,clip-1,"
    last = json.loads(forms.as_json(records))[-1]
    assert last["value"] == 21.24
    assert last["floor"] is None
    assert last["n"] == 2390


# Over-correction ----------------------------------------------------------------------------------


def test_overcorrection_tells_labels_and_distances_apart() -> None:
    def number(subset: str, metric: str, value: float) -> Aggregate:
        return aggregate("livo", subset, metric, value, task="overcorrection")

    rows, [labels, moved] = tables.overcorrection(
        frame(
            number("gender", "overridden", 0.208),
            number("nudity", "changed", 0.1),
            number("nudity", "moved", 2.343),
            number("nudity", "content", 1),
            *SD,
        )
    )
    assert list(rows["metric"]) == ["overridden", "changed", "moved"]
    assert [f"{column.group} {column.title}" for column in labels.columns] == [
        "Overridden Gender", "Overridden Race", "Harmless, changed Gender",
        "Harmless, changed Race", "Harmless, changed Nudity", "Harmless, changed Bloody",
        "Harmless, changed Horror",
    ]  # fmt: skip
    livo = named(labels, "LiVO")
    assert [cell.value for cell in livo.cells] == ["20.8", "-", "-", "-", "10.0", "-", "-"]
    assert str(named(moved, "LiVO").cells[2]) == "234.3 [229.3, 239.3]"


def test_a_method_says_what_it_is_told_and_a_stranger_nothing() -> None:
    _, [laid_out] = tables.table_2(
        frame(
            *(
                aggregate(method, "gender", "D1", 0.5)
                for method in ("sd", "livo", "livo:retrieved", "mine")
            )
        )
    )
    told = {row.title: row.told for row in laid_out.rows}
    assert (told["SD"], told["LiVO"], told["LiVO w/ R"]) == ("nothing", "value", "nothing")
    assert told["mine"] == "-"


def test_the_trade_off_sets_gain_beside_what_steered_images_lose() -> None:
    rows = [aggregate("livo", "all", metric, 0.25) for metric in ("D1", "content_steered")]
    _, [laid_out] = tables.trade_off(frame(*rows))
    [livo] = [row for row in laid_out.rows if row.title == "LiVO"]
    shown = dict(zip((c.metric for c in laid_out.columns), livo.cells, strict=True))
    assert {metric for metric, cell in shown.items() if cell.value == "25.0"} == {
        "D1",
        "content_steered",
    }


def test_forms_of_fid_stand_side_by_side_with_sd_against_sd_as_floor() -> None:
    independent = aggregate("sd", "all", "fid_independent", 4.2, floor=4.2, scorer="inception")
    livo = [
        aggregate("livo", "all", "fid", 1.2, scorer="inception"),
        aggregate("livo", "all", "fid_independent", 5.1, floor=4.2, scorer="inception"),
        aggregate("livo", "all", "fid_steered", 2.5, scorer="inception"),
    ]
    _, [table] = tables.fid(frame(independent, *livo))
    rows = {row.title: [str(cell) for cell in row.cells] for row in table.rows}
    assert rows["SD"] == ["-", "4.2 [4.2, 4.2] (SD 4.2)", "-"]
    assert rows["LiVO"] == ["1.2 [1.1, 1.2]", "5.1 [5.0, 5.1] (SD 4.2)", "2.5 [2.5, 2.5]"]
    assert "SD 4.2" in table_forms.as_markdown([table])


def toxic(method: str, metric: str, value: float, **changes: Any) -> Aggregate:
    changes = {"task": "toxicity", "subset": "nudity", "n": 40, "n_distinct": 40, **changes}
    return aggregate(method, metric=metric, value=value, **changes)


def test_where_something_was_refused_both_rates_and_the_share_are_shown() -> None:
    none = [toxic("sd", "avg_r", 0.4, unscored=2), toxic("sd", "avg_s", 0.3, unscored=2)]
    some = [
        toxic("mine", "avg_r", 0.5, n=30, n_distinct=30, unscored=10),
        toxic("mine", "avg_r_harmless", 0.375),
        toxic("mine", "refused", 0.25, scorer="refusals"),
    ]
    rows, [table] = tables.table_2(frame(*none, *some))
    shown = {
        row.title: {
            column.metric: str(cell)
            for column, cell in zip(table.columns, row.cells, strict=True)
            if column.subset == "nudity"
        }
        for row in table.rows
    }
    assert list(shown["SD"]) == ["avg_r", "avg_r_harmless", "avg_s", "refused"]
    assert shown["SD"]["avg_r"] == shown["SD"]["avg_r_harmless"] == "40.0 [35.0, 45.0]"
    assert shown["SD"]["refused"] == "0.0 (n 42)"
    assert shown["mine"] == {
        "avg_r": "50.0 [45.0, 55.0]",
        "avg_r_harmless": "37.5 [32.5, 42.5] (n 40)",
        "avg_s": "-",
        "refused": "25.0 [20.0, 30.0] (n 40)",
    }
    assert (named(table, "mine").n, named(table, "mine").unscored) == ("30", "10")
    assert "refused: mine 10 of 40 images; they are among the unscored" in table.note
    assert "Refused harmless, which takes them for harmless" in table.note
    assert set(rows["metric"]) == {"avg_r", "avg_s", "avg_r_harmless", "refused"}
    assert "Refused Nudity" in table_forms.as_markdown([table])


def test_how_much_was_refused_is_no_table_alone() -> None:
    refused = toxic("mine", "refused", 0.25, subset="all", scorer="refusals")
    shown = toxic("mine", "fid", 4.0, subset="all")
    assert tables.fid(frame(refused))[1] == []
    [table] = tables.fid(frame(refused, shown))[1]
    assert [column.metric for column in table.columns][-1] == "refused"


def test_refusals_on_one_task_leave_the_tables_of_another_as_they_are() -> None:
    refused = [toxic("mine", "refused", 0.25), toxic("mine", "avg_r", 0.5)]
    _, before = tables.table_2(frame(*SD))
    _, after = tables.table_2(frame(*SD, *refused))
    assert after[0] == before[0]
    assert [column.metric for column in after[1].columns].count("refused") == 3
    _, [alone] = tables.trade_off(frame(*refused, toxic("mine", "avg_r", 0.5, subset="all")))
    assert [column.metric for column in alone.columns][:2] == ["avg_r", "avg_r_harmless"]
