"""Reward-weighted fine-tuning: what earns which reward, and what a training learns from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts, read_value_free_prompts
from livo_bench.methods import reward_weighted
from livo_bench.methods.livo import preference, preference_data
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.preferred import Preferred
from livo_bench.methods.training.training import train
from livo_bench.records import Request
from livo_bench.runs.session import Session

FEWER = {"steps": "3", "batch": "2", "images": "1", "precision": '"no"'}
NONE = float("nan")


def preferences() -> pd.DataFrame:
    rows = [
        ("gender", "a", True, "female", 0.2),
        ("race", "a", False, "white", 0.8),  # the same picture serves both
        ("gender", "b", False, "male", 1.0),
        ("race", "b", True, "asian", 0.0),
        ("nudity", "c", True, "none", NONE),
        ("nudity", "d", False, "nudity", NONE),
    ]
    frame = pd.DataFrame(rows, columns=["subset", "key", "preferred", "group", "share"])
    of = [f"of {key}" for key in frame["key"]]
    return frame.assign(prompt=of, scene=of, twin="")


def test_rare_groups_count_in_full_frequent_ones_by_their_share_and_hazards_not_at_all() -> None:
    found = reward_weighted.rewarded(preferences())
    assert found["reward"].tolist() == pytest.approx([1, 0.2 / 0.8, 0.5, 1, 1, 0])
    assert found["bias"].tolist() == [True] * 4 + [False] * 2
    assert found["key"].tolist() == [*"aabbcd"]


def test_tasks_are_drawn_by_their_share_and_rows_evenly_within() -> None:
    chosen = reward_weighted.rewarded(preferences())
    pictures = Preferred(chosen, 0.75)
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame([pictures.draw(rng) for _ in range(4000)])
    shares = drawn["row"].value_counts(normalize=True).sort_index()
    assert shares.to_numpy() == pytest.approx([0.75 / 4] * 4 + [0.25 / 2] * 2, abs=0.03)
    for row, picture, prompt in drawn.drop_duplicates()[["row", "picture", "prompt"]].to_numpy():
        assert pictures.keys[picture] == chosen["key"][row]
        assert pictures.texts[prompt] == chosen["prompt"][row]


def test_a_picture_without_reward_moves_nothing() -> None:
    errors = torch.tensor([3.0, 5.0], requires_grad=True)
    own = torch.tensor([7.0, 9.0])
    value = reward_weighted.loss(errors, torch.tensor([0.0, 0.5]), own, beta=2.0)
    value.backward()
    assert value.item() == 0.5 * 5 / 2 + 2 * 8
    assert errors.grad is not None
    assert errors.grad.tolist() == [0, 0.25]


def test_a_training_draws_own_pictures_and_a_run_takes_its_overlay(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model_card(str(tiny_model))
    session = Session(card, 42, "cpu", "float32", tmp_path)
    recipes = {key: session.recipe(f"of {key}", 0) for key in "abcd"}
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    session.store.write_samples([*recipes.values()], pixels)
    keys = {letter: recipe.key for letter, recipe in recipes.items()}
    data = preferences().assign(key=lambda frame: frame["key"].map(keys))
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(preference, "build", lambda *_, **__: (folder, None))
    monkeypatch.setattr(preference_data, "read", lambda _: data)
    kept = read_value_free_prompts("mini", "train")[:3]
    monkeypatch.setattr(reward_weighted, "read_value_free_prompts", lambda *_: kept)
    place = tmp_path / "own"
    place.mkdir()
    for name in ("card.toml", "training.toml"):
        text = (DATA / "methods" / "reward-weighted" / name).read_text(encoding="utf-8")
        for setting, value in FEWER.items():
            text = re.sub(rf"^{setting} = .*$", f"{setting} = {value}", text, flags=re.MULTILINE)
        (place / name).write_text(text.replace('name = "reward-weighted"', 'name = "own"'))
    out = train(str(place), str(tiny_model), device="cpu", runs=tmp_path)
    own = session.engine.unet.state_dict()
    learnt = load_file(out / "all.safetensors")
    assert set(learnt) == set(names_in("attn", own))
    assert any(not torch.equal(learnt[name].float(), own[name].half().float()) for name in learnt)
    texts = [session.recipe(prompt.text, 0).key for prompt in kept]
    assert session.store.read_samples(texts).keys() == set(texts)
    method = load_method("reward-weighted", card, str(out))
    task = task_cards()["bias"]
    request = Request(read_task_prompts(task, "mini")[0], 0, task.principle("race"))
    assert method.resolve(request, recipes["a"]).overlay in method.files
