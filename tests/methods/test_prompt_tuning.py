"""Prompt tuning: what soft tokens learn, and that they stand before the texts of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines import diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.methods import prompt_tuning
from livo_bench.methods.training.training import train
from livo_bench.records import Recipe, Request

BASE = Recipe("tiny", "a photo of a doctor", 0, "", 3.0, "dpmsolver++", 3, 64, "float32")


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soft")
    own = folder / "own"
    own.mkdir()
    place = Path(__file__).parents[2] / "methods" / "prompt-tuning"
    for name in ("card.toml", "training.toml"):
        text = (place / name).read_text(encoding="utf-8").replace('"prompt-tuning"', '"own"', 1)
        text = text.replace('objective = "own"', 'objective = "prompt-tuning"')
        few = {"concepts = 42": "concepts = 2", "steps = 400": "steps = 2"}
        for old, new in few.items():
            text = text.replace(old, new)
        (own / name).write_text(text, encoding="utf-8")
    return train(str(own), str(tiny_model), out=folder / "out", runs=folder / "runs", device="cpu")


def test_tokens_leave_a_text_some_room(tmp_path: Path) -> None:
    own = tmp_path / "own-tuning"
    own.mkdir()
    place = Path(__file__).parents[2] / "methods" / "prompt-tuning"
    for name in ("card.toml", "training.toml"):
        text = (place / name).read_text(encoding="utf-8").replace('name = "prompt-', 'name = "own-')
        (own / name).write_text(re.sub(r"(?m)^tokens = .*", "tokens = 30", text), encoding="utf-8")
    with pytest.raises(BadInput, match=r"30 soft tokens.* context holds 32.* at most 24"):
        train(str(own), "mini", out=tmp_path / "out", runs=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


def engine(tiny_weights: Path, *files: overlay.Found) -> Diffusion:
    return diffusion.load(
        tiny_weights / "sd", "cpu", "float32", {found.digest: found.path for found in files}
    )


def test_the_loss_is_least_at_the_mean_of_what_the_groups_say() -> None:
    """A picture that either group could have made: the tokens can say one thing of it."""
    told = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    said = torch.tensor(0.0, requires_grad=True)
    prompt_tuning.loss(said.expand(2, 1, 1, 1), told, told, lam=1.0).backward()
    assert said.grad == -4.0
    mean = torch.full((2, 1, 1, 1), 2.0, requires_grad=True)
    prompt_tuning.loss(mean, told, told, lam=1.0).backward()
    assert mean.grad is not None
    assert mean.grad.sum() == 0


def test_prompts_that_name_a_group_are_kept_by_their_weight() -> None:
    told = torch.zeros(2, 1, 2, 2)
    assert prompt_tuning.loss(told, told + 2, told, lam=0.5).item() == 2.0


def test_tokens_begin_as_padding_and_learn(trained: Path, tiny_weights: Path) -> None:
    padding = engine(tiny_weights).embed("")[-4:]
    for subset in ("gender", "race"):
        tokens = load_file(trained / f"{subset}.safetensors")["tokens"]
        assert tokens.shape == padding.shape
        assert 0 < (tokens - padding).abs().max() < 0.1


def test_a_run_puts_its_values_tokens_before_the_text_and_nowhere_else(
    trained: Path, tiny_model: Path, tiny_weights: Path
) -> None:
    card = model_card(str(tiny_model))
    method = load_method("prompt-tuning", card, str(trained))
    task = task_cards()["bias"]
    prompt = read_task_prompts(task, "mini")[0]
    gender, race = (
        method.resolve(Request(prompt, 0, task.principle(subset)), BASE)
        for subset in ("gender", "race")
    )
    assert gender.tokens != race.tokens
    assert replace(race, tokens=None) == BASE
    sd = engine(tiny_weights, overlay.find(trained / "race.safetensors", card))
    sd.load_files([race])
    length = sd.tokenizer.model_max_length
    context, tokens = sd.context(race), load_file(trained / "race.safetensors")["tokens"]
    assert len(context) == length
    torch.testing.assert_close(context[:4], tokens)
    torch.testing.assert_close(context[4:], sd.embed(BASE.text, length - 4))
    torch.testing.assert_close(sd.context(BASE), sd.embed(BASE.text))
    # By hand: the tokens in the context, the empty text as it is.
    with torch.inference_mode():
        predict = diffusion.classifier_free(sd.unet, context[None], sd.embed(""), BASE.guidance)
        latents = diffusion.denoise(predict, sd.noise([BASE]), sd.scheduler(BASE.steps))
        by_hand = diffusion.decode(sd.vae, latents)
    assert (sd.render([race]) == by_hand).all()
    assert (sd.render([BASE]) != by_hand).any()


def test_a_text_that_the_tokens_leave_no_room_for_is_cut(
    trained: Path, tiny_model: Path, tiny_weights: Path
) -> None:
    found = overlay.find(trained / "race.safetensors", model_card(str(tiny_model)))
    sd = engine(tiny_weights, found)
    steered = replace(BASE, tokens=found.digest)
    sd.load_files([steered])
    length = sd.tokenizer.model_max_length
    for words in range(length):
        text = " ".join(["a"] * words)
        tokens = len(sd.tokenizer(text, verbose=False).input_ids)
        assert sd.cuts(replace(BASE, text=text)) == (tokens > length)
        assert sd.cuts(replace(steered, text=text)) == (tokens > length - 4)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"tokens": torch.zeros(4, 5)}, r"tokens \(4, 5\); expected \(4, 32\)"),
        ({"tokens": torch.full((4, 32), torch.nan)}, "not finite|finite"),
        ({"projection": torch.zeros(32, 32)}, "tokens"),
        ({"tokens": torch.zeros(75, 32)}, "75 soft tokens; expected 1 to"),
        ({"tokens": torch.zeros(0, 32)}, "0 soft tokens; expected 1 to"),
        ({"tokens": torch.zeros(32)}, r"tokens \(32,\)"),
    ],
)
def test_what_is_no_soft_tokens_is_refused(
    tensors: dict[str, torch.Tensor],
    said: str,
    tiny_model: Path,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "race.safetensors"
    save_file(tensors, path)
    if "finite" not in said:  # values are read with the model
        with pytest.raises(BadInput, match=said):
            load_method("prompt-tuning", model_card(str(tiny_model)), str(tmp_path))
    sd = engine(tiny_weights, overlay.Found(str(path), "0" * 64))
    with pytest.raises(BadInput, match=said):
        sd.load_files([replace(BASE, tokens="0" * 64)])


def test_states_are_changed_in_one_way_at_a_time(tiny_weights: Path) -> None:
    with pytest.raises(ValueError, match="changed in one way, got projection and tokens"):
        engine(tiny_weights).render([replace(BASE, tokens="0" * 64, projection="0" * 64)])
