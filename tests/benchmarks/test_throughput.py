"""What a device could do at most: counted operations, and the rate of its products."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from throughput import flops_of, matrix_rate

from livo_bench.cards.catalog import model_card
from livo_bench.runs.session import Session


def test_operations_of_an_image_grow_with_its_steps(tiny_model: Path, tmp_path: Path) -> None:
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)
    engine, base = session.engine, session.recipe("a photo of a doctor", 0)
    engine.render([base])  # embeds the texts, which later images of a prompt need not
    two, three, four = (flops_of(engine, replace(base, steps=steps)) for steps in (2, 3, 4))
    assert three - two == four - three > 0
    assert two > 2 * (three - two)  # the decoder's are the rest


def test_the_rate_of_a_device_is_that_of_its_products() -> None:
    small = matrix_rate("cpu", "float32", side=64)
    assert 1e6 < small < 1e15
