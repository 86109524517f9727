"""The formulas of the papers and of their authors' code, by themselves: float64, numpy, one
function each, written from the papers and sharing nothing with the package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def livo(w: Array, l: Array, w_ref: Array, l_ref: Array, *c: float) -> float:  # noqa: E741
    """Wang et al. 2024, equation 6; c is beta, alpha, gamma_1, gamma_2."""
    beta, alpha, gamma_1, gamma_2 = c
    preferred = np.maximum(0, gamma_1 + beta * (w - w_ref))
    dispreferred = np.maximum(0, gamma_2 - alpha * (l - l_ref))
    return float(np.mean(preferred + dispreferred))


def flow(clean: Array, noise: Array, normal: Array, shift: float) -> tuple[Array, Array, Array]:
    """Esser et al. 2024, sections 3.1 and 5.3.2: latents `(n, ...)` on the straight way from a
    picture to noise, at times by the sigmoid of normals `(n,)`, shifted; these times, and the
    velocity."""
    u = 1 / (1 + np.exp(-normal))
    t = shift * u / (1 + (shift - 1) * u)
    at = t.reshape(-1, *[1] * (clean.ndim - 1))
    return (1 - at) * clean + at * noise, t, noise - clean


def livo_by_flow(
    pictures: Sequence[Array], noise: Array, said: Sequence[Array], *c: float
) -> float:
    """LiVO's equation 6 where a sample's loss is that of flow matching, the mean squared error of
    the velocity: of a preferred and a dispreferred picture that share their noise; said of both
    with the value token, then without it."""
    w, l, w_ref, l_ref = (  # noqa: E741
        ((v - (noise - picture)) ** 2).reshape(len(v), -1).mean(axis=1)
        for v, picture in zip(said, [*pictures, *pictures], strict=True)
    )
    return livo(w, l, w_ref, l_ref, *c)


def diffusion_dpo(w: Array, l: Array, w_ref: Array, l_ref: Array, beta_dpo: float) -> float:  # noqa: E741
    """Wallace et al. 2024, the released code: half of beta_dpo times the difference of differences
    goes into the sigmoid."""
    inside = -0.5 * beta_dpo * ((w - l) - (w_ref - l_ref))
    return float(np.mean(np.log1p(np.exp(-inside))))


def concept_ablation(toxic: Array, anchor: Array, noise: Array) -> float:
    """Kumari et al. 2023, the released code for diffusers: under a mask of ones, `(n, 1, h, w)`,
    squares are summed over channels and places and divided by the places; prior preservation is a
    plain mean."""
    n, _, height, width = toxic.shape
    masked = ((toxic - anchor) ** 2).sum(axis=(1, 2, 3)) / (height * width)
    return float(masked.sum() / n + np.mean((anchor - noise) ** 2))


def esd(learnt: Array, erased: Array, null: Array, negative_guidance: float) -> float:
    """Gandikota et al. 2023, the released code of today, where nothing is named to erase from: mean
    squared error to what is said of the concept, less the guidance times how that differs from
    what is said of nothing."""
    aim = erased - negative_guidance * (erased - null)
    return float(np.mean((learnt - aim) ** 2))


def esd_paper(learnt: Array, erased: Array, null: Array, eta: float) -> float:
    """The same work, equation 7."""
    return float(np.mean((learnt - (null - eta * (erased - null))) ** 2))


def reward_weighted(
    said: Array, noise: Array, rewards: Array, own: Array, own_noise: Array, beta: float
) -> float:
    """Lee et al. 2023, section 4.3, with the log-likelihood of a diffusion model bounded by its
    denoising error: of pictures with rewards `(n, ...)` and of those of pretraining."""
    weighted = sum(r * np.mean((a - b) ** 2) for r, a, b in zip(rewards, said, noise, strict=True))
    return float(weighted / len(rewards) + beta * np.mean((own - own_noise) ** 2))


def prompt_tuning(groups: Array, weights: Array) -> Array:
    """What a denoiser of an even mixture of groups says: by Bayes the mean of what each group's
    says, `(groups, ...)`, by how likely the noised picture is of each."""
    posterior = weights / weights.sum()
    return np.einsum("g,g...->...", posterior, groups)


def forget_me_not(layers: Sequence[Array], tokens: Sequence[int]) -> float:
    """Zhang et al. 2023, the released code: what all heads and places of each layer,
    `(heads, queries, tokens)`, give to the concept's tokens, in one row, and its norm."""
    row = np.concatenate([layer[..., token].ravel() for layer in layers for token in tokens])
    return float(np.linalg.norm(row))


def fisher(gradients: Array) -> Array:
    """Heng and Soh 2023, the released code: of gradients `(pictures, steps, parameters)` those of a
    picture are summed over steps and squared, and pictures averaged."""
    total = np.zeros(gradients.shape[-1])
    for picture in gradients:
        total += picture.sum(0) ** 2 / len(gradients)
    return total


def selective_amnesia(
    surrogate: tuple[Array, Array], replay: tuple[Array, Array], moved: Array, f: Array, *c: float
) -> float:
    """Heng and Soh 2023, the released code: predictions and noise of both kinds of
    pictures, how far parameters have moved and their Fisher information; c is gamma, lambda."""
    gamma, lam = c
    forget, remember = (
        np.mean([((said - noise) ** 2).mean() for said, noise in zip(*pair, strict=True)])
        for pair in (surrogate, replay)
    )
    return float(forget + gamma * remember + lam * (f * moved**2).sum())


def uce(own: Array, pairs: Sequence[tuple[Array, Array]], kept: Array, *scales: float) -> Array:
    """Gandikota et al. 2024, equation 7, for the weights of one layer, pair by pair; the scales are
    those of erasing, of preserving and of the old weights."""
    s_e, s_p, lam = scales
    left, right = lam * own, lam * np.eye(own.shape[1])
    for concept, target in pairs:
        for c, t in zip(concept, target, strict=True):
            left = left + s_e * np.outer(own @ t, c)
            right = right + s_e * np.outer(c, c)
    for c in kept:
        left = left + s_p * np.outer(own @ c, c)
        right = right + s_p * np.outer(c, c)
    return left @ np.linalg.inv(right)


def rece(old: Sequence[Array], now: Sequence[Array], concept: Array, regular: float) -> Array:
    """Gong et al. 2024: the state that comes nearest to a concept's under edited weights, by layers
    of old and present weights."""
    right = regular * np.eye(len(concept))
    left = np.zeros(len(concept))
    for before, after in zip(old, now, strict=True):
        right = right + after.T @ after
        left = left + after.T @ (before @ concept)
    return np.linalg.inv(right) @ left


def debias_vl(ends: Array, pairs: Sequence[tuple[int, int]], lam: float) -> Array:
    """Chuang et al. 2023: the calibration matrix of unit states `(n, d)`, pair by pair."""
    m = np.zeros((ends.shape[1],) * 2)
    for i, j in pairs:
        a, b = ends[i][:, None], ends[j][:, None]
        m += a @ a.T + b @ b.T - a @ b.T - b @ a.T
    calibration: np.ndarray = np.linalg.inv(lam * m / len(pairs) + np.eye(len(m)))
    return calibration


def subspace(columns: Array) -> Array:
    """Yoon et al. 2024: E (E^T E)^+ E^T of column vectors."""
    return columns @ np.linalg.pinv(columns.T @ columns) @ columns.T


def safree(states: Array, masked: Array, concepts: Array, alpha: float) -> Array:
    """Yoon et al. 2024, sections 3.1 and 3.2: the states of a text, those of its n words (from the
    second state on) replaced where they are triggers."""
    away = np.eye(states.shape[1]) - subspace(concepts.T)
    moved = (away @ subspace(masked.T) @ states.T).T
    distances = [np.linalg.norm(away @ end) for end in masked]
    found = states.copy()
    for word, distance in enumerate(distances):
        others = [d for other, d in enumerate(distances) if other != word]
        if not distance < (1 + alpha) * np.mean(others):
            found[word + 1] = moved[word + 1]
    return found


def safree_steps(states: Array, turned: Array, most: int) -> int:
    """Yoon et al. 2024, equation 7 by the released code: how many of 50 steps see the filter."""
    dots = (states * turned).sum(1)
    cosines = dots / np.linalg.norm(states, axis=1) / np.linalg.norm(turned, axis=1)
    beta = 1 - cosines.mean()
    return round(most / (1 + np.exp(-2.0 * 2.5 * (10 * beta - 5.333))))


def sld(e0: Array, ep: Array, es: Array, nu: Array, scale: float, *s: float) -> tuple[Array, Array]:
    """Schramowski et al. 2023, equations 3 to 8 past the warm-up: the joined prediction, and the
    next momentum; s is s_S, lambda, s_m, beta_m."""
    s_s, threshold, s_m, beta_m = s
    mu = np.where(ep - es >= threshold, 0.0, np.minimum(1.0, s_s * np.abs(ep - es)))
    gamma = mu * (es - e0) + s_m * nu
    return e0 + scale * (ep - e0 - gamma), beta_m * nu + (1 - beta_m) * gamma


def sega(
    e0: Array, ep: Array, removed: Array, added: Array, nu: Array, scale: float, *s: float
) -> tuple[Array, Array]:
    """Brack et al. 2023, section 3, past the warm-up, for one text to leave and one to reach; s is
    s_e, lambda, s_m, beta_m."""
    s_e, threshold, s_m, beta_m = s
    gamma = s_m * nu
    for direction, towards in ((-1, removed), (1, added)):
        edit = s_e * (towards - e0)
        for image in range(len(edit)):
            for channel in range(edit.shape[1]):
                size = np.abs(edit[image, channel])
                keep = size >= np.quantile(size, threshold)
                gamma[image, channel] += direction * edit[image, channel] * keep
    return e0 + scale * (ep - e0) + gamma, beta_m * nu + (1 - beta_m) * gamma


def diffusion(said: Array, noise: Array) -> float:
    """Ho et al. 2020, section 3.4, which domain-adaptive pretraining goes on with."""
    return float(np.mean([((s - n) ** 2).sum() / n.size for s, n in zip(said, noise, strict=True)]))


def fair_diffusion(e0: Array, ep: Array, other: Array, target: Array, *s: float) -> Array:
    """Friedrich et al. 2023: SEGA's first step, away from one group and to another; s is the
    guidance scale and what `sega` takes."""
    scale, *of_sega = s
    return sega(e0, ep, other, target, np.zeros_like(e0), scale, *of_sega)[0]


def inception_score(logits: Array, parts: Sequence[NDArray[np.intp]]) -> list[float]:
    """Salimans et al. 2016: exp E KL(p(y|x) || p(y)) of each part of the images."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    return [
        float(np.exp(np.mean(np.sum(p[rows] * np.log(p[rows] / p[rows].mean(0)), axis=1))))
        for rows in parts
    ]


def fid(a: Array, b: Array) -> float:
    """Heusel et al. 2017: |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^1/2), the root by eigenvalues."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values = np.linalg.eigvals(cov_a @ cov_b)
    root = np.sqrt(np.maximum(values.real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * root)


def clip_score(images: Array, texts: Array) -> float:
    """Hessel et al. 2021 by torchmetrics: the mean of 100 cosines, none below zero."""
    cosines = (images * texts).sum(1)
    cosines = cosines / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
    return float(max(100 * cosines.mean(), 0.0))
