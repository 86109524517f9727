import hashlib
import json

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor
from scipy import stats

from livo_bench.engines.seeds import seed_of, unit_noise


def test_seed_is_63_bits_of_the_digest_of_what_was_asked() -> None:
    digest = hashlib.sha256(b'[0,"a photo of a chef",3]').hexdigest()
    assert seed_of(0, "a photo of a chef", 3) == int(digest[:16], 16) // 2


def test_seed_does_not_change_between_releases() -> None:
    # Written down from the first release: a change remakes every stored image.
    assert seed_of(0, "a photo of a chef", 0) == 1074010280749611777


@pytest.mark.parametrize(
    "other", [(1, "a chef", 0), (0, "a cook", 0), (0, "a chef", 1), (0, "a chef,0", 0)]
)
def test_each_part_of_the_request_changes_the_seed(other: tuple[int, str, int]) -> None:
    assert seed_of(*other) != seed_of(0, "a chef", 0)


def test_parts_of_the_request_do_not_run_into_each_other() -> None:
    assert seed_of(1, "1", 11) != seed_of(11, "1", 1)
    assert seed_of(0, '",1]', 1) != seed_of(0, '"', 11)


def test_seeds_are_distinct_and_fit_a_signed_64_bit_integer() -> None:
    seeds = [
        seed_of(base, f"prompt {p}", i) for base in (0, 1) for p in range(20) for i in range(50)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    json.dumps(seeds)


def test_noise_of_an_image_does_not_depend_on_its_batch() -> None:
    seeds = [seed_of(0, "a chef", i) for i in range(7)]
    batch = unit_noise(seeds, (4, 8, 8))
    alone = torch.cat([unit_noise([seed], (4, 8, 8)) for seed in seeds])
    backwards = unit_noise(seeds[::-1], (4, 8, 8)).flip(0)
    assert batch.shape == (7, 4, 8, 8)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, alone)
    assert torch.equal(batch, backwards)


def test_noise_is_that_of_the_diffusers_pipelines() -> None:
    seeds = [seed_of(0, "a chef", i) for i in range(3)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    assert torch.equal(unit_noise(seeds, (4, 8, 8)), randn_tensor((3, 4, 8, 8), generators))


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    unit_noise([1, 2], (4, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_is_unit_normal_and_independent_between_indices() -> None:
    noise = unit_noise([seed_of(0, "a chef", i) for i in range(64)], (4, 16, 16)).numpy()
    # A fixed draw of 65,536: the bound is what 1 in 1,000 draws would fail.
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(noise.reshape(64, -1))[~np.eye(64, dtype=bool)]
    # Standard deviation 1 / sqrt(1024) = 0.031; the largest of 2,016 pairs stays under 5 of them.
    assert np.abs(correlation).max() < 5 / 32


def test_no_images_need_no_noise() -> None:
    assert unit_noise([], (4, 8, 8)).shape == (0, 4, 8, 8)
