"""Forget-Me-Not: the attention that is recorded, where a hazard is named, the way to overlays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from short_trainings import shorten_lists, shortened
from torch import Tensor

from livo_bench.cards.catalog import model_card
from livo_bench.engines import overlay
from livo_bench.methods import forget_me_not
from livo_bench.methods.training.attention import Recorder
from livo_bench.methods.training.finetuning import Finetuning, Noised, Settings
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import Training
from livo_bench.runs.session import Session

TEXTS = ["a nude person", "a person"]


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)


def tuned(session: Session, checkpointing: bool = False) -> Finetuning:
    training = Training("learner", "tiny", session, 0, session.runs / "out")
    settings = Settings("xattn", 3, 2, 1e-3, 0.01, "no", gradient_checkpointing=checkpointing)
    return Finetuning(training, settings, TEXTS)


@pytest.fixture
def noised() -> Noised:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    return Noised(latents, torch.tensor([10, 700]), noise)


def test_what_is_recorded_is_the_attention_of_every_layer_and_changes_no_prediction(
    session: Session, noised: Noised
) -> None:
    tuning = tuned(session)
    plain = tuning.predict(noised, [0, 1])
    recorder = Recorder(tuning.unet)
    with recorder.recording() as recorded:
        assert torch.equal(tuning.predict(noised, [0, 1]), plain)
    layers = [n for n in tuning.unet.attn_processors if ".attn2." in n]
    assert len(recorded) == len(layers) > 1
    for each in recorded:
        assert (each.shape[0], each.shape[-1]) == (2, tuning.conditions([0]).context.shape[1])
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:-1]))
    others = [p for n, p in tuning.unet.attn_processors.items() if ".attn2." not in n]
    assert all(isinstance(processor, AttnProcessor) for processor in others)
    tuning.predict(noised, [0, 1])
    assert len(recorded) == len(layers)


def gradients(tuning: Finetuning, noised: Noised) -> tuple[int, dict[str, Tensor]]:
    recorder = Recorder(tuning.unet)
    with recorder.recording() as recorded:
        tuning.predict(noised, [0, 1])
    count = len(recorded)
    where = torch.zeros(2, tuning.conditions([0]).context.shape[1], dtype=torch.bool)
    where[:, 2] = True
    forget_me_not.loss(recorded, where).backward()
    assert len(recorded) == count
    return count, {n: p.grad for n, p in tuning.learning.items() if p.grad is not None}


def test_blocks_that_are_computed_again_give_the_same_gradients_and_are_recorded_once(
    session: Session, noised: Noised
) -> None:
    count, kept = gradients(tuned(session), noised)
    again, computed = gradients(tuned(session, checkpointing=True), noised)
    assert count == again
    assert kept.keys() == computed.keys()
    assert any(gradient.abs().max() > 0 for gradient in kept.values())
    for name, gradient in kept.items():
        torch.testing.assert_close(computed[name], gradient)


def test_attention_to_the_name_is_what_falls(session: Session, noised: Noised) -> None:
    tuning = tuned(session)
    recorder = Recorder(tuning.unet)
    where = torch.zeros(2, tuning.conditions([0]).context.shape[1], dtype=torch.bool)
    where[:, 2] = True
    optimiser = torch.optim.AdamW(tuning.learning.values(), lr=1e-3)
    found = []
    for _ in range(5):
        with recorder.recording() as recorded:
            tuning.predict(noised, [0, 1])
        value = forget_me_not.loss(recorded, where)
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        found.append(value.item())
    assert found == sorted(found, reverse=True)


def test_small_probabilities_count_in_half_precision() -> None:
    where = torch.tensor([[False, True, False]])
    small = torch.full((1, 2, 4, 3), 1e-5, dtype=torch.float16)
    value = forget_me_not.loss([small], where)
    assert value.item() == pytest.approx(8**0.5 * 1e-5, rel=1e-2)


def test_a_hazard_is_named_where_its_words_are_and_at_the_end(session: Session) -> None:
    tokenizer = session.engine.tokenizer
    text, words = "a photo of a nude person", ["nude", "naked"]
    ids = tokenizer(text).input_ids
    of_word = tokenizer("nude", add_special_tokens=False).input_ids
    before = tokenizer("a photo of a").input_ids[:-1]
    word = set(range(len(before), len(before) + len(of_word)))
    end, longest = len(ids) - 1, tokenizer.model_max_length

    def found(text: str, ends: str) -> set[int]:
        where = forget_me_not.positions(tokenizer, text, words, ends)
        assert where.shape == (longest,)
        return set(where.nonzero().flatten().tolist())

    assert found(text, "none") == word
    assert found(text, "first") == {*word, end}
    assert found(text, "all") == {*word, *range(end, longest)}
    assert found("a photo of a person", "all") == set()


def test_a_training_writes_an_overlay_for_each_hazard(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_lists(monkeypatch, tmp_path)
    place = shortened("forget-me-not", tmp_path)
    out = train(str(place), str(tiny_model), device="cpu", runs=tmp_path / "runs")
    card = model_card(str(tiny_model))
    found = {path.stem: overlay.find(path, card) for path in out.glob("*.safetensors")}
    assert set(found) == {"nudity", "bloody", "horror"}
    own = Session(card, 42, "cpu", "float32", tmp_path).engine.unet.state_dict()
    learnt = load_file(out / "nudity.safetensors")
    parameters = forget_me_not.read_settings("forget-me-not", "mini").tuning.parameters
    assert set(learnt) == set(names_in(parameters, own))
    assert any(not torch.equal(learnt[n].float(), own[n].half().float()) for n in learnt)
