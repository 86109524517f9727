"""Safe Latent Diffusion and Fair Diffusion on Stable Diffusion XL: without strength diffusers' own
images, with it those of a loop that asks for each branch by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import StableDiffusionXLPipeline

from livo_bench.cards.catalog import model_card
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.kinds import offers
from livo_bench.engines import pipeline
from livo_bench.engines.guidance import largest
from livo_bench.engines.pipeline import Pipeline
from livo_bench.engines.seeds import generators, unit_noise
from livo_bench.records import Recipe, SafetyGuidance, SemanticGuidance
from livo_bench.runs.session import Session

TEXTS = ("a photo of a doctor", "a nurse", "a photo of a male person")
AWAY = SafetyGuidance("a black nurse", 1, 200.0, 1.0, 0.5, 0.7)
"""At no place is the threshold so near that the last bits decide."""
EDIT = SemanticGuidance("male person", "female person", 1, 40.0, 0.8, 0.3, 0.6)


@pytest.fixture(scope="module")
def card(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    folder = tmp_path_factory.mktemp("guided")
    return replace(model_card(str(tiny_pipelines.made("sdxl", tiny_model, folder))), steps=4)


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Pipeline:
    return pipeline.load(card, "cpu", "float32")


@pytest.fixture(scope="module")
def stock(card: ModelCard) -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_pretrained(card.pipeline)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def recipes(card: ModelCard, **changes: Any) -> list[Recipe]:
    session = Session(card, 0, "cpu", "float32", Path("nowhere"))
    return [replace(session.recipe(text, i), **changes) for i, text in enumerate(TEXTS)]


def drawn(engine: Pipeline, wanted: list[Recipe]) -> np.ndarray:
    return engine.draw(wanted[0].family, wanted)


@pytest.mark.parametrize("negative", ["", "a white person"])
@pytest.mark.parametrize(
    "idle",
    [
        {"safety": replace(AWAY, s_S=0.0)},
        {"edit": replace(EDIT, s_e=0.0)},
        {"edit": replace(EDIT, remove="", add="")},
    ],
)
def test_guidance_without_strength_draws_what_diffusers_own_call_does(
    card: ModelCard,
    engine: Pipeline,
    stock: StableDiffusionXLPipeline,
    idle: dict[str, Any],
    negative: str,
) -> None:
    wanted = recipes(card, negative=negative, **idle)
    images = stock(
        list(TEXTS),
        negative_prompt=[negative] * 3 if negative else None,
        generator=generators([recipe.seed for recipe in wanted]),
        num_inference_steps=card.steps,
        guidance_scale=card.guidance,
        height=card.size,
        width=card.size,
        output_type="np",
    ).images
    np.testing.assert_allclose(drawn(engine, wanted), images, atol=1e-5)


@torch.no_grad()
def by_hand(card: ModelCard, pipe: StableDiffusionXLPipeline, recipe: Recipe) -> np.ndarray:
    """One image by the equations of `guidance`, a branch at a time."""
    ids = torch.tensor([[card.size, card.size, 0, 0, card.size, card.size]], dtype=torch.float32)

    def read(text: str) -> tuple[torch.Tensor, torch.Tensor]:
        states, _, pooled, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
        return states, pooled

    _, empty, _, empty_pooled = pipe.encode_prompt("")

    def ask(latents: torch.Tensor, t: torch.Tensor, told: Any) -> torch.Tensor:
        states, pooled = told
        added = {"text_embeds": pooled, "time_ids": ids}
        said: torch.Tensor = pipe.unet(latents, t, states, added_cond_kwargs=added).sample
        return said

    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    scheduler.set_timesteps(recipe.steps)
    latents = unit_noise([recipe.seed], (4, 4, 4)) * scheduler.init_noise_sigma
    nu = torch.zeros(())
    s: SafetyGuidance | SemanticGuidance
    for step, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, t)
        e0, ep = ask(scaled, t, (empty, empty_pooled)), ask(scaled, t, read(recipe.text))
        if recipe.safety is not None:
            safety = s = recipe.safety
            es = ask(scaled, t, read(safety.text))
            mu = (safety.s_S * (ep - es).abs()).clamp(max=1) * (ep - es < s.threshold)
            gamma = mu * (es - e0) + s.s_m * nu
            sign = -recipe.guidance
        else:
            assert recipe.edit is not None
            edit = s = recipe.edit
            ea, er = ask(scaled, t, read(edit.add)), ask(scaled, t, read(edit.remove))
            gamma = s.s_m * nu
            gamma = gamma + largest(edit.s_e * (ea - e0), s.threshold)
            gamma = gamma - largest(edit.s_e * (er - e0), s.threshold)
            sign = 1.0
        nu = s.beta_m * nu + (1 - s.beta_m) * gamma
        said = e0 + recipe.guidance * (ep - e0) + (sign * gamma if step >= s.warmup else 0)
        latents = scheduler.step(said, t, latents).prev_sample
    image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return (image / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("guided", [{"safety": AWAY}, {"edit": EDIT}])
def test_guided_images_are_those_of_the_equations(
    card: ModelCard, engine: Pipeline, stock: StableDiffusionXLPipeline, guided: dict[str, Any]
) -> None:
    wanted = recipes(card, **guided)
    together = drawn(engine, wanted)
    for recipe, image in zip(wanted, together, strict=True):
        np.testing.assert_allclose(image, by_hand(card, stock, recipe), atol=1e-4)
    alone = np.concatenate([drawn(engine, [recipe]) for recipe in wanted])
    np.testing.assert_allclose(alone, together, atol=1e-4)
    plain = drawn(engine, recipes(card))
    assert np.abs(plain - together).max() > 1e-3


def test_each_image_has_an_edit_of_its_own_and_leaves_the_pipeline_as_it_was(
    card: ModelCard, engine: Pipeline
) -> None:
    plain = drawn(engine, recipes(card))
    back = replace(EDIT, remove="female person", add="male person")
    edits = (EDIT, replace(EDIT, remove="", add=""), back)
    wanted = [replace(r, edit=e) for r, e in zip(recipes(card), edits, strict=True)]
    edited = drawn(engine, wanted)
    np.testing.assert_allclose(edited[1], plain[1], atol=1e-5)
    assert min(np.abs(edited[i] - plain[i]).max() for i in (0, 2)) > 1e-3
    np.testing.assert_array_equal(drawn(engine, recipes(card)), plain)


def test_a_pipeline_that_rescales_its_own_guidance_offers_no_other() -> None:
    kind = "StableDiffusionXLPipeline"
    assert "noise prediction" in offers(kind, 5.0, {})
    assert "noise prediction" not in offers(kind, 5.0, {"guidance_rescale": 0.7})
