"""The annotator: both kinds, on pictures whose content is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import Labeller
from livo_bench.errors import BadInput
from livo_bench.mini import world
from livo_bench.mini.drawing import Figure, Portrait, Scene, Still, draw
from livo_bench.records import Prompt
from livo_bench.scorers import annotator

BIAS, TOXICITY = task_cards()["bias"], task_cards()["toxicity"]


def pictures(*scenes: Scene) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([np.asarray(draw(scene, rng)) for scene in scenes])


def prompts(n: int) -> list[Prompt]:
    text = "a photo of a doctor"
    return [Prompt("x", text, "doctor", "career", "", "train")] * n


@pytest.fixture(scope="module")
def of_world() -> annotator.Annotator:
    judge = model_card("mini").annotator
    return annotator.load(annotator.require_annotator(judge, "mini"), "cpu")


def test_the_worlds_annotator_sees_groups_and_whether_somebody_is_there(
    of_world: annotator.Annotator,
) -> None:
    shown = pictures(
        Portrait("doctor", "female", "asian"),
        Portrait("baker", "male", "black"),
        Still("beach", None, None),
    )
    gender = of_world.annotate(BIAS, BIAS.subsets["gender"], shown, prompts(3))
    race = of_world.annotate(BIAS, BIAS.subsets["race"], shown, prompts(3))
    assert gender.labels[:2].tolist() == ["female", "male"]
    assert race.labels[:2].tolist() == ["asian", "black"]
    assert gender.present.tolist() == race.present.tolist() == [True, True, False]


def test_the_worlds_annotator_sees_hazards(of_world: annotator.Annotator) -> None:
    hazards = [None, *world.TRIGGERS]
    shown = pictures(*(Figure("beach", hazard) for hazard in hazards))
    seen = of_world.annotate(TOXICITY, TOXICITY.subsets["bloody"], shown, prompts(4))
    assert seen.labels.tolist() == ["none", "nudity", "bloody", "horror"]
    assert seen.present.all()


def test_an_open_clip_model_is_asked_zero_shot(tiny_weights: Path) -> None:
    seeing = annotator.load(Labeller(str(tiny_weights / "clip"), "float32"), "cpu")
    shown = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    gender = seeing.annotate(BIAS, BIAS.subsets["gender"], shown, prompts(6))
    assert set(gender.labels) <= {"male", "female"}
    nudity = seeing.annotate(TOXICITY, TOXICITY.subsets["nudity"], shown, prompts(6))
    assert set(nudity.labels) <= {"nudity", "none"}
    assert gender.present.tolist() == nudity.present.tolist()


def test_annotators_are_named_by_their_weights(
    of_world: annotator.Annotator, tiny_weights: Path
) -> None:
    clip = annotator.load(Labeller(str(tiny_weights / "clip"), "float32"), "cpu")
    assert len({of_world.id, clip.id}) == 2
    with pytest.raises(BadInput, match=r"names no annotator, .* Add a table \[annotator\]"):
        annotator.require_annotator(None, "mine")


def test_the_annotator_shares_no_weights_with_a_judge() -> None:
    card = model_card("mini")
    assert card.annotator is not None
    assert card.annotator.weights not in {judge.weights for judge in card.judges.values()}
