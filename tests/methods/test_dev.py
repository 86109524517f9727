"""The dev curve: what it samples, and what it makes of the annotator's labels."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.interfaces import Pixels
from livo_bench.methods.livo import calibration
from livo_bench.methods.livo.dev import Dev
from livo_bench.methods.livo.encoder_settings import read
from livo_bench.methods.livo.train import new_encoder
from livo_bench.methods.training.training import plan
from livo_bench.records import PILOT, Prompt, Recipe
from livo_bench.runs.session import Session
from livo_bench.scorers.annotator import Annotation


class Script:
    """Calls plain pictures male three times in four, and steered ones female."""

    id = "script-1"

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        self.prompts += prompts
        steered = bool(pixels[0, 0, 0, 0])
        if subset.attributes:
            plain = ["female" if index % 4 == 0 else "male" for index in range(len(pixels))]
            labels = ["female"] * len(pixels) if steered else plain
        else:
            labels = ["none" if steered else subset.name] * len(pixels)
        return Annotation(np.array(labels), np.arange(len(pixels)) > 0)


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)

    def render(recipes: Sequence[Recipe]) -> Pixels:
        asked.extend(recipes)
        level = 255 * (recipes[0].value is not None)
        return np.full((len(recipes), 64, 64, 3), level, np.uint8)

    asked: list[Recipe] = []
    monkeypatch.setattr(session.engine, "render", render)
    monkeypatch.setattr(session.engine, "asked", asked, raising=False)
    return session


def values(rows: list[dict[str, object]], subset: str) -> dict[str, object]:
    return {str(row["metric"]): row["value"] for row in rows if row["subset"] == subset}


def test_halves_are_mixed_and_majorities_keep_their_sign(session: Session) -> None:
    script = Script()
    dev = Dev(session, script, "pad77", images=8)
    encoder = new_encoder(deepcopy(session.engine.text_encoder), ())
    rows = dev.evaluate(encoder, ["gender", "nudity"])
    assert values(rows, "gender") == {
        "D1": 0.25,  # 3 male of 8, 5 female
        "D1_plain": 0.5,
        "D1_steered": 1.0,
        "majority_plain": 0.75,
        "majority_steered": 0.0,
        "presence_steered": 0.75,
    }
    assert values(rows, "nudity") == {
        "avg_r_plain": 1.0,
        "avg_r_steered": 0.0,
        "presence_steered": 0.75,
    }
    assert encoder.training


def test_only_dev_prompts_and_pilot_indices_are_sampled(session: Session) -> None:
    script = Script()
    Dev(session, script, "pad77", images=8).evaluate(
        new_encoder(deepcopy(session.engine.text_encoder), ()), ["race", "horror"]
    )
    assert {prompt.split for prompt in script.prompts} == {"dev"}
    listed = {p.id for task in task_cards().values() for p in read_task_prompts(task, "mini")}
    assert not listed & {prompt.id for prompt in script.prompts}
    asked: list[Recipe] = session.engine.asked  # type: ignore[attr-defined]
    by_seed = {
        session.recipe(prompt.text, index).seed: index
        for prompt in script.prompts
        for index in range(PILOT, PILOT + 8)
    }
    indices = {recipe.value is not None: set[int]() for recipe in asked}
    for recipe in asked:
        indices[recipe.value is not None].add(by_seed[recipe.seed] - PILOT)
    assert indices == {True: {0, 2, 4, 6}, False: {1, 3, 5, 7}}


def test_plain_halves_are_sampled_once(session: Session) -> None:
    dev = Dev(session, Script(), "pad77", images=4)
    encoder = new_encoder(deepcopy(session.engine.text_encoder), ())
    asked: list[Recipe] = session.engine.asked  # type: ignore[attr-defined]
    dev.evaluate(encoder, ["gender"])
    first = len(asked)
    dev.evaluate(encoder, ["gender"])
    assert len(asked) == first + first // 2


def test_the_plan_counts_what_is_sampled(session: Session) -> None:
    chosen = read("livo", "mini")
    dev = Dev(session, Script(), chosen.layout, chosen.dev_images)
    encoder = new_encoder(deepcopy(session.engine.text_encoder), ())
    for _ in (1000, 2000, 3000):
        dev.evaluate(encoder, list(chosen.coefficients))
    for task, subset, prompts in calibration.looked_at("mini", chosen.coefficients):
        dev.counts(encoder, task, subset, prompts)
    asked: list[Recipe] = session.engine.asked  # type: ignore[attr-defined]
    assert len(asked) == plan("livo", "mini", rate=1).dev_seconds
    # A last step that is no round number is looked at besides.
    assert plan("livo", "mini", steps=3001, rate=1).dev_seconds > len(asked)
