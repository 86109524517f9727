"""Who made what: devices, drivers, versions and switches behind each run's images and scores."""

from __future__ import annotations

from pathlib import Path

from livo_bench.cards.catalog import run_options
from livo_bench.cards.fields import place
from livo_bench.errors import Incomplete
from livo_bench.results import seal
from livo_bench.results.record import NOT_RECORDED


def provenance(folder: Path, model: str) -> list[dict[str, object]]:
    """Count images and scores by what made them.

    Args:
        folder: Folder of results.
        model: Model, as results name it.

    Returns:
        A row for each run, for its images and its scores, and what made some of them: `method`,
        `task`, `of`, `made on` and `count`, which is None where a run does not say.

    Raises:
        Incomplete: No results of this model.
    """
    opened = seal.open_all(folder) if place(folder).is_dir() else []
    rows: list[dict[str, object]] = []
    for one in opened:
        identity = one.record.identity
        if identity.get("model") != model:
            continue
        for what in ("images", "scores"):
            counts = dict(getattr(one.record.makers, what)) or {NOT_RECORDED: None}
            rows += [
                {
                    "method": identity.get("method"),
                    "task": identity.get("task"),
                    "of": what,
                    "made on": maker,
                    "count": count,
                }
                for maker, count in counts.items()
            ]
    if not rows:
        raise Incomplete(
            f"No results of model {model!r} in {folder} that say what they are of.",
            f"Make some with\n    livo-bench run --method sd --task bias {run_options(model)}",
        )
    return rows
