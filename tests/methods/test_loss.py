"""The losses against a direct transcription of the equations, in value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from livo_bench.methods.livo import loss as losses_of
from livo_bench.methods.livo.loss import Batch, Coefficients, Losses, active, batch_of, dpo, loss

PAPER = Coefficients(beta=1000, alpha=500, gamma_1=1.0, gamma_2=0.5)


def draw(n: int = 64, seed: int = 0) -> Losses:
    """Losses around 0.1 that differ from the reference by about the margin of 1e-3."""
    generator = torch.Generator().manual_seed(seed)
    reference = 0.1 * torch.rand(2, n, generator=generator, dtype=torch.float64)
    moved = reference + 2e-3 * torch.randn(2, n, generator=generator, dtype=torch.float64)
    w, l = moved.requires_grad_(True).unbind(0)  # noqa: E741
    return Losses(w, l, *reference.unbind(0))


def coefficients(one: Coefficients, n: int = 64) -> Batch:
    values = (one.beta, one.alpha, one.gamma_1, one.gamma_2)
    return Batch(*(torch.full((n,), value, dtype=torch.float64) for value in values))


def transcription(objective: str, losses: Losses, c: Coefficients) -> tuple[float, list[float]]:
    """Value, and gradient by `w` then `l`, in plain Python."""
    n, total, by_w, by_l = len(losses.w), 0.0, [], []
    for w, l, w_ref, l_ref in zip(*(part.tolist() for part in losses), strict=True):  # noqa: E741
        if objective == "livo":
            first, second = c.gamma_1 + c.beta * (w - w_ref), c.gamma_2 + c.alpha * (l_ref - l)
            total += max(0.0, first) + max(0.0, second)
            by_w.append(c.beta / n if first > 0 else 0.0)
            by_l.append(-c.alpha / n if second > 0 else 0.0)
        elif objective == "wo-m":
            total += c.beta * (w - w_ref) - c.alpha * (l - l_ref)
            by_w.append(c.beta / n)
            by_l.append(-c.alpha / n)
        else:
            u = -c.beta * (w - w_ref) + c.alpha * (l - l_ref)
            total += math.log1p(math.exp(-u))
            slope = -1 / (1 + math.exp(u))
            by_w.append(-c.beta * slope / n)
            by_l.append(c.alpha * slope / n)
    return total / n, by_w + by_l


@pytest.mark.parametrize("objective", losses_of.OBJECTIVES)
@pytest.mark.parametrize("one", [PAPER, Coefficients(60, 30, 2.0, 0.1)], ids=["paper", "other"])
def test_value_and_gradient_are_those_of_the_equation(objective: str, one: Coefficients) -> None:
    drawn = draw()
    value = loss(objective, drawn, coefficients(one))
    gradients: tuple[Tensor, ...] = torch.autograd.grad(value, [drawn.w, drawn.l])
    expected, slopes = transcription(objective, drawn, one)
    # Float64 on both sides; the order of sums differs.
    assert value.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(
        torch.cat(gradients), torch.tensor(slopes, dtype=torch.float64), rtol=1e-10, atol=1e-15
    )


def test_a_sample_past_both_margins_has_no_gradient() -> None:
    reference = torch.full((2,), 0.1, dtype=torch.float64)
    # The first sample just past both margins of 1e-3, the second just short of them.
    w = torch.tensor([0.1 - 1.001e-3, 0.1 - 0.999e-3], dtype=torch.float64, requires_grad=True)
    l = torch.tensor([0.1 + 1.001e-3, 0.1 + 0.999e-3], dtype=torch.float64, requires_grad=True)  # noqa: E741
    pair = Losses(w, l, reference, reference)
    value = loss("livo", pair, coefficients(PAPER, 2))
    by_w, by_l = torch.autograd.grad(value, [w, l])
    assert by_w.tolist() == [0.0, 500.0]
    assert by_l.tolist() == [0.0, -250.0]
    assert [flags.tolist() for flags in active(pair, coefficients(PAPER, 2))] == [[False, True]] * 2


def test_without_margins_is_livo_with_both_hinges_active() -> None:
    drawn = draw()
    wide = coefficients(Coefficients(1000, 500, 100.0, 100.0))
    assert all(flags.all() for flags in active(drawn, wide))
    apart = loss("livo", drawn, wide) - loss("wo-m", drawn, wide)
    assert apart.item() == pytest.approx(200.0)


def test_dpo_d_with_equal_coefficients_is_dpo() -> None:
    drawn = draw()
    equal = coefficients(Coefficients(1000, 1000, 0.0, 0.0))
    u = -1000 * ((drawn.w - drawn.w_ref) - (drawn.l - drawn.l_ref))
    torch.testing.assert_close(dpo(drawn, equal), -torch.nn.functional.logsigmoid(u))


def test_dpo_of_a_token_that_changes_nothing_is_log_2() -> None:
    same = torch.rand(8, dtype=torch.float64)
    value = loss("dpo", Losses(same, same, same, same), coefficients(PAPER, 8))
    assert value.item() == pytest.approx(math.log(2))


def test_coefficients_of_a_batch_keep_their_samples() -> None:
    batch = batch_of([PAPER, Coefficients(60, 60, 1.0, 0.5)], torch.device("cpu"))
    assert batch.beta.tolist() == [1000, 60]
    assert batch.gamma_2.tolist() == [0.5, 0.5]
