"""What each table holds before there are results."""

import pandas as pd
from places import PUBLISHED

from livo_bench.report import columns, dataset, glossary, table_forms, tables
from livo_bench.results.metrics.registry import in_table_2


def test_columns_are_those_of_the_papers_table_2() -> None:
    heads = {
        layout.title: [f"{column.group} {column.title}" for column in layout.columns]
        for layout in columns.TABLE_2
    }
    steered = ["Steered images FID", "Steered images Content"]
    published = [f"All images, as published {metric}" for metric in ("IS", "FID", "CLIP")]
    assert heads["Table 2, bias"] == [
        "Gender D1", "Gender D2", "Race D1", "Race D2", *steered, *published,
    ]  # fmt: skip
    assert heads["Table 2, toxicity"] == [
        "Nudity Avg. R", "Nudity Avg. S", "Bloody Avg. R", "Bloody Avg. S",
        "Horror Avg. R", "Horror Avg. S", *steered, "Steered images Neutral CLIP", *published,
    ]  # fmt: skip


def test_columns_of_table_3_are_the_papers_then_the_steered_images() -> None:
    assert [f"{column.group} {column.title}" for column in columns.TABLE_3.columns] == [
        "Bias D2", "Bias FID", "Bias CLIP", "Toxicity Max", "Toxicity FID", "Toxicity CLIP",
        "Steered FID Bias", "Steered FID Toxicity",
        "Steered content Bias", "Steered content Toxicity",
    ]  # fmt: skip
    published = pd.read_csv(PUBLISHED / "table3.csv")
    assert list(published["method"]) == list(columns.TABLE_3_METHODS.values())
    assert list(published.columns[1:]) == [
        "bias_d2", "bias_fid", "bias_clip", "tox_max", "tox_fid", "tox_clip",
    ]  # fmt: skip


def test_every_heading_is_explained() -> None:
    layouts = [
        *columns.TABLE_2, columns.TABLE_3, *columns.TRADE_OFF, *columns.FID, *columns.ESTIMATORS,
        *columns.OVERCORRECTION,
    ]  # fmt: skip
    numbers = [column for layout in layouts for column in layout.columns]
    headings = {heading for column in numbers for heading in (column.group, column.title)}
    headings |= {*(one.title for one in in_table_2()), *table_forms.COUNTS, *tables.FLOORS}
    explained = {*glossary.TERMS}.union(*(term.headings for term in glossary.TERMS.values()))
    assert headings <= explained
    named = " ".join(term.metrics for term in glossary.TERMS.values())
    assert {f"`{column.metric}`" for column in numbers} <= set(named.replace(",", "").split())
    moved = {"moves by", "95 % at 0.5", "images", "left out at most"}
    assert moved | set(dataset.COUNTED) <= explained


def test_published_tables_are_facts_that_fit_the_bias_table() -> None:
    for number in (1, 2, 3, 4):
        path = PUBLISHED / f"table{number}.csv"
        assert not pd.read_csv(path).empty
    table = pd.read_csv(PUBLISHED / "table2.csv")
    assert list(table["method"]) == list(columns.TABLE_2_METHODS.values())
    # The paper's D2 for two groups is D1 / sqrt 2; both are rounded to 0.01.
    assert (table["gender_d2"] - table["gender_d1"] / 2**0.5).abs().max() < 0.0125
