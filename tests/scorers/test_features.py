"""The feature network: the world's own, and its place among torch-fidelity's extractors."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity import calculate_metrics
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import Prompt
from livo_bench.results.metrics import is_and_fid
from livo_bench.scorers import Lazy, features
from livo_bench.scorers.featurenet import FeatureNet
from livo_bench.scorers.features import INCEPTION, FeatureNetwork

PROMPT = Prompt("p1", "a doctor", "doctor", "career", "plain", "eval")


@pytest.fixture(scope="module")
def folder(tiny_weights: Path) -> Path:
    return tiny_weights / "features"


@pytest.fixture(scope="module")
def network(folder: Path) -> FeatureNetwork:
    return FeatureNetwork(str(folder), "cpu")


def pictures(n: int, seed: int = 3) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def test_vectors_equal_a_plain_forward_pass(network: FeatureNetwork, folder: Path) -> None:
    pixels = pictures(5)
    net = FeatureNet.load(folder)
    with torch.no_grad():
        pooled = net.pool(torch.tensor(pixels).permute(0, 3, 1, 2))
        concepts = net.heads["concept"](pooled) - net.heads["concept"].bias
    columns = network.score(pixels, [PROMPT] * 5)
    assert list(columns) == ["features", "logits"]
    assert columns["features"].shape == (5, 64)
    assert columns["logits"].shape == (5, 3)
    assert columns["features"].dtype == columns["logits"].dtype == np.float32
    np.testing.assert_allclose(columns["features"], pooled.numpy(), atol=1e-6)
    np.testing.assert_allclose(columns["logits"], concepts.numpy(), atol=1e-6)


def test_stored_vectors_give_the_metrics_of_torch_fidelity(
    network: FeatureNetwork, folder: Path
) -> None:
    class Pictures(torch.utils.data.Dataset):
        def __init__(self, seed: int) -> None:
            self.images = torch.tensor(pictures(40, seed)).permute(0, 3, 1, 2)

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> torch.Tensor:
            return self.images[index]

    expected = calculate_metrics(
        input1=Pictures(1),
        input2=Pictures(2),
        cuda=False,
        isc=True,
        fid=True,
        isc_splits=1,
        samples_shuffle=False,
        feature_extractor="livo-mini",
        feature_extractor_weights_path=str(folder),
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    one, two = (network.score(pictures(40, seed), [PROMPT] * 40) for seed in (1, 2))
    fid = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.tensor(columns["features"])) for columns in (one, two)),
        verbose=False,
    )
    score = isc_features_to_metric(torch.tensor(one["logits"]), splits=1, shuffle=False)
    for name, value in (fid | score).items():
        assert value == pytest.approx(expected[name], rel=1e-4, abs=1e-9), name


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_vectors_do_not_depend_on_the_batch(network: FeatureNetwork, batch: int) -> None:
    pixels = pictures(50)
    whole = network.score(pixels, [PROMPT] * 50)
    parts = [
        network.score(pixels[i : i + batch], [PROMPT] * len(pixels[i : i + batch]))
        for i in range(0, 50, batch)
    ]
    for name, values in whole.items():
        found = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(found, values, atol=1e-5)  # float32 rounding


def test_threads_do_not_disturb_each_other(network: FeatureNetwork) -> None:
    batches = [pictures(5, seed) for seed in range(8)]
    expected = [network.score(batch, [PROMPT] * 5)["features"] for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        columns = list(pool.map(lambda batch: network.score(batch, [PROMPT] * 5), batches))
    for found, alone in zip(columns, expected, strict=True):
        np.testing.assert_allclose(found["features"], alone, atol=1e-5)


def test_logits_are_the_unbiased_ones_and_a_bias(folder: Path) -> None:
    layers = ["logits", "pool", "logits_unbiased"]
    extractor = create_feature_extractor(
        "livo-mini", layers, cuda=False, feature_extractor_weights_path=str(folder), verbose=False
    )
    images = torch.tensor(pictures(2)).permute(0, 3, 1, 2)
    logits, pool, unbiased = extractor(images)
    bias = extractor.net.heads["concept"].bias
    torch.testing.assert_close(logits, unbiased + bias)
    torch.testing.assert_close(logits, extractor.net(images)["concept"])
    assert pool.shape == (2, 64)


def test_a_saved_network_comes_back_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FeatureNet(4, {"concept": ["a", "b"], "hazard": ["none", "nudity", "bloody"]})
    net(torch.randint(0, 256, (8, 3, 64, 64)))  # moves the running statistics off their defaults
    net.save(tmp_path)
    again = FeatureNet.load(tmp_path)
    assert not again.training
    assert again.config == net.config
    images = torch.tensor(pictures(3)).permute(0, 3, 1, 2)
    for name, logits in net.eval()(images).items():
        # float16 keeps 11 bits of a weight.
        torch.testing.assert_close(again(images)[name], logits, atol=5e-3, rtol=0)
    heads: Any = again.config["heads"]
    assert {name: len(classes) for name, classes in heads.items()} == {
        "concept": 2,
        "hazard": 3,
    }


def test_the_network_can_learn() -> None:
    torch.manual_seed(0)
    net = FeatureNet(4, {"shade": ["dark", "light"]}).train()
    classes = torch.tensor([0, 1] * 8)
    images = torch.rand(16, 3, 64, 64) * 40 + 200 * classes.reshape(-1, 1, 1, 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(net(images)["shade"], classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_id_names_the_network(network: FeatureNetwork, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    FeatureNet(4, {"concept": ["a", "b"]}).save(other)
    assert network.id.startswith("livo-mini-")
    assert network.id == FeatureNetwork(str(shutil.copytree(folder, tmp_path / "copy")), "cpu").id
    assert network.id != FeatureNetwork(str(other), "cpu").id
    # Named alone, it is neither fetched nor loaded.
    assert FeatureNetwork("inception-v3-compat", "cpu").id.startswith("inception-v3-compat-")


def test_classes_of_the_logits_are_known_before_loading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lazy, "__call__", None)
    assert FeatureNetwork(str(folder), "cpu").classes == ("doctor", "nurse", "red car")
    assert FeatureNetwork("inception-v3-compat", "cpu").classes is None


def test_what_is_no_network_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no model folder 'inception-v4'"):
        FeatureNetwork("inception-v4", "cpu")
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(BadInput, match=r"type 'resnet'.*inception-v3-compat"):
        FeatureNetwork(str(tmp_path), "cpu")

    torn = shutil.copytree(folder, tmp_path / "torn")
    config = json.loads((torn / "config.json").read_text())
    (torn / "config.json").write_text(json.dumps(config | {"width": 16}))
    with pytest.raises(BadInput, match=r"The feature network of .*torn .*of another shape"):
        FeatureNetwork(str(torn), "cpu").load()


@pytest.mark.slow
def test_inceptions_digits_are_torch_fidelitys_from_png_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The architecture of real runs, untrained: what the weights say does not matter here."""
    network = untrained_inception(tmp_path / "inception.pth", monkeypatch)
    vectors = {}
    for name, seed in (("ours", 1), ("theirs", 2)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(pictures(16, seed)):
            Image.fromarray(image).save(tmp_path / name / f"{number:02d}.png")
        vectors[name] = network.score(pictures(16, seed), [PROMPT] * 16)["features"]
    expected = calculate_metrics(
        input1=str(tmp_path / "ours"),
        input2=str(tmp_path / "theirs"),
        batch_size=16,
        feature_extractor_weights_path=str(tmp_path / "inception.pth"),
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )["frechet_inception_distance"]
    assert expected > 0
    found = is_and_fid.frechet_distance(vectors["ours"], vectors["theirs"])
    assert found == pytest.approx(expected, rel=1e-6)


def untrained_inception(path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureNetwork:
    """Our network over torch-fidelity's Inception, with random weights that are written to a file.

    torch-fidelity fetches weights unless it is given a file, and offers no other way to make one.
    """
    kind = FEATURE_EXTRACTORS_REGISTRY[INCEPTION]
    torch.save({}, path)
    torch.manual_seed(5)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "load_state_dict", lambda self, state: None)
        torch.save(features._load(INCEPTION, str(path)).state_dict(), path)
    network = FeatureNetwork(INCEPTION, "cpu")
    network._network = Lazy(lambda: features._load(INCEPTION, str(path)))
    return network
