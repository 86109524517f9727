"""Rendered data sets: picture i depends on (seed, i) alone, and a finished set is drawn once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from livo_bench.mini import pictures, world
from livo_bench.mini.drawing import Scene, draw

Sampler = Callable[[np.random.Generator], tuple[Scene, str]]


@pytest.mark.parametrize("sampler", [pictures.described, pictures.balanced])
def test_picture_depends_on_seed_and_number_alone(sampler: Sampler, tmp_path: Path) -> None:
    few = pictures.renders(sampler, 3, 7, tmp_path / "one")
    many = pictures.renders(sampler, 6, 7, tmp_path / "other")
    assert np.array_equal(few.pixels, many.pixels[:3])
    assert few.scenes == many.scenes[:3]
    assert few.captions == many.captions[:3]


def test_picture_is_the_scene_drawn_by_the_generator_that_sampled_it(tmp_path: Path) -> None:
    found = pictures.renders(pictures.described, 4, 7, tmp_path)
    for number in range(4):
        rng = np.random.default_rng([7, number])
        scene, caption = world.sample(rng)
        assert (found.scenes[number], found.captions[number]) == (scene, caption)
        assert np.array_equal(found.pixels[number], np.asarray(draw(scene, rng)))


def test_pictures_are_uint8_rgb_with_a_caption_each(tmp_path: Path) -> None:
    found = pictures.renders(pictures.described, 5, 7, tmp_path)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.shape == (5, pictures.SIZE, pictures.SIZE, 3)
    assert all(found.captions)
    assert pictures.renders(pictures.balanced, 5, 7, tmp_path).captions == [""] * 5


def test_finished_set_is_read_and_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pictures.renders(pictures.described, 5, 7, tmp_path)
    monkeypatch.setattr(pictures, "draw", refuse)
    again = pictures.renders(pictures.described, 5, 7, tmp_path)
    assert np.array_equal(again.pixels, first.pixels)
    assert (again.scenes, again.captions) == (first.scenes, first.captions)
    assert not again.pixels.flags.writeable


def test_other_sampler_seed_or_count_is_another_set(tmp_path: Path) -> None:
    sets = [(pictures.described, 2, 7), (pictures.balanced, 2, 7), (pictures.described, 2, 8)]
    pixels = [pictures.renders(*key, tmp_path).pixels for key in [*sets, sets[0]]]
    assert np.array_equal(pixels[0], pixels[3])
    assert not np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])


def test_killed_while_drawing_it_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pictures.renders(pictures.described, 4, 7, tmp_path / "whole").pixels
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "draw", refuse)
        with pytest.raises(RuntimeError, match="drawn"):
            pictures.renders(pictures.described, 4, 7, tmp_path / "torn")
    found = pictures.renders(pictures.described, 4, 7, tmp_path / "torn").pixels
    assert np.array_equal(found, expected)


def test_no_two_networks_see_the_same_pictures(tmp_path: Path) -> None:
    sets = (
        (pictures.described, pictures.GENERATOR_SEED),
        (pictures.balanced, pictures.JUDGE_SEED),
        (pictures.balanced, pictures.ANNOTATOR_SEED),
        (pictures.balanced, pictures.HELD_OUT_SEED),
    )
    # The same scene may come up twice, the same jitter does not.
    seen = {
        picture.tobytes()
        for sampler, seed in sets
        for picture in pictures.renders(sampler, 150, seed, tmp_path).pixels
    }
    assert len({seed for _, seed in sets}) == len(sets)
    assert len(seen) == 150 * len(sets)


def refuse(*_: object) -> None:
    raise RuntimeError("drawn again")
