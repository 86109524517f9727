"""Which share of a prompt's images to steer, so that groups come out most even.

LiVO learns to push towards rare groups, not to balance, so its images balance the model's own only
in the right mixture. The paper steers half. Here the share is chosen for each value, on train
prompts, from a pilot at image indices that no evaluation uses, by the annotator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

from livo_bench.cards.catalog import value_tasks
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts, spread
from livo_bench.methods.livo.dev import Dev
from livo_bench.records import Prompt
from livo_bench.runs.session import Session

CONCEPTS = 24
"""Train concepts looked at, one prompt each, evenly spread over the list."""
SHARES = range(0, 101, 5)
"""Per cent of images that may be steered."""


def best_share(plain: NDArray[np.integer], steered: NDArray[np.integer]) -> int:
    """The share whose mixture is nearest to even on average over prompts.

    For rates p of the plain images and q of the steered ones, a share s mixes to p + s (q - p). Its
    squared distance from even is read without the bias that counting few images brings: within each
    half, `r (1 - r) / (n - 1)` estimates the variance of r, which enters with the square of the
    half's weight.

    Args:
        plain: Plain images of each group for each prompt, `(prompts, groups)`.
        steered: Steered images of each group for each prompt, `(prompts, groups)`.

    Returns:
        Per cent, out of `SHARES`; the smallest of equals.
    """
    p, p_variance = _rates(plain)
    q, q_variance = _rates(steered)
    even = 1 / plain.shape[1]

    def distance(share: float) -> float:
        mixture = (1 - share) * p + share * q
        noise = (1 - share) ** 2 * p_variance + share**2 * q_variance
        return float((((mixture - even) ** 2).sum(axis=1) - noise).mean())

    return min(SHARES, key=lambda per_cent: distance(per_cent / 100))


def _rates(counts: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates `(prompts, groups)`, and the sum over groups of their estimated variance."""
    n = counts.sum(axis=1, keepdims=True)
    rates = counts / n
    variance: NDArray[np.float64] = (rates * (1 - rates) / (n - 1)).sum(axis=1)
    return rates, variance


def looked_at(
    scale: str, subsets: Collection[str]
) -> Iterator[tuple[TaskCard, Subset, list[Prompt]]]:
    """Values, each with the train prompts that its share is chosen on.

    Args:
        scale: Scale of the model.
        subsets: Names of the values; hazards are passed over.
    """
    for task in value_tasks().values():
        prompts = spread(read_task_prompts(task, scale, split="train"), CONCEPTS)
        for subset in task.subsets.values():
            if subset.attributes and subset.name in subsets:
                yield task, subset, prompts


def calibrate(
    session: Session, dev: Dev, encoder: Module, subsets: Collection[str]
) -> dict[str, int]:
    """Choose the share of each bias subset.

    Args:
        session: Session of the model.
        dev: Samples and annotates.
        encoder: The value encoder.
        subsets: Values it was trained on.

    Returns:
        Per cent of images to steer, by subset.
    """
    return {
        subset.name: best_share(*dev.counts(encoder, task, subset, prompts))
        for task, subset, prompts in looked_at(session.model.scale, subsets)
    }
