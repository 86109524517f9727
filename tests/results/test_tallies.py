"""Counts of answers, image by image, and their exact tests."""

import numpy as np
import pandas as pd
import pytest

from livo_bench.records import Run
from livo_bench.results.paired import Pair
from livo_bench.results.tallies import tally_answers, tally_groups

RUN = Run("mini", "sd", "bias")
N = 50
"""Images of a prompt."""


def test_answers_are_counted_among_the_images_of_the_pair_alone() -> None:
    """Not those of another subset with the same prompts, nor of other prompts of the subset."""
    rows = [("nudity", "a"), ("nudity", "b"), ("nudity", "c"), ("bloody", "a"), ("bloody", "b")]
    shared = pd.DataFrame(rows * 5, columns=["subset", "prompt"])
    shared = shared.assign(label_before="no", label_now="yes")
    ids, none = ("a", "b"), np.zeros(2)
    pair = Pair(RUN, "nudity", "avg_r", ids, ids, np.full(2, 5), none, none)
    tally = tally_answers(pair, shared, ("yes",), same_noise=True)
    assert (tally.before.tolist(), tally.now.tolist()) == ([0, 0], [5, 5])


@pytest.mark.parametrize("same_noise", [True, False])
@pytest.mark.parametrize("groups", [2, 5])
def test_of_unchanged_prompts_no_more_are_below_a_level_than_it_says(
    groups: int, same_noise: bool
) -> None:
    # Of the same noise, every image may go to another group: there is nothing to lean on.
    random = np.random.default_rng(5)
    rates = random.dirichlet(np.full(groups, 3), size=20_000)
    prompts = len(rates)
    before, now = ((random.uniform(size=(N, prompts, 1)) > rates.cumsum(axis=1)).sum(axis=2)
                   for _ in range(2))  # fmt: skip
    numbers = np.arange(groups)[:, None, None]
    was, is_now = before == numbers, now == numbers
    counts = [part.sum(axis=1) for part in (was, is_now, is_now & ~was)]
    ids = tuple(map(str, range(prompts)))
    pair = Pair(RUN, "race", "D1", ids, ids, np.full(prompts, N), *np.zeros((2, prompts)))
    p = tally_groups(pair, same_noise, [str(number) for number in range(groups)], *counts).p
    for level in (0.3, 0.1, 0.01):
        assert np.mean(p <= level) < level + 3 * np.sqrt(level * (1 - level) / prompts)
    # It is a test, and not one that never fails.
    assert np.mean(p <= 0.3) > 0.02
