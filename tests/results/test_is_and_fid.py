"""IS and FID are torch-fidelity's over stored features."""

import numpy as np
import pytest
import torch
import torch_fidelity
from scipy.linalg import sqrtm
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from livo_bench.errors import BadInput
from livo_bench.results.metrics import is_and_fid


def normal(
    seed: int, n: int = 400, d: int = 6, mean: float = 0.0, scale: float = 1.0
) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, size=(n, d)).astype(np.float32)


# Frechet distance ---------------------------------------------------------------------------------


def test_equal_sets_have_distance_zero_in_any_order() -> None:
    features = normal(0)
    # Square roots of float64 rounding: 1e-16 becomes 1e-8.
    assert is_and_fid.frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-6)


def test_distance_matches_the_formula_of_the_paper() -> None:
    ours, theirs = normal(1, mean=0.3), normal(2, n=300, scale=1.5) @ normal(3, n=6)
    a, b = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    shift = ours.mean(axis=0) - theirs.mean(axis=0)
    expected = shift @ shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert is_and_fid.frechet_distance(ours, theirs) == pytest.approx(expected, rel=1e-6)
    assert is_and_fid.frechet_distance(theirs, ours) == pytest.approx(expected, rel=1e-6)


def test_shifted_and_scaled_sets_have_the_closed_form() -> None:
    features = normal(4)
    variance = np.trace(np.cov(features, rowvar=False))
    assert is_and_fid.frechet_distance(features, features + 2) == pytest.approx(6 * 4, rel=1e-4)
    centred = features - features.mean(axis=0)
    doubled = is_and_fid.frechet_distance(centred, 2 * centred)
    assert doubled == pytest.approx(variance, rel=1e-4)  # (2 sd - sd)^2 in each direction


def test_fewer_images_than_dimensions_still_give_a_number() -> None:
    assert is_and_fid.frechet_distance(normal(5, n=3, d=16), normal(6, n=2, d=16)) > 0


def test_single_image_is_refused() -> None:
    with pytest.raises(BadInput, match=r"at least 2 images.*got 1 and 400.*livo-bench run"):
        is_and_fid.frechet_distance(normal(0, n=1), normal(1))


def test_features_of_two_networks_are_refused() -> None:
    with pytest.raises(BadInput, match="got 6 numbers an image and 7"):
        is_and_fid.frechet_distance(normal(0), normal(1, d=7))


# Inception Score ----------------------------------------------------------------------------------


def test_score_of_images_that_look_alike_is_one() -> None:
    mean, std = is_and_fid.inception_score(np.tile(normal(0, n=1), (50, 1)))
    assert (mean, std) == pytest.approx((1, 0))


def test_score_of_certain_and_even_classes_is_their_number() -> None:
    logits = np.tile(np.eye(6, dtype=np.float32) * 100, (100, 1))
    assert is_and_fid.inception_score(logits, splits=1)[0] == pytest.approx(6)
    # Parts of 60 images do not hold the classes evenly, which costs a few per cent.
    assert 5.4 < is_and_fid.inception_score(logits)[0] < 6


@pytest.mark.parametrize("seed", range(3))
def test_score_lies_between_one_and_the_number_of_classes(seed: int) -> None:
    mean, std = is_and_fid.inception_score(normal(seed, scale=3))
    assert 1 <= mean <= 6
    assert std > 0


def test_permutation_is_seeded() -> None:
    logits = np.sort(normal(1, scale=3), axis=0)
    assert is_and_fid.inception_score(logits) == is_and_fid.inception_score(logits)
    assert is_and_fid.inception_score(logits) != is_and_fid.inception_score(logits, seed=1)


@pytest.mark.parametrize(("n", "splits"), [(10, 3), (11, 4), (50, 10)])
def test_parts_are_as_large_as_torch_fidelitys(n: int, splits: int) -> None:
    sizes = [(part + 1) * n // splits - part * n // splits for part in range(splits)]
    assert np.bincount(is_and_fid.parts_of(n, splits, seed=2020)).tolist() == sizes


def test_classes_of_all_parts_together_are_those_of_one_part() -> None:
    logits = normal(1, n=30, scale=3)
    parts = is_and_fid.Classes.of(logits, np.eye(3)[is_and_fid.parts_of(30, 3, seed=0)])
    whole = is_and_fid.Classes.of(logits, np.ones((30, 1)))
    assert parts.together().shares.shape == whole.shares.shape == (1, 6)
    np.testing.assert_allclose(parts.together().scores(), whole.scores())


def test_fewer_images_than_parts_are_refused() -> None:
    with pytest.raises(BadInput, match="10 parts needs at least 10 images, got 9"):
        is_and_fid.inception_score(normal(0, n=9))


# torch-fidelity end to end ------------------------------------------------------------------------


class Flat(FeatureExtractorBase):
    """A feature network that shows its pixels."""

    def __init__(self, name: str, features_list: tuple[str, ...], **_: object) -> None:
        super().__init__(name, features_list)
        self.torch_dtype = None

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(images.flatten(1).float() / 64 for _ in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("flat",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "flat"


class Pictures(torch.utils.data.Dataset):
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.pixels[i])


def test_scores_equal_torch_fidelitys_own_from_pixels() -> None:
    random = np.random.default_rng(7)
    ours = random.integers(0, 256, size=(120, 3, 2, 2), dtype=np.uint8)
    theirs = random.integers(0, 200, size=(90, 3, 2, 2), dtype=np.uint8)
    torch_fidelity.register_feature_extractor("flat", Flat)
    expected = torch_fidelity.calculate_metrics(
        input1=Pictures(ours),
        input2=Pictures(theirs),
        feature_extractor="flat",
        isc=True,
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
    )
    flat: list[np.ndarray] = [
        pixels.reshape(len(pixels), -1).astype(np.float32) / 64 for pixels in (ours, theirs)
    ]
    distance = expected["frechet_inception_distance"]
    assert is_and_fid.frechet_distance(*flat) == pytest.approx(distance, rel=1e-6)
    # Over 10 parts, of which torch-fidelity takes all for the population.
    spread = expected["inception_score_std"] * np.sqrt(10 / 9)
    assert is_and_fid.inception_score(flat[0]) == pytest.approx(
        (expected["inception_score_mean"], spread), rel=1e-9
    )


# Sums ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 400])
def test_sums_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    ours, theirs = normal(8, mean=5), normal(9, n=300, mean=5.1)
    before = is_and_fid.frechet_distance(ours, theirs), *is_and_fid.inception_score(ours)
    monkeypatch.setattr(is_and_fid, "CHUNK", chunk)
    after = is_and_fid.frechet_distance(ours, theirs), *is_and_fid.inception_score(ours)
    assert after == pytest.approx(before, rel=1e-9)


def test_moments_of_parts_add_up_and_can_be_taken_out() -> None:
    first, second = normal(1, n=30, mean=2), normal(2, n=50)
    parts = [is_and_fid.Moments.of(part) for part in (first, second)]
    whole = is_and_fid.Moments.of(np.concatenate([first, second]))
    for made, expected in ((parts[0] + parts[1], whole), (whole - parts[1], parts[0])):
        assert made.n == expected.n
        np.testing.assert_allclose(made.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(made.covariance, expected.covariance, rtol=1e-9, atol=1e-12)
    nothing = is_and_fid.Moments.of([])
    assert (whole - whole).n == (nothing + nothing).n == 0
    assert (nothing.n, nothing.mean.tolist(), nothing.scatter.tolist()) == (0, [0.0], [[0.0]])
    assert (nothing + whole).n == (whole - nothing).n == 80


def test_an_image_that_counts_twice_is_two_rows() -> None:
    features = normal(3, n=40)
    twice = is_and_fid.Moments.of(features, np.r_[np.full(10, 2), np.ones(30, int)])
    rows = is_and_fid.Moments.of(np.concatenate([features, features[:10]]))
    np.testing.assert_allclose(twice.covariance, rows.covariance, rtol=1e-9, atol=1e-12)
