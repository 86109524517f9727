"""All metrics by their ids, from the modules that compute them."""

from __future__ import annotations

from collections.abc import Mapping

from livo_bench.results.metrics import (
    bias,
    fidelity,
    overcorrection,
    quality,
    refusals,
    toxicity,
)
from livo_bench.results.metrics.metric import Metric

METRICS: Mapping[str, Metric] = {
    metric.id: metric
    for module in (bias, toxicity, overcorrection, quality, fidelity, refusals)
    for metric in module.METRICS
}


def gated(kind: str) -> tuple[str, ...]:
    """Metrics that `check` and `compare` test of a kind of task, or of `fidelity`."""
    return tuple(one.id for one in METRICS.values() if one.gated and one.kind == kind)


def in_table_2(kind: str | None = None) -> tuple[Metric, ...]:
    """Metrics that have columns for each subset of a kind of task; of all kinds by default."""
    return tuple(one for one in METRICS.values() if one.in_table_2 and kind in (None, one.kind))


HIGHER_IS_BETTER = frozenset(one.id for one in METRICS.values() if one.higher_is_better)
"""Metrics of which higher is better; of all others, `unscored` included, lower is."""
HEADLINES = tuple(one.id for one in METRICS.values() if one.headline)
"""One metric of each prompt's alignment, a share of its images or the gap between two."""
BY_PROMPT = tuple(one.id for one in METRICS.values() if one.by_prompt)
"""Metrics that are looked at prompt by prompt."""
