"""The closed form: its identities, the formula itself, and which states of a text it sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from livo_bench.engines import diffusion
from livo_bench.engines.denoiser import of_diffusion
from livo_bench.engines.diffusion import Diffusion
from livo_bench.methods.concept_edit import (
    States,
    Weighting,
    edited_weights,
    joint,
    solve,
    transformation,
)
from livo_bench.methods.training.parameters import names_in

D = 6
PAPER = Weighting("to-end", "all", s_e=1.0, s_p=0.1, lam=0.5)
PRESENT = replace(PAPER, edited="last", preserved="last")


@pytest.fixture(scope="module")
def engine(tiny_weights: Path) -> Diffusion:
    return diffusion.load(tiny_weights / "sd", "cpu", "float32")


def states(count: int, seed: int) -> States:
    return np.random.default_rng(seed).normal(size=(count, D))


def direct(
    own: States, concepts: States, targets: States, preserved: States, weighting: Weighting
) -> States:
    """The formula as it is printed, for one layer, term by term."""
    numerator = weighting.lam * own
    denominator = weighting.lam * np.eye(own.shape[1])
    for c, t in zip(concepts, targets, strict=True):
        v = own @ t
        numerator = numerator + weighting.s_e * np.outer(v, c)
        denominator = denominator + weighting.s_e * np.outer(c, c)
    for c in preserved:
        numerator = numerator + weighting.s_p * np.outer(own @ c, c)
        denominator = denominator + weighting.s_p * np.outer(c, c)
    inverse: np.ndarray = np.linalg.inv(denominator)
    return numerator @ inverse


def test_one_solve_gives_every_layer_what_the_formula_gives_it() -> None:
    concepts, targets, preserved = states(4, 0), states(4, 1), states(9, 2)
    m = solve(concepts, targets, preserved, PAPER)
    for seed in (3, 4):
        own = np.random.default_rng(seed).normal(size=(seed, D))
        expected = direct(own, concepts, targets, preserved, PAPER)
        np.testing.assert_allclose(own @ m, expected, rtol=1e-10, atol=1e-12)


def test_nothing_to_edit_leaves_the_weights_as_they_are() -> None:
    none = np.empty((0, D))
    np.testing.assert_allclose(solve(none, none, states(5, 0), PAPER), np.eye(D), atol=1e-12)
    np.testing.assert_array_equal(solve(none, none, none, PAPER), np.eye(D))
    same = states(3, 1)
    np.testing.assert_allclose(solve(same, same, none, PAPER), np.eye(D), atol=1e-12)


def test_one_pair_alone_is_mapped_exactly_and_what_is_orthogonal_stays() -> None:
    [c], [t] = states(1, 0), states(1, 1)
    m = solve(c[None], t[None], np.empty((0, D)), replace(PAPER, s_p=0.0, lam=1e-10))
    np.testing.assert_allclose(m @ c, t, rtol=1e-8)
    x = states(1, 2)[0]
    orthogonal = x - c * (x @ c) / (c @ c)
    np.testing.assert_allclose(m @ orthogonal, orthogonal, atol=1e-5)


def test_preserved_states_move_less_the_more_they_count() -> None:
    concepts, targets, preserved = states(2, 0), states(2, 1), states(2, 2)

    def shift(s_p: float) -> float:
        m = solve(concepts, targets, preserved, replace(PAPER, s_p=s_p))
        return float(np.abs(preserved @ m.T - preserved).max())

    assert shift(100.0) < 0.05 * shift(0.0)


def embedded(engine: Diffusion, text: str) -> States:
    found: States = engine.embed(text).double().numpy()
    return found


def test_states_run_from_the_last_word_of_each_text_to_the_end(engine: Diffusion) -> None:
    m = transformation(of_diffusion(engine), {"a doctor": {"a male person": 1.0}}, ["nurse"], PAPER)
    # Start, words, end; padding to 24. The longer text leaves 21 states from its last word.
    concepts = embedded(engine, "a doctor")[2:23]
    targets = embedded(engine, "a male person")[3:24]
    preserved = [embedded(engine, text) for text in ("", "nurse", "a male person")]
    expected = solve(concepts, targets, np.concatenate(preserved), PAPER)
    np.testing.assert_allclose(m, expected, atol=1e-9)


def test_only_the_last_words_state_takes_part_where_it_is_asked_for(engine: Diffusion) -> None:
    edit = {"a doctor": {"a doctor": 1.0, "white": -0.5, "black": 0.5}}
    m = transformation(of_diffusion(engine), edit, ["a doctor", "a nurse"], PRESENT)
    doctor, white, black = (
        embedded(engine, text)[place]
        for text, place in (("a doctor", 2), ("white", 1), ("black", 1))
    )
    # The empty text has no word: its start stands in. An edited concept is not preserved.
    kept = [("", 0), ("a nurse", 2), ("white", 1), ("black", 1)]
    preserved = np.stack([embedded(engine, text)[place] for text, place in kept])
    target = doctor - 0.5 * white + 0.5 * black
    expected = solve(doctor[None], target[None], preserved, PAPER)
    np.testing.assert_allclose(m, expected, atol=1e-9)


def test_an_edit_of_nothing_gives_back_the_models_weights(engine: Diffusion) -> None:
    own = engine.unet.state_dict()
    weights = edited_weights(
        engine.unet, transformation(of_diffusion(engine), {}, ["a doctor"], PAPER)
    )
    assert list(weights) == names_in("cross-attn", own)
    for name, weight in weights.items():
        assert weight.dtype == own[name].dtype
        torch.testing.assert_close(weight, own[name], rtol=0, atol=1e-6)


def test_edited_keys_and_values_answer_a_concept_like_its_target(engine: Diffusion) -> None:
    exact = replace(PRESENT, s_p=0.0, lam=1e-9)
    m = transformation(of_diffusion(engine), {"doctor": {"nurse": 1.0}}, [], exact)
    own = engine.unet.state_dict()
    doctor, nurse = (engine.embed(text)[1] for text in ("doctor", "nurse"))
    for name, weight in edited_weights(engine.unet, m).items():
        torch.testing.assert_close(weight @ doctor, own[name] @ nurse, rtol=1e-3, atol=1e-4)


def test_a_joint_edit_is_all_edits_together(engine: Diffusion) -> None:
    edits = [{"doctor": {"": 1.0}}, {"a nurse": {"a nurse": 1.0, "male": 0.3}}]
    both = joint(edits)
    assert both == {"doctor": {"": 1.0}, "a nurse": {"a nurse": 1.0, "male": 0.3}}
    # What one edit preserves is not preserved where the other edits it.
    m = transformation(of_diffusion(engine), both, ["doctor", "a nurse"], PRESENT)
    pairs = [
        (embedded(engine, "doctor")[1], embedded(engine, "")[0]),
        (embedded(engine, "a nurse")[2],) * 2,
    ]
    concepts, targets = (np.stack(side) for side in zip(*pairs, strict=True))
    targets[1] += 0.3 * embedded(engine, "male")[1]
    preserved = np.stack([embedded(engine, "")[0], embedded(engine, "male")[1]])
    np.testing.assert_allclose(m, solve(concepts, targets, preserved, PAPER), atol=1e-9)
