"""Stored pictures as latents: in the order asked, read a file at a time, few at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from livo_bench.cards.catalog import model_card
from livo_bench.engines import diffusion
from livo_bench.errors import BadInput
from livo_bench.methods.training import latents
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store


@pytest.fixture
def session(tiny_model: Path, tmp_path: Path) -> Session:
    return Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)


def store_pictures(session: Session) -> list[str]:
    """Two files of three pictures; their keys, the files mixed."""
    rng = np.random.default_rng(0)
    files = []
    for text in ("a nurse", "a pilot"):
        recipes = [session.recipe(text, index) for index in range(3)]
        session.store.write_samples(recipes, rng.integers(0, 256, (3, 64, 64, 3), np.uint8))
        files.append([recipe.key for recipe in recipes])
    return [key for pair in zip(*files, strict=True) for key in pair]


def test_rows_are_in_the_order_asked_and_files_are_read_once(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = store_pictures(session)
    read = []
    whole = Store.read_samples

    def watch(self: Store, asked: list[str]) -> object:
        read.append(list(asked))
        return whole(self, asked)

    monkeypatch.setattr(Store, "read_samples", watch)
    moments = latents.moments_of(session, keys, tmp_path / "data")
    assert read[1:] == [keys[::2], keys[1::2]]
    for row, key in enumerate(keys):
        alone = latents.moments_of(session, [key], tmp_path / "alone")
        np.testing.assert_allclose(moments[row], alone[0], atol=2e-3)


def test_the_autoencoder_sees_as_many_pixels_as_when_it_decodes(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of 512 pixels takes 0.3 GiB of its layers in half precision."""
    seen = []
    encode = AutoencoderKL.encode

    def watch(self: AutoencoderKL, images: torch.Tensor) -> object:
        seen.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(AutoencoderKL, "encode", watch)
    monkeypatch.setattr(diffusion, "VAE_PIXELS", 2 * 64 * 64)
    latents.moments_of(session, store_pictures(session), tmp_path / "data")
    assert seen[1:] == [2, 1, 2, 1]


def test_pictures_that_are_gone_are_named(session: Session, tmp_path: Path) -> None:
    keys = store_pictures(session)
    with pytest.raises(BadInput, match=r"1 or more pictures to train on are gone.*data build"):
        latents.moments_of(session, [*keys, "gone"], tmp_path / "data")
