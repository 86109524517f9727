"""CSV files that come with the package and that users may replace."""

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from damage import COUNTS, changed_table, damaged, survive

from livo_bench.cards.catalog import DATA, model_card
from livo_bench.report import curves, quirks
from livo_bench.report.printing import FORMS
from livo_bench.results.metrics.judge_error import read_confusions


def confusion(folder: Path) -> None:
    for found in read_confusions(folder / "confusion.csv").values():
        found.rates  # noqa: B018
        found.drawn()


def explained(folder: Path) -> None:
    FORMS["table"](quirks.as_rows(quirks.read(folder, "mini")))


def swept(folder: Path) -> None:
    curves.data_efficiency(curves.read_sweeps(folder, "mini"), folder / "figure.svg")


CONFUSION = model_card("mini").confusion
assert CONFUSION is not None
FILES: dict[str, tuple[Path, Callable[[Path], None], int]] = {
    "confusion.csv": (CONFUSION, confusion, 1),
    "quirks.csv": (DATA / "results" / "mini" / "quirks.csv", explained, 1),
    "sweeps.csv": (DATA / "results" / "mini" / "sweeps.csv", swept, 20),
}
"""Each with its reader, and one in how many of the inputs that is given."""


@COUNTS
@pytest.mark.parametrize("name", FILES)
def test_a_table_is_read_or_refused(tmp_path: Path, name: str, count: int) -> None:
    source, use, every = FILES[name]
    path = tmp_path / name
    path.write_bytes(source.read_bytes())
    use(tmp_path)
    draw = random.Random(name)
    frame = pd.read_csv(source)

    def made() -> bytes:
        if draw.random() < 0.5:
            return damaged(source.read_bytes(), draw)
        return changed_table(frame, draw).to_csv(index=False).encode("utf-8", "surrogatepass")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        use(tmp_path)

    survive(name, (made() for _ in range(max(5, count // every))), read, 0.1)
