"""How fast images could be made at most: a model's arithmetic over a device's measured rate."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from livo_bench.engines.diffusion import Diffusion
from livo_bench.records import Recipe

SIDE = 8192
"""Of the square matrices: their product fills any device, and takes 1.4 ms at 790 TFLOP/s."""
REPEATS = 20


def matrix_rate(device: str, dtype: str, side: int = SIDE) -> float:
    """Measure a device's rate of dense matrix products, in FLOP/s.

    Args:
        device: As torch names it.
        dtype: Of the matrices, which hold random numbers: zeros would draw less power and run
            faster than any model can.
        side: Of the matrices.
    """
    number = getattr(torch, dtype)
    left, right = (torch.randn(side, side, device=device).to(number) for _ in range(2))
    torch.matmul(left, right)
    _wait(device)
    started = time.perf_counter()
    for _ in range(REPEATS):
        torch.matmul(left, right)
    _wait(device)
    return 2 * side**3 * REPEATS / (time.perf_counter() - started)


def flops_of(engine: Diffusion, recipe: Recipe) -> int:
    """Count the floating-point operations of one image, all of its steps and its decoding.

    Matrix products, convolutions and attention are counted, a multiplication and an addition as
    two; texts that were embedded before are not. It takes making the image.
    """
    # Compiled kernels do not tell what they compute.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        engine.render([recipe])
    return counter.get_total_flops()


def _wait(device: str) -> None:
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)
