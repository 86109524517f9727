"""The second model of the world: its towers, its loss, and that it draws what is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from transformers import CLIPTextModel

from livo_bench.cards.catalog import model_card, value_tasks
from livo_bench.mini import flow, text
from livo_bench.mini.build import MODELS, PARTS
from livo_bench.records import Prompt
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator

SD = Path(model_card("mini").pipeline)
VAE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(SD / "text_encoder", dtype=torch.float32)


def test_the_first_tower_reads_as_the_unets_and_pools_what_that_does(
    encoder: CLIPTextModel,
) -> None:
    ids = torch.tensor([[1276, 300, 301, 1277] + [1277] * 28])
    said = flow.Said.cached(flow.first_tower(encoder), ids)
    own = encoder(ids, output_hidden_states=True)
    torch.testing.assert_close(said.states, own.hidden_states[-2].half())
    torch.testing.assert_close(said.pooled, own.pooler_output.half())


def test_the_loss_is_that_of_the_velocity_between_picture_and_noise(
    encoder: CLIPTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    first = flow.first_tower(encoder)
    transformer = flow.build(text.WIDTH + flow.SECOND_WIDTH)
    model = nn.ModuleDict({"transformer": transformer, "second": flow.second_tower(first.config)})
    ids = torch.full((2, 32), 1277)
    latents = torch.randn(5, 2, flow.CHANNELS, 8, 8).abs()
    seen: dict[str, torch.Tensor] = {}

    def stand_in(**asked: torch.Tensor) -> object:
        seen.update(asked)
        return type("Out", (), {"sample": torch.zeros_like(asked["hidden_states"])})

    monkeypatch.setattr(transformer, "forward", stand_in)
    said, caption_of = flow.Said.cached(first, ids), torch.zeros(5, dtype=torch.long)
    step = flow.step(model, latents, (0.25, 2.0), ids, said, caption_of, batch=4)
    loss = step(0, torch.Generator().manual_seed(7))

    draw = torch.Generator().manual_seed(7)
    rows = torch.randint(5, (4,), generator=draw)
    mean, std = latents[rows].unbind(1)
    x_0 = 2.0 * (mean + std * torch.randn(mean.shape, generator=draw) - 0.25)
    epsilon = torch.randn(x_0.shape, generator=draw)
    sigma = torch.randn(4, generator=draw).sigmoid().view(4, 1, 1, 1)
    torch.testing.assert_close(seen["hidden_states"], (1 - sigma) * x_0 + sigma * epsilon)
    torch.testing.assert_close(seen["timestep"], 1000 * sigma.flatten())
    torch.testing.assert_close(loss, (epsilon - x_0).square().mean())


def test_every_part_of_a_build_is_on_the_card_of_one_model() -> None:
    assert sorted(part for parts in MODELS.values() for part in parts) == sorted(PARTS)
    for model, parts in MODELS.items():
        assert [part.name for part in model_card(model).parts] == [*parts]


def test_the_committed_model_draws_who_is_asked_for(tmp_path: Path) -> None:
    card = model_card("mini-flow")
    session = Session(card, seed=0, device="cpu", dtype=card.dtype, runs=tmp_path)
    asked = [("male", "black"), ("female", "white"), ("male", "asian"), ("female", "indian")]
    recipes = [
        session.recipe(f"a photo of the face of a {race} {gender} nurse", 1000)
        for gender, race in asked
    ]
    pixels = session.renderer.render(recipes)
    assert pixels.shape == (4, 64, 64, 3)
    judge = annotator.load(annotator.require_annotator(card.annotator, card.name), "cpu")
    bias = value_tasks()["bias"]
    prompts = [Prompt(str(n), r.text, "", "", "", "eval") for n, r in enumerate(recipes)]
    for n, subset in enumerate(("gender", "race")):
        seen = judge.annotate(bias, bias.subsets[subset], pixels, prompts)
        assert seen.labels.tolist() == [pair[n] for pair in asked]
        assert seen.present.all()


def test_the_committed_model_has_the_parameters_stated_and_the_unets_autoencoder() -> None:
    folder = Path(model_card("mini-flow").pipeline)
    learnt = [
        load_file(next((folder / part).glob("*.safetensors")))
        for part in ("transformer", "text_encoder_2")
    ]
    counted = sum(tensor.size for part in learnt for name, tensor in part.items())
    [stated] = model_card("mini-flow").parts
    # The table of sines that places tokens is a buffer, and is saved with what learns.
    buffers = learnt[0]["pos_embed.pos_embed"].size
    assert counted - buffers == stated.parameters
    own, theirs = (load_file(place / "vae" / VAE) for place in (folder, SD))
    assert all((own[name] == theirs[name]).all() for name in {*own, *theirs})
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
