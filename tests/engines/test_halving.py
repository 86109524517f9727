"""Batches and a device that has room for so many images."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from livo_bench.engines.halving import Halving
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import Recipe

BASE = Recipe("tiny", "a photo of a doctor", 0, "", 3.0, "dpmsolver++", 6, 64, "float16")
CPU = torch.device("cpu")


def batch(images: int) -> list[Recipe]:
    return [replace(BASE, seed=number) for number in range(images)]


@dataclass
class Device:
    """One that draws the number of an image, as long as a batch is no longer than its room."""

    room: int
    asked: list[int] = field(default_factory=list)
    """Lengths of the batches it was asked for."""

    def draw(self, recipes: Sequence[Recipe]) -> Pixels:
        self.asked.append(len(recipes))
        if len(recipes) > self.room:
            raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
        return np.array([recipe.seed for recipe in recipes], np.uint8).reshape(-1, 1, 1, 1)


@pytest.fixture(autouse=True)
def emptied(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that the memory is emptied."""
    found: list[None] = []
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: found.append(None))
    return found


def numbers(images: Pixels) -> list[int]:
    return [int(number) for number in images.ravel()]


def test_a_batch_that_fits_is_drawn_at_once(emptied: list[None]) -> None:
    device, halving = Device(room=7), Halving()
    assert numbers(halving.render(batch(7), device.draw, CPU)) == [*range(7)]
    assert (device.asked, halving.most, emptied) == ([7], 0, [])


@pytest.mark.parametrize(
    ("room", "asked"),
    [(6, [7, 3, 3, 1]), (2, [7, 3, 1, 1, 1, 1, 1, 1, 1]), (1, [7, 3, 1, 1, 1, 1, 1, 1, 1])],
)
def test_one_that_does_not_is_halved_until_it_fits_and_keeps_its_order(
    room: int, asked: list[int], emptied: list[None]
) -> None:
    device = Device(room)
    assert numbers(Halving().render(batch(7), device.draw, CPU)) == [*range(7)]
    assert device.asked == asked
    assert len(emptied) == sum(length > room for length in asked)


def test_later_batches_stay_halved_without_another_try() -> None:
    device, halving = Device(room=4), Halving()
    halving.render(batch(8), device.draw, CPU)
    device.asked.clear()
    assert numbers(halving.render(batch(6), device.draw, CPU)) == [*range(6)]
    assert numbers(halving.render(batch(3), device.draw, CPU)) == [*range(3)]
    assert device.asked == [4, 2, 3]


def test_one_that_fits_no_longer_is_halved_again() -> None:
    device, halving = Device(room=4), Halving()
    halving.render(batch(8), device.draw, CPU)
    device.room = 2
    assert numbers(halving.render(batch(8), device.draw, CPU)) == [*range(8)]
    assert halving.most == 2


def test_an_image_that_does_not_fit_alone_is_named_with_what_helps() -> None:
    device = Device(room=0)
    with pytest.raises(BadInput) as caught:
        Halving().render(batch(4), device.draw, CPU)
    assert device.asked == [4, 2, 1]
    assert caught.value.message == (
        "One image of 64 pixels in float16 does not fit into the memory of cpu: "
        "Tried to allocate 20.00 GiB."
    )
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_what_else_goes_wrong_is_no_reason_to_halve() -> None:
    halving = Halving()

    def draw(_: Sequence[Recipe]) -> Pixels:
        raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="a kernel failed"):
        halving.render(batch(4), draw, CPU)
    assert halving.most == 0
