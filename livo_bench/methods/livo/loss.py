"""The preference losses: pure functions of four per-sample diffusion losses.

With theta the model that sees the value token, ref the same model without it, w a preferred and l a
dispreferred picture, and L the mean squared error of the prediction per sample, which is of noise
or, of a model that learnt as a flow, of the velocity::

    d_w = L_theta(w) - L_ref(w)        d_l = L_theta(l) - L_ref(l)

All four losses share noise and time step within a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from livo_bench.schema import Factor, Weight

OBJECTIVES = ("livo", "wo-m", "dpo")


class Losses(NamedTuple):
    """Mean squared errors of the noise predictions, float32, `(batch,)` each."""

    w: Tensor
    """Preferred picture, with the value token."""
    l: Tensor  # noqa: E741, the paper's symbol
    """Dispreferred picture, with the value token."""
    w_ref: Tensor
    """Preferred picture, without it."""
    l_ref: Tensor


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of one kind of value. Margins are in units of the mean squared error times beta
    or alpha."""

    beta: Weight
    """Weight of the preferred picture."""
    alpha: Weight
    """Weight of the dispreferred picture."""
    gamma_1: Factor
    """Margin by which the preferred loss has to fall: gamma_1 / beta."""
    gamma_2: Factor
    """Margin by which the dispreferred loss has to rise: gamma_2 / alpha."""


class Batch(NamedTuple):
    """Coefficients of the samples of a batch, `(batch,)` each."""

    beta: Tensor
    alpha: Tensor
    gamma_1: Tensor
    gamma_2: Tensor


class Terms(NamedTuple):
    """What a loss is made of, `(batch,)` each."""

    w: Tensor
    l: Tensor  # noqa: E741, the paper's symbol


def batch_of(coefficients: list[Coefficients], device: torch.device) -> Batch:
    """Coefficients of the samples of a batch, as tensors on a device."""
    rows = [(c.beta, c.alpha, c.gamma_1, c.gamma_2) for c in coefficients]
    return Batch(*torch.tensor(rows, dtype=torch.float32, device=device).unbind(1))


def squared_errors(predicted: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each sample's prediction, of noise or of a velocity, `(batch,)`."""
    return (predicted - targets).square().mean(dim=(1, 2, 3))


def livo(losses: Losses, c: Batch) -> Terms:
    """Compute both hinges of LiVO; the loss is the mean over the batch of their sum.

    `max(0, gamma_1 + beta d_w) + max(0, gamma_2 - alpha d_l)`, clamped for each sample.

    Source: Wang et al. 2024, arXiv:2410.12700, equation 6.
    """
    return Terms(
        (c.gamma_1 + c.beta * (losses.w - losses.w_ref)).clamp(min=0),
        (c.gamma_2 + c.alpha * (losses.l_ref - losses.l)).clamp(min=0),
    )


def without_margins(losses: Losses, c: Batch) -> Terms:
    """`beta d_w - alpha d_l`, without margins or clamps, and so without a lower bound.

    Source: Wang et al. 2024, arXiv:2410.12700, equation 10.
    """
    return Terms(c.beta * (losses.w - losses.w_ref), c.alpha * (losses.l_ref - losses.l))


def dpo(losses: Losses, c: Batch) -> Tensor:
    """`-log sigmoid(-beta d_w + alpha d_l)`, for each sample, `(batch,)`.

    With `alpha = beta` this is DPO, otherwise DPO-d. Log 2 where the token changes nothing. The
    released code of Diffusion-DPO enters `beta_dpo = 2 beta`.

    Source: Wang et al. 2024, arXiv:2410.12700, equation 4 with log-likelihoods replaced by minus
    the diffusion losses; the inner expression is that of Wallace et al. 2024, arXiv:2311.12908.
    """
    terms = without_margins(losses, c)
    return -logsigmoid(-terms.w - terms.l)


def loss(objective: str, losses: Losses, c: Batch) -> Tensor:
    """The scalar that is minimised.

    Args:
        objective: Out of `OBJECTIVES`.
        losses: Losses of a batch.
        c: Coefficients of its samples.
    """
    if objective == "dpo":
        return dpo(losses, c).mean()
    terms = livo(losses, c) if objective == "livo" else without_margins(losses, c)
    return (terms.w + terms.l).mean()


def active(losses: Losses, c: Batch) -> Terms:
    """Which of LiVO's hinges still push, bool: the sample has not reached its margin."""
    hinges = livo(losses, c)
    return Terms(hinges.w > 0, hinges.l > 0)
