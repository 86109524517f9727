"""The world's image network: what it takes, what it gives, and that it survives saving."""

import json
from pathlib import Path

import pytest
import torch

from livo_bench.scorers.featurenet import FeatureNet

HEADS = {"content": ["doctor", "nurse", "cat"], "gender": ["male", "female"]}


@pytest.fixture(scope="module")
def net() -> FeatureNet:
    """Untrained, with running statistics of some pictures."""
    torch.manual_seed(0)
    net = FeatureNet(4, HEADS)
    with torch.no_grad():
        for seed in range(3):
            net(images(16, seed))
    return net.eval()


def images(n: int, seed: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 64, 64), generator=generator, dtype=torch.uint8)


@torch.inference_mode()
def test_pools_to_one_vector_and_logits_a_head(net: FeatureNet) -> None:
    pooled, logits = net.pool(images(5)), net(images(5))
    assert pooled.shape == (5, 32)
    assert pooled.dtype == torch.float32
    assert {name: value.shape for name, value in logits.items()} == {
        "content": (5, 3),
        "gender": (5, 2),
    }
    for name, value in logits.items():
        torch.testing.assert_close(value, net.heads[name](pooled), rtol=0, atol=0)


@torch.inference_mode()
def test_takes_bytes_or_the_same_range_in_float(net: FeatureNet) -> None:
    assert torch.equal(net.pool(images(4)), net.pool(images(4).float()))


@torch.inference_mode()
def test_other_sizes_pool_to_the_same_width(net: FeatureNet) -> None:
    assert net.pool(torch.zeros(2, 3, 40, 96)).shape == (2, 32)


@torch.inference_mode()
def test_vector_does_not_depend_on_the_batch(net: FeatureNet) -> None:
    whole = net.pool(images(7))
    alone = torch.cat([net.pool(image[None]) for image in images(7)])
    # float32 rounding: convolutions of other batch shapes add in another order.
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], rtol=1e-2)


@torch.inference_mode()
def test_saved_and_loaded_it_sees_the_same(net: FeatureNet, tmp_path: Path) -> None:
    net.save(tmp_path)
    again = FeatureNet.load(tmp_path)
    assert not again.training
    assert list(again.heads) == list(HEADS)  # the first is the Inception Score's
    assert again.config == net.config
    assert {value.dtype for value in again.state_dict().values()} == {torch.float32, torch.int64}
    # Weights were rounded to float16: 3 digits.
    torch.testing.assert_close(again.pool(images(5)), net.pool(images(5)), rtol=2e-2, atol=2e-3)
    again.save(tmp_path / "twice")
    twice = FeatureNet.load(tmp_path / "twice")
    assert torch.equal(twice.pool(images(5)), again.pool(images(5)))


def test_saved_weights_are_half_and_the_configuration_is_plain(
    net: FeatureNet, tmp_path: Path
) -> None:
    net.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"model_type": "livo-featurenet", "width": 4, "heads": HEADS}
    parameters = sum(value.numel() for value in net.state_dict().values())
    assert (tmp_path / "model.safetensors").stat().st_size < 2 * parameters + 8_000


def test_every_weight_gets_a_gradient() -> None:
    net = FeatureNet(4, HEADS)
    torch.stack([value.square().sum() for value in net(images(4)).values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
