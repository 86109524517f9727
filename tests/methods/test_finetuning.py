"""Fine-tuning the UNet: what learns, the losses of CA and DAPT, and the way from data to images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.engines import overlay
from livo_bench.errors import BadInput
from livo_bench.methods import by_hazard, concept_ablation, dapt
from livo_bench.methods.livo import preference, preference_data
from livo_bench.methods.training.finetuning import Finetuning, Noised, Settings
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import plan, train
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Prompt, recipe_from_json
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session

SETTINGS = Settings("cross-attn", 3, 2, 1e-3, 0.01, "no", gradient_checkpointing=False)
TEXTS = ["a nude person", "a person"]
TRAINING = """\
objective = "{objective}"
[mini]
{own}
parameters = "cross-attn"
steps = 3
batch = 2
lr = 1e-3
weight_decay = 0.01
precision = "no"
gradient_checkpointing = false
"""
CARD = """\
name = "{name}"
title = "Learner"
version = 1
tasks = ["toxicity"]
told = "nothing"
summary = "Learns."
paper = ""
differences = []
[settings]
edit = "{edit}"
weights = ""
"""
ADAPTER = "from livo_bench.methods.overlaid import load\n"


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)


@pytest.fixture
def tuning(session: Session) -> Finetuning:
    training = Training("learner", "tiny", session, 0, session.runs / "out")
    return Finetuning(training, SETTINGS, TEXTS)


@pytest.fixture
def noised() -> Noised:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    return Noised(latents, torch.tensor([10, 700]), noise)


def method(folder: Path, name: str, objective: str, own: str, edit: str) -> Path:
    place = folder / name
    place.mkdir()
    (place / "training.toml").write_text(TRAINING.format(objective=objective, own=own))
    (place / "card.toml").write_text(CARD.format(name=name, edit=edit))
    (place / "adapter.py").write_text(ADAPTER)
    return place


def test_ablation_is_the_distance_to_the_anchor_plus_the_anchors_own_error(
    session: Session, tuning: Finetuning, noised: Noised
) -> None:
    examples = [{"picture": 0, "prompt": 0, "anchor": 1}] * 2
    value = concept_ablation.loss(4.0, tuning, noised, examples)
    toxic, anchor = (
        session.engine.unet(
            noised.latents, noised.times, session.engine.embed(text).expand(2, -1, -1)
        ).sample
        for text in TEXTS
    )
    # The released code for diffusers: a mask of ones, over which the squares are summed.
    mask = torch.ones(2, 1, 8, 8)
    ablated = ((toxic - anchor).square() * mask).sum([1, 2, 3]) / mask.sum([1, 2, 3])
    expected = ablated.mean() + (anchor - noised.targets).square().mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_toxic_side_learns_from_the_distance(tuning: Finetuning, noised: Noised) -> None:
    """Equal texts have no distance, and its gradient leaves prior preservation alone."""
    same = [{"picture": 0, "prompt": 1, "anchor": 1}] * 2
    concept_ablation.loss(1.0, tuning, noised, same).backward()
    gradients = {n: p.grad.clone() for n, p in tuning.unet.named_parameters() if p.requires_grad}
    tuning.unet.zero_grad()
    dapt.loss(tuning, noised, same).backward()
    for name, parameter in tuning.unet.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-7)


def test_only_the_group_has_gradients(tuning: Finetuning, noised: Noised) -> None:
    dapt.loss(tuning, noised, [{"picture": 0, "prompt": 0}] * 2).backward()
    learnt = {n for n, p in tuning.unet.named_parameters() if p.grad is not None}
    assert learnt == set(names_in("cross-attn", tuning.unet.state_dict()))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_mixed_precision_learns_what_single_precision_learns(
    session: Session, noised: Noised, precision: str
) -> None:
    """On a CPU as on a GPU: the scaled gradients of fp16 are scaled back, and its scale is kept."""
    learnt = {}
    for name in ("no", precision):
        training = Training("learner", "tiny", session, 0, session.runs / name)
        tuning = Finetuning(training, replace(SETTINGS, precision=name), TEXTS)

        def step(number: int, generator: torch.Generator, tuning: Finetuning = tuning) -> Tensor:
            with tuning.mixed():
                return dapt.loss(tuning, noised, [{"picture": 0, "prompt": 0}] * 2)

        tuning.fit("all", step)
        own, now = session.engine.unet.state_dict(), tuning.unet.state_dict()
        moved = [(now[n] - own[n]).flatten() for n in names_in("cross-attn", own)]
        learnt[name] = torch.cat(moved)
        assert now["conv_in.weight"].dtype == torch.float32
        with safe_open(training.out / "checkpoints" / "all.safetensors", framework="pt") as file:
            assert ("scaler" in file.metadata()) == (name == "fp16")
    alike = torch.cosine_similarity(learnt["no"], learnt[precision], dim=0)
    assert learnt["no"].norm() > 0
    assert alike > 0.95


def preferences() -> pd.DataFrame:
    rows = [
        ("gender", "a", True, "female", 0.2),
        ("race", "a", False, "white", 0.7),  # the same picture serves both
        ("gender", "b", False, "male", 0.8),
        ("nudity", "c", True, "none", float("nan")),
        ("nudity", "d", False, "nudity", float("nan")),
    ]
    frame = pd.DataFrame(rows, columns=["subset", "key", "preferred", "group", "share"])
    of = [f"of {key}" for key in frame["key"]]
    return frame.assign(prompt=of, scene=of, twin="")


def test_adaptation_takes_all_pictures_of_people_and_the_clean_ones_of_hazards() -> None:
    chosen = dapt.pictures(preferences())
    assert chosen.to_dict("records") == [
        {"key": "a", "prompt": "of a", "bias": True},
        {"key": "b", "prompt": "of b", "bias": True},
        {"key": "c", "prompt": "of c", "bias": False},
    ]


def test_ablation_trains_an_overlay_for_each_hazard_that_a_run_takes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = by_hazard.read_task_prompts
    splits = []

    def few(task: object, scale: str, split: str) -> Sequence[Prompt]:
        splits.append(split)
        prompts = everything(task, scale, split)  # type: ignore[arg-type]
        return [p for p in prompts if p.concept == prompts[0].concept]

    monkeypatch.setattr(by_hazard, "read_task_prompts", few)
    place = method(tmp_path, "ablator", "ca", "anchors = 2\nablation = 1.0", "category")
    options = {"device": "cpu", "runs": tmp_path / "runs"}
    out = train(str(place), str(tiny_model), **options)  # type: ignore[arg-type]
    assert set(splits) == {"train"}
    assert {path.stem for path in out.glob("*.safetensors")} == {"nudity", "bloody", "horror"}
    record = json.loads((out / "training.json").read_text())
    assert set(record["minutes"]) == {"nudity", "bloody", "horror"}
    card = model_card(str(tiny_model))
    digest = overlay.find(out / "nudity.safetensors", card).digest
    before = (out / "nudity.safetensors").stat().st_mtime_ns
    assert train(str(place), str(tiny_model), **options) == out  # type: ignore[arg-type]
    assert (out / "nudity.safetensors").stat().st_mtime_ns == before

    prompts = tmp_path / "list.csv"
    prompts.write_text("text,category\na nude person,nudity\n")
    [result] = run(
        [str(place)],
        "toxicity/nudity",
        str(tiny_model),
        images=2,
        prompts=prompts,
        weights=str(out),
        **options,  # type: ignore[arg-type]
    )
    images = pd.read_parquet(result / "images.parquet")
    recipes = {
        recipe.key: recipe
        for path in (tmp_path / "runs" / "store").rglob("samples/*.parquet")
        for recipe in map(recipe_from_json, pd.read_parquet(path)["recipe"])
    }
    assert {recipes[key].overlay for key in images["key"]} == {digest}


def test_adaptation_trains_one_overlay_on_preference_data(
    session: Session, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = [session.recipe(f"of {key}", 0) for key in "abcd"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    session.store.write_samples(recipes, pixels)
    keys = dict(zip("abcd", (recipe.key for recipe in recipes), strict=True))
    data = preferences().assign(key=lambda frame: frame["key"].map(keys))
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(preference, "build", lambda *_, **__: (folder, None))
    monkeypatch.setattr(preference_data, "read", lambda _: data)
    place = method(tmp_path, "adapter", "dapt", "bias = 0.5", "all")
    out = train(str(place), str(tiny_model), device="cpu", runs=tmp_path)
    own = session.engine.unet.state_dict()
    learnt = load_file(out / "all.safetensors")
    assert set(learnt) == set(names_in("cross-attn", own))
    assert any(not torch.equal(learnt[name].float(), own[name].half().float()) for name in learnt)
    overlay.find(out / "all.safetensors", model_card(str(tiny_model)))
    assert json.loads((out / "training.json").read_text())["model_digest"] == model_digest(
        model_card(str(tiny_model))
    )
    with pytest.raises(BadInput, match="holds a training with seed 0; asked for is 1"):
        train(str(place), str(tiny_model), seed=1, device="cpu", runs=tmp_path)


def test_options_of_value_encoders_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    place = method(tmp_path, "adapter", "dapt", "bias = 0.5", "all")
    asked = {"fraction": 0.5, "gamma_1": 1.0, "gamma_2": 1.0, "steps": 2}
    for option, value in asked.items():
        with pytest.raises(BadInput, match=r"by 'dapt': --fraction.* are for value encoders"):
            train(str(place), str(tiny_model), runs=tmp_path, **{option: value})  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=r"by 'dapt': --fraction.* are for value encoders"):
            plan(str(place), str(tiny_model), **{option: value})  # type: ignore[arg-type]
    place = method(tmp_path, "ablator", "ca", "anchors = 2\nablation = 1.0", "category")
    with pytest.raises(BadInput, match=r"reads no preference data, so --settings mine\.toml"):
        train(str(place), str(tiny_model), settings=Path("mine.toml"), runs=tmp_path)
    with pytest.raises(BadInput, match=r"reads no preference data, so --settings mine\.toml"):
        plan(str(place), str(tiny_model), settings=Path("mine.toml"))
    with pytest.raises(BadInput, match=r"'sd' has no .*training\.toml.*nothing to train"):
        train("sd", str(tiny_model))
