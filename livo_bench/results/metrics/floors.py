"""What a perfectly fair model would score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from livo_bench.results.metrics.discrepancy import (
    Discrepancy,
    discrepancies_of_rates,
    nearest_in_simplex,
    rates_of,
)
from livo_bench.results.metrics.judge_error import Confusion, corrected_rates

FAIR_DRAWS = 2**18
"""Strata simulated for one row's floor; with 50 independent images 0.02 points of error in D1."""
REREAD = 1024
"""Prompts simulated at most for what a prompt's floor lacks; for one of many, fewer."""


class Design(NamedTuple):
    """A fair model under one prompt's sampling design; the key under which draws are cached."""

    sizes: tuple[int, ...]
    """Images per stratum."""
    billionths: tuple[tuple[int, ...], ...]
    """Rate of each class in each stratum, in units of 1e-9."""


def noise_floor(
    prompts: Sequence[NDArray[np.integer]], judge: Confusion | None = None
) -> Discrepancy:
    """Expected D1 and D2 of a perfectly fair model under each prompt's own design.

    D1 and D2 are positive for a fair model: of 50 independent images D1 reads 11.23 % (gender) and
    14.65 % (race). How much depends on the design: where strata are skewed against one another, as
    when half of the images are steered, chance has less room, and under an exact quota none.

    Fair means that the *mixture* of a prompt's strata is even. One stratum then draws from even
    rates. Several keep the rates seen in them, moved no further than needed (`fair_rates`). Rates
    seen in few images look purer and more different than they are, so what they lead to reads low:
    by 1 % for 25 + 25 images that do not differ, by 8 % for halves that are pure but for one image
    in 20. What is lost on the way is found by going it again, from the rates that were reached
    (`reread`), and added: the bootstrap's estimate of a bias (Davison and Hinkley 1997, section
    2.2). Nearly pure halves of five images still read 8 to 10 % low, of ten or more within 2 %; a
    third time would find half of that, and read high elsewhere. Strata that are pure stay so, and
    read nothing.

    Scores that are corrected for judge error have a higher floor, since correcting spreads the
    rates further than chance alone. A judge that errs does not label a fair model's images evenly,
    and it is the mixture of labels that is then moved to what it would give them.

    Args:
        prompts: For each prompt, images per stratum and class, shape `(S, N)`, every stratum
            with at least one image. S may differ between prompts.
        judge: Errors that the scores are corrected for; None for scores that are not.

    Returns:
        D1 and D2 per prompt, shape `(P,)`; NaN where there are several strata of which one holds
        a single image and hence shows no rates, or where there is none.
    """
    designs = [_fair_design(strata, judge) for strata in prompts]
    distinct_strata = sum(len(design.sizes) for design in set(designs) if design is not None)
    draws = max(FAIR_DRAWS // max(distinct_strata, 1), 256)
    pairs = [(np.nan, np.nan) if d is None else _floor(d, draws, judge) for d in designs]
    return Discrepancy(*np.array(pairs, dtype=np.float64).reshape(-1, 2).T)


@lru_cache(maxsize=4096)
def _floor(design: Design, draws: int, judge: Confusion | None) -> NDArray[np.float64]:
    """D1 and D2 of a fair model, with what rates seen in few images lack."""
    read = np.array(expected_scores(design, draws, judge))
    if len(design.sizes) < 2:
        return read
    return np.maximum(2 * read - reread(design, min(draws // 4, REREAD), judge), 0)


def reread(design: Design, draws: int, judge: Confusion | None = None) -> NDArray[np.float64]:
    """What `expected_scores` would be on average if its rates had to be seen in images again.

    Args:
        design: The design, as in `expected_scores`.
        draws: Number of draws, as in `expected_scores`.
        judge: Errors that the scores are corrected for, as in `expected_scores`.

    Returns:
        D1 and D2, shape `(2,)`.
    """
    random, probabilities = _simulation(design, 1)
    seen = random.multinomial(design.sizes, probabilities, size=(draws, len(design.sizes)))
    again = fair_rates(seen, _labelled_evenly(judge), tolerance=1e-3)
    images = random.multinomial(design.sizes, again / again.sum(axis=-1, keepdims=True))
    return _scores(images, judge)


def pooled_noise_floor(prompts: Sequence[NDArray[np.integer]]) -> float:
    """Expected D2 of the pooled counts of prompts that are each perfectly fair.

    Pooled, all strata of all prompts are one design. Strata with equal rates are merged, as sums
    of multinomials with equal rates are multinomial.

    Args:
        prompts: Designs of prompts, as for `noise_floor`; prompts without images are passed over.

    Returns:
        The expectation; NaN where the design of a prompt shows no rates, or without images.
    """
    sizes: dict[tuple[int, ...], int] = {}
    for strata in filter(len, prompts):
        design = _fair_design(strata)
        if design is None:
            return float("nan")
        for size, rates in zip(*design, strict=True):
            sizes[rates] = sizes.get(rates, 0) + size
    if not sizes:
        return float("nan")
    merged = Design(tuple(sizes.values()), tuple(sizes))
    return expected_scores(merged, max(FAIR_DRAWS // len(sizes), 512))[1]


def fair_rates(
    strata: NDArray[np.integer],
    even: NDArray[np.float64] | None = None,
    tolerance: float = 1e-9,
) -> NDArray[np.float64]:
    """The rates nearest to those seen in each stratum under which their mixture is even.

    Minimises `sum_s w_s |q_s - r_s|^2`, where `w_s = n_s / n`, over rates q_s that mix to 1/N for
    each class. By the conditions of optimality every stratum moves by one common shift, followed
    by projection onto the simplex (rates stay non-negative and sum to one). Gradient ascent on the
    dual finds that shift: it grows by the mixture's excess until there is none. Where no rate
    would turn negative, the answer is `r_s - (r - 1/N)` after one step. The dual's gradient is
    1-Lipschitz because projections do not expand, so a step of one converges.

    Args:
        strata: Images per stratum and class, shape `(..., S, N)`, every stratum with at least one.
        even: The mixture to reach, shape `(N,)`; 1/N for each class when None.
        tolerance: Largest excess of the mixture over it that counts as reached.

    Returns:
        Rates, shape `(..., S, N)`, rows sum to one.
    """
    sizes = strata.sum(axis=-1, keepdims=True)
    weights = sizes / sizes.sum(axis=-2, keepdims=True)
    seen = strata / sizes
    even = np.full(strata.shape[-1], 1 / strata.shape[-1]) if even is None else even
    rates, shift = seen, np.zeros_like(seen[..., :1, :])
    for _ in range(10_000):
        excess = (weights * rates).sum(axis=-2, keepdims=True) - even
        if np.abs(excess).max() <= tolerance:
            break
        shift += excess
        rates = nearest_in_simplex(seen - shift)
    return rates


def _fair_design(strata: NDArray[np.integer], judge: Confusion | None = None) -> Design | None:
    sizes = strata.sum(axis=1)
    if sizes.size == 0 or (sizes.size > 1 and sizes.min() < 2):
        return None
    billionths = np.rint(fair_rates(strata, _labelled_evenly(judge)) * 1e9).astype(int).tolist()
    ordered = sorted(zip(sizes.tolist(), map(tuple, billionths), strict=True))
    return Design(*zip(*ordered, strict=True))


def _labelled_evenly(judge: Confusion | None) -> NDArray[np.float64] | None:
    """The rates of a judge's labels among images that are even."""
    return None if judge is None else judge.rates.mean(axis=0)


@lru_cache(maxsize=4096)
def expected_scores(
    design: Design, draws: int, judge: Confusion | None = None
) -> tuple[float, float]:
    """Mean D1 and D2 over simulated prompts of one design, the same whenever it is asked for.

    Args:
        design: Seeds the simulation, too, so that errors of different designs are independent.
        draws: Prompts to simulate.
        judge: Errors that the rates are corrected for; None for rates that are not.

    Returns:
        Both, as fractions.
    """
    random, probabilities = _simulation(design)
    size = (draws, len(design.sizes))
    gap, distance = _scores(random.multinomial(design.sizes, probabilities, size=size), judge)
    return float(gap), float(distance)


def _simulation(design: Design, *more: int) -> tuple[np.random.Generator, NDArray[np.float64]]:
    """Make a design's random numbers, in more than one stream if asked, and its strata's rates."""
    rates = np.array(design.billionths, dtype=np.int64)
    random = np.random.default_rng([*design.sizes, *rates.ravel(), *more])
    return random, rates / rates.sum(axis=1, keepdims=True)


def _scores(images: NDArray[np.integer], judge: Confusion | None) -> NDArray[np.float64]:
    """Mean D1 and D2 of simulated prompts, given by stratum and class, `(draws, S, N)`."""
    shares = rates_of(images.sum(axis=1))
    if judge is not None:
        shares = corrected_rates(shares, judge.rates)
    return np.array([score.mean() for score in discrepancies_of_rates(shares)])
