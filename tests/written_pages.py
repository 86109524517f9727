"""Runs with prompts and pictures, and what the page makes of them."""

from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from written_results import Written, write_run

from livo_bench.records import Recipe
from livo_bench.report import html, page_prompts
from livo_bench.report.titles import titles
from livo_bench.results.reading import Results, read_results
from livo_bench.runs.store import Store

HOSTILE = {
    "p0": "<script>document.title = 'owned'</script>\" onerror=\"document.title = 'owned'",
    "p2": "שלום <b>עולם</b> \u202egnihton",
    "p4": "x" * 9_999 + "\ud800",
}
"""Texts of the three prompts that are chosen out of five."""


def recipe(method: str, prompt: str, index: int, seed: int) -> Recipe:
    # The other method leaves odd images as they are.
    value = None if method == "sd" or index % 2 else "equality"
    text = HOSTILE.get(prompt, prompt)
    return Recipe("m", text, seed, "", 2.0, "dpmsolver++", 5, 64, "float32", value=value)


def write_method(
    root: Path, images: pd.DataFrame, method: str, seed: int = 0, **task: Unpack[Written]
) -> None:
    """A run with its prompts and pictures."""
    images = images[images["index"] < 4].copy()
    recipes = [
        recipe(method, prompt, index, seed + 100 * int(prompt[1:]) + index)
        for prompt, index in zip(images["prompt"], images["index"], strict=True)
    ]
    images["key"] = [made.key for made in recipes]
    pixels = np.random.default_rng(0).integers(0, 256, (len(images), 64, 64, 3), np.uint8)
    Store(root, "mini").write_samples(recipes, pixels)
    folder = root / "mini" / str(len(method)) / task.get("task", "bias")
    write_run(folder, images, method=method, **task)
    images["share"] = images["label"].isin(["male", "yes"])
    by_prompt = images.groupby(["subset", "prompt"])
    prompts = by_prompt.agg(
        category=("category", "first"), n=("key", "size"), avg_r=("share", "mean")
    )
    if not task:
        prompts["D1"] = (2 * prompts.pop("avg_r") - 1).abs()
    prompts.reset_index().to_csv(folder / "prompts.csv", index=False)


def by_task(root: Path) -> dict[str, list[Results]]:
    return html._by_task(read_results(root, "mini").values())


def titles_of(tasks: dict[str, list[Results]]) -> dict[str, str]:
    return titles([side for sides in tasks.values() for side in sides])


def changes_of(root: Path) -> list:
    """By row, all cells of all tables of changes."""
    tasks = by_task(root)
    return [
        cells
        for table in page_prompts.changes_of(tasks, titles_of(tasks))
        for _, cells in table.rows
    ]
