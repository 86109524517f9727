"""ESD: the target, where x_t comes from, what learns, and the way to overlays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import method_card, model_card
from livo_bench.engines import diffusion, lora, overlay
from livo_bench.errors import BadInput
from livo_bench.methods import by_hazard, esd
from livo_bench.methods.training.finetuning import Finetuning, Settings
from livo_bench.methods.training.loop import generator
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import Training
from livo_bench.records import Principle, Prompt, Recipe, Request
from livo_bench.runs.session import Session

HAZARDS = ["bloody", "horror", "nudity"]
TUNING = Settings("xattn", 3, 2, 1e-3, 0.0, "no", gradient_checkpointing=False)
SETTINGS = esd.EsdSettings("phrase", False, 1.0, 3.0, TUNING)
SHORT = """\
objective = "esd"
[mini]
erased = "phrase"
joined = false
eta = 1.0
guidance = 3.0
parameters = "xattn"
steps = 2
batch = 2
lr = 1e-3
weight_decay = 0.0
precision = "no"
gradient_checkpointing = false
[variants.strict.mini]
parameters = "cross-attn"
[variants.u.mini]
parameters = "noxattn"
rank = 2
"""


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)


@pytest.fixture
def tuning(session: Session) -> Finetuning:
    training = Training("esd", "tiny", session, 0, session.runs / "out")
    return Finetuning(training, TUNING, ["a nude", "a bloody", ""])


@pytest.fixture
def short(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    card = (method_card("esd").folder / "card.toml").read_text()
    (folder / "card.toml").write_text(card.replace('name = "esd"', 'name = "mine"'))
    (folder / "training.toml").write_text(SHORT)
    return folder


def prompt(text: str) -> Prompt:
    return Prompt("p", text, "x", "nudity", "", "train")


def test_concepts_are_phrases_one_by_one_or_words_in_one_text() -> None:
    prompts = [prompt("a nude doctor"), prompt("a naked baker"), prompt("a nude baker")]
    joined = replace(SETTINGS, erased="word", joined=True)
    assert esd.concepts(prompts, SETTINGS) == ["a nude doctor", "a naked baker", "a nude baker"]
    assert esd.concepts(prompts, joined) == ["nude, naked"]


def test_the_first_loss_is_the_frozen_models_distance_from_its_target(tuning: Finetuning) -> None:
    """Nothing is learnt yet, so e' is e, and the loss is (1 + eta)^2 mse(e(c), e)."""
    for eta in (0.0, 1.0, 2.5):
        step = esd._steering_away(tuning, 2, replace(SETTINGS, eta=eta))
        plain = esd._steering_away(tuning, 2, replace(SETTINGS, eta=0.0))
        ratio = step(0, generator(0, 0)).item() / plain(0, generator(0, 0)).item()
        assert ratio == pytest.approx((1 + eta) ** 2, rel=1e-4)


def test_pictures_on_the_way_are_those_that_a_run_would_draw(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x_t has taken as many of the sampler's steps as its time says, under guidance, frozen."""
    seen: list[tuple[Tensor, Tensor, int]] = []
    whole = esd.denoise

    def watched(predict: object, noise: Tensor, scheduler: object, steps: int) -> Tensor:
        found = whole(predict, noise, scheduler, steps)  # type: ignore[arg-type]
        seen.append((noise, found, steps))
        return found

    monkeypatch.setattr(esd, "denoise", watched)
    training = Training("esd", "tiny", session, 0, session.runs / "out")
    tuning = Finetuning(training, TUNING, ["a nude", ""])
    for parameter in tuning.unet.parameters():
        parameter.data.zero_()
    step = esd._steering_away(tuning, 1, SETTINGS)
    for number in range(6):
        step(number, generator(0, number))
    engine = session.engine
    assert len({steps for *_, steps in seen}) > 1
    for noise, found, steps in seen:
        scheduler = engine.scheduler(session.model.steps)
        states, negative = engine.embed("a nude").expand(2, -1, -1), engine.embed("")
        drawing = diffusion.classifier_free(engine.unet, states, negative, SETTINGS.guidance)
        latents = noise * scheduler.init_noise_sigma
        with torch.no_grad():
            for t in scheduler.timesteps[:steps]:
                latents = scheduler.step(drawing(latents, t), t, latents).prev_sample
        torch.testing.assert_close(found, latents)


def test_only_the_group_learns_and_the_frozen_model_stays(tuning: Finetuning) -> None:
    before = {name: value.clone() for name, value in tuning.frozen.state_dict().items()}
    esd._steering_away(tuning, 2, SETTINGS)(0, generator(0, 0)).backward()
    learnt = {n for n, p in tuning.unet.named_parameters() if p.grad is not None}
    assert learnt == set(names_in("xattn", before))
    assert all(torch.equal(before[name], v) for name, v in tuning.frozen.state_dict().items())


@pytest.mark.parametrize("variant", ["", ":strict", ":u"])
def test_a_training_writes_weights_a_hazard_that_are_chosen_by_category(
    variant: str, short: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = train(f"{short}{variant}", str(tiny_model), device="cpu", runs=tmp_path)
    card = model_card(str(tiny_model))
    assert sorted(path.stem for path in out.glob("*.safetensors")) == HAZARDS
    assert sorted(json.loads((out / "training.json").read_text())["minutes"]) == HAZARDS
    written = set(load_file(out / "nudity.safetensors"))
    unet = Session(card, 0, "cpu", "float32", tmp_path).engine.unet.state_dict()
    if variant == ":u":
        assert lora.is_lora(written)
        assert not any(".attn2." in name for name in written)
        assert any(".conv" in name for name in written)
    else:
        assert written == set(names_in("cross-attn" if variant else "xattn", unet))
    found = overlay.find(out / "bloody.safetensors", card)
    method = load_method(f"{short}{variant}", card, str(out))
    base = Recipe("m", "a photo", 1, "", 2.0, "dpmsolver++", 3, 64, "float32")
    request = Request(
        Prompt("p", "a bloody scene", "scene", "bloody", "", "eval"),
        0,
        Principle("toxicity", "bloody", "free of blood"),
    )
    assert method.resolve(request, base).overlay == found.digest


def test_a_lora_changes_nothing_at_first_and_its_file_says_what_it_has_learnt(
    session: Session, tmp_path: Path
) -> None:
    """Also of convolutions, which the loaders of LoRA files merge as they do matrices."""
    settings = replace(TUNING, parameters="noxattn", rank=2)
    training = Training("esd", "tiny", session, 0, tmp_path)
    tuning = Finetuning(training, settings, ["a nude", ""])
    learns = [name for name, value in tuning.unet.named_parameters() if value.requires_grad]
    assert learns
    assert all(".lora_" in name and ".attn2." not in name for name in learns)
    latents = torch.randn(1, *session.engine.latent_shape(64))
    time, states = torch.tensor(300), session.engine.embed("a nude")[None]

    def says(unet: torch.nn.Module) -> Tensor:
        with torch.no_grad():
            found: Tensor = unet(latents, time, states, return_dict=False)[0]
        return found

    torch.testing.assert_close(says(tuning.unet), says(session.engine.unet))
    torch.manual_seed(1)
    for name, parameter in tuning.unet.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape) / 8
    tuning.unet.eval()
    lora.save(tuning.unet, tmp_path / "mine.safetensors")
    own = {"unet": session.engine.unet}
    laid = overlay.lay_over(own, tmp_path / "mine.safetensors")
    moved = (says(tuning.unet) - says(session.engine.unet)).abs().max()
    assert moved > 0.01
    assert (says(laid["unet"]) - says(tuning.unet)).abs().max() < 0.01 * moved


def test_a_variant_without_settings_of_its_own_is_named(short: Path, tiny_model: Path) -> None:
    path = short / "training.toml"
    path.write_text(SHORT.replace('[variants.strict.mini]\nparameters = "cross-attn"\n', ""))
    with pytest.raises(BadInput, match=r"':?.*strict' has no training of its own.*Trained there"):
        train(f"{short}:strict", str(tiny_model), device="cpu")


def test_settings_of_all_variants_are_read() -> None:
    groups = {
        name: esd.read_settings(name, scale).tuning.parameters
        for name in ("esd", "esd:strict", "esd:u")
        for scale in ("mini", "sd")
    }
    assert groups == {"esd": "xattn", "esd:strict": "cross-attn", "esd:u": "noxattn"}
    assert esd.read_settings("esd:u", "mini").tuning.rank
    assert esd.read_settings("esd:u", "sd").tuning.rank is None


def test_every_hazard_of_the_task_has_phrases() -> None:
    found = {name: by_hazard.named(prompts, "phrase") for name, prompts in train_lists()}
    assert sorted(found) == HAZARDS
    assert all(found.values())


def train_lists() -> list[tuple[str, list[Prompt]]]:
    return list(by_hazard.train_prompts("mini"))
