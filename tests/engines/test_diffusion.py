"""The engine against diffusers' own pipeline, and the sameness that the store relies on."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from transformers import CLIPTokenizer

from livo_bench.engines import diffusion
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import ConceptFilter, Recipe

BASE = Recipe(
    model="tiny",
    text="a photo of a doctor",
    seed=0,
    negative="",
    guidance=3.0,
    sampler="dpmsolver++",
    steps=5,
    size=64,
    dtype="float32",
)
LONG = "a photo of a doctor and a nurse who read this text until it is cut"


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


def stock_pipeline(folder: Path, dtype: torch.dtype = torch.float32) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder).to(dtype)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_images(
    pipeline: StableDiffusionPipeline, recipe: Recipe, n: int, output: str = "pil"
) -> np.ndarray:
    """What diffusers makes of seeds 0 to n-1; generators give float32 noise, as the engine's."""
    noise = torch.cat(
        [torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(n)]
    )
    images = pipeline(
        recipe.text,
        negative_prompt=recipe.negative,
        num_images_per_prompt=n,
        latents=noise.to(pipeline.unet.dtype),
        guidance_scale=recipe.guidance,
        num_inference_steps=recipe.steps,
        height=recipe.size,
        width=recipe.size,
        output_type=output,
    ).images
    return np.stack([np.asarray(image) for image in images])


def with_seeds(recipe: Recipe, n: int) -> list[Recipe]:
    return [replace(recipe, seed=seed) for seed in range(n)]


def levels(a: Pixels, b: Pixels) -> int:
    """Largest difference of two images."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(
    "recipe",
    [
        BASE,
        replace(BASE, guidance=1.0),
        replace(BASE, negative="a male person"),
        replace(BASE, steps=16),  # from 15 steps on, the solver's last steps differ
        replace(BASE, text=LONG),
        replace(BASE, text=""),
    ],
    ids=["guided", "unguided", "negative", "many steps", "cut text", "no text"],
)
def test_images_equal_those_of_the_stock_pipeline(
    engine: Diffusion, tiny_weights: Path, recipe: Recipe
) -> None:
    expected = stock_images(stock_pipeline(tiny_weights / "sd"), recipe, 3)
    # Exact: the same kernels on the same shapes, in the same order.
    np.testing.assert_array_equal(engine.render(with_seeds(recipe, 3)), expected)


def test_half_precision_equals_the_stock_pipeline(tiny_weights: Path) -> None:
    recipe = replace(BASE, dtype="bfloat16")
    engine = diffusion.load(tiny_weights / "sd", "cpu", "bfloat16")
    expected = stock_images(stock_pipeline(tiny_weights / "sd", torch.bfloat16), recipe, 3)
    np.testing.assert_array_equal(engine.render(with_seeds(recipe, 3)), expected)


def test_stable_diffusion_2_predicts_velocity(tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights / "sd", tmp_path / "sd2")
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    config |= {"prediction_type": "v_prediction"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    expected = stock_images(stock_pipeline(folder), BASE, 2)
    images = diffusion.load(folder, "cpu", "float32").render(with_seeds(BASE, 2))
    np.testing.assert_array_equal(images, expected)


def test_an_embedding_equals_the_stock_pipelines(engine: Diffusion, tiny_weights: Path) -> None:
    pipeline = stock_pipeline(tiny_weights / "sd")
    text, negative = pipeline.encode_prompt(BASE.text, "cpu", 1, True, "")
    torch.testing.assert_close(engine.embed(BASE.text), text[0], rtol=0, atol=0)
    torch.testing.assert_close(engine.embed(""), negative[0], rtol=0, atol=0)


def test_an_image_does_not_depend_on_its_batch(engine: Diffusion) -> None:
    recipes = with_seeds(BASE, 3) + with_seeds(replace(BASE, text="a male nurse"), 4)
    together = engine.render(recipes)
    alone = np.concatenate([engine.render([recipe]) for recipe in recipes])
    shuffled = engine.render(recipes[::-1])[::-1]
    # One level: float32 sums in another order for another batch shape.
    assert levels(together, alone) <= 1
    assert levels(together, shuffled) <= 1


def test_the_same_batch_gives_the_same_bytes(engine: Diffusion) -> None:
    recipes = with_seeds(BASE, 5)
    np.testing.assert_array_equal(engine.render(recipes), engine.render(recipes))


def test_seed_text_and_guidance_change_the_image(engine: Diffusion) -> None:
    image = engine.render([BASE])
    for other in ({"seed": 1}, {"text": "a nurse"}, {"guidance": 7.5}, {"negative": "male"}):
        assert not np.array_equal(image, engine.render([replace(BASE, **other)])), other


def test_without_guidance_the_negative_text_is_not_looked_at(engine: Diffusion) -> None:
    plain = replace(BASE, guidance=1.0)
    images = engine.render([plain]), engine.render([replace(plain, negative="male")])
    np.testing.assert_array_equal(*images)


def test_threads_do_not_disturb_each_other(engine: Diffusion) -> None:
    batches = [with_seeds(replace(BASE, text=text), 4) for text in ("a doctor", "a nurse") * 3]
    expected = [engine.render(batch) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        for images, alone in zip(pool.map(engine.render, batches), expected, strict=True):
            # One level: a worker thread may run kernels with another number of threads.
            assert levels(images, alone) <= 1


def test_one_thread_at_a_time_reads_a_text(tiny_weights: Path) -> None:
    """The tokenizer keeps what it was last told of lengths, so two would cut each other's texts."""
    engine = diffusion.load(tiny_weights / "sd", "cpu", "float32")
    inside, together = [], []

    class Watched:
        def __init__(self, tokenizer: CLIPTokenizer) -> None:
            self.tokenizer = tokenizer

        def __getattr__(self, name: str) -> object:
            return getattr(self.tokenizer, name)

        def __call__(self, *arguments: object, **settings: object) -> object:
            inside.append(1)
            together.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return self.tokenizer(*arguments, **settings)

    watched = Diffusion(
        Watched(engine.tokenizer),  # type: ignore[arg-type]
        engine.text_encoder,
        engine.unet,
        engine.vae,
        engine.scheduler_config,
    )
    filtered = ConceptFilter("a nurse", 0.01, 10)
    batches = [
        [replace(BASE, text=f"a doctor {number}", concepts=filtered if number % 2 else None)]
        for number in range(8)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(watched.render, batches))
    assert len(together) > 8
    assert max(together) == 1


def test_a_text_is_encoded_once(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = diffusion.load(tiny_weights / "sd", "cpu", "float32")
    encoded = []
    forward = engine.text_encoder.forward

    def counted(ids: torch.Tensor, **named: object) -> object:
        encoded.append(ids)
        return forward(ids, **named)

    monkeypatch.setattr(engine.text_encoder, "forward", counted)
    engine.render(with_seeds(BASE, 4))
    engine.render(with_seeds(BASE, 2))
    assert len(encoded) == 2  # the text and the negative text


def test_decoding_in_parts_changes_nothing(
    engine: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.render(with_seeds(BASE, 5))
    monkeypatch.setattr(diffusion, "VAE_PIXELS", 2 * 64 * 64)
    assert levels(whole, engine.render(with_seeds(BASE, 5))) <= 1  # float32 rounding


def test_rounding_is_that_of_the_image_processor() -> None:
    # Every half level, a little around it, and values out of range.
    halves = (torch.arange(511) / 255 - 1).repeat(3)
    values = (halves + torch.tensor([-1e-6, 0, 1e-6]).repeat_interleave(511)).tolist()
    images = torch.tensor([-1.5, *values, 1.5])[None, None, None].expand(1, 3, 1, -1)
    (expected,) = VaeImageProcessor().postprocess(images, output_type="pil")
    rounded = diffusion.to_uint8(images)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(rounded, np.asarray(expected))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance": 2.0}, "one family, got 2"),
        ({"steps": 6}, "one family, got 2"),
        ({"negative": "male"}, "one family, got 2"),
    ],
)
def test_a_batch_of_several_families_is_refused(
    engine: Diffusion, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.render([BASE, replace(BASE, **change)])


def test_recipes_for_another_engine_are_refused(engine: Diffusion) -> None:
    with pytest.raises(ValueError, match=r"ask for .* in float16; .* loaded with .* in float32"):
        engine.render([replace(BASE, dtype="float16")])
    with pytest.raises(ValueError, match="ask for euler"):
        engine.render([replace(BASE, sampler="euler")])


def test_a_size_between_latents_is_refused(engine: Diffusion) -> None:
    with pytest.raises(BadInput, match=r"60 pixels .* 8 pixels a latent; .* e\.g\. 56"):
        engine.render([replace(BASE, size=60)])


def test_other_sizes_can_be_made(engine: Diffusion) -> None:
    assert engine.render([replace(BASE, size=32)]).shape == (1, 32, 32, 3)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no model folder .*nowhere.*model_index\.json"):
        diffusion.load(tmp_path / "nowhere", "cpu", "float32")
    with pytest.raises(BadInput, match=r"has no model_index\.json"):
        diffusion.load(tmp_path, "cpu", "float32")
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(BadInput, match="is a FluxPipeline; expected a StableDiffusionPipeline"):
        diffusion.load(tmp_path, "cpu", "float32")


def test_torn_weights_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_weights / "sd", tmp_path / "torn")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"Cannot load the UNet of .*torn.*build the model again"):
        diffusion.load(folder, "cpu", "float32")
