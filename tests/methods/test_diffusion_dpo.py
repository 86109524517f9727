"""Diffusion-DPO: its loss, its draws, that pairs share noise and time, and the way to weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from short_trainings import shortened
from torch import Tensor

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card
from livo_bench.engines import lora
from livo_bench.errors import BadInput
from livo_bench.methods import diffusion_dpo
from livo_bench.methods.livo import preference, preference_data
from livo_bench.methods.livo.pairs import Pairs, Scene
from livo_bench.methods.training.finetuning import Finetuning, Noised
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import plan, train
from livo_bench.records import Principle, Prompt, Recipe, Request
from livo_bench.runs.session import Session

SUBSETS = ("gender", "race", "nudity", "bloody", "horror")


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)


@pytest.fixture
def data(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Preferences of every value: two pictures that are preferred, two that are not."""
    recipes = [session.recipe(f"picture {n}", 0) for n in range(20)]
    pixels = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    session.store.write_samples(recipes, pixels)
    rows = [
        {
            **dict.fromkeys(preference_data.COLUMNS, ""),
            "scene": f"p.{subset}",
            "prompt": f"a prompt for {subset}",
            "subset": subset,
            "value": f"without {subset}",
            "key": recipes[4 * place + n].key,
            "preferred": n < 2,
            "share": 0.05 * (n + 1),
        }
        for place, subset in enumerate(SUBSETS)
        for n in range(4)
    ]
    frame = preference_data.frame_of(rows)
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(preference, "build", lambda *_, **__: (folder, None))
    monkeypatch.setattr(preference_data, "read", lambda _: frame)
    return frame


def trained(variant: str, model: Path, folder: Path, name: str = "out") -> Path:
    copy = folder / "my-diffusion-dpo"
    place = copy if copy.exists() else shortened("diffusion-dpo", folder)
    out = folder / name
    return train(f"{place}{variant}", str(model), device="cpu", runs=folder, out=out)


def test_a_unet_that_says_what_the_frozen_one_says_has_a_loss_of_log_2() -> None:
    said, targets = (torch.randn(6, 4, 8, 8) for _ in range(2))
    assert diffusion_dpo.loss(said, said, targets, 5000.0).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("side", "falls"), [("preferred", True), ("dispreferred", False)])
def test_the_loss_falls_as_the_preferred_picture_is_denoised_better_than_the_other(
    side: str, falls: bool
) -> None:
    reference, targets = torch.ones(4, 4, 8, 8), torch.zeros(4, 4, 8, 8)
    better = reference.clone()
    (better[:2] if side == "preferred" else better[2:]).mul_(0.9)
    loss = diffusion_dpo.loss(better, reference, targets, 5.0).item()
    # The mean squared error of these two falls from 1 to 0.81.
    assert loss == pytest.approx(math.log1p(math.exp((-1 if falls else 1) * 2.5 * 0.19)))


def test_pairs_are_drawn_as_often_as_their_values_are_to_be() -> None:
    even = np.array([0.5, 0.5])
    scene = Scene(0, np.array([0, 1]), even, np.array([2, 3]), None)
    twins = Scene(1, np.array([4, 5]), even, np.array([6, 7]), np.array([6, 7]))
    formed = Pairs({"gender": [scene], "nudity": [twins]}, ["a", "b"], {}, np.zeros(0))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    drawn = formed.draw(4000, {"gender": 3.0, "nudity": 1.0}, rng)
    assert Counter(p.subset for p in drawn)["gender"] == pytest.approx(3000, abs=100)
    assert {(p.subset, p.prompt) for p in drawn} == {("gender", 0), ("nudity", 1)}
    assert {p[2:] for p in drawn if p.subset == "nudity"} == {(4, 6), (5, 7)}
    assert {p[2:] for p in drawn if p.subset == "gender"} == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_a_pair_shares_prompt_noise_and_time_before_both_unets(
    data: pd.DataFrame, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Noised, Sequence[int], bool]] = []
    predict = Finetuning.predict

    def heard(self: Finetuning, noised: Noised, rows: Sequence[int], unet: object = None) -> Tensor:
        asked.append((noised, rows, unet is self.frozen))
        return predict(self, noised, rows, unet)

    monkeypatch.setattr(Finetuning, "predict", heard)
    trained("", tiny_model, tmp_path)
    assert [frozen for *_, frozen in asked] == [True, False] * 2
    for noised, rows, _ in asked:
        assert len(noised.latents) == len(rows) == 4
        for each in (noised.times, noised.targets, torch.tensor(rows)):
            assert torch.equal(*each.chunk(2))
        assert not torch.equal(*noised.latents.chunk(2))
    assert asked[0][:2] == asked[1][:2]


def test_a_share_of_the_pairs_is_seen_without_a_prompt(
    data: pd.DataFrame, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[int] = Counter()
    predict = Finetuning.predict

    def heard(self: Finetuning, noised: Noised, rows: Sequence[int], *unet: object) -> Tensor:
        seen.update(rows)
        return predict(self, noised, rows, *unet)

    place = shortened("diffusion-dpo", tmp_path)
    path = place / "training.toml"
    text = path.read_text("utf-8")
    monkeypatch.setattr(Finetuning, "predict", heard)
    for share, empty in (("1.0", {5}), ("0.0", set())):
        seen.clear()
        path.write_text(text.replace("untold = 0.2", f"untold = {share}"), "utf-8")
        trained("", tiny_model, tmp_path, name=share)
        assert (5 in seen) == bool(empty)
        assert not empty or {*seen} == empty


def test_a_training_writes_one_set_of_weights_for_all_values(
    data: pd.DataFrame, session: Session, tiny_model: Path, tmp_path: Path
) -> None:
    out = trained("", tiny_model, tmp_path)
    own = session.engine.unet.state_dict()
    learnt = load_file(out / "all.safetensors")
    assert set(learnt) == set(names_in("attn", own))
    assert any(not torch.equal(learnt[name].float(), own[name].half().float()) for name in learnt)
    record = json.loads((out / "training.json").read_text())
    assert record["rows"] == preference_data.digest_of(data)
    assert record["settings"]["beta_dpo"] > 0
    method = load_method(str(tmp_path / "my-diffusion-dpo"), model_card(str(tiny_model)), str(out))
    base = Recipe("m", "a photo", 1, "", 2.0, "dpmsolver++", 3, 64, "float32")
    for category in ("career", "nudity"):
        prompt = Prompt("p", "a photo", "scene", category, "", "eval")
        request = Request(prompt, 0, Principle("bias", "gender", "fair"))
        assert method.resolve(request, base).overlay in method.files


def test_the_variant_learns_a_lora(data: pd.DataFrame, tiny_model: Path, tmp_path: Path) -> None:
    out = trained(":lora", tiny_model, tmp_path)
    learnt = load_file(out / "all.safetensors")
    assert lora.is_lora(learnt)
    assert all(".attn1." in name or ".attn2." in name for name in learnt)
    assert any(tensor.any() for name, tensor in learnt.items() if "lora_B" in name or "up" in name)
    assert json.loads((out / "training.json").read_text())["settings"]["tuning"]["rank"] == 8


def test_settings_that_draw_nothing_are_refused(tmp_path: Path) -> None:
    place = shortened("diffusion-dpo", tmp_path)
    path = place / "training.toml"
    text = path.read_text("utf-8")
    head, _, rest = text.partition("[mini.draws]")
    path.write_text(head + rest[rest.index("[variants") :], "utf-8")
    with pytest.raises(BadInput, match=r"training\.toml draws pairs of no value"):
        diffusion_dpo.read_settings(str(place), "mini")
    path.write_text(text.replace("= 2.5", "= 0"), "utf-8")
    with pytest.raises(BadInput, match=r"mini\.draws\.horror is 0, expected a number from 1e-06"):
        diffusion_dpo.read_settings(str(place), "mini")


def test_a_step_of_stable_diffusion_is_2048_pairs_before_both_unets() -> None:
    tuning = diffusion_dpo.read_settings("diffusion-dpo", "sd").tuning
    assert tuning.batch * tuning.accumulation == 2048
    assert tuning.lr == pytest.approx(1e-8 * 2048)
    found = plan("diffusion-dpo", "mini", rate=2.0)
    tuning = diffusion_dpo.read_settings("diffusion-dpo", "mini").tuning
    card = model_card("mini")
    pictures = tuning.steps * tuning.accumulation * tuning.batch * 2
    # The reference, forward, and backward for what learns and for what lies before it.
    assert found.seconds == pytest.approx(card.slower * pictures * 4 / (2.0 * card.steps * 2))
    assert "reference + forward + 2 backward" in str(found)
