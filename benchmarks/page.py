"""How large the report is and how long a browser takes with it: `python benchmarks/page.py`.

Makes up results of 40 methods on bias and toxicity: the images' scores of methods in `results/mini`
under other names, with aggregates moved at random so that no two lie on one point. Writes their
page without pictures and opens it in Debian's chromium a few times. Prints Markdown.
"""

from __future__ import annotations

import io
import json
import shutil
import statistics
import tempfile
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import click
import numpy as np
import pandas as pd

from livo_bench.cards.catalog import SHIPPED
from livo_bench.report import html
from livo_bench.results import reading, seal

TASKS = ("bias", "toxicity")
TIMES = 5
"""Openings, of which the median counts."""


@dataclass(frozen=True)
class Measured:
    """A page as a browser finds it."""

    megabytes: float
    """Of all files of its folder, 1 MB being 1,000,000 bytes."""
    seconds: float
    """From the request to the end of `load`."""
    follow: float
    """Seconds that it takes to mark a method everywhere and lay the page out again."""
    marks: int
    """Methods in all panels of the trade-off."""


def make_up(folder: Path, methods: int) -> None:
    """Write results of so many methods, sealed.

    Args:
        folder: Folder to write them in.
        methods: How many; SD is the first.
    """
    found = [side.folders[0] for side in reading.read_results(SHIPPED, "mini").values()]
    both = sorted({path.parent for path in found if all((path.parent / t).is_dir() for t in TASKS)})
    both.sort(key=lambda path: path.name != "sd")
    rng = np.random.default_rng(0)
    for number, source in enumerate(islice(cycle(both), methods)):
        name = source.name if number < len(both) else f"{source.name}-{number}"
        for task in TASKS:
            opened = seal.reopen(source / task)
            files = dict(opened.files)
            rows = pd.read_csv(io.BytesIO(files["aggregates.csv"]), keep_default_na=False)
            numbers = rows[["value", "low", "high"]].apply(pd.to_numeric, errors="coerce")
            moved = numbers.mul(rng.uniform(0.8, 1.0, len(rows)), axis="index")
            rows[numbers.columns] = moved.where(numbers.notna(), "")
            files["aggregates.csv"] = rows.assign(method=name).to_csv(index=False).encode()
            said = opened.record.method
            title = said.title if number < len(both) else f"{said.title} {number}"
            record = replace(opened.record, method=replace(said, name=name, title=title))
            seal.write(folder / name / task, record, {n: files[n] for n in seal.NEIGHBOURS})


def measure(page: Path, times: int = TIMES) -> Measured:
    """Open a page in a browser."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1400,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        seconds = []
        for _ in range(times):
            driver.get(page.as_uri())
            timing = driver.execute_script(
                "return JSON.stringify(performance.getEntriesByType('navigation')[0])"
            )
            seconds.append(json.loads(timing)["loadEventEnd"] / 1000)
        follow = driver.execute_script(
            "const begin = performance.now(); document.querySelector('.follow').click();"
            "document.body.getBoundingClientRect(); return (performance.now() - begin) / 1000"
        )
        marks = driver.execute_script("return document.querySelectorAll('.mark').length")
    finally:
        driver.quit()
    size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file())
    return Measured(size / 1e6, statistics.median(seconds), float(follow), int(marks))


@click.command()
@click.option("--methods", default=40, show_default=True)
def main(methods: int) -> None:
    """Print what a page of many methods weighs and takes."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        make_up(runs, methods)
        found = measure(html.write(Path(folder) / "page", runs, images=False))
    print(f"| Methods, tasks | Size | Opens in | Follows in | Marks |\n| {'--- | ' * 5}".rstrip())
    print(
        f"| {methods}, {len(TASKS)} | {found.megabytes:.1f} MB | {found.seconds:.2f} s "
        f"| {found.follow:.2f} s | {found.marks} |"
    )


if __name__ == "__main__":
    main()
