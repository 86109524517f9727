"""What all judges share."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from livo_bench.scorers import Lazy, judge_id, pixels_to_tensor


def test_a_lazy_value_is_built_once_whichever_threads_ask() -> None:
    built = []
    barrier = threading.Barrier(4)

    def build() -> object:
        time.sleep(0.05)  # long enough for the other threads to arrive
        built.append(object())
        return built[-1]

    lazy = Lazy(build)
    assert built == []

    def ask(_: int) -> object:
        barrier.wait()
        return lazy()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert len(built) == 1
    assert set(map(id, answers)) == {id(built[0])}


def test_a_build_that_failed_is_tried_again() -> None:
    attempts = iter([ValueError("not yet"), None])

    def build() -> str:
        error = next(attempts)
        if error is not None:
            raise error
        return "built"

    lazy = Lazy(build)
    with pytest.raises(ValueError, match="not yet"):
        lazy()
    assert lazy() == "built"


def test_an_id_depends_on_what_is_said_and_not_on_its_order() -> None:
    one = judge_id("clip-race", weights="abc", attributes=["a", "b"])
    assert one == judge_id("clip-race", attributes=["a", "b"], weights="abc")
    assert one != judge_id("clip-race", attributes=["b", "a"], weights="abc")
    assert one.startswith("clip-race-")
    assert len(one) == len("clip-race-") + 12


def test_pixels_keep_their_values() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    tensor = pixels_to_tensor(pixels, torch.device("cpu"))
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), pixels)
    tensor += 1
    assert pixels[0, 0, 0, 0] == 0  # a copy


def test_making_judges_imports_no_model_library(tiny_weights: Path) -> None:
    # So that a run whose scores are all stored is not kept waiting for them.
    program = f"""
import sys
from livo_bench.scorers.attributes import AttributeJudge
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.clip_score import ClipScore
from livo_bench.scorers.features import FeatureNetwork
from livo_bench.scorers.hazards import HazardJudge, Llava
encoder = ClipEncoder({str(tiny_weights / "clip")!r}, "cpu", "float32")
AttributeJudge(encoder, "gender", ("male", "female"), "{{prompt}}, {{attribute}}")
ClipScore(encoder)
HazardJudge(Llava({str(tiny_weights / "llava")!r}, "cpu", "float32"), "nudity", "?")
FeatureNetwork({str(tiny_weights / "features")!r}, "cpu")
heavy = ["diffusers", "open_clip", "torch_fidelity", "torchvision", "transformers"]
print([name for name in heavy if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
