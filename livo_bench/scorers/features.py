"""The feature network: vectors for FID and logits for the Inception Score, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import torch

from livo_bench.cards.weights import FEATURENET, INCEPTION, Weights, find_weights, loading
from livo_bench.engines import networks
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.scorers import Lazy, judge_id, pixels_to_tensor
from livo_bench.scorers.featurenet import heads_of

if TYPE_CHECKING:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

MINI = "livo-mini"


class FeatureNetwork:
    """A torch-fidelity feature extractor, at the layers its FID and Inception Score read."""

    classes: tuple[str, ...] | None
    """What each of the `logits` stands for, known before the network is loaded; None for
    Inception, whose classes are not those that prompts ask for."""

    def __init__(self, weights: str, device: str) -> None:
        """Look the network up; it is loaded when first needed, and computes in float32.

        Args:
            weights: A folder that `FeatureNet.save` wrote, or `inception-v3-compat`.
            device: As torch names it.

        Raises:
            BadInput: There is no such network; raised at first use if it does not load.
        """
        found = None if weights == INCEPTION else _find(weights)
        self._found = found
        name, folder = (INCEPTION, None) if found is None else (MINI, weights)
        self.id = judge_id(name, weights=weights if found is None else found.digest())
        self.classes = None if found is None else _classes(found)
        place = self._device = torch.device(device)
        self._network = Lazy(lambda: _load(name, folder).to(place))

    @property
    def digest(self) -> str:
        """SHA-256 of the network's folder, or of Inception's file; empty where that is not here."""
        if self._found is not None:
            return self._found.digest()
        path = inception_file()
        return sha256(path.read_bytes()) if path.is_file() else ""

    def load(self) -> None:
        """Load the network now."""
        self._network()

    @torch.inference_mode()
    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Featurise images; the prompts are not looked at.

        Returns:
            `features`, for FID, and `logits`, for IS: float32, `(n, width of the layer)`.
        """
        features, logits = self._network()(pixels_to_tensor(pixels, self._device))
        return {"features": features.cpu().numpy(), "logits": logits.cpu().numpy()}


def _find(folder: str) -> Weights:
    found = find_weights(folder, "config.json")
    kind = None if found.repository is not None else found.config.get("model_type")
    if kind != FEATURENET:
        raise BadInput(
            f"{folder} holds a model of type {kind!r}; the feature network needs a folder with "
            f"one of type {FEATURENET!r}, or the name {INCEPTION}."
        )
    return found


def _classes(found: Weights) -> tuple[str, ...]:
    return tuple(next(iter(heads_of(found.config, found.source).values())))


def inception_url() -> str:
    """Where torch-fidelity has Inception's weights from; the name ends in the beginning of the
    file's SHA-256."""
    from torch_fidelity import feature_extractor_inceptionv3

    url: str = feature_extractor_inceptionv3.URL_INCEPTION_V3
    return url


def inception_file() -> Path:
    """Where torch.hub keeps Inception's weights on this machine."""
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(inception_url()).name


def _load(name: str, folder: str | None) -> FeatureExtractorBase:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
    from torch_fidelity.utils import create_feature_extractor

    import livo_bench.scorers.extractor  # noqa: F401, registers livo-mini

    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    layers = [kind.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")]
    path = folder or str(inception_file())
    with loading("feature network", folder or name):
        if folder is None:
            # torch-fidelity unpickles whatever the file holds, so see that it holds tensors alone.
            torch.load(path, weights_only=True, map_location="cpu")
        network: FeatureExtractorBase = create_feature_extractor(
            name, layers, cuda=False, feature_extractor_weights_path=path, verbose=False
        )
    networks.refuse_not_finite("feature network", path, network.state_dict())
    return network
