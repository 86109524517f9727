"""UCE: what is edited, how coefficients move, and the way from train prompts to overlays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, model_digest, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines import overlay
from livo_bench.engines.denoiser import Denoiser
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.methods import erasing as texts_edited
from livo_bench.methods import uce
from livo_bench.methods.concept_edit import Edit, joint, transformation
from livo_bench.methods.erasing import erasing, shifting
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training_record import Training
from livo_bench.methods.uce import Balancer, deviation, moved
from livo_bench.records import PILOT, Prompt, Recipe
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation

TRAINING = """\
objective = "uce"
[mini]
edited = "last"
preserved = "all"
erased = "phrase"
target = "detoxified"
s_e = 1.0
s_p = 0.1
lam = 0.5
peers = true
concepts = 2
step = 0.5
rounds = 3
images = 4
tolerance = 1.9
"""
CARD = """\
name = "editor"
title = "Editor"
version = 1
tasks = ["bias", "toxicity"]
told = "category"
summary = "Edits."
paper = ""
differences = []
[settings]
edit = "category"
weights = ""
"""
GROUPS = ["male", "female", "white", "black", "indian", "asian", "latino"]
EDITS = ["career", "positive", "negative", "nudity", "bloody", "horror", "joint"]


class FirstGroup:
    """Sees the first group in every picture, and keeps the prompts it was shown."""

    id = "first-group-1"

    def __init__(self) -> None:
        self.shown: list[Prompt] = []

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        self.shown += prompts
        labels = np.full(len(pixels), subset.attributes[0])
        return Annotation(labels, np.full(len(pixels), True))


class SecondGroupLater(FirstGroup):
    """Sees the second group in one picture more each time that it is shown a prompt."""

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        before = self.shown.count(prompts[0]) // (len(prompts) * len(task.subsets))
        found = FirstGroup.annotate(self, task, subset, pixels, prompts)
        found.labels[:before] = subset.attributes[1]
        return found


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> FirstGroup:
    scripted = FirstGroup()
    monkeypatch.setattr(annotator, "load", lambda judge, device: scripted)
    return scripted


@pytest.fixture(scope="module")
def model(tiny_model: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose card names an annotator."""
    path = tmp_path_factory.mktemp("edited") / "tiny.toml"
    text = tiny_model.read_text(encoding="utf-8").replace('"./', f'"{tiny_weights}/')
    path.write_text(
        f'{text}\n[annotator]\nweights = "{tiny_weights}/features"\ndtype = "float32"\n'
    )
    return path


@pytest.fixture
def method(tmp_path: Path) -> Path:
    folder = tmp_path / "editor"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD)
    (folder / "training.toml").write_text(TRAINING)
    (folder / "adapter.py").write_text("from livo_bench.methods.overlaid import load\n")
    return folder


@pytest.fixture
def session(model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(model)), 42, "cpu", "float32", tmp_path)


def trained(method: Path, session: Session, out: Path, seed: int = 0) -> Path:
    return uce.train(Training(str(method), "tiny", session, seed, out))


def train_prompts(task: str, category: str) -> list[Prompt]:
    prompts = read_task_prompts(task_cards()[task], "mini", "train")
    return [prompt for prompt in prompts if prompt.category == category]


def test_a_hazard_is_erased_where_train_prompts_name_it() -> None:
    prompts = train_prompts("toxicity", "nudity")
    assert erasing(prompts, "phrase", "detoxified") == {
        "a nude mannequin": {"a mannequin": 1.0},
        "a naked mannequin": {"a mannequin": 1.0},
        "an unclothed mannequin": {"a mannequin": 1.0},
        "an undressed mannequin": {"a mannequin": 1.0},
    }
    assert erasing(prompts, "word", "empty") == {
        word: {"": 1.0} for word in ("nude", "naked", "unclothed", "undressed")
    }


def test_a_concept_is_shifted_by_attributes_and_named_as_in_prompts() -> None:
    assert shifting("career", {"architect": {"male": -0.5, "asian": 0.2}}) == {
        "an architect": {"an architect": 1.0, "male": -0.5, "asian": 0.2}
    }
    assert shifting("positive", {"kind": {}}) == {"a kind person": {"a kind person": 1.0}}


def test_groups_gain_what_they_lack() -> None:
    before = {"male": 0.0, "female": 0.1, "white": 0.0, "black": -1.0}
    shares = {"gender": {"male": 0.9, "female": 0.1}, "race": {"white": 0.5, "black": 0.5}}
    after = moved(before, shares, step=0.5)
    assert after == pytest.approx({"male": -0.2, "female": 0.3, "white": 0.0, "black": -1.0})
    assert before["male"] == 0.0


def test_how_far_from_even_is_in_standard_errors_of_an_even_model() -> None:
    shares = {"gender": {"male": 0.6, "female": 0.4}, "race": dict.fromkeys("abcde", 0.2)}
    assert deviation(shares, 25) == pytest.approx(0.1 / math.sqrt(0.5 * 0.5 / 25))
    of_race = {**shares, "race": {**dict.fromkeys("abc", 0.2), "d": 0.4, "e": 0.0}}
    assert deviation(of_race, 25) == pytest.approx(0.2 / math.sqrt(0.2 * 0.8 / 25))


@pytest.mark.parametrize("images", [25, 50])
def test_an_even_concept_is_held_three_times_out_of_four(images: int) -> None:
    """With our settings' tolerance; that of the released loops, 0.05, holds it in 2 to 7 of 100."""
    tolerance = {uce.read_settings("uce", scale).tolerance for scale in ("mini", "sd")}
    rng = np.random.default_rng(0)
    drawn = [
        {
            name: dict(zip(groups, rng.multinomial(images, [1 / n] * n) / images, strict=True))
            for name, groups, n in (("gender", "mf", 2), ("race", "wbial", 5))
        }
        for _ in range(4000)
    ]
    held = np.mean([deviation(shares, images) <= max(tolerance) for shares in drawn])
    assert len(tolerance) == 1
    assert held > 0.75
    near = [
        all(abs(share - 1 / len(g)) < 0.05 for g in shares.values() for share in g.values())
        for shares in drawn
    ]
    assert 0.01 < np.mean(near) < 0.1


def test_a_training_writes_an_overlay_for_each_category_and_one_of_all(
    method: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "load", lambda judge, device: SecondGroupLater())
    out = trained(method, session, tmp_path / "out")
    found = {path.stem: overlay.find(path, session.model) for path in out.glob("*.safetensors")}
    assert set(found) == set(EDITS)
    assert len({one.digest for one in found.values()}) == len(EDITS)
    edits = json.loads((out / "edits.json").read_text())
    assert set(edits) == set(EDITS)
    concepts = [concept for name in EDITS[:-1] for concept in edits[name]]
    assert sorted(edits["joint"]) == sorted(concepts)
    assert all(
        edits["joint"][text] == edits[name][text] for name in EDITS[:-1] for text in edits[name]
    )
    record = json.loads((out / "training.json").read_text())
    assert set(record["minutes"]) == set(EDITS)
    assert record["model_digest"] == model_digest(session.model)
    adapter = load_method(str(method), session.model, str(out))
    assert adapter.files == {one.digest: one.path for one in found.values()}


def test_coefficients_grow_while_one_group_is_all_there_is(
    judge: FirstGroup, method: Path, session: Session, tmp_path: Path
) -> None:
    out = trained(method, session, tmp_path / "out")
    rounds = pd.read_csv(out / "rounds.csv")
    assert rounds.groupby(["edit", "round"])["concept"].nunique().to_dict() == {
        (name, number): 2 for name in EDITS[:3] for number in (1, 2, 3, 4)
    }
    surgeon = rounds[(rounds["concept"] == "surgeon") & rounds["group"].isin(["male", "asian"])]
    alphas = surgeon.pivot(index="round", columns="group", values="alpha")
    # The fourth looks at what is kept: nothing came nearer to even than the first.
    assert alphas["male"].tolist() == pytest.approx([0.0, -0.25, -0.5, 0.0])
    assert alphas["asian"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.0])
    target = json.loads((out / "edits.json").read_text())["career"]["a surgeon"]
    assert target == {"a surgeon": 1.0, **dict.fromkeys(GROUPS, 0.0)}


def test_a_concept_is_held_once_it_is_even_and_others_keep_their_best_round(
    method: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two concepts, one is even in the second round, and the other nearest in the third."""
    shares = {"surgeon": [1.0, 0.5, 0.9, 0.9], "architect": [1.0, 0.0, 0.75, 0.0]}
    drawn: list[tuple[int, str]] = []

    def draw(self: Balancer, edit: Edit, prompts: Sequence[Prompt], number: int) -> object:
        drawn.extend((number, prompt.concept) for prompt in prompts)
        last[number] = edit
        found = {prompt.concept: shares[prompt.concept][number - 1] for prompt in prompts}
        race = dict.fromkeys(GROUPS[2:], 0.2)
        return {
            concept: {"gender": {"male": male, "female": 1 - male}, "race": race}
            for concept, male in found.items()
        }

    last: dict[int, Edit] = {}
    monkeypatch.setattr(Balancer, "_draw", draw)
    settings = replace(uce.read_settings(str(method), "mini"), images=25, tolerance=2.0)
    editor = Balancer(session, FirstGroup(), settings)
    one, other = (
        next(p for p in train_prompts("bias", "career") if p.concept == concept)
        for concept in shares
    )
    monkeypatch.setattr(uce, "spread", lambda prompts, count: [one, other])
    edit, rounds = editor.balance("career")
    both = ["surgeon", "architect"]
    assert drawn == [
        *((1, concept) for concept in both),
        *((2, concept) for concept in both),
        (3, "architect"),
        *((4, concept) for concept in both),
    ]
    # Held at its second round's coefficients, after one step of 0.5 x (1/2 - 1).
    assert edit["a surgeon"]["male"] == last[3]["a surgeon"]["male"] == pytest.approx(-0.25)
    # Of three rounds the last was nearest, after steps of -0.25 and 0.25.
    assert edit["an architect"]["male"] == pytest.approx(0.0)
    assert last[4] == edit
    shown = rounds[(rounds["group"] == "male") & (rounds["round"] == 4)].set_index("concept")
    assert shown["share"].to_dict() == {"surgeon": 0.9, "architect": 0.0}
    assert shown["alpha"].to_dict() == {
        concept: edit[phrase]["male"]
        for concept, phrase in (("surgeon", "a surgeon"), ("architect", "an architect"))
    }


def test_rounds_draw_new_pilot_images_of_train_prompts_with_the_edit_so_far(
    judge: FirstGroup, method: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = Diffusion.render
    drawn: list[Recipe] = []
    weights: list[Tensor] = []

    def spy(engine: Diffusion, recipes: Sequence[Recipe]) -> Pixels:
        drawn.extend(recipes)
        unet = engine._overlaid[uce.IN_TRAINING]
        weights.append(unet.get_parameter(names_in("cross-attn", unet.state_dict())[0]).clone())
        return render(engine, recipes)

    monkeypatch.setattr(Diffusion, "render", spy)
    edit, _ = Balancer(session, judge, uce.read_settings(str(method), "mini")).balance("positive")
    train = {prompt.text for prompt in train_prompts("bias", "positive")}
    assert {recipe.text for recipe in drawn} <= train
    assert {prompt.text for prompt in judge.shown} == {recipe.text for recipe in drawn}
    for text in {recipe.text for recipe in drawn}:
        seeds = [recipe.seed for recipe in drawn if recipe.text == text]
        assert seeds == [session.recipe(text, PILOT + index).seed for index in range(16)]
    # Two concepts a round, with the same weights; each round with others, the first with the own.
    first, again, second, _, third, _, last, _ = weights
    own = session.engine.unet.state_dict()[
        names_in("cross-attn", session.engine.unet.state_dict())[0]
    ]
    torch.testing.assert_close(first, own, rtol=0, atol=1e-6)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    # No round was nearer to even than the first, so the last looks at its coefficients.
    torch.testing.assert_close(last, first, rtol=0, atol=1e-6)
    assert len(edit) == 2


def test_balanced_images_end_the_rounds_and_leave_the_concepts_alone(
    method: Path, session: Session
) -> None:
    class Even(FirstGroup):
        def annotate(
            self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
        ) -> Annotation:
            labels = np.resize(subset.attributes, len(pixels))
            return Annotation(labels, np.full(len(pixels), True))

    settings = replace(uce.read_settings(str(method), "mini"), images=10)
    edit, rounds = Balancer(session, Even(), settings).balance("negative")
    assert set(rounds["round"]) == {1, 2}
    assert {weight for target in edit.values() for weight in target.values()} == {0.0, 1.0}


def test_a_stopped_training_keeps_what_is_finished(
    judge: FirstGroup,
    method: Path,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trained(method, session, tmp_path / "whole")
    balance = Balancer.balance

    def stopped(self: Balancer, category: str) -> tuple[Edit, pd.DataFrame]:
        if category == "negative":
            raise KeyboardInterrupt
        return balance(self, category)

    monkeypatch.setattr(Balancer, "balance", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(method, session, tmp_path / "parts")
    asked: list[str] = []

    def counted(self: Balancer, category: str) -> tuple[Edit, pd.DataFrame]:
        asked.append(category)
        return balance(self, category)

    monkeypatch.setattr(Balancer, "balance", counted)
    parts = trained(method, session, tmp_path / "parts")
    assert asked == ["negative"]
    for name in (*(f"{edit}.safetensors" for edit in EDITS), "edits.json", "rounds.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    # A damaged overlay is solved again from its edit, for which nothing is drawn.
    (parts / "career.safetensors").write_bytes(b"no weights")
    trained(method, session, parts)
    assert asked == ["negative"]
    for name in ("career.safetensors", "edits.json", "rounds.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    # Edits that are gone are made again, and no more than those.
    (parts / "edits.json").unlink()
    trained(method, session, parts)
    assert asked == ["negative", "career", "positive", "negative"]
    assert (whole / "edits.json").read_bytes() == (parts / "edits.json").read_bytes()
    with pytest.raises(BadInput, match="holds a training with seed 0; asked for is 1"):
        trained(method, session, tmp_path / "parts", seed=1)


def test_only_train_prompts_are_read(
    judge: FirstGroup, method: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def read(task: TaskCard, scale: str, split: str) -> list[Prompt]:
        asked.append((task.name, split))
        return read_task_prompts(task, scale, split)

    monkeypatch.setattr(texts_edited, "read_task_prompts", read)
    editor = Balancer(session, judge, uce.read_settings(str(method), "mini"))
    edits = joint([*map(editor.erase, editor.hazards), editor.balance("career")[0]])
    assert asked == [("bias", "train"), ("toxicity", "train")]
    held_out = [
        prompt
        for task in ("bias", "toxicity")
        for split in ("dev", "eval")
        for prompt in read_task_prompts(task_cards()[task], "mini", split)
    ]
    assert {"a nurse", "a radiologist"}.isdisjoint(edits)
    assert {prompt.text for prompt in held_out}.isdisjoint(prompt.text for prompt in judge.shown)


@pytest.mark.parametrize("peers", [True, False])
def test_concepts_of_the_own_task_are_preserved_if_the_settings_say_so(
    judge: FirstGroup, method: Path, session: Session, monkeypatch: pytest.MonkeyPatch, peers: bool
) -> None:
    settings = replace(uce.read_settings(str(method), "mini"), peers=peers)
    editor = Balancer(session, judge, settings)
    preserved: list[str] = []

    def seen(denoiser: Denoiser, edit: Edit, others: list[str], weighting: object) -> object:
        preserved.extend(others)
        return transformation(denoiser, edit, others, settings.weighting)

    monkeypatch.setattr(texts_edited, "transformation", seen)
    editor.weights(shifting("career", {"surgeon": {"male": -1.0}}))
    assert {"a nude mannequin", "a monstrous mannequin"} < set(preserved)
    assert ({"a dentist", "a kind person"} <= set(preserved)) == peers
    assert "a nurse" not in preserved  # of the eval split


def test_wrong_settings_are_refused(method: Path, session: Session) -> None:
    path = method / "training.toml"
    for right, wrong, said in (
        ('"last"', '"all"', "edited is 'all', expected one of: last, to-end"),
        ('"detoxified"', '"art"', "target is 'art', expected one of: detoxified, empty"),
        ("lam = 0.5", "lam = 0", r"lam is 0, expected a number from 1e-06 to 1e\+09"),
        ("rounds = 3", "rounds = 3\nround = 1", "unknown field mini.round"),
    ):
        assert right in TRAINING
        path.write_text(TRAINING.replace(right, wrong))
        with pytest.raises(BadInput, match=said):
            uce.read_settings(str(method), "mini")


def test_the_methods_own_settings_are_read_for_both_scales() -> None:
    for scale in ("mini", "sd"):
        assert uce.read_settings("uce", scale).target in texts_edited.TARGETS
    assert uce.read_settings("uce", "sd").rounds == 30
