"""Trainings of Stable Diffusion that take seconds: short lists, few steps, a cheap annotator."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from livo_bench.cards.catalog import DATA, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.interfaces import Pixels
from livo_bench.records import Prompt
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation

FEWER = {
    "steps": "2",
    "warmup": "1",
    "batch": "2",
    "precision": '"no"',
    "dev": "2",
    "dev_images": "4",
    "checkpoint": "2",
    "anchors": "1",
    "concepts": "2",
    "rounds": "2",
    "images": "2",
    "accumulation": "2",
    "pictures": "1",
    "replayed": "1",
    "times": "2",
}
"""Settings for Stable Diffusion, so that a training takes seconds."""
PREFERENCES = """\
[sd.sizes]
plain = 6
attributed = 40
hazardous = 24
[sd.safety]
nudity = "nudity"
bloody = "blood"
horror = "zombie"
[[sd.strengths]]
warmup = 0
s_S = 5000.0
threshold = 1.0
s_m = 0.5
beta_m = 0.7
"""
"""Few pictures, but so many of hazards that an annotator who tosses coins sees a clean twin of one
on any machine: coins are tossed by pixels, whose last bits are a processor's."""


class ByPixels:
    """Sees groups and hazards that the pixels decide, as chance would."""

    id = "by-pixels-1"

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        labels = [*subset.attributes] or [subset.name, "none"]
        drawn = [labels[int(image.astype(np.int64).sum()) % len(labels)] for image in pixels]
        return Annotation(np.array(drawn), np.full(len(pixels), True))


def shorten_lists(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Two concepts of each category and split stand in for the lists of Stable Diffusion."""
    for task in task_cards().values():
        rows = pd.read_csv(task.prompts("mini"), dtype=str, keep_default_na=False)
        one_each = rows.drop_duplicates(["split", "category", "concept"])
        few = one_each.groupby(["split", "category"]).head(2)
        few.to_csv(folder / f"{task.name}.csv", index=False)
    monkeypatch.setattr(TaskCard, "prompts", lambda self, scale: folder / f"{self.name}.csv")
    monkeypatch.setattr(annotator, "load", lambda judge, device: ByPixels())


def shortened(method: str, folder: Path) -> Path:
    """A copy of a method, under a name of its own, whose training takes seconds."""
    copy = folder / f"my-{method}"
    shutil.copytree(DATA / "methods" / method, copy, ignore=shutil.ignore_patterns("weights"))
    card = copy / "card.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f'name = "{method}"', f'name = "{copy.name}"'), encoding="utf-8")
    settings = copy / "training.toml"
    text = settings.read_text(encoding="utf-8")
    for name, value in FEWER.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    settings.write_text(text.replace('like = "livo"', f'like = "{folder / "my-livo"}"'), "utf-8")
    return copy
