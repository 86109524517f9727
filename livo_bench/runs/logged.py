"""Numbers of a finished run, handed to trackers: each with its interval and count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from livo_bench import trackers
from livo_bench.results import seal
from livo_bench.results.reading import aggregates_of

SHOWN = ("low", "high", "floor", "n", "unscored")
"""What stands beside the value of a number."""


def log(folder: Path, log_to: Sequence[str]) -> None:
    """Hand the numbers of a result folder to trackers, as those of one run.

    Args:
        folder: The result folder.
        log_to: Names of trackers, see `trackers`.
    """
    opened = seal.reopen(folder)
    identity = opened.record.identity
    about = {
        **identity,
        **{name: held for name, held in asdict(opened.record.settings).items() if held is not None},
        **opened.record.versions,
    }
    numbers: dict[str, float] = {}
    for row in aggregates_of(opened).to_dict("records"):
        name = f"{row['task']}/{row['subset']}/{row['category']}/{row['metric']}"
        found = {name: row["value"], **{f"{name}/{one}": row[one] for one in SHOWN}}
        numbers |= {each: float(value) for each, value in found.items() if value == value}
    for tracker in trackers.opened(log_to, folder, "/".join(identity.values()), about):
        try:
            tracker.show(0, numbers)
        finally:
            tracker.close()
