"""What a metric is stands in one place, and everything that speaks of it reads it there."""

import pandas as pd
import pytest
from places import REFERENCE

from livo_bench.cards.catalog import task_cards
from livo_bench.report import columns, glossary
from livo_bench.report.columns import Layout
from livo_bench.results.metrics.metric import FIDELITY
from livo_bench.results.metrics.registry import BY_PROMPT, HEADLINES, METRICS, gated, in_table_2

CONTRACT = [
    ("D1", "D1", "D1", "bias", 100, 2, "gated by_prompt headline in_table_2"),
    ("D2", "D2", "D2", "bias", 100, 2**0.5, "gated in_table_2"),
    ("D1_corrected", "Corrected", "Corrected", "bias", 100, 1, ""),
    ("D2_corrected", "Corrected", "Corrected", "bias", 100, 1, ""),
    ("D2_unbiased", "Unbiased", "Unbiased", "bias", 100, 1, ""),
    ("D2_pooled", "Pooled", "Pooled", "bias", 100, 1, ""),
    ("avg_r", "Avg. R", "Avg. R", "toxicity", 100, 1, "gated by_prompt headline in_table_2"),
    ("avg_s", "Avg. S", "Avg. S", "toxicity", 100, 1, "gated in_table_2"),
    ("max", "Max", "Max", "toxicity", 100, 1, ""),
    ("prob", "Prob", "Prob", "toxicity", 100, 1, ""),
    ("max_exact", "Max", "Max", "toxicity", 100, 1, ""),
    ("prob_exact", "Prob", "Prob", "toxicity", 100, 1, ""),
    ("avg_r_corrected", "Corrected", "Corrected", "toxicity", 100, 1, ""),
    ("avg_r_harmless", "Refused harmless", "Refused harmless", "toxicity", 100, 1, ""),
    (
        "overridden",
        "Overridden",
        "Overridden",
        "overcorrection",
        100,
        1,
        "gated by_prompt headline in_table_2",
    ),
    (
        "changed",
        "Harmless, changed",
        "Changed",
        "overcorrection",
        100,
        1,
        "gated by_prompt headline in_table_2",
    ),
    ("moved", "Harmless, moved", "Moved", "overcorrection", 100, 1, "in_table_2"),
    ("is", "IS", "IS", "fidelity", 1, 1, "higher_is_better"),
    ("fid", "FID", "FID", "fidelity", 1, 1, ""),
    ("fid_steered", "FID", "FID", "fidelity", 1, 1, ""),
    ("fid_independent", "Other noise", "Other noise", "fidelity", 1, 1, ""),
    ("clip", "CLIP", "CLIP", "fidelity", 1, 1, "higher_is_better gated"),
    ("clip_steered", "CLIP", "CLIP", "fidelity", 1, 1, "higher_is_better"),
    ("clip_neutral", "Neutral CLIP", "Neutral CLIP", "fidelity", 1, 1, "higher_is_better gated"),
    ("clip_neutral_steered", "Neutral CLIP", "Neutral CLIP", "fidelity", 1, 1, "higher_is_better"),
    ("content", "Content", "Content", "fidelity", 100, 1, "higher_is_better gated by_prompt"),
    ("content_steered", "Content", "Content", "fidelity", 100, 1, "higher_is_better"),
    ("presence", "Somebody there", "Somebody there", "fidelity", 100, 1, "higher_is_better gated"),
    (
        "presence_steered",
        "Somebody there",
        "Somebody there",
        "fidelity",
        100,
        1,
        "higher_is_better",
    ),
    ("refused", "Refused", "Refused", "fidelity", 100, 1, ""),
]
"""Id, heading in the glossary, title, kind, scale and reach, and what holds of it, of each metric
that has been published: numbers of one id must mean the same in all results, so a change here is
one for CHANGELOG.md. A new metric may stand beside these until results of it are committed."""
FLAGS = ("higher_is_better", "gated", "by_prompt", "headline", "in_table_2")


def test_metrics_that_were_published_are_what_they_were() -> None:
    now = {
        m.id: (
            m.id,
            m.heading,
            m.title,
            m.kind,
            m.scale,
            m.reach,
            " ".join(f for f in FLAGS if getattr(m, f)),
        )
        for m in METRICS.values()
    }
    assert [now.get(published[0]) for published in CONTRACT] == CONTRACT


def test_every_committed_number_is_of_a_metric_that_may_not_change() -> None:
    published = {id for id, *_ in CONTRACT}
    for path in REFERENCE.rglob("aggregates.csv"):
        assert set(pd.read_csv(path)["metric"]) <= published, path


def test_every_kind_is_that_of_a_task_or_of_any() -> None:
    kinds = {card.kind for card in task_cards().values()}
    assert {metric.kind for metric in METRICS.values()} == {*kinds, FIDELITY}
    for kind in kinds:
        assert gated(kind), kind
        assert in_table_2(kind), kind


def test_every_metric_is_explained_with_a_source() -> None:
    for metric in METRICS.values():
        term = glossary.SCORES[metric.heading]
        assert term.means.endswith("."), metric.id
        assert term.source, metric.id
        assert f"`{metric.id}`" in term.metrics


def test_what_is_looked_at_prompt_by_prompt_is_gated() -> None:
    every = {metric.id for metric in METRICS.values() if metric.gated}
    assert {*BY_PROMPT} <= every
    assert {*HEADLINES} <= {*BY_PROMPT}


@pytest.mark.parametrize(
    "layout",
    [*columns.TABLE_2, columns.TABLE_3, *columns.TRADE_OFF, *columns.FID, *columns.ESTIMATORS],
    ids=lambda layout: layout.title,
)
def test_every_column_is_of_a_known_metric(layout: Layout) -> None:
    assert {column.metric for column in layout.columns} <= set(METRICS)
