"""An exam for methods and metrics: small tensors, and the numbers that the originals' formulas give
on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations

import numpy as np
import originals
import pytest
import torch
from torch import Tensor

from livo_bench.engines import concept_filter, noising
from livo_bench.engines.guidance import safe_latent_diffusion, semantic_guidance
from livo_bench.methods import (
    concept_ablation,
    dapt,
    debias_vl,
    diffusion_dpo,
    esd,
    fair_diffusion,
    forget_me_not,
    prompt_tuning,
    rece,
    reward_weighted,
    selective_amnesia,
)
from livo_bench.methods.concept_edit import Stacked, Weighting, solve
from livo_bench.methods.livo import loss as preference
from livo_bench.methods.livo.loss import Batch, Losses, squared_errors
from livo_bench.methods.training import fisher
from livo_bench.methods.training.finetuning import Noised
from livo_bench.records import (
    Principle,
    Prompt,
    Recipe,
    Request,
    SafetyGuidance,
    SemanticGuidance,
)
from livo_bench.results.metrics import is_and_fid, quality

D = 12


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def four(seed: int) -> list[np.ndarray]:
    """Losses of 40 samples near 0.1, as the UNet's are, in the order w, l, w_ref, l_ref."""
    reference = 0.1 + 0.02 * np.abs(normal(2, 40, seed=seed))
    moved = reference + 2e-3 * normal(2, 40, seed=seed + 1)
    return [*moved, *reference]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("c", [(1000.0, 500.0, 1.0, 0.5), (400.0, 400.0, 0.4, 2.4)])
def test_livo(seed: int, c: tuple[float, ...]) -> None:
    w, l, w_ref, l_ref = drawn = four(seed)  # noqa: E741
    batch = Batch(*(torch.full((40,), value, dtype=torch.float64) for value in c))
    ours = preference.loss("livo", Losses(*map(torch.from_numpy, drawn)), batch)
    assert ours.item() == pytest.approx(originals.livo(w, l, w_ref, l_ref, *c), rel=1e-12)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_livo_by_flow_matching(shift: float) -> None:
    w, l, noise = (normal(8, 4, 2, 2, seed=seed) for seed in range(3))  # noqa: E741
    said = [noise - picture + 0.3 * normal(8, 4, 2, 2, seed=9) for picture in (w, l, w, l)]
    said[0], said[1] = said[0] * 1.001, said[1] * 0.999  # what the token moves
    c, process = (1000.0, 500.0, 1.0, 0.5), noising.FlowNoise({"shift": shift})
    normals = torch.randn(8, generator=torch.Generator().manual_seed(1))
    times = process.times(8, torch.Generator().manual_seed(1))
    noisy, t, target = originals.flow(w, noise, normals.double().numpy(), shift)
    np.testing.assert_allclose(times / 1000, t, rtol=1e-6)
    made = process.noised_at(*map(torch.from_numpy, (w, noise, 1000 * t)))
    np.testing.assert_allclose(made.latents, noisy, rtol=1e-12)
    np.testing.assert_array_equal(made.targets, target)
    both = torch.cat([torch.from_numpy(noise - picture) for picture in (w, l)])
    errors = [
        squared_errors(torch.from_numpy(np.concatenate(said[side : side + 2])), both).chunk(2)
        for side in (0, 2)
    ]
    batch = Batch(*(torch.full((8,), value, dtype=torch.float64) for value in c))
    ours = preference.loss("livo", Losses(*errors[0], *errors[1]), batch)
    expected = originals.livo_by_flow([w, l], noise, said, *c)
    assert ours.item() == pytest.approx(expected, rel=1e-12)
    assert 0 < expected != originals.livo_by_flow([w, l], noise, [*said[2:], *said[2:]], *c)


@pytest.mark.parametrize("beta_dpo", [2000.0, 5000.0])
def test_diffusion_dpo_whose_beta_is_twice_ours(beta_dpo: float) -> None:
    w, l, w_ref, l_ref = drawn = four(3)  # noqa: E741
    half = torch.full((40,), beta_dpo / 2, dtype=torch.float64)
    zero = torch.zeros_like(half)
    ours = preference.loss(
        "dpo", Losses(*map(torch.from_numpy, drawn)), Batch(half, half, zero, zero)
    )
    assert ours.item() == pytest.approx(
        originals.diffusion_dpo(w, l, w_ref, l_ref, beta_dpo), rel=1e-12
    )


class Says:
    """A fine-tuning whose UNet says of each text what it is told."""

    def __init__(self, *says: np.ndarray) -> None:
        self.says = says

    def predict(self, noised: Noised, rows: Sequence[int]) -> Tensor:
        return torch.from_numpy(self.says[rows[0]])


def test_concept_ablation_whose_weight_is_the_number_of_channels() -> None:
    toxic, anchor, noise = normal(3, 2, 4, 8, 8, seed=18)
    noised = Noised(torch.zeros(2), torch.zeros(2), torch.from_numpy(noise))
    examples = [{"prompt": 0, "anchor": 1}] * 2
    ours = concept_ablation.loss(4.0, Says(toxic, anchor), noised, examples)  # type: ignore[arg-type]
    expected = originals.concept_ablation(toxic, anchor, noise)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_domain_adaptive_pretraining() -> None:
    said, noise = normal(2, 2, 4, 8, 8, seed=40)
    noised = Noised(torch.zeros(2), torch.zeros(2), torch.from_numpy(noise))
    ours = dapt.loss(Says(said), noised, [{"prompt": 0}] * 2)  # type: ignore[arg-type]
    assert ours.item() == pytest.approx(originals.diffusion(said, noise), rel=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_esd_of_the_paper_and_of_the_code_whose_guidance_is_one_more(eta: float) -> None:
    learnt, told, untold = normal(3, 2, 4, 8, 8, seed=20)
    aim = esd.target(torch.from_numpy(told), torch.from_numpy(untold), eta)
    ours = torch.nn.functional.mse_loss(torch.from_numpy(learnt), aim).item()
    assert ours == pytest.approx(originals.esd_paper(learnt, told, untold, eta), rel=1e-12)
    assert ours == pytest.approx(originals.esd(learnt, told, untold, eta + 1), rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_reward_weighted_likelihood(beta: float) -> None:
    said, noise, own, own_noise = (normal(6, 4, 8, 8, seed=s) for s in range(30, 34))
    rewards = np.random.default_rng(34).uniform(size=6)
    errors, kept = (
        torch.from_numpy(a - b).square().mean(dim=(1, 2, 3))
        for a, b in ((said, noise), (own, own_noise))
    )
    ours = reward_weighted.loss(errors, torch.from_numpy(rewards), kept, beta)
    expected = originals.reward_weighted(said, noise, rewards, own, own_noise, beta)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_soft_tokens_are_right_when_they_say_what_an_even_mixture_says() -> None:
    """Pictures of each group come as often as they are likely; there the loss is flat."""
    groups = normal(3, 4, 8, 8, seed=35)
    often = np.array([5, 1, 2])
    told = torch.from_numpy(np.repeat(groups, often, axis=0))
    best = torch.from_numpy(originals.prompt_tuning(groups, often / 8)).requires_grad_()
    prompt_tuning.loss(best.expand(8, -1, -1, -1), told, told, 1.0).backward()
    assert best.grad is not None
    assert best.grad.abs().max() < 1e-12


@pytest.mark.parametrize("tokens", [(4,), (2, 3, 7)])
def test_forget_me_not(tokens: tuple[int, ...]) -> None:
    """The released code learns from one picture at a time."""
    layers = [np.abs(normal(2, q, 9, seed=q)) for q in (16, 4, 1)]
    where = torch.zeros(1, 9, dtype=torch.bool)
    where[0, list(tokens)] = True
    ours = forget_me_not.loss([torch.from_numpy(layer)[None] for layer in layers], where)
    assert ours.item() == pytest.approx(originals.forget_me_not(layers, tokens), rel=1e-12)


def test_fisher_information() -> None:
    """Losses that are linear have the gradients that were drawn."""
    gradients = normal(5, 7, D, seed=21)
    theta = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    losses = ((theta @ torch.from_numpy(g) for g in picture) for picture in gradients)
    [ours] = fisher.information([theta], losses)
    np.testing.assert_allclose(ours.numpy(), originals.fisher(gradients), rtol=1e-12)


@pytest.mark.parametrize("c", [(1.0, 50.0), (0.5, 1000.0)])
def test_selective_amnesia(c: tuple[float, float]) -> None:
    surrogate, replay = (
        (normal(3, 4, 8, 8, seed=s), normal(3, 4, 8, 8, seed=s + 1)) for s in (1, 3)
    )
    shift, f, own = 0.1 * normal(D, seed=5), normal(D, seed=6) ** 2, normal(D, seed=7)
    settings = selective_amnesia.AmnesiaSettings(1, 1, 1, *c, tuning=None)  # type: ignore[arg-type]
    held = fisher.moved(*([torch.from_numpy(each)] for each in (own + shift, own, f)))
    forgetting, remembering = (
        torch.nn.functional.mse_loss(torch.from_numpy(said), torch.from_numpy(target))
        for said, target in (surrogate, replay)
    )
    ours = selective_amnesia.loss(forgetting, remembering, held, settings)
    expected = originals.selective_amnesia(surrogate, replay, shift, f, *c)
    assert ours.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("beta_dpo", [500.0, 5000.0])
def test_diffusion_dpo_from_what_both_unets_say(beta_dpo: float) -> None:
    targets = normal(12, 4, 8, 8, seed=21)
    targets[6:] = targets[:6]
    reference = targets + 0.3 * normal(12, 4, 8, 8, seed=22)
    said = reference + 2e-3 * normal(12, 4, 8, 8, seed=23)
    errors = [((each - targets) ** 2).mean(axis=(1, 2, 3)) for each in (said, reference)]
    (w, l), (w_ref, l_ref) = ((each[:6], each[6:]) for each in errors)  # noqa: E741
    own, base, target = map(torch.from_numpy, (said, reference, targets))
    ours = diffusion_dpo.loss(own, base, target, beta_dpo)
    expected = originals.diffusion_dpo(w, l, w_ref, l_ref, beta_dpo)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def scales(name: str) -> Weighting:
    return {
        "today": Weighting("last", "last", s_e=1.0, s_p=1.0, lam=0.5),
        "paper's time": Weighting("to-end", "all", s_e=1.0, s_p=0.1, lam=0.5),
    }[name]


@pytest.mark.parametrize(("when", "states"), [("today", 1), ("paper's time", 9)])
def test_uce_of_both_times(when: str, states: int) -> None:
    """Each concept has the state of its last word, or those from there to the end."""
    w = scales(when)
    pairs = [(normal(states, D, seed=i), normal(states, D, seed=i + 50)) for i in range(4)]
    kept, own = normal(7, D, seed=99), normal(5, D, seed=100)
    m = solve(np.concatenate([c for c, _ in pairs]), np.concatenate([t for _, t in pairs]), kept, w)
    expected = originals.uce(own, pairs, kept, w.s_e, w.s_p, w.lam)
    np.testing.assert_allclose(own @ m, expected, rtol=1e-9, atol=1e-12)


def test_rece_round_after_round() -> None:
    """Each round as the original has it: from the weights as they are, layer by layer."""
    settings = rece.ReceSettings(
        "word", "empty", Weighting("last", "last", s_e=1.0, s_p=0.1, lam=0.1), True, 3, 0.1
    )
    concept, target, kept = normal(2, D, seed=1), normal(2, D, seed=2), normal(4, D, seed=3)
    old = [normal(6, D, seed=10 + layer) for layer in range(4)]
    gram = sum(w.T @ w for w in old)
    m, reached = rece.hardened(Stacked(concept, target, kept), gram, settings)
    now = [originals.uce(w, [(concept, target)], kept, 1.0, 0.1, 0.1) for w in old]
    for _ in range(settings.rounds):
        again = np.array([originals.rece(old, now, c, settings.regular) for c in concept])
        now = [originals.uce(w, [(again, target)], kept, 1.0, 0.1, 0.1) for w in now]
    for before, after in zip(old, now, strict=True):
        np.testing.assert_allclose(before @ m, after, rtol=1e-8, atol=1e-10)
    assert len(reached) == settings.rounds
    assert all(0 <= share <= 1 for share in reached)


@pytest.mark.parametrize("groups", [2, 5])
def test_debias_vl(groups: int) -> None:
    ends = normal(6, groups, D, seed=4)
    ends /= np.linalg.norm(ends, axis=-1, keepdims=True)
    pairs = list(combinations(range(groups), 2))
    apart = np.concatenate([ends[:, i] - ends[:, j] for i, j in pairs])
    flat = [(p * groups + i, p * groups + j) for p in range(6) for i, j in pairs]
    expected = originals.debias_vl(ends.reshape(-1, D), flat, 500.0)
    np.testing.assert_allclose(debias_vl.solve(apart, 500.0), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("words", [1, 2, 6])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.3])
def test_safree(words: int, alpha: float) -> None:
    states, concepts = normal(10, D, seed=5), normal(3, D, seed=6)
    masked = normal(words, D, seed=7) + 2 * normal(1, D, seed=8)
    own = [torch.from_numpy(x) for x in (states, masked, concepts)]
    moved = concept_filter.turned(*own)
    kept = torch.ones(10, dtype=torch.bool)
    kept[1 : words + 1] = ~concept_filter.triggers(own[1], own[2], alpha)
    found = torch.where(kept[:, None], own[0], moved).numpy()
    # A word that stands alone has no others: the mean of nothing.
    with pytest.warns(RuntimeWarning) if words == 1 else nullcontext():
        expected = originals.safree(states, masked, concepts, alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("turn", [0.0, 0.3, 0.6, 1.0, 2.0])
def test_safree_sees_its_filter_for_as_many_steps(turn: float) -> None:
    states = normal(8, D, seed=11)
    turned = states + turn * normal(8, D, seed=12)
    dots = torch.nn.functional.cosine_similarity(torch.from_numpy(turned), torch.from_numpy(states))
    beta = 1 - dots.mean().item()
    assert concept_filter.steps_of(beta, 10) == originals.safree_steps(states, turned, 10)


def joined(predictions: np.ndarray) -> object:
    """A denoiser that says what it is told, branch by branch."""

    def unet(latents: Tensor, t: Tensor, text: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (torch.from_numpy(predictions.reshape(-1, *predictions.shape[2:])),)

    return unet


def test_sld_step_by_step() -> None:
    settings = SafetyGuidance("", 0, 20.0, 0.01, 0.5, 0.7)
    says = 0.05 * normal(3, 2, 4, 8, 8, seed=13)
    text = torch.zeros(2, 3, 4)
    predict = safe_latent_diffusion(joined(says), text, text[0], text[0], 7.5, settings)
    nu = np.zeros_like(says[0])
    for _ in range(4):
        ours = predict(torch.zeros(2, 4, 8, 8), torch.tensor(1)).numpy()
        expected, nu = originals.sld(*says, nu, 7.5, 20.0, 0.01, 0.5, 0.7)
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


def test_sega_step_by_step() -> None:
    settings = SemanticGuidance("a", "b", 0, 4.0, 0.9, 0.3, 0.6)
    says = normal(4, 2, 4, 8, 8, seed=14)
    text = torch.zeros(2, 3, 4)
    predict = semantic_guidance(joined(says), text, text[0], text, text, 7.5, settings)
    nu = np.zeros_like(says[0])
    for _ in range(4):
        ours = predict(torch.zeros(2, 4, 8, 8), torch.tensor(1)).numpy()
        expected, nu = originals.sega(*says, nu, 7.5, 4.0, 0.9, 0.3, 0.6)
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8)


def test_fair_diffusion_goes_from_one_group_to_the_other_which_are_drawn_evenly() -> None:
    settings = SemanticGuidance("", "", 0, 8.0, 0.8, 0.3, 0.6)
    method = fair_diffusion.FairDiffusion(settings, {}, only_uneven=False)
    base = Recipe("m", "a photo of a doctor", 0, "", 7.5, "dpmsolver++", 15, 64, "float32")
    prompt = Prompt("p", base.text, "doctor", "career", "", "eval")
    groups = ("male", "female")
    principle = Principle("bias", "gender", "gender equality", groups)
    e0, ep, *persons = 0.05 * normal(4, 1, 4, 8, 8, seed=41)
    says = dict(zip(groups, persons, strict=True))
    drawn = []
    for index in range(50):
        edit = method.resolve(Request(prompt, index, principle), base).edit
        assert edit is not None
        other, target = (text.removesuffix(" person") for text in (edit.remove, edit.add))
        assert {other, target} == {*groups}
        drawn.append(target)
        told, text = np.stack([e0, ep, says[other], says[target]]), torch.zeros(1, 3, 4)
        predict = semantic_guidance(joined(told), text, text[0], text, text, 7.5, edit)
        ours = predict(torch.zeros(1, 4, 8, 8), torch.tensor(1)).numpy()
        expected = originals.fair_diffusion(*told, 7.5, 8.0, 0.8, 0.3, 0.6)
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8)
    assert drawn.count("male") == 25


def test_inception_score_with_the_released_spread() -> None:
    logits = 3 * normal(200, 15, seed=15).astype(np.float32)
    order = np.random.RandomState(is_and_fid.PERMUTATION_SEED).permutation(200)
    parts = originals.inception_score(logits.astype(np.float64), np.split(order, 10))
    mean, deviation = is_and_fid.inception_score(logits, 10)
    assert mean == pytest.approx(np.mean(parts), rel=1e-6)
    assert deviation == pytest.approx(np.std(parts, ddof=1), rel=1e-5)


def test_fid() -> None:
    a, b = (normal(300, D, seed=s).astype(np.float32) @ normal(D, D, seed=18) for s in (16, 17))
    b = (1.1 * b + 0.2).astype(np.float32)
    a = a.astype(np.float32)
    expected = originals.fid(a.astype(np.float64), b.astype(np.float64))
    assert is_and_fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_clip_score(shift: float) -> None:
    images, texts = normal(50, D, seed=19) + shift, normal(50, D, seed=20) + 0.5
    cosines = (images * texts).sum(1)
    cosines /= np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    expected = originals.clip_score(images, texts)
    assert quality.clip_score(cosines.astype(np.float32)) == pytest.approx(expected, abs=1e-5)
