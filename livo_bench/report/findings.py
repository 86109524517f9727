"""What commands found, as rows for people: per cent, rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from livo_bench.report.printing import Row, p_value, points

if TYPE_CHECKING:
    from livo_bench.methods.retrieval.comparison import Comparison
    from livo_bench.results.compare import Difference
    from livo_bench.runs.remake import Remade


def metric_differences(metrics: Sequence[Difference]) -> list[dict[str, object]]:
    """One row a method, subset and metric, as people read them: per cent, rounded."""
    return [
        {
            "method": d.method,
            "subset": f"{d.task}/{d.subset}",
            "metric": d.metric,
            "prompts": d.prompts,
            "images": d.images,
            **_values(d),
            "95 % interval": f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
            "detectable": points(d.detectable),
            "p (BH)": p_value(d.p_corrected),
            "verdict": d.verdict,
        }
        for d in metrics
    ]


def prompt_differences(prompts: Sequence[Difference]) -> list[dict[str, object]]:
    """One row a method, subset and prompt, as people read them: per cent, rounded."""
    return [
        {
            "method": d.method,
            "subset": f"{d.task}/{d.subset}",
            "prompt": d.prompt,
            "metric": d.metric,
            "images": d.images,
            **_values(d),
        }
        for d in prompts
    ]


def _values(d: Difference) -> dict[str, object]:
    return {
        "baseline": points(d.before),
        "method's": points(d.now),
        "difference": points(d.difference, "+.1f"),
    }


def remade_images(remade: Sequence[Remade]) -> list[Row]:
    """One row an image that was made again."""
    return [
        {
            "image": one.key[:12],
            "text": one.text,
            "mean difference": "" if math.isnan(one.mean) else f"{one.mean:.3f}",
            "largest": "" if math.isnan(one.largest) else f"{one.largest:.0f}",
            "verdict": one.verdict,
        }
        for one in remade
    ]


def retrievers(comparisons: Sequence[Comparison]) -> list[Row]:
    """One row a retriever, kind of prompt and measure."""
    return [
        {
            "retriever": one.retriever,
            "prompts": one.kind,
            "measure": one.measure,
            "n": one.n,
            "%": f"{100 * one.rate:.1f}",
            "95 % interval": f"[{100 * one.low:.1f}, {100 * one.high:.1f}]",
            "malformed replies": one.malformed,
        }
        for one in comparisons
    ]
