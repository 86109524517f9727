"""What learning takes of a model, against what the model's own pipeline does with its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_pipelines
import torch

from livo_bench.cards.catalog import model_card
from livo_bench.cards.declared import ModelCard
from livo_bench.engines.denoiser import Conditions, Denoiser, stack
from livo_bench.engines.noising import DiffusionNoise, FlowNoise, Noised
from livo_bench.errors import BadInput
from livo_bench.runs.session import Session

TEXTS = ["a photo of a doctor", "a nurse"]


def a_session(name: str, tiny_model: Path, folder: Path) -> Session:
    path = folder / f"tiny-{name}.toml"
    saved = tiny_pipelines.save(name, folder / name)
    path.write_text(tiny_pipelines.card(name, tiny_model, saved), encoding="utf-8")
    return Session(model_card(str(path)), 0, "cpu", "float32", folder)


@pytest.fixture(scope="module", params=["sd", "sdxl", "sd3", "flux"])
def session(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Session:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sd":
        return Session(model_card(str(tiny_model)), 0, "cpu", "float32", folder)
    return a_session(request.param, tiny_model, folder)


def asked(card: ModelCard, text: str) -> list[tuple[dict[str, Any], torch.Tensor]]:
    """What diffusers' own pipeline asks its network for an unguided image, and what it is told."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(card.pipeline)
    pipe.set_progress_bar_config(disable=True)
    network = pipe.unet if getattr(pipe, "unet", None) is not None else pipe.transformer
    seen: list[tuple[dict[str, Any], torch.Tensor]] = []
    forward = network.forward

    def listening(*args: Any, **options: Any) -> Any:
        names = ("hidden_states", "timestep", "encoder_hidden_states")
        answer = forward(*args, **options)
        seen.append(({**dict(zip(names, args, strict=False)), **options}, answer[0]))
        return answer

    network.forward = listening
    guidance = card.guidance if card.kind == "FluxPipeline" else 1.0
    pipe(
        text,
        height=card.size,
        width=card.size,
        num_inference_steps=card.steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
        **card.call,
    )
    return seen


def test_a_prediction_is_that_of_the_pipeline_itself(session: Session) -> None:
    denoiser, card = session.denoiser, session.model
    told = denoiser.conditions(TEXTS[:1])
    for heard, said in asked(card, TEXTS[0]):
        noisy, times = heard["hidden_states"], heard["timestep"].reshape(-1)
        if card.kind == "FluxPipeline":
            side = card.size // 8
            unpack = diffusers.FluxPipeline._unpack_latents
            noisy, said = (unpack(each, side, side, 1) for each in (noisy, said))
            times = times * 1000
        found = denoiser.predict(Noised(noisy, times, noisy), told)
        torch.testing.assert_close(found, said, rtol=1e-5, atol=1e-6)
        assert found.dtype == torch.float32
        torch.testing.assert_close(told.context, heard["encoder_hidden_states"])


def test_texts_are_a_row_each_whatever_stands_beside_them(session: Session) -> None:
    denoiser = session.denoiser
    together = denoiser.conditions(TEXTS)
    for row, text in enumerate(TEXTS):
        alone, mine = denoiser.conditions([text]), together[[row]]
        assert torch.equal(alone.context, mine.context)
        assert all(torch.equal(alone.others[name], mine.others[name]) for name in mine.others)
    twice = together.repeat(2)
    assert torch.equal(twice.context, torch.cat([together.context] * 2))
    assert torch.equal(stack([together, together]).context, twice.context)
    half = together.to(torch.bfloat16)
    assert {each.dtype for each in (half.context, *half.others.values())} == {torch.bfloat16}


def test_latents_are_scaled_as_the_pipeline_unscales_them(session: Session) -> None:
    denoiser = session.denoiser
    config = denoiser.vae.config
    latents = torch.randn(2, config.latent_channels, 4, 4)
    scaled = denoiser.scaled(latents)
    back = scaled / config.scaling_factor + (config.shift_factor or 0.0)
    torch.testing.assert_close(back, latents)
    by_channel = {"latents_mean": [0.5] * len(latents[0]), "latents_std": [2.0] * len(latents[0])}
    own = Denoiser(denoiser.network, _Vae({**config, **by_channel}), *_rest(denoiser))
    back = own.scaled(latents) * 2.0 / config.scaling_factor + 0.5
    torch.testing.assert_close(back, latents)


class _Vae:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = diffusers.configuration_utils.FrozenDict(config)


def _rest(denoiser: Denoiser) -> tuple[Any, Any, Any, Any]:
    return denoiser.read, denoiser.ask, denoiser.noises, denoiser.tokenizer


def test_latents_are_noised_as_the_kind_of_model_is_trained(session: Session) -> None:
    flow = session.model.kind in ("StableDiffusion3Pipeline", "FluxPipeline")
    assert isinstance(session.denoiser.noising(), FlowNoise if flow else DiffusionNoise)


def test_a_network_that_learns_takes_the_place_of_the_models_own(session: Session) -> None:
    denoiser = session.denoiser
    told = denoiser.conditions(TEXTS)
    config = denoiser.vae.config
    noisy = torch.randn(2, config.latent_channels, 4, 4)
    noised = Noised(noisy, torch.tensor([100, 900]), noisy)
    own = denoiser.predict(noised, told)
    other = type(denoiser.network).from_config(denoiser.network.config)
    other.load_state_dict(denoiser.network.state_dict())
    # Where a copy's weights lie in memory may decide which kernel sums them: last bits.
    torch.testing.assert_close(denoiser.predict(noised, told, other), own)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    assert not torch.allclose(denoiser.predict(noised, told, other), own, atol=1e-3)


def test_the_context_makes_a_difference(session: Session) -> None:
    denoiser = session.denoiser
    told = denoiser.conditions(TEXTS[:1])
    noisy = torch.randn(1, denoiser.vae.config.latent_channels, 4, 4)
    noised = Noised(noisy, torch.tensor([500]), noisy)
    own = denoiser.predict(noised, told)
    other = Conditions(told.context.flip(2), told.others)
    assert not torch.equal(denoiser.predict(noised, other), own)
    # But not the order of its tokens: a token may be put before all others.
    turned = Conditions(told.context.flip(1), told.others)
    torch.testing.assert_close(denoiser.predict(noised, turned), own, rtol=1e-4, atol=1e-5)


def test_other_kinds_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tiny-sana' is a SanaPipeline; expected a StableDiff"):
        _ = a_session("sana", tiny_model, tmp_path).denoiser
