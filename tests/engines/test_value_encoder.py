"""The value token: how it is laid out, saved, loaded, and what it leaves alone."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.engines import diffusion, value_encoder
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.methods.livo.train import new_encoder
from livo_bench.records import Recipe

TEXT = "a photo of a doctor"
VALUE = "gender equality"
BASE = Recipe("tiny", TEXT, 0, "", 3.0, "dpmsolver++", 4, 64, "float32")
LENGTH = 24
"""Of the tiny tokenizer, which stands for CLIP's 77."""


@pytest.fixture
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


@pytest.fixture
def encoder(engine: Diffusion) -> CLIPTextModel:
    """A value encoder that has learnt something, its embeddings frozen."""
    torch.manual_seed(1)
    encoder = new_encoder(deepcopy(engine.text_encoder), ["embeddings."])
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval().requires_grad_(False)


def with_value(layout: str, **changes: object) -> Recipe:
    steered = replace(BASE, value=VALUE, value_encoder="digest", layout=layout)
    return replace(steered, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layout", "tokens"), [("pad77", LENGTH), ("train78", LENGTH + 1), ("paper", 8)]
)
def test_contexts_have_the_tokens_of_their_layout(
    engine: Diffusion, encoder: CLIPTextModel, layout: str, tokens: int
) -> None:
    engine.use_value_encoder("digest", encoder)
    context = engine.context(with_value(layout))
    assert context.shape == (tokens, 32)
    token = value_encoder.value_tokens(encoder, engine.tokenizer, [VALUE], [TEXT])[0]
    torch.testing.assert_close(context[0], token)
    # The prompt's own tokens are the same states in every layout: attention is causal.
    torch.testing.assert_close(context[1:8], engine.embed(TEXT)[:7])


def test_a_text_that_is_too_long_keeps_its_end_token(
    engine: Diffusion, encoder: CLIPTextModel
) -> None:
    engine.use_value_encoder("digest", encoder)
    long = " ".join(["a photo of a doctor and a nurse"] * 5)
    for layout, tokens in (("pad77", LENGTH), ("train78", LENGTH + 1), ("paper", LENGTH)):
        context = engine.context(with_value(layout, text=long))
        assert context.shape == (tokens, 32)
        ids = engine.tokenizer(
            long, truncation=True, max_length=tokens - 1, return_tensors="pt"
        ).input_ids
        assert ids[0, -1] == engine.tokenizer.eos_token_id
        end = engine.text_encoder(ids).last_hidden_state[0, -1]
        torch.testing.assert_close(context[-1], end, rtol=1e-4, atol=1e-5)


def test_the_pooled_state_does_not_depend_on_padding(
    engine: Diffusion, encoder: CLIPTextModel
) -> None:
    ids = engine.tokenizer(f"{VALUE}, {TEXT}", return_tensors="pt").input_ids
    unpadded = encoder(ids).pooler_output[0]
    padded = value_encoder.value_tokens(encoder, engine.tokenizer, [VALUE], [TEXT])[0]
    torch.testing.assert_close(unpadded, padded, rtol=1e-5, atol=1e-5)


def test_the_order_of_context_tokens_does_not_matter(engine: Diffusion) -> None:
    torch.manual_seed(0)
    latents, context = torch.randn(2, 4, 8, 8), torch.randn(2, LENGTH, 32)
    t, order = torch.tensor(500), torch.randperm(LENGTH)
    straight = engine.unet(latents, t, context).sample
    turned = engine.unet(latents, t, context[:, order]).sample
    torch.testing.assert_close(straight, turned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["pad77", "train78", "paper"])
def test_images_equal_those_of_the_stock_pipeline_given_the_embeddings(
    engine: Diffusion, encoder: CLIPTextModel, tiny_weights: Path, layout: str
) -> None:
    engine.use_value_encoder("digest", encoder)
    recipes = [with_value(layout, seed=seed) for seed in range(2)]
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_weights / "sd")
    pipeline.scheduler = diffusion.DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config
    )
    pipeline.set_progress_bar_config(disable=True)
    context = engine.context(recipes[0])[None]
    negative = engine.embed("", context.shape[1])[None]
    # Past its length the stock pipeline cannot encode a negative text, and must be given it.
    beyond = {"negative_prompt_embeds": negative} if layout == "train78" else {}
    images = pipeline(
        prompt_embeds=context,
        num_images_per_prompt=2,
        latents=engine.noise(recipes),
        guidance_scale=BASE.guidance,
        num_inference_steps=BASE.steps,
        height=64,
        width=64,
        output_type="np",
        **beyond,
    ).images
    expected = (images * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(engine.render(recipes), expected)


def test_embeds_for_ones_own_pipeline_are_the_engines_context(
    engine: Diffusion, encoder: CLIPTextModel, tiny_weights: Path
) -> None:
    engine.use_value_encoder("digest", encoder)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_weights / "sd")
    embeds = value_encoder.prompt_embeds(pipeline, encoder, VALUE, TEXT)
    torch.testing.assert_close(embeds[0], engine.context(with_value("pad77")))


def test_at_initialisation_the_token_changes_the_image(engine: Diffusion) -> None:
    engine.use_value_encoder("digest", new_encoder(deepcopy(engine.text_encoder), ()).eval())
    steered, plain = engine.render([with_value("pad77")]), engine.render([BASE])
    assert (steered != plain).any()


def test_what_was_learnt_comes_back_from_disk(
    engine: Diffusion, encoder: CLIPTextModel, tiny_weights: Path, tiny_model: Path, tmp_path: Path
) -> None:
    card = model_card(str(tiny_model))
    value_encoder.save(encoder, ["embeddings."], model_digest(card), tmp_path)
    folder = tmp_path / "value_encoder"
    stored = load_file(folder / "model.safetensors")
    assert not any("embeddings" in name for name in stored)
    assert {str(tensor.dtype) for tensor in stored.values()} == {"torch.float16"}
    assert str(tiny_weights) not in (folder / "config.json").read_text()

    found = value_encoder.find(folder, card)
    back = value_encoder.load(found.folder, engine.text_encoder)
    for name, tensor in encoder.state_dict().items():
        exact = name.startswith("embeddings.")
        torch.testing.assert_close(
            back.state_dict()[name], tensor, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-3
        )


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_whole_encoder_of_any_transformers_version_loads(
    engine: Diffusion, encoder: CLIPTextModel, tmp_path: Path, prefix: str
) -> None:
    from safetensors.torch import save_file

    encoder.save_pretrained(tmp_path)
    state = {f"{prefix}{name}": tensor for name, tensor in encoder.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    back = value_encoder.load(tmp_path, engine.text_encoder)
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], tensor)


def test_a_recipe_whose_encoder_is_not_at_hand_is_refused(engine: Diffusion) -> None:
    with pytest.raises(BadInput, match=r"value encoder 0{12}, .* at hand: none.*--weights"):
        engine.render([with_value("pad77", value_encoder="0" * 64)])


def test_encoders_of_another_model_are_refused(
    encoder: CLIPTextModel, tiny_model: Path, tmp_path: Path
) -> None:
    card = model_card(str(tiny_model))
    value_encoder.save(encoder, ["embeddings."], "0" * 64, tmp_path)
    folder = tmp_path / "value_encoder"
    with pytest.raises(BadInput, match=r"digest 000000000000.*'tiny'.*livo-bench train"):
        value_encoder.find(folder, card)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 768}))
    with pytest.raises(BadInput, match=r"hidden_size 768.* has 32.*livo-bench train"):
        value_encoder.find(folder, card)


def test_an_encoder_that_lacks_tensors_and_names_no_model_is_refused(
    engine: Diffusion, encoder: CLIPTextModel, tmp_path: Path
) -> None:
    value_encoder.save(encoder, ["embeddings."], "0" * 64, tmp_path)
    path = tmp_path / "value_encoder" / "config.json"
    config = json.loads(path.read_text())
    del config[value_encoder.BASE]
    path.write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"lacks 2 of 36 tensors, .*embedding.*Copy the model"):
        value_encoder.load(tmp_path / "value_encoder", engine.text_encoder)
