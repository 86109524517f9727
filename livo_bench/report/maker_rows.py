"""What made the images of results, as rows: `report --table provenance`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from livo_bench.cards.catalog import RUNS, run_options
from livo_bench.errors import Incomplete
from livo_bench.report.printing import Row
from livo_bench.report.titles import labels
from livo_bench.results import seal


@dataclass(frozen=True, slots=True)
class Made:
    """How many distinct images of a result one device and its software made."""

    method: str
    task: str
    made_by: str
    images: int
    share: float
    """Share of the result's images, in (0, 1]."""


def makers(folder: Path = RUNS, model: str = "mini") -> list[Made]:
    """Read what made the images of every result of a model.

    Args:
        folder: Folder of runs, or of committed results.
        model: Model, as results name it, see `ProtocolCard.of`.

    Raises:
        Incomplete: No result says it.
        LivoBenchError: As `seal.open_all`.
    """
    found = []
    records = [one.record for one in seal.open_all(folder)]
    for record in sorted(records, key=lambda one: (one.task.name or "", one.method.name or "")):
        names = record.identity
        if names.get("model") != model:
            continue
        counts = {maker: int(count) for maker, count in record.made_by.items()}
        found += [
            Made(names["method"], names["task"], maker, count, count / sum(counts.values()))
            for maker, count in counts.items()
        ]
    if not found:
        raise Incomplete(
            f"No results of model {model!r} in {folder} say what made their images, as those of "
            "older versions do not.",
            "Run them again, which keeps images and counts what is stored:\n"
            f"    livo-bench run --method sd --task bias {run_options(model)} "
            f"--runs {shlex.quote(str(folder))}",
        )
    return found


def as_rows(found: list[Made]) -> list[Row]:
    """Rows as people read them."""
    title_of = {name: one.title for name, one in labels({one.method for one in found}).items()}
    return [
        {
            "method": title_of[one.method],
            "task": one.task,
            "images": f"{one.images:,}",
            "%": f"{100 * one.share:.1f}",
            "made by": one.made_by,
        }
        for one in found
    ]
