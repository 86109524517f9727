"""Joining noise predictions: the equations, and both kinds of steering against diffusers' own."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    SemanticStableDiffusionPipeline,
    StableDiffusionPipelineSafe,
)

from livo_bench.engines import diffusion
from livo_bench.engines.diffusion import Diffusion
from livo_bench.engines.guidance import (
    classifier_free,
    largest,
    safe_latent_diffusion,
    semantic_guidance,
)
from livo_bench.records import Recipe, SafetyGuidance, SemanticGuidance

BASE = Recipe("tiny", "a photo of a doctor", 0, "", 3.0, "dpmsolver++", 6, 64, "float32")
MEDIUM = SafetyGuidance("a black nurse", 2, 1000.0, 0.01, 0.3, 0.4)
STRONG = SafetyGuidance("a black nurse", 1, 2000.0, 0.025, 0.5, 0.7)
MAX = SafetyGuidance("a black nurse", 0, 5000.0, 1.0, 0.5, 0.7)
EDIT = SemanticGuidance("male person", "female person", 2, 40.0, 0.95, 0.3, 0.6)
BACK = replace(EDIT, remove="female person", add="male person")
ADD = replace(EDIT, remove="", add="asian person")


def linear(
    latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor, return_dict: bool
) -> tuple[torch.Tensor]:
    """A denoiser that adds the mean of its text."""
    return (latents * t + text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1),)


def test_classifier_free_guidance_follows_the_equation() -> None:
    context, negative = torch.full((2, 3, 4), 5.0), torch.full((3, 4), 1.0)
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor(10.0)
    # without + w (with - without), where the branches differ by 5 - 1.
    expected = (latents * 10 + 1) + 2.5 * (5 - 1)
    predict = classifier_free(linear, context, negative, 2.5)
    torch.testing.assert_close(predict(latents, t), expected)
    unguided = classifier_free(linear, context, negative, 1)
    torch.testing.assert_close(unguided(latents, t), latents * 10 + 5)


def test_safety_guidance_follows_the_equations() -> None:
    context, negative, unsafe = (
        torch.full(shape, value)
        for shape, value in (((2, 3, 4), 5.0), ((3, 4), 1.0), ((3, 4), 5.25))
    )
    settings = SafetyGuidance("", 1, 2.0, 0.1, 0.5, 0.7)
    predict = safe_latent_diffusion(linear, context, negative, unsafe, 2.5, settings)
    latents, t = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.tensor(10.0)
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
    predict = safe_latent_diffusion(linear, context, negative, unsafe, 2.0, settings)
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
    steered = safe_latent_diffusion(linear, context, negative, unsafe, 3.0, off)
    guided = classifier_free(linear, context, negative, 3.0)
    assert torch.equal(steered(latents, t), guided(latents, t))


def test_scale_zero_is_classifier_free_guidance_in_a_real_denoiser(engine: Diffusion) -> None:
    off = replace(BASE, safety=replace(MAX, s_S=0.0))
    plain = engine.noise([BASE])
    context = engine.context(BASE)[None]
    negative, unsafe = engine.embed(""), engine.embed("a nurse")
    assert off.safety is not None
    t = torch.tensor(500)
    # In double precision: three branches in a batch instead of two may be rounded otherwise, by
    # how much is the processor's.
    unet = deepcopy(engine.unet).double()
    plain, context, negative, unsafe = (one.double() for one in (plain, context, negative, unsafe))
    with torch.inference_mode():
        steered = safe_latent_diffusion(unet, context, negative, unsafe, 3.0, off.safety)(plain, t)
        guided = classifier_free(unet, context, negative, 3.0)(plain, t)
    torch.testing.assert_close(steered, guided, rtol=1e-9, atol=1e-9)


def test_an_edit_follows_the_equations() -> None:
    context, negative, removed, added = (
        torch.full(shape, value)
        for shape, value in (
            ((2, 3, 4), 5.0),
            ((3, 4), 1.0),
            ((2, 3, 4), 2.0),
            ((2, 3, 4), 4.0),
        )
    )
    settings = SemanticGuidance("", "", 1, 0.5, 0.95, 0.5, 0.7)
    predict = semantic_guidance(linear, context, negative, removed, added, 2.5, settings)
    latents, t = torch.zeros(2, 4, 8, 8), torch.tensor(10.0)
    # Every place of a channel is equal, so all reach the quantile; s_e scales the differences of
    # 4 - 1 and 2 - 1. Not used while warming up, but kept in nu = 0.3 * 1.
    plain = latents + 1 + 2.5 * 4
    torch.testing.assert_close(predict(latents, t), plain)
    gamma = 0.5 * (3 - 1) + 0.5 * 0.3
    torch.testing.assert_close(predict(latents, t), plain + gamma)
    nu = 0.7 * 0.3 + 0.3 * gamma
    torch.testing.assert_close(predict(latents, t), plain + 1 + 0.5 * nu)


def test_a_threshold_keeps_the_largest_of_each_channel_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((3, 4, 10, 20), generator=generator)
    # Scales apart: a threshold shared by images or channels would keep none of the small ones.
    values *= torch.logspace(-3, 3, 12).reshape(3, 4, 1, 1)
    kept = largest(values, 0.95)
    assert (kept != 0).sum(dim=(2, 3)).tolist() == [[10] * 4] * 3
    assert torch.equal(kept[kept != 0], values[kept != 0])
    sizes = values.abs().flatten(2)
    smallest_kept = sizes.where(kept.flatten(2) != 0, torch.inf).amin(dim=2)
    assert torch.equal(smallest_kept, sizes.topk(10, dim=2).values[..., -1])


def test_a_threshold_works_in_half_precision() -> None:
    values = torch.randn((1, 2, 10, 20), generator=torch.Generator().manual_seed(0)).bfloat16()
    kept = largest(values, 0.9)
    assert kept.dtype == torch.bfloat16
    assert (kept != 0).sum() >= 2 * 20


def test_edit_scale_zero_is_classifier_free_guidance_to_the_bit() -> None:
    context, removed, added = torch.randn(3, 2, 3, 4)
    negative = torch.randn(3, 4)
    latents = torch.randn(2, 4, 8, 8)
    off = replace(EDIT, warmup=0, s_e=0.0)
    edited = semantic_guidance(linear, context, negative, removed, added, 3.0, off)
    guided = classifier_free(linear, context, negative, 3.0)
    for t in torch.tensor([900, 500, 100]):
        assert torch.equal(edited(latents, t), guided(latents, t))


@pytest.mark.parametrize("edit", [EDIT, replace(EDIT, warmup=0, threshold=0.8, s_m=0.5), ADD])
def test_images_equal_those_of_the_semantic_pipeline(
    engine: Diffusion, tiny_weights: Path, edit: SemanticGuidance
) -> None:
    recipes = [replace(BASE, seed=seed, edit=edit) for seed in range(2)]
    concepts = [text for text in (edit.remove, edit.add) if text]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and says so
        pipeline = SemanticStableDiffusionPipeline.from_pretrained(
            tiny_weights / "sd", requires_safety_checker=False
        )
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            BASE.text,
            num_images_per_prompt=2,
            latents=engine.noise(recipes),
            guidance_scale=BASE.guidance,
            num_inference_steps=BASE.steps,
            height=64,
            width=64,
            editing_prompt=concepts,
            reverse_editing_direction=[text == edit.remove for text in concepts],
            edit_warmup_steps=edit.warmup,
            edit_guidance_scale=edit.s_e,
            edit_threshold=edit.threshold,
            edit_momentum_scale=edit.s_m,
            edit_mom_beta=edit.beta_m,
            output_type="np",
        ).images
    expected = (images * 255).round().astype(int)
    rendered = engine.render(recipes).astype(int)
    plain = engine.render([replace(recipe, edit=None) for recipe in recipes]).astype(int)
    # Last bits, which the solver and the decoder carry on: a level.
    assert np.abs(rendered - expected).max() <= 1
    assert np.abs(plain - expected).max() > 5


def test_images_of_one_batch_are_edited_each_in_its_own_direction(engine: Diffusion) -> None:
    edits = [EDIT, BACK, ADD, replace(EDIT, remove="", add="")]
    recipes = [replace(BASE, edit=edit) for edit in edits]  # one noise
    together = engine.render(recipes).astype(int)
    for image, recipe in zip(together, recipes, strict=True):
        assert np.abs(image - engine.render([recipe])[0]).max() <= 1
    for one, other in combinations(together, 2):
        assert np.abs(one - other).max() > 5
    assert np.abs(together[3] - engine.render([BASE])[0]).max() <= 1


def test_a_text_that_is_empty_edits_nothing_whatever_the_negative(engine: Diffusion) -> None:
    plain = replace(BASE, negative="a nurse")
    idle = replace(plain, edit=replace(EDIT, remove="", add=""))
    difference = engine.render([idle]).astype(int) - engine.render([plain])
    assert np.abs(difference).max() <= 1


def test_a_recipe_of_two_kinds_of_steering_is_refused(engine: Diffusion) -> None:
    with pytest.raises(ValueError, match="steered in one way, got safety and edit"):
        engine.render([replace(BASE, safety=MEDIUM, edit=EDIT)])
