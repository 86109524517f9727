"""What a metric is stands in one place, and everything that speaks of it reads it there."""

import pandas as pd
import pytest
from places import REFERENCE

from livo_bench.cards.catalog import task_cards
from livo_bench.report import columns, glossary
from livo_bench.results.metrics.metric import FIDELITY
from livo_bench.results.metrics.registry import BY_PROMPT, HEADLINES, METRICS, gated, in_table_2


def test_every_committed_number_is_of_a_known_metric():
    for path in REFERENCE.rglob("aggregates.csv"):
        assert set(pd.read_csv(path)["metric"]) <= set(METRICS), path


def test_every_kind_is_that_of_a_task_or_of_any():
    kinds = {card.kind for card in task_cards().values()}
    assert {metric.kind for metric in METRICS.values()} == {*kinds, FIDELITY}
    for kind in kinds:
        assert gated(kind), kind
        assert in_table_2(kind), kind


def test_every_metric_is_explained_with_a_source():
    for metric in METRICS.values():
        term = glossary.SCORES[metric.heading]
        assert term.means.endswith("."), metric.id
        assert term.source, metric.id
        assert f"`{metric.id}`" in term.metrics


def test_what_is_looked_at_prompt_by_prompt_is_gated():
    every = {metric.id for metric in METRICS.values() if metric.gated}
    assert {*BY_PROMPT} <= every
    assert {*HEADLINES} <= {*BY_PROMPT}


@pytest.mark.parametrize(
    "layout",
    [*columns.TABLE_2, columns.TABLE_3, *columns.TRADE_OFF, *columns.FID, *columns.ESTIMATORS],
    ids=lambda layout: layout.title,
)
def test_every_column_is_of_a_known_metric(layout):
    assert {column.metric for column in layout.columns} <= set(METRICS)
