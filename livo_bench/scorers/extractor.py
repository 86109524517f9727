"""The world's feature network as torch-fidelity takes extractors, registered as `livo-mini`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from livo_bench.scorers.featurenet import FeatureNet


class FeatureExtractorMini(FeatureExtractorBase):
    """A `FeatureNet` from a folder.

    Features: `pool`, and the first head's `logits` with and without (`logits_unbiased`) its bias,
    after torch-fidelity's Inception.
    """

    def __init__(
        self,
        name: str,
        features_list: Sequence[str],
        feature_extractor_weights_path: str,
        **kwargs: object,
    ) -> None:
        """Load a folder that `FeatureNet.save` wrote.

        Args:
            name: What the extractor is registered as.
            features_list: Features to return, in this order.
            feature_extractor_weights_path: The folder.
            kwargs: torch-fidelity's settings for other extractors.
        """
        super().__init__(name, features_list)
        self.net = FeatureNet.load(Path(feature_extractor_weights_path))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "pool", "logits_unbiased", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits_unbiased", "fid": "pool", "kid": "pool", "prc": "pool"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, 64, 64, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of uint8 images `(n, 3, height, width)`, in the order asked for."""
        weight, bias = next(iter(self.net.heads.values())).parameters()
        pool = self.net.pool(images)
        unbiased = pool @ weight.T
        features = {"pool": pool, "logits_unbiased": unbiased, "logits": unbiased + bias}
        return tuple(features[name] for name in self.features_list)


register_feature_extractor("livo-mini", FeatureExtractorMini)
