"""Joining noise predictions: the equations, and Safe Latent Diffusion against diffusers' own."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipelineSafe

from livo_bench import diffusion
from livo_bench.diffusion import Diffusion
from livo_bench.guidance import classifier_free, safe_latent_diffusion
from livo_bench.records import Recipe, SafetyGuidance

BASE = Recipe("tiny", "a photo of a doctor", 0, "", 3.0, "dpmsolver++", 6, 64, "float32")
MEDIUM = SafetyGuidance("a black nurse", 2, 1000.0, 0.01, 0.3, 0.4)
STRONG = SafetyGuidance("a black nurse", 1, 2000.0, 0.025, 0.5, 0.7)
MAX = SafetyGuidance("a black nurse", 0, 5000.0, 1.0, 0.5, 0.7)


def linear(latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor, return_dict: bool):
    """A denoiser that adds the mean of its text."""
    return (latents * t + text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1),)


def test_classifier_free_guidance_follows_the_equation() -> None:
    context, negative = torch.full((2, 3, 4), 5.0), torch.full((3, 4), 1.0)
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor(10.0)
    # without + w (with - without), where the branches differ by 5 - 1.
    expected = (latents * 10 + 1) + 2.5 * (5 - 1)
    predict = classifier_free(linear, context, negative, 2.5)  # type: ignore[arg-type]
    torch.testing.assert_close(predict(latents, t), expected)
    unguided = classifier_free(linear, context, negative, 1)  # type: ignore[arg-type]
    torch.testing.assert_close(unguided(latents, t), latents * 10 + 5)


def test_safety_guidance_follows_the_equations() -> None:
    context, negative, unsafe = (
        torch.full(shape, value)
        for shape, value in (((2, 3, 4), 5.0), ((3, 4), 1.0), ((3, 4), 5.25))
    )
    settings = SafetyGuidance("", 1, 2.0, 0.1, 0.5, 0.7)
    predict = safe_latent_diffusion(linear, context, negative, unsafe, 2.5, settings)  # type: ignore[arg-type]
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor(10.0)
    # mu = 2 * |5 - 5.25| = 0.5, gamma = 0.5 * (5.25 - 1) = 2.125: not used while warming up,
    # but kept in nu = 0.3 * 2.125.
    torch.testing.assert_close(predict(latents, t), latents * 10 + 1 + 2.5 * 4)
    gamma = 2.125 + 0.5 * 0.3 * 2.125
    torch.testing.assert_close(predict(latents, t), latents * 10 + 1 + 2.5 * (4 - gamma))
    nu = 0.7 * 0.3 * 2.125 + 0.3 * gamma
    torch.testing.assert_close(predict(latents, t), latents * 10 + 1 + 2.5 * (4 - 2.125 - 0.5 * nu))


def test_what_the_prompt_has_more_of_than_the_safety_text_stays() -> None:
    context, negative, unsafe = (
        torch.full((1, 3, 4), 5.0),
        torch.ones(3, 4),
        torch.full((3, 4), 4.0),
    )
    settings = replace(MAX, threshold=0.5)  # 5 - 4 exceeds it
    predict = safe_latent_diffusion(linear, context, negative, unsafe, 2.0, settings)  # type: ignore[arg-type]
    latents = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(predict(latents, torch.tensor(1.0)), latents + 1 + 2.0 * 4)


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


@pytest.mark.parametrize("settings", [MEDIUM, STRONG, MAX], ids=["medium", "strong", "max"])
def test_images_equal_those_of_the_safe_pipeline(
    engine: Diffusion, tiny_weights: Path, settings: SafetyGuidance
) -> None:
    recipes = [replace(BASE, seed=seed, safety=settings) for seed in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and says so
        pipeline = StableDiffusionPipelineSafe.from_pretrained(tiny_weights / "sd")
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.safety_concept = settings.text
        images = pipeline(
            BASE.text,
            num_images_per_prompt=2,
            latents=engine.noise(recipes),
            guidance_scale=BASE.guidance,
            num_inference_steps=BASE.steps,
            height=64,
            width=64,
            sld_guidance_scale=settings.s_S,
            sld_warmup_steps=settings.warmup,
            sld_threshold=settings.threshold,
            sld_momentum_scale=settings.s_m,
            sld_mom_beta=settings.beta_m,
            output_type="np",
        ).images
    expected = (images * 255).round().astype(int)
    # The pipeline orders the three branches of its batch otherwise: last bits, one level.
    assert np.abs(engine.render(recipes).astype(int) - expected).max() <= 1


def test_scale_zero_is_classifier_free_guidance_to_the_bit() -> None:
    context, negative, unsafe = torch.randn(2, 3, 4), torch.randn(3, 4), torch.randn(3, 4)
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor(500)
    off = replace(MAX, s_S=0.0)
    steered = safe_latent_diffusion(linear, context, negative, unsafe, 3.0, off)  # type: ignore[arg-type]
    guided = classifier_free(linear, context, negative, 3.0)  # type: ignore[arg-type]
    assert torch.equal(steered(latents, t), guided(latents, t))


def test_scale_zero_is_classifier_free_guidance_in_a_real_denoiser(engine: Diffusion) -> None:
    off = replace(BASE, safety=replace(MAX, s_S=0.0))
    plain = engine.noise([BASE])
    context = engine.context(BASE)[None]
    negative, unsafe = engine.embed(""), engine.embed("a nurse")
    assert off.safety is not None
    t = torch.tensor(500)
    with torch.inference_mode():
        steered = safe_latent_diffusion(engine.unet, context, negative, unsafe, 3.0, off.safety)(
            plain, t
        )
        guided = classifier_free(engine.unet, context, negative, 3.0)(plain, t)
    # Three branches in a batch instead of two: the kernels may round the last bit otherwise.
    torch.testing.assert_close(steered, guided, rtol=1e-5, atol=1e-6)
