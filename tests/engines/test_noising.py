"""How latents are noised, and what a model is to say of them, by both processes."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from livo_bench.engines.noising import UNIFORM, DiffusionNoise, FlowNoise, noised

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CLEAN = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def fixed(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_diffusion_noise_is_to_the_bit_what_diffusers_adds() -> None:
    made = noised(DiffusionNoise(BETAS), CLEAN, fixed())
    generator = fixed()
    noise = torch.randn(CLEAN.shape, generator=generator)
    times = torch.randint(1000, (4,), generator=generator)
    assert torch.equal(made.times, times)
    assert torch.equal(made.latents, DDPMScheduler(**BETAS).add_noise(CLEAN, noise, times))
    assert torch.equal(made.targets, noise)


def test_a_model_of_velocities_is_to_say_them() -> None:
    noising = DiffusionNoise({**BETAS, "prediction_type": "v_prediction"})
    noise, times = torch.randn(CLEAN.shape, generator=fixed()), torch.tensor([0, 300, 600, 999])
    made = noising.noised_at(CLEAN, noise, times)
    a = DDPMScheduler(**BETAS).alphas_cumprod[times].view(-1, 1, 1, 1)
    torch.testing.assert_close(made.targets, a.sqrt() * noise - (1 - a).sqrt() * CLEAN)


def test_a_flow_goes_straight_from_a_picture_to_noise() -> None:
    noise = torch.randn(CLEAN.shape, generator=fixed())
    flow = FlowNoise({"num_train_timesteps": 1000})
    made = flow.noised_at(CLEAN, noise, torch.tensor([0.0, 250.0, 500.0, 1000.0]))
    assert torch.equal(made.latents[0], CLEAN[0])
    assert torch.equal(made.latents[3], noise[3])
    torch.testing.assert_close(made.latents[1], 0.75 * CLEAN[1] + 0.25 * noise[1])
    assert torch.equal(made.targets, noise - CLEAN)
    # A step against the velocity takes all noise off: what the sampler of such a model does.
    torch.testing.assert_close(made.latents[1] - 0.25 * made.targets[1], CLEAN[1])


def test_a_flow_noises_as_the_sampler_of_diffusers_does() -> None:
    sampler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    noise = torch.randn(CLEAN.shape, generator=fixed())
    times = sampler.timesteps[[0, 200, 700, 999]]
    made = FlowNoise(sampler.config).noised_at(CLEAN, noise, times)
    torch.testing.assert_close(made.latents, sampler.scale_noise(CLEAN, times, noise))


@pytest.mark.parametrize(
    ("drawn", "median", "low"), [("logit-normal", 0.5, 0.34), (UNIFORM, 0.5, 0.25)]
)
def test_times_of_a_flow_are_drawn_by_the_sigmoid_of_a_normal_or_evenly(
    drawn: str, median: float, low: float
) -> None:
    times = FlowNoise({}, drawn).times(20000, fixed()) / 1000
    assert 0 < times.min() < times.max() < 1
    assert times.median().item() == pytest.approx(median, abs=0.01)
    # The quarter below which a sigmoid of a normal falls: 1 / (1 + exp(0.674)).
    assert times.quantile(0.25).item() == pytest.approx(low, abs=0.01)


def test_times_of_a_flow_are_shifted_as_its_sampler_shifts_them() -> None:
    plain = FlowNoise({}, UNIFORM).times(1000, fixed()) / 1000
    shifted = FlowNoise({"shift": 3.0}, UNIFORM).times(1000, fixed()) / 1000
    torch.testing.assert_close(shifted, 3 * plain / (1 + 2 * plain))
    # By the size of each image, which no picture of a training has.
    dynamic = {"shift": 3.0, "use_dynamic_shifting": True}
    assert torch.equal(FlowNoise(dynamic, UNIFORM).times(1000, fixed()) / 1000, plain)


@pytest.mark.parametrize("noising", [DiffusionNoise(BETAS), FlowNoise({})])
def test_parts_of_a_batch_share_noise_and_times(noising: DiffusionNoise | FlowNoise) -> None:
    made = noised(noising, torch.cat([CLEAN[:2], CLEAN[:2]]), fixed(), alike=2)
    for each in made:
        assert len(each) == 4
        assert torch.equal(*each.chunk(2))
