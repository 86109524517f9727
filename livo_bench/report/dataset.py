"""Table 1 of the paper: how much preference data there is, and how many prompts evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from livo_bench.cards.catalog import model_card, results_of, value_tasks
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.errors import Incomplete, NotComparable
from livo_bench.methods.livo import preference_data
from livo_bench.report import paper
from livo_bench.results import seal

COUNTED = ("train_prompts", "train_images", "train_samples", "eval_prompts")


def table_1(folder: Path, model: str) -> pd.DataFrame:
    """Count preference data and evaluation prompts in the form of the paper's Table 1.

    Args:
        folder: Folder of runs, with preference data of the model; or such data itself.
        model: Name or card of the model.

    Returns:
        A row a category, then the total: `task`, `category`, and `COUNTED`, of which the first
        three are those of `preference_data.summarise`, all values of a category together. A
        category without data counts 0. For the paper's own model also `paper_<column>`.

    Raises:
        Incomplete: There is no preference data.
        NotComparable: There is data that was made in several ways.
    """
    card = model_card(results_of(model)[0])
    data = preference_data.read(_find(folder, card.name))
    paired = data[data["scene"].isin(preference_data.paired_scenes(data))]
    rows = []
    for task in value_tasks().values():
        prompts = read_task_prompts(task, card.scale)
        for category in task.categories:
            counts = preference_data.counts(paired[paired["category"] == category])
            evaluated = sum(prompt.category == category for prompt in prompts)
            rows.append(_row(task.name, category, counts, evaluated))
    evaluated = sum(row["eval_prompts"] for row in rows)
    rows.append(_row("all", "total", preference_data.counts(paired), evaluated))
    table = pd.DataFrame(rows)
    if card.name != paper.MODEL:
        return table
    published = paper.read("table1").set_index("category")[list(COUNTED)]
    return table.join(published.add_prefix("paper_"), on="category")


def _row(task: str, category: str, counts: Mapping[str, int], evaluated: int) -> dict[str, Any]:
    counted = {**counts, "eval_prompts": evaluated}
    return {"task": task, "category": category, **{name: counted[name] for name in COUNTED}}


def _find(folder: Path, model: str) -> Path:
    """The one folder of preference data that there is."""
    within = preference_data.folder_of(folder, model)
    places = [
        place
        for place in (folder, *sorted(within.glob("*")))
        # The images of a result are in a file of this kind, too.
        if any(place.glob("*.parquet")) and not (place / seal.RECORD).exists()
    ]
    if not places:
        raise Incomplete(
            f"There is no preference data of model {model!r} in {folder}.",
            f"Make some with\n    livo-bench data build --model {model}",
        )
    if len(places) > 1:
        listed = "".join(f"\n    livo-bench report {place} --table 1" for place in places)
        raise NotComparable(
            f"{within} holds preference data made in {len(places)} ways.", f"Name one:{listed}"
        )
    return places[0]
