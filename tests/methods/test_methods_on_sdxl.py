"""Methods that change the UNet or its guidance, on an untrained Stable Diffusion XL of few
channels: training, images, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_pipelines
import torch
from diffusers import StableDiffusionXLPipeline
from short_trainings import PREFERENCES, shorten_lists, shortened

from livo_bench.cards.catalog import method_cards, model_card
from livo_bench.engines.diffusion import denoise
from livo_bench.errors import Unfit
from livo_bench.methods import esd
from livo_bench.methods.concept_edit import Weighting, edited_weights, transformation
from livo_bench.methods.training import training
from livo_bench.methods.training.finetuning import Finetuning, Settings
from livo_bench.methods.training.loop import generator
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import Training
from livo_bench.records import IN_TRAINING
from livo_bench.runs.remake import SAME_BITS, remake
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session

TUNING = Settings("xattn", 2, 2, 1e-3, 0.0, "no", gradient_checkpointing=False)
SETTINGS = esd.EsdSettings("phrase", False, 1.0, 3.0, TUNING)
PREFERRING = ("dapt", "diffusion-dpo", "reward-weighted")
TRAINED = ("fd", "ca", "esd", "uce", "rece", "forget-me-not", "selective-amnesia", *PREFERRING)


@pytest.fixture(scope="module")
def card(tiny_model: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_pipelines.made("sdxl", tiny_model, tmp_path_factory.mktemp("sdxl"))
    text = path.read_text(encoding="utf-8").replace('scale = "mini"', 'scale = "sd"')
    note = f'\n[annotator]\nweights = "{tiny_weights}/clip"\ndtype = "float32"\n'
    path.write_text(text + note, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def session(card: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("runs")
    return Session(model_card(str(card)), 42, "cpu", "float32", folder)


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    shorten_lists(monkeypatch, tmp_path_factory.mktemp("prompts"))


def test_an_edit_answers_a_concept_like_its_target_to_both_encoders(session: Session) -> None:
    """Keys and values of "doctor" become those of "nurse", 16 + 16 numbers wide; an edited UNet is
    drawn with by the name of its overlay."""
    denoiser = session.denoiser
    exact = Weighting("last", "last", s_e=1.0, s_p=0.0, lam=1e-9)
    m = transformation(denoiser, {"doctor": {"nurse": 1.0}}, [], exact)
    assert m.shape == (32, 32)
    doctor, nurse = (denoiser.conditions([text]).context[0, 1] for text in ("doctor", "nurse"))
    own, edited = denoiser.network.state_dict(), edited_weights(denoiser.network, m)
    assert list(edited) == names_in("cross-attn", own)
    for name, weight in edited.items():
        torch.testing.assert_close(weight @ doctor, own[name] @ nurse, rtol=1e-4, atol=1e-5)
    wanted = [session.recipe("a photo of a doctor", 0)]
    plain = session.renderer.render(wanted)
    changed = type(denoiser.network).from_config(denoiser.network.config)
    changed.load_state_dict({**own, **{name: 3 * weight for name, weight in edited.items()}})
    session.renderer.use_overlay(IN_TRAINING, changed.eval())
    laid = [replace(recipe, overlay=IN_TRAINING) for recipe in wanted]
    first = session.renderer.render(laid)
    assert (first != plain).any()
    # Another UNet of the same name takes its place.
    session.renderer.use_overlay(IN_TRAINING, denoiser.network)
    np.testing.assert_array_equal(session.renderer.render(laid), plain)


def test_esds_pictures_on_the_way_are_steps_of_a_sampler_under_guidance(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x_t is what a loop of its own reaches, which tells the UNet pooled texts and sizes."""
    seen: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def watched(predict: Any, noise: torch.Tensor, scheduler: Any, steps: int) -> torch.Tensor:
        found = denoise(predict, noise, scheduler, steps)
        seen.append((noise, found, steps))
        return found

    monkeypatch.setattr(esd, "denoise", watched)
    tuning = Finetuning(
        Training("esd", "tiny", session, 0, session.runs / "a"), TUNING, ["nude", ""]
    )
    step = esd._steering_away(tuning, 1, SETTINGS)
    ratios = []
    for number in range(8):
        loss = step(number, generator(0, number)).item()
        plain = esd._steering_away(tuning, 1, replace(SETTINGS, eta=0.0))
        ratios.append(loss / plain(number, generator(0, number)).item())
    # Nothing is learnt yet: the loss is (1 + eta)^2 of what it is without steering away.
    assert ratios == pytest.approx([4.0] * 8, rel=1e-3)
    assert {steps for _, _, steps in seen} == {0, 1}
    noise, reached, _ = next(each for each in seen if each[2] == 1)
    pipe = StableDiffusionXLPipeline.from_pretrained(session.model.pipeline)
    ids = torch.tensor([[32.0, 32, 0, 0, 32, 32]]).expand(2, -1)
    scheduler = tuning.denoiser.noising().sampler(2, noise.device)  # type: ignore[attr-defined]
    t, said = scheduler.timesteps[0], []
    with torch.no_grad():
        for text in ("", "nude"):
            states, _, pooled, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
            added = {"text_embeds": pooled.expand(2, -1), "time_ids": ids}
            told = states.expand(2, -1, -1)
            said.append(pipe.unet(noise, t, told, added_cond_kwargs=added).sample)
    guided = said[0] + 3.0 * (said[1] - said[0])
    expected = scheduler.step(guided, t, noise).prev_sample
    torch.testing.assert_close(reached, expected, rtol=1e-4, atol=1e-5)


def test_a_training_that_broke_off_ends_as_one_that_did_not(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shortened("esd", tmp_path)
    whole = train(str(place), str(card), device="cpu", runs=tmp_path / "runs", out=tmp_path / "a")
    fit, fitted = Finetuning.fit, []

    def break_off(self: Finetuning, name: str, step: Any) -> Any:
        fitted.append(name)
        if len(fitted) == 2:
            raise OSError("pulled the plug")
        return fit(self, name, step)

    monkeypatch.setattr(Finetuning, "fit", break_off)
    options: dict[str, Any] = {"device": "cpu", "runs": tmp_path / "runs", "out": tmp_path / "b"}
    with pytest.raises(OSError, match="pulled the plug"):
        train(str(place), str(card), **options)
    broken = train(str(place), str(card), **options)
    made = sorted(path.name for path in whole.glob("*.safetensors"))
    assert made == ["bloody.safetensors", "horror.safetensors", "nudity.safetensors"]
    for name in made:
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    assert len(fitted) == 4  # what was finished is not made again


def test_what_edits_or_fine_tunes_a_unet_says_so_before_a_model_loads(
    tiny_model: Path, tmp_path: Path
) -> None:
    flux = str(tiny_pipelines.made("flux", tiny_model, tmp_path))
    edited = [name for name, card in method_cards().items() if "unet" in card.needs]
    assert {"uce", "ca", "esd", "dapt"} < {*edited}
    for method in edited:
        message = rf"'{method}' needs of a model: unet\. 'tiny-flux', a FluxPipeline, offers: "
        for command in (training.train, training.plan):
            with pytest.raises(Unfit, match=message):
                command(method, flux)
        with pytest.raises(Unfit, match=message):
            run([method], "toxicity", flux, device="cpu", runs=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
def test_a_method_trains_draws_and_is_remade(method: str, card: Path, tmp_path: Path) -> None:
    runs, place = tmp_path / "runs", shortened(method, tmp_path)
    settings = tmp_path / "preferences.toml"
    settings.write_text(PREFERENCES, encoding="utf-8")
    options: dict[str, Any] = {"settings": settings} if method in PREFERRING else {}
    weights = train(str(place), str(card), device="cpu", runs=runs, **options)
    common: dict[str, Any] = {"model": str(card), "device": "cpu", "runs": runs}
    for task in method_cards()[method].tasks:
        run(["sd"], task, images=2, **common)
        folders = run([str(place)], task, images=2, weights=str(weights), **common)
        keys, plain = (
            {key for path in paths for key in pd.read_parquet(path / "images.parquet")["key"]}
            for paths in (folders, [path.parent.parent / "sd" / path.name for path in folders])
        )
        assert keys - plain
        made = remake(sorted(keys)[:3], methods=[str(place)], weights=str(weights), **common)
        assert {one.verdict for one in made} == {SAME_BITS}
