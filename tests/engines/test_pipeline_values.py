"""The value token on pipelines of several text encoders, against diffusers' own pipelines that are
given the embeddings which are built here by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines
import torch
from torch import Tensor
from torch.nn.functional import pad

from livo_bench.cards.catalog import model_card, model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.weights import digest_folder
from livo_bench.engines import pipeline, towers, value_encoder
from livo_bench.engines.pipeline import Pipeline
from livo_bench.engines.towers import Towers
from livo_bench.errors import BadInput
from livo_bench.records import LAYOUTS, Recipe
from livo_bench.runs.session import Session

VALUE = "gender equality"
TEXTS = ("a photo of a doctor", "a nurse", "a photo of a male person")
KINDS = ("sdxl", "sd3", "flux", "flux-cfg")
LENGTH = 24
"""Tokens of the tiny CLIP, which stand for 77."""


@pytest.fixture(scope="module", params=KINDS)
def card(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> ModelCard:
    """The card of a tiny pipeline whose context a method may change, of each kind in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / f"tiny-{request.param}.toml"
    saved = tiny_pipelines.save(request.param, folder / request.param)
    path.write_text(tiny_pipelines.card(request.param, tiny_model, saved), encoding="utf-8")
    return model_card(str(path))


@pytest.fixture(scope="module")
def stock(card: ModelCard) -> Any:
    """Diffusers' own pipeline."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(card.pipeline)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def encoders(stock: Any) -> Towers:
    return learnt(stock)


def learnt(pipe: Any) -> Towers:
    """Value encoders that have learnt something, their embeddings frozen."""
    torch.manual_seed(1)
    made = towers.new(pipe)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "embeddings" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def engine(card: ModelCard, encoders: Towers) -> Pipeline:
    loaded = pipeline.load(card, "cpu", "float32")
    loaded.use_value_encoder("digest", encoders)
    return loaded


def recipes(card: ModelCard, n: int = 3, layout: str = "pad77", **changes: Any) -> list[Recipe]:
    session = Session(card, 0, "cpu", "float32", Path("nowhere"))
    steered = {"value": VALUE, "value_encoder": "digest", "layout": layout, **changes}
    made = [session.recipe(TEXTS[i % len(TEXTS)], i) for i in range(n)]
    return [replace(recipe, **steered) for recipe in made]


@torch.no_grad()
def by_hand(
    pipe: Any, encoders: Towers, recipe: Recipe, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings with a value token and their pooled text, and those of the negative branch."""
    kind, text = type(pipe).__name__, recipe.text
    said = f"{recipe.value}, {text}"
    states = []
    for name, tokenizer in (("text_encoder", pipe.tokenizer), ("text_encoder_2", pipe.tokenizer_2)):
        if name in encoders:
            ids = tokenizer(said, truncation=True, return_tensors="pt").input_ids  # unpadded
            out = encoders[name](ids, output_hidden_states=True)
            states.append(
                out.text_embeds if kind == "FluxPipeline" else out.hidden_states[-2][:, -1]
            )
    token = torch.cat(states, dim=1)
    negative = recipe.negative or (None if kind == "StableDiffusionXLPipeline" else "")
    if kind == "FluxPipeline":
        embeds, pooled, _ = pipe.encode_prompt(text, max_sequence_length=most)
        against, against_pooled, _ = pipe.encode_prompt(negative or "", max_sequence_length=most)
        token = token + embeds[:, -1]
        first = most
    elif kind == "StableDiffusion3Pipeline":
        embeds, against, pooled, against_pooled = pipe.encode_prompt(
            text, None, None, negative_prompt=negative, max_sequence_length=most
        )
        first = LENGTH
    else:
        embeds, against, pooled, against_pooled = pipe.encode_prompt(text, negative_prompt=negative)
        first = LENGTH
    token = pad(token, (0, embeds.shape[-1] - token.shape[-1]))
    reader = pipe.tokenizer_2 if kind == "FluxPipeline" else pipe.tokenizer
    words = len(reader(text).input_ids)
    kept = {"pad77": first - 1, "train78": first, "paper": words}[recipe.layout or ""]
    embeds = torch.cat([token[:, None], embeds[:, :kept], embeds[:, first:]], dim=1)
    room = [against[:, : min(kept + 1, first)], against[:, first:]]
    if kept == first:
        room.insert(1, against[:, first - 1 : first])
    return embeds, pooled, torch.cat(room, dim=1), against_pooled


def expected(card: ModelCard, pipe: Any, encoders: Towers, wanted: Sequence[Recipe]) -> np.ndarray:
    """What diffusers' own pipeline makes of each recipe, one call an image, before rounding."""
    most = card.call.get("max_sequence_length", 0)
    images = []
    for recipe in wanted:
        embeds, pooled, against, against_pooled = by_hand(pipe, encoders, recipe, int(most))
        told = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
        if "negative" in card.offers:
            told |= {"negative_prompt_embeds": against}
            told |= {"negative_pooled_prompt_embeds": against_pooled}
        images += pipe(
            **told,
            generator=torch.Generator().manual_seed(recipe.seed),
            num_inference_steps=card.steps,
            guidance_scale=card.guidance,
            height=card.size,
            width=card.size,
            output_type="np",
            **card.call,
        ).images.tolist()
    return np.array(images)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_equal_those_of_diffusers_own_call_with_the_embeddings(
    card: ModelCard, engine: Pipeline, stock: Any, encoders: Towers, layout: str
) -> None:
    # One text a batch, as blocks have it: others may be of other lengths.
    for wanted in ([recipe] * 2 for recipe in recipes(card, 2, layout)):
        wanted = [wanted[0], replace(wanted[1], seed=7)]
        drawn = engine.draw(wanted[0].family, wanted)
        np.testing.assert_allclose(drawn, expected(card, stock, encoders, wanted), atol=1e-5)
        unsteered = [replace(r, value=None, value_encoder=None, layout=None) for r in wanted]
        assert np.abs(engine.draw(unsteered[0].family, unsteered) - drawn).max() > 1e-4


def test_a_negative_prompt_stands_beside_the_value(
    card: ModelCard, engine: Pipeline, stock: Any, encoders: Towers
) -> None:
    wanted = recipes(card, 1, negative="a male person")
    if "negative" not in card.offers:
        with pytest.raises(ValueError, match="need negative"):
            engine.render(wanted)
        return
    drawn = engine.draw(wanted[0].family, wanted)
    np.testing.assert_allclose(drawn, expected(card, stock, encoders, wanted), atol=1e-5)
    plain = recipes(card, 1)
    assert np.abs(engine.draw(plain[0].family, plain) - drawn).max() > 1e-4


def test_an_image_does_not_depend_on_its_batch_or_order(card: ModelCard, engine: Pipeline) -> None:
    wanted = recipes(card, 5)
    family = wanted[0].family
    together = engine.draw(family, wanted)
    alone = np.concatenate([engine.draw(family, [recipe]) for recipe in wanted])
    backwards = engine.draw(family, wanted[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)
    np.testing.assert_array_equal(engine.render(wanted), engine.render(wanted))


def test_value_text_and_encoder_change_the_image(card: ModelCard, engine: Pipeline) -> None:
    [recipe] = recipes(card, 1)
    image = engine.draw(recipe.family, [recipe])
    engine.use_value_encoder("other", learnt_more(engine))
    changes: list[dict[str, Any]] = [
        {"value": "a nurse"},
        {"text": "a nurse"},
        {"value_encoder": "other"},
    ]
    for change in changes:
        other = replace(recipe, **change)
        assert np.abs(engine.draw(other.family, [other]) - image).max() > 1e-4, change


def learnt_more(engine: Pipeline) -> Towers:
    made = learnt(engine._own())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1)
    return made


def test_the_token_of_flux_changes_nothing_before_it_has_learnt(
    card: ModelCard, stock: Any, engine: Pipeline
) -> None:
    engine.use_value_encoder("new", towers.new(stock).eval())
    [recipe] = recipes(card, 1, value_encoder="new")
    plain = replace(recipe, value=None, value_encoder=None, layout=None)
    steered, own = (engine.draw(each.family, [each]) for each in (recipe, plain))
    if card.kind == "FluxPipeline":
        np.testing.assert_allclose(steered, own, atol=1e-5)
    else:  # it stands in the place of a state that pads, as that of its own end
        assert np.abs(steered - own).max() > 1e-5


def test_each_encoder_that_learns_is_its_own_tower(stock: Any, encoders: Towers) -> None:
    made = towers.new(stock)
    for name, own in ((name, getattr(stock, name)) for name in made):
        tower: Any = made[name]
        assert tower is not own
        ids = torch.tensor([[5, 6, 7, 0]])
        assert torch.equal(tower.get_input_embeddings()(ids), own.get_input_embeddings()(ids))
    assert made.learning() < {n for n, _ in made.named_parameters()} or made.projected
    # What is said to make the token does, and nothing else.
    made.requires_grad_(True)
    towers.tokens(made, stock, [VALUE] * 2, TEXTS[:2]).square().sum().backward()
    if not made.projected:
        touched = {n for n, p in made.named_parameters() if p.grad is not None}
        assert touched == made.learning()


@pytest.fixture
def saved(card: ModelCard, encoders: Towers, tmp_path: Path) -> Path:
    value_encoder.save(encoders, ["embeddings."], model_digest(card), tmp_path)
    return tmp_path / "value_encoder"


def test_what_was_learnt_comes_back_from_disk(
    card: ModelCard, encoders: Towers, saved: Path
) -> None:
    found = value_encoder.find(saved, card)
    assert found.digest == digest_folder(saved)
    assert sorted(path.name for path in saved.iterdir()) == sorted(encoders)
    wanted = recipes(card, 2, value_encoder=found.digest)
    engine = pipeline.load(card, "cpu", "float32", {found.digest: found.folder})
    engine.load_files(wanted)
    half = learnt_half(encoders)
    engine.use_value_encoder("half", half)
    again = [replace(recipe, value_encoder="half") for recipe in wanted]
    np.testing.assert_allclose(
        engine.draw(wanted[0].family, wanted), engine.draw(again[0].family, again), atol=1e-5
    )
    strange = pipeline.load(card, "cpu", "float32")
    with pytest.raises(BadInput, match=r"names the value encoder .* none of those at hand: none"):
        strange.render(wanted)


def learnt_half(encoders: Towers) -> Towers:
    """What half precision leaves of encoders."""
    rounded = Towers({name: type(t)(t.config) for name, t in encoders.items()}, encoders.projected)
    states = encoders.state_dict()
    kept = {n: t if "embeddings" in n else t.half().float() for n, t in states.items()}
    rounded.load_state_dict(kept)
    return rounded.eval()


def test_encoders_of_another_model_are_refused(
    card: ModelCard, encoders: Towers, tmp_path: Path
) -> None:
    value_encoder.save(encoders, ["embeddings."], "0" * 64, tmp_path)
    folder = tmp_path / "value_encoder"
    with pytest.raises(BadInput, match="was trained on a model with digest 000000000000"):
        value_encoder.find(folder, card)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 8}))
    with pytest.raises(BadInput, match="has hidden_size 8, the text encoder of model"):
        value_encoder.find(folder, card)
    config.unlink()
    with pytest.raises(BadInput, match=r"text_encoder is not such a model: it has no config\.json"):
        value_encoder.find(folder, card)


def test_an_encoder_that_says_the_same_of_all_texts_is_refused(
    card: ModelCard, encoders: Towers, saved: Path, stock: Any
) -> None:
    from safetensors.torch import load_file, save_file

    path = saved / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    dead = {n: t if "layer_norm" not in n else torch.zeros_like(t) for n, t in tensors.items()}
    dead = {n: torch.zeros_like(t) if "projection" in n else t for n, t in dead.items()}
    save_file(dead, path, metadata={"format": "pt"})
    if encoders.projected:
        with pytest.raises(BadInput, match="says the same of all texts"):
            towers.load(saved, stock)
