"""The engine of other pipelines against diffusers' own calls, and what the store relies on."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines
import torch
from tiny_pipelines import KINDS

from livo_bench.cards.catalog import model_card
from livo_bench.cards.declared import ModelCard
from livo_bench.engines import pipeline
from livo_bench.engines.pipeline import Pipeline
from livo_bench.engines.seeds import generators, unit_noise
from livo_bench.errors import BadInput
from livo_bench.interfaces import Renderer
from livo_bench.records import ConceptFilter, Recipe
from livo_bench.runs.session import Session

TEXTS = ("a photo of a doctor", "a nurse", "a photo of a male person")


@pytest.fixture(scope="session", params=KINDS)
def tiny(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> ModelCard:
    """The card of a tiny pipeline, of each kind in turn."""
    return a_card(request.param, tiny_model, tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def sdxl(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return a_card("sdxl", tiny_model, tmp_path_factory.mktemp("sdxl"))


def a_card(name: str, tiny_model: Path, folder: Path) -> ModelCard:
    return model_card(str(tiny_pipelines.made(name, tiny_model, folder)))


@pytest.fixture(scope="session")
def engine(tiny: ModelCard) -> Pipeline:
    return pipeline.load(tiny, "cpu", "float32")


def recipes(card: ModelCard, n: int = 3, **changes: Any) -> list[Recipe]:
    """Of several texts and seeds."""
    session = Session(card, 0, "cpu", "float32", Path("nowhere"))
    made = [session.recipe(TEXTS[i % len(TEXTS)], i) for i in range(n)]
    return [replace(recipe, **changes) for recipe in made]


def stock(card: ModelCard, wanted: list[Recipe], **settings: Any) -> np.ndarray:
    """What diffusers makes of recipes in one call, before rounding."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(card.pipeline)
    pipe.set_progress_bar_config(disable=True)
    if "clean_caption" in signature(pipe.__call__).parameters:
        settings["clean_caption"] = False
    images = pipe(
        [recipe.text for recipe in wanted],
        generator=[torch.Generator().manual_seed(recipe.seed) for recipe in wanted],
        num_inference_steps=card.steps,
        guidance_scale=card.guidance,
        height=card.size,
        width=card.size,
        output_type="np",
        **card.call,
        **settings,
    ).images
    return np.asarray(images)


def test_images_equal_those_of_diffusers_own_call(tiny: ModelCard, engine: Pipeline) -> None:
    wanted = recipes(tiny)
    guided = "true_cfg_scale" in tiny.call  # which only counts beside a negative prompt
    expected = stock(tiny, wanted, **({"negative_prompt": [""] * 3} if guided else {}))
    np.testing.assert_allclose(engine.draw(wanted[0].family, wanted), expected, atol=1e-5)
    assert expected.std() > 0.01  # and they show something
    assert np.abs(engine.render(wanted) - expected * 255).max() <= 0.5 + 255e-5


def test_a_negative_prompt_is_heard_where_the_card_says_so(
    tiny: ModelCard, engine: Pipeline
) -> None:
    wanted = recipes(tiny, negative="a male person")
    if "negative" not in tiny.offers:
        with pytest.raises(ValueError, match="need negative, which this engine has not"):
            engine.render(wanted)
        return
    expected = stock(tiny, wanted, negative_prompt=["a male person"] * 3)
    np.testing.assert_allclose(engine.draw(wanted[0].family, wanted), expected, atol=1e-5)
    unguided = recipes(tiny)
    assert np.abs(expected - engine.draw(unguided[0].family, unguided)).max() > 1e-4


def test_an_image_does_not_depend_on_its_batch(tiny: ModelCard, engine: Pipeline) -> None:
    wanted = recipes(tiny, 5)
    family = wanted[0].family
    together = engine.draw(family, wanted)
    alone = np.concatenate([engine.draw(family, [recipe]) for recipe in wanted])
    backwards = engine.draw(family, wanted[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_the_same_batch_gives_the_same_bytes(tiny: ModelCard, engine: Pipeline) -> None:
    wanted = recipes(tiny)
    np.testing.assert_array_equal(engine.render(wanted), engine.render(wanted))


def test_threads_do_not_disturb_each_other(tiny: ModelCard, engine: Pipeline) -> None:
    # Of other lengths and steps: what samplers and tokenizers keep of a call.
    batches = [
        recipes(tiny, n, steps=steps, text=" ".join(["person"] * words))
        for n, steps, words in ((1, 2, 1), (3, 3, 9), (2, 4, 5)) * 2
    ]
    expected = [engine.draw(batch[0].family, batch) for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        drawn = pool.map(lambda batch: engine.draw(batch[0].family, batch), batches)
        for images, alone in zip(drawn, expected, strict=True):
            np.testing.assert_allclose(images, alone, atol=1e-5)


def test_seed_text_and_guidance_change_the_image(tiny: ModelCard, engine: Pipeline) -> None:
    [recipe] = recipes(tiny, 1)
    image = engine.draw(recipe.family, [recipe])
    for change in ({"seed": 1}, {"text": "a nurse"}, {"guidance": 9.0}, {"steps": 3}):
        other = replace(recipe, **change)
        assert np.abs(engine.draw(other.family, [other]) - image).max() > 1e-4, change


def test_sdxl_starts_from_the_noise_of_its_recipes(
    sdxl: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its latents are those that Stable Diffusion 1.x starts from at this size."""
    engine = pipeline.load(sdxl, "cpu", "float32")
    seen: list[torch.Tensor] = []
    unet = engine._parts["unet"]
    forward = unet.forward

    def seeing(x: torch.Tensor, *args: object, **options: object) -> object:
        seen.append(x)
        return forward(x, *args, **options)

    monkeypatch.setattr(unet, "forward", seeing)
    wanted = recipes(sdxl)
    engine.render(wanted)
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(f"{sdxl.pipeline}/scheduler")
    scheduler.set_timesteps(sdxl.steps)
    noise = unit_noise([recipe.seed for recipe in wanted], (4, 4, 4))
    start = scheduler.scale_model_input(
        noise * scheduler.init_noise_sigma, scheduler.timesteps[0]
    ).repeat(2, 1, 1, 1)
    assert torch.equal(seen[0], start)


def test_generators_draw_unit_noise() -> None:
    drawn = [torch.randn(4, 8, 8, generator=generator) for generator in generators([3, 5])]
    assert torch.equal(torch.stack(drawn), unit_noise([3, 5], (4, 8, 8)))


def test_half_precision_keeps_its_numbers(sdxl: ModelCard) -> None:
    engine = pipeline.load(sdxl, "cpu", "bfloat16")
    wanted = recipes(sdxl, dtype="bfloat16")
    images = engine.render(wanted)
    assert {part.dtype for part in engine._parts.values() if hasattr(part, "dtype")} == {
        torch.bfloat16
    }
    exact = pipeline.load(sdxl, "cpu", "float32").render(recipes(sdxl))
    assert 0 < np.abs(images.astype(int) - exact).mean() < 8
    with pytest.raises(ValueError, match=r"ask for pipeline in float32; .* pipeline in bfloat16"):
        engine.render(recipes(sdxl))


def test_a_batch_that_does_not_fit_is_halved(
    sdxl: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = pipeline.load(sdxl, "cpu", "float32")
    whole = engine.render(recipes(sdxl, 5))
    draw, lengths = engine.draw, []

    def short_of_memory(family: Recipe, batch: list[Recipe]) -> np.ndarray:
        lengths.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("too much")
        return draw(family, batch)

    monkeypatch.setattr(engine, "draw", short_of_memory)
    room = 2
    halved = engine.render(recipes(sdxl, 5))
    assert np.abs(whole.astype(int) - halved).max() <= 1
    assert lengths == [5, 2, 2, 1]
    room = 0
    with pytest.raises(BadInput, match="One image of 32 pixels in float32 does not fit"):
        engine.render(recipes(sdxl, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection": "a" * 64}, "need context"),
        ({"value": "x", "overlay": "a" * 64}, "with a value has nothing else, got overlay"),
        ({"concepts": ConceptFilter("nude", 0.01, 10)}, "need context"),
        ({"sampler": "dpmsolver++"}, "ask for dpmsolver"),
    ],
)
def test_recipes_for_another_engine_are_refused(
    sdxl: ModelCard, change: dict, message: str
) -> None:
    engine = pipeline.load(sdxl, "cpu", "float32")
    with pytest.raises(ValueError, match=message):
        engine.render(recipes(sdxl, **change))
    with pytest.raises(ValueError, match="one family, got 2"):
        engine.render([*recipes(sdxl, 1), *recipes(sdxl, 1, steps=9)])


def test_a_long_text_is_cut_where_no_encoder_reads_it_whole(
    tiny: ModelCard, engine: Pipeline
) -> None:
    [short], [long] = recipes(tiny, 1, text="a nurse"), recipes(tiny, 1, text="a person " * 200)
    assert not engine.cuts(short)
    assert engine.cuts(long)


def test_methods_that_render_themselves_get_noise(tiny: ModelCard, engine: Pipeline) -> None:
    wanted = recipes(tiny)
    assert torch.equal(engine.noise(wanted), unit_noise([r.seed for r in wanted], (4, 4, 4)))
    renderer: Renderer = engine
    renderer.load_files(wanted)


@pytest.fixture
def copied(sdxl: ModelCard, tmp_path: Path) -> ModelCard:
    """SDXL in a folder of its own, to be spoilt."""
    folder = shutil.copytree(sdxl.pipeline, tmp_path / "spoilt")
    return replace(sdxl, pipeline=str(folder))


def lose_entry(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["text_encoder_2"]
    (folder / "model_index.json").write_text(json.dumps(index))


def change_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def lose_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_projection.weight"]
    save_file(tensors, path, {"format": "pt"})


def lose_words(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer_2")
    (folder / "tokenizer_2").mkdir()
    shutil.copy(folder / "tokenizer" / "tokenizer_config.json", folder / "tokenizer_2")


def keep_words_elsewhere(folder: Path) -> None:
    (folder / "tokenizer_2" / "tokenizer.json").rename(folder / "tokenizer_2" / "spiece.model")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (keep_words_elsewhere, r"in spiece\.model alone.* pip install sentencepiece protobuf"),
        (lose_entry, r"StableDiffusionXLPipeline; it lacks text_encoder_2\. Copy"),
        (
            lambda folder: change_index(folder, odd=["diffusers", "UNet2DModel"]),
            r"StableDiffusionXLPipeline; expected no odd\.",
        ),
        (
            lambda folder: change_index(folder, unet=["my_code", "MyUNet"]),
            r"\['my_code', 'MyUNet'\] as its unet; expected a class of diffusers or trans",
        ),
        (
            lambda folder: change_index(folder, unet=["diffusers", "UNetOfTomorrow"]),
            r"UNetOfTomorrow of diffusers as its unet.* does not know\. Install a newer one",
        ),
        (
            lambda folder: change_index(folder, _class_name="FluxPipeline"),
            r'is a FluxPipeline; expected a StableDiffusionXL.* kind = "FluxPipeline"',
        ),
        (lose_tensor, r"text encoder 2 of .* lacks 1 of \d+ tensors, e\.g\. text_projection"),
        (
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            r"has no diffusion_pytorch_model\.safetensors, which its unet is read from",
        ),
        (lose_words, r"tokenizer_2 has no file for the vocabulary of its tokenizer"),
    ],
)
def test_a_pipeline_in_halves_is_named(
    copied: ModelCard, spoil: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None)
    spoil(Path(copied.pipeline))
    with pytest.raises(BadInput, match=message):
        pipeline.load(copied, "cpu", "float32")


def test_an_argument_that_a_pipeline_does_not_take_is_named(sdxl: ModelCard) -> None:
    card = replace(sdxl, call={"guidance_rescal": 0.7})
    with pytest.raises(BadInput, match=r"takes no 'guidance_rescal'.*mean 'guidance_rescale'"):
        pipeline.load(card, "cpu", "float32")


def test_offloaded_parts_wait_in_the_memory_of_the_cpu(
    sdxl: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        diffusers.StableDiffusionXLPipeline,
        "enable_model_cpu_offload",
        lambda self, device: asked.append(device),
    )
    engine = pipeline.load(replace(sdxl, offload=True), "cuda", "float32")
    assert {part.device.type for part in engine._parts.values() if hasattr(part, "device")} == {
        "cpu"
    }
    engine.render(recipes(sdxl))
    assert asked == [torch.device("cuda")]
    assert pipeline.load(replace(sdxl, offload=True), "cpu", "float32").render(recipes(sdxl)).any()
    assert len(asked) == 1


def test_what_happens_to_be_installed_touches_no_pixel(
    sdxl: ModelCard, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watermarks and tidied texts: diffusers has them where their packages are there."""
    pixart = a_card("pixart", tiny_model, tmp_path)
    drawn = [pipeline.load(card, "cpu", "float32").render(recipes(card)) for card in (sdxl, pixart)]
    room = "diffusers.pipelines"
    watermark = f"{room}.stable_diffusion_xl.pipeline_stable_diffusion_xl.is_invisible_watermark"
    monkeypatch.setattr(f"{watermark}_available", lambda: True)
    for package in ("bs4", "ftfy"):
        tidy = f"{room}.pixart_alpha.pipeline_pixart_sigma.is_{package}_available"
        monkeypatch.setattr(tidy, lambda: True)
    for card, images in zip((sdxl, pixart), drawn, strict=True):
        again = pipeline.load(card, "cpu", "float32").render(recipes(card))
        np.testing.assert_array_equal(again, images)
