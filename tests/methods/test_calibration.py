"""The share of images to steer: where the best mixture is known."""

import numpy as np
import pytest

from livo_bench.methods.livo.calibration import SHARES, best_share


@pytest.mark.parametrize(
    ("plain", "steered", "expected"),
    [
        ([[90, 10]], [[10, 90]], 50),
        ([[75, 25]], [[0, 100]], 35),  # 0.75 (1 - s) = 0.5 at a third
        ([[60, 40]], [[40, 60]], 50),
        ([[50, 50]], [[0, 100]], 0),
        ([[100, 0, 0, 0, 0]], [[0, 25, 25, 25, 25]], 80),
        ([[90, 10], [10, 90]], [[10, 90], [90, 10]], 50),
    ],
)
def test_the_best_mixture_is_found(
    plain: list[list[int]], steered: list[list[int]], expected: int
) -> None:
    assert best_share(np.array(plain), np.array(steered)) == expected


def test_counting_few_images_does_not_pull_the_share() -> None:
    rng = np.random.default_rng(0)
    chosen = [
        best_share(rng.multinomial(8, [0.75, 0.25], 400), rng.multinomial(8, [0.25, 0.75], 400))
        for _ in range(50)
    ]
    assert abs(np.mean(chosen) - 50) < 3
    # 0.6 - 0.5 s = 0.5 at 20 %; uncorrected, the smaller variance of a mixture pulls up to a half.
    uneven = [
        best_share(rng.multinomial(8, [0.6, 0.4], 400), rng.multinomial(8, [0.1, 0.9], 400))
        for _ in range(50)
    ]
    assert abs(np.mean(uneven) - 20) < 3
    assert set(chosen) | set(uneven) <= set(SHARES)
