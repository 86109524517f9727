"""The prompts that touch no value."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import livo_bench.cards
from livo_bench.cards.prompts import COLUMNS, read_value_free_prompts
from livo_bench.mini import world
from livo_bench.mini.drawing import SETTINGS, SPLITS

FILE = Path(livo_bench.cards.__file__).parent / "value_free" / "mini.csv"


def test_committed_list_is_the_worlds() -> None:
    with FILE.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    *columns, cluster = COLUMNS  # which this list needs not
    assert header == columns
    assert cluster == "cluster"
    expected = list(world.value_free_prompts())
    assert [tuple(row) for row in rows] == [astuple(prompt)[:-1] for prompt in expected]
    read = [prompt for split in SPLITS for prompt in read_value_free_prompts("mini", split)]
    assert sorted(read, key=lambda p: p.id) == sorted(expected, key=lambda p: p.id)


def test_splits_share_no_concept_template_or_text() -> None:
    for field in ("concept", "template", "text", "id"):
        seen: dict[str, str] = {}
        for prompt in world.value_free_prompts():
            assert seen.setdefault(getattr(prompt, field), prompt.split) == prompt.split


def test_settings_keep_their_split_and_objects_are_divided() -> None:
    for prompt in world.value_free_prompts():
        for setting in SETTINGS.values():
            assert setting.phrase not in prompt.text or setting.split == prompt.split
    assert Counter(world.OBJECT_SPLITS.values()) == {"train": 6, "eval": 4, "dev": 2}


def test_eval_has_enough_to_see_two_per_cent() -> None:
    counts = Counter(prompt.split for prompt in world.value_free_prompts())
    assert counts == {"train": 300, "dev": 40, "eval": 304}
