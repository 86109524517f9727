"""Weights that are handed to pipelines: as diffusers' own with the same, and what has no place is
refused by name before a model loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from pipeline_weights import WRITERS, load_as_diffusers_does, stock
from safetensors.torch import load_file, save_file

from livo_bench.cards.catalog import model_card
from livo_bench.cards.declared import ModelCard
from livo_bench.engines import pipeline
from livo_bench.errors import BadInput
from livo_bench.methods import overlaid
from livo_bench.records import Recipe
from livo_bench.runs.session import Session

TEXTS = ("a photo of a doctor", "a nurse")
HANDED = [
    (kind, written)
    for kind in ("sdxl", "sd3", "flux")
    for written in WRITERS
    if (kind, written) != ("sd3", "kohya LoRA")  # which diffusers does not read
]


@pytest.fixture(scope="session")
def cards(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelCard]:
    """Cards of tiny pipelines, by kind."""
    folder = tmp_path_factory.mktemp("pipelines")
    kinds = ("sdxl", "sd3", "flux")
    return {k: model_card(str(tiny_pipelines.made(k, tiny_model, folder))) for k in kinds}


def recipes(card: ModelCard, **changes: Any) -> list[Recipe]:
    session = Session(card, 0, "cpu", "float32", Path("nowhere"))
    return [replace(session.recipe(text, i), **changes) for i, text in enumerate(TEXTS)]


def drawn(pipe: Any, card: ModelCard, wanted: list[Recipe]) -> np.ndarray:
    images = pipe(
        [recipe.text for recipe in wanted],
        generator=[torch.Generator().manual_seed(recipe.seed) for recipe in wanted],
        num_inference_steps=card.steps,
        guidance_scale=card.guidance,
        height=card.size,
        width=card.size,
        output_type="np",
        **card.call,
    ).images
    return np.asarray(images)


@pytest.mark.parametrize(("kind", "written"), HANDED)
def test_images_equal_those_of_diffusers_own_pipeline_with_the_same_weights(
    cards: dict[str, ModelCard], tmp_path: Path, kind: str, written: str
) -> None:
    card = cards[kind]
    pipe = stock(card.pipeline)
    place = WRITERS[written](kind, pipe, tmp_path)
    found = overlaid.find(place, card)
    engine = pipeline.load(card, "cpu", "float32", {found.digest: found.path})
    plain, wanted = recipes(card), recipes(card, overlay=found.digest)
    before = engine.draw(plain[0].family, plain)
    load_as_diffusers_does(pipe, written, place)
    expected = drawn(pipe, card, wanted)
    engine.load_files(wanted)
    np.testing.assert_allclose(engine.draw(wanted[0].family, wanted), expected, atol=1e-5)
    assert np.abs(engine.render(wanted) - expected * 255).max() <= 0.5 + 255e-5
    # It is another image than the model's own, which is drawn as before.
    assert np.abs(expected - before).max() > 1e-3
    np.testing.assert_array_equal(engine.draw(plain[0].family, plain), before)


def kohya(card: ModelCard, folder: Path) -> Path:
    return WRITERS["kohya LoRA"](card.name.removeprefix("tiny-"), stock(card.pipeline), folder)


def rename(path: Path, old: str, new: str) -> None:
    """Rename what a file has of one place."""
    tensors = load_file(path)
    assert any(old in name for name in tensors)
    save_file({name.replace(old, new): tensor for name, tensor in tensors.items()}, path)


@pytest.mark.parametrize(
    ("kind", "place", "moved", "says"),
    [
        # diffusers leaves these out without a word, or with one that nobody reads.
        (
            "sdxl",
            "input_blocks_3_1_transformer_blocks_0",
            "down_blocks_7_attentions_0_x",
            r"down_blocks\.7",
        ),
        ("flux", "lora_te1_text_model", "lora_te3_encoder_block", "lora_te3_encoder_block"),
        # This it refuses, with those of all places.
        ("flux", "blocks_0_img_attn_proj", "blocks_40_img_attn_proj", "no lora_.*_40_img_attn"),
        # And these it renames, but the model does not have them.
        ("flux", "blocks_0_img_attn_proj", "blocks_5_img_attn_proj", r"blocks\.5\."),
        ("sdxl", "te2_text_model_encoder_layers_0", "te2_text_model_encoder_layers_9", "layers.9"),
    ],
)
def test_no_place_of_a_kohya_file_is_left_out(
    cards: dict[str, ModelCard], tmp_path: Path, kind: str, place: str, moved: str, says: str
) -> None:
    path = kohya(cards[kind], tmp_path)
    rename(path, place, moved)
    with pytest.raises(BadInput, match=says) as refused:
        overlaid.find(path, cards[kind])
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("of", "given", "says"),
    [
        ("sdxl", "sd3", r"it has no text_encoder_2?\S+|it has no unet\."),
        ("flux", "sdxl", r"it has no transformer\."),
        ("sd3", "flux", r"it has no text_encoder_2\."),
    ],
)
def test_a_lora_of_another_kind_of_model_is_refused_by_its_first_tensor(
    cards: dict[str, ModelCard], tmp_path: Path, of: str, given: str, says: str
) -> None:
    path = WRITERS["diffusers LoRA"](of, stock(cards[of].pipeline), tmp_path)
    with pytest.raises(BadInput, match=rf"does not fit the model: {says}"):
        overlaid.find(path, cards[given])


def test_a_kohya_file_of_stable_diffusion_3_is_named_as_one_that_is_not_read(
    cards: dict[str, ModelCard], tmp_path: Path
) -> None:
    path = kohya(cards["sdxl"], tmp_path)
    with pytest.raises(BadInput, match=r"of Stable Diffusion 3 those of diffusers are read.*Merge"):
        overlaid.find(path, cards["sd3"])


def test_a_denoiser_of_another_model_is_refused_by_name(
    cards: dict[str, ModelCard], tmp_path: Path
) -> None:
    path = WRITERS["folder"]("sd3", stock(cards["sd3"].pipeline), tmp_path)
    with pytest.raises(BadInput, match=r"lacks \d+ of \d+ tensors, e\.g\. .* and has \d+ that"):
        overlaid.find(path, cards["flux"])
    with pytest.raises(BadInput, match="whole model"):
        overlaid.find(Path(cards["sd3"].pipeline), cards["flux"])


def test_an_overlay_that_is_not_at_hand_is_named(cards: dict[str, ModelCard]) -> None:
    engine = pipeline.load(cards["sdxl"], "cpu", "float32")
    with pytest.raises(BadInput, match=r"names the weights aaaaaaaaaaaa, .* Pass them: --method"):
        engine.render(recipes(cards["sdxl"], overlay="a" * 64))
