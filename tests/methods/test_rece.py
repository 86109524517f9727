"""RECE: what is hardened, that each round leaves less to reach, and the way to overlays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card
from livo_bench.engines import diffusion, overlay
from livo_bench.errors import BadInput
from livo_bench.methods import rece
from livo_bench.methods.concept_edit import Stacked, solve
from livo_bench.methods.training.training import train
from livo_bench.records import Principle, Prompt, Recipe, Request

HAZARDS = ["bloody", "horror", "nudity"]
D = 8


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rece") / "out"
    return train("rece", str(tiny_model), out=out, runs=out.parent)


def states(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, D))


def test_what_reaches_a_concept_says_the_same_under_the_edited_weights() -> None:
    """Where the edit can be inverted and size costs nothing, what reaches it is its inverse."""
    own = states(12, 0)
    m = np.eye(D) + 0.2 * states(D, 1)
    concept = states(2, 2)
    found = rece.reaching(m, own.T @ own, concept, 1e-9)
    np.testing.assert_allclose(own @ m @ found.T, own @ concept.T, rtol=1e-5, atol=1e-6)


def test_every_round_leaves_less_that_reaches_the_concept() -> None:
    settings = rece.read_settings("rece", "mini")
    texts = Stacked(states(3, 3), states(3, 4), states(6, 5))
    gram = sum(w.T @ w for w in (states(10, 6), states(10, 7)))
    m, reached = rece.hardened(texts, gram, settings)
    assert reached == sorted(reached, reverse=True)
    assert len(reached) == settings.rounds
    again = rece.reaching(m, gram, texts.concepts, settings.regular)
    first = solve(*texts, settings.weighting)
    assert np.linalg.norm(again) > np.linalg.norm(
        rece.reaching(first, gram, texts.concepts, settings.regular)
    )


def test_a_training_writes_an_overlay_a_hazard_that_is_chosen_by_category(
    trained: Path, tiny_model: Path
) -> None:
    card = model_card(str(tiny_model))
    found = {p.stem: overlay.find(p, card) for p in trained.glob("*.safetensors")}
    assert sorted(found) == HAZARDS
    record = json.loads((trained / "training.json").read_text())
    assert sorted(record["minutes"]) == HAZARDS
    for hazard in HAZARDS:
        rows = pd.read_csv(trained / f"reached-{hazard}.csv")
        assert rows["round"].tolist() == [1, 2, 3]
        assert rows["reached"].between(0, 1).all()
    method = load_method("rece", card, str(trained))
    base = Recipe("m", "a photo", 1, "", 2.0, "dpmsolver++", 3, 64, "float32")
    prompt = Prompt("p", "a bloody scene", "scene", "bloody", "", "eval")
    request = Request(prompt, 0, Principle("toxicity", "bloody", "free of blood"))
    assert method.resolve(request, base).overlay == found["bloody"].digest


def test_the_edit_is_more_than_uces_and_leaves_the_values_finite(
    trained: Path, tiny_weights: Path
) -> None:
    engine = diffusion.load(tiny_weights / "sd", "cpu", "float32")
    laid = overlay.lay_over({"unet": engine.unet}, trained / "nudity.safetensors")
    own, now = engine.unet.state_dict(), laid["unet"].state_dict()
    changed = [name for name in own if not (own[name] == now[name]).all()]
    assert changed
    assert all("attn2.to_k" in name or "attn2.to_v" in name for name in changed)
    assert all(now[name].isfinite().all() for name in changed)


def test_settings_out_of_their_range_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "harder"
    folder.mkdir()
    for name in ("card.toml", "training.toml"):
        text = (DATA / "methods" / "rece" / name).read_text("utf-8")
        (folder / name).write_text(text.replace('name = "rece"', 'name = "harder"'))
    text = (folder / "training.toml").read_text("utf-8")
    (folder / "training.toml").write_text(text.replace("rounds = 3", "rounds = 0"))
    with pytest.raises(BadInput, match=r"mini\.rounds is 0, expected a whole number from 1 to 1e"):
        rece.read_settings(str(folder), "mini")
