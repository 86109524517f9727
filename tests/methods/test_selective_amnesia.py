"""Selective Amnesia: the Fisher pass and its file, what holds the weights, the way to overlays."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from short_trainings import shorten_lists, shortened

from livo_bench.cards.catalog import DATA, model_card
from livo_bench.cards.wording import hazard_words
from livo_bench.engines import overlay
from livo_bench.errors import BadInput
from livo_bench.methods import selective_amnesia
from livo_bench.methods.training import fisher
from livo_bench.methods.training.finetuning import Finetuning, Settings
from livo_bench.methods.training.own_pictures import OwnPictures
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import Training
from livo_bench.runs.session import Session

HAZARDS = {"nudity", "bloody", "horror"}
SETTINGS = Settings("cross-attn", 3, 2, 1e-3, 0.01, "no", gradient_checkpointing=False)


@pytest.fixture
def tuning(tiny_model: Path, tmp_path: Path) -> Finetuning:
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)
    training = Training("learner", "tiny", session, 0, session.runs / "out")
    return Finetuning(training, SETTINGS, ["a person", "a chef"])


@pytest.fixture
def pictures() -> OwnPictures:
    moments = np.random.default_rng(0).random((3, 2, 4, 8, 8)).astype(np.float16)
    return OwnPictures(moments, [[0, 2], [1, 2]])


def test_information_is_counted_once_a_training(
    tuning: Finetuning, pictures: OwnPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fisher.of(tuning, pictures, 3)
    assert [each.shape for each in found] == [p.shape for p in tuning.learning.values()]
    assert all((each >= 0).all() for each in found)
    assert any((each > 0).any() for each in found)
    assert all(parameter.grad is None for parameter in tuning.learning.values())

    def counted_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(fisher, "information", counted_again)
    for each, again in zip(found, fisher.of(tuning, pictures, 3), strict=True):
        assert torch.equal(each, again)


def test_a_damaged_file_is_made_again_and_is_the_same(
    tuning: Finetuning, pictures: OwnPictures, caplog: pytest.LogCaptureFixture
) -> None:
    # A copy, for what is read may lie in the file that is about to be damaged.
    found = [each.clone() for each in fisher.of(tuning, pictures, 3)]
    [path] = (tuning.training.out / "checkpoints").glob("fisher.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        again = fisher.of(tuning, pictures, 3)
    assert "fisher.safetensors is damaged" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_information_of_all_diffusion_steps_is_about_as_large_as_that_of_a_few(
    tuning: Finetuning, pictures: OwnPictures
) -> None:
    sizes = []
    for times in (10, 40):
        (tuning.training.out / "checkpoints" / "fisher.safetensors").unlink(missing_ok=True)
        sizes.append(sum(float(each.sum()) for each in fisher.of(tuning, pictures, times)))
    assert 0.2 < sizes[0] / sizes[1] < 5


def test_weights_are_held_by_what_they_matter() -> None:
    own = [torch.zeros(3), torch.zeros(2, 2)]
    information = [torch.tensor([1.0, 0.0, 2.0]), torch.ones(2, 2)]
    assert fisher.moved(own, own, information).item() == 0
    now = [torch.tensor([1.0, 5.0, 2.0]), torch.full((2, 2), 0.5)]
    assert fisher.moved(now, own, information).item() == pytest.approx(1 + 8 + 1)


def test_what_is_replayed_names_no_hazard() -> None:
    for scale in ("mini", "sd"):
        prompts = selective_amnesia.people(scale)
        assert {prompt.split for prompt in prompts} == {"train"}
        assert not [p.text for p in prompts if hazard_words().search(p.text)]


def test_a_training_writes_an_overlay_for_each_hazard_and_goes_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_lists(monkeypatch, tmp_path)
    place = shortened("selective-amnesia", tmp_path)
    options = {"device": "cpu", "runs": tmp_path / "runs"}
    out = train(str(place), str(tiny_model), **options)  # type: ignore[arg-type]
    card = model_card(str(tiny_model))
    files = {path.stem: path.read_bytes() for path in out.glob("*.safetensors")}
    assert set(files) == HAZARDS
    for hazard in HAZARDS:
        overlay.find(out / f"{hazard}.safetensors", card)
    (out / "horror.safetensors").unlink()
    (out / "checkpoints" / "horror.safetensors").unlink()
    train(str(place), str(tiny_model), **options)  # type: ignore[arg-type]
    assert {path.stem: path.read_bytes() for path in out.glob("*.safetensors")} == files


def test_a_lora_is_refused_for_it_has_no_information_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "lesser"
    folder.mkdir()
    for name in ("card.toml", "training.toml"):
        text = (DATA / "methods" / "selective-amnesia" / name).read_text("utf-8")
        text = text.replace('name = "selective-amnesia"', 'name = "lesser"')
        (folder / name).write_text(text.replace("steps =", "rank = 4\nsteps ="))
    with pytest.raises(BadInput, match=r"rank is 4; expected none"):
        selective_amnesia.read_settings(str(folder), "mini")
