"""Result folders, file by file: what is read by report, compare, check, thresholds and the page."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damage import COUNTS, as_json, changed_table, damaged, survive
from written_results import bias_images, with_fidelity, write_run

from livo_bench.report import check_report, findings, html, table_forms, tables, thresholds
from livo_bench.report.printing import FORMS, records
from livo_bench.report.wide_tables import Wide
from livo_bench.results import baseline, check, compare, reading

RECORD: dict[str, Any] = {
    "model": {"name": "mini", "digest": "d"},
    "protocol": "ours",
    "method": {"name": "sd", "version": 1, "title": "SD", "told": "nothing"},
    "task": {"name": "bias", "version": 1},
    "prompts": {"list": "", "count": 8, "digest": "d"},
    "settings": {"images": 10, "block": 5, "device": "cpu", "seed": 42, "steps": 15},
    "scorers": ["clip-gender-1"],
    "versions": {"torch": "2"},
    "hardware": {"machine": "x", "cores": 2},
}


def write(folder: Path, method: str, males: list[int]) -> None:
    images = with_fidelity(bias_images(males), [9, 8, 9, 10, 7, 9, 8, 9])
    write_run(folder, images, method)
    record = RECORD | {"method": RECORD["method"] | {"name": method}}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    by_prompt = images.assign(n=1, D1=0.5).groupby(["subset", "prompt"])
    prompts = by_prompt.agg(category=("category", "first"), n=("n", "sum"), D1=("D1", "mean"))
    prompts.reset_index().to_csv(folder / "prompts.csv", index=False)


def report(runs: Path, other: Path) -> None:
    rows, laid_out = tables.table_2(reading.load_results(runs, "mini"))
    for form in table_forms.FORMS.values():
        form(laid_out)
    FORMS["csv"](records(rows))
    FORMS["json"](records(rows))


def compared(runs: Path, other: Path) -> None:
    found = compare.compare(["sd", "livo"], runs=runs)
    shown = FORMS["table"](findings.metric_differences(found.metrics))
    assert isinstance(shown, Wide)
    FORMS["markdown"](findings.prompt_differences(found.prompts))


def checked(runs: Path, other: Path) -> None:
    found = check.check(other, runs)
    for form in ("markdown", "json", "junit", "csv"):
        check_report.render(found, form)


def at_thresholds(runs: Path, other: Path) -> None:
    FORMS["table"](thresholds.as_rows(thresholds.thresholds(runs)))


def updated(runs: Path, other: Path) -> None:
    target = runs.parent / "baseline"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(other, target)
    baseline.update(target, runs)


def page(runs: Path, other: Path) -> None:
    html.write(runs.parent / "page", runs, images=False)


READERS: dict[str, tuple[Callable[[Path, Path], None], int]] = {
    "report": (report, 1),
    "compare": (compared, 1),
    "check": (checked, 1),
    "thresholds": (at_thresholds, 1),
    "update of a baseline": (updated, 2),
    "page": (page, 25),
}
"""Each with one in how many of the inputs it is given: some are slow."""


def damage_of(path: Path, draw: random.Random) -> bytes:
    data = path.read_bytes()
    if draw.random() < 0.4:
        return damaged(data, draw)
    if path.suffix == ".json":
        return as_json(json.loads(data), draw)
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    made = changed_table(frame, draw)
    if path.suffix == ".csv":
        return made.to_csv(index=False).encode("utf-8", "surrogatepass")
    buffer = io.BytesIO()
    try:
        made.to_parquet(buffer, index=False)
    except (TypeError, ValueError, OverflowError):  # a column of two kinds, which no file holds
        made.astype(str).to_parquet(buffer, index=False)
    return buffer.getvalue()


@COUNTS
@pytest.mark.parametrize("name", ["aggregates.csv", "prompts.csv", "run.json", "images.parquet"])
@pytest.mark.parametrize("reader", READERS)
def test_a_result_is_read_or_refused(tmp_path: Path, reader: str, name: str, count: int) -> None:
    use, every = READERS[reader]
    runs, other = tmp_path / "runs", tmp_path / "other"
    for root in (runs, other):
        write(root / "mini" / "sd" / "bias", "sd", [9, 8, 7, 6, 5, 4, 8, 9])
        write(root / "mini" / "livo" / "bias", "livo", [5, 6, 5, 6, 5, 4, 5, 5])
    use(runs, other)
    path = runs / "mini" / "livo" / "bias" / name
    whole = path.read_bytes()
    draw = random.Random(f"{reader} {name}")

    def read(made: bytes) -> None:
        path.write_bytes(made)
        use(runs, other)

    def inputs() -> list[bytes]:
        path.write_bytes(whole)
        return [damage_of(path, draw) for _ in range(max(1, count // 4 // every))]

    survive(f"{name} by {reader}", inputs(), read)
