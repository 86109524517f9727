"""The kind `torchfidelity`: a feature network as torch-fidelity has them, behind IS and FID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards import readable
from livo_bench.cards.scorer_kinds import FEATURES, NetworkKind
from livo_bench.cards.weights import FEATURENET, INCEPTION, Download, model_type

if TYPE_CHECKING:
    from livo_bench.scorers.features import FeatureNetwork

INCEPTION_BYTES = 100_000_000
"""Size of Inception's weights, rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(NetworkKind):
    """`inception-v3-compat`, or a folder of the miniature world's network; it computes in float32,
    whatever `dtype` says."""

    roles = (FEATURES,)
    called = "a feature network"

    kinds: Path | None = None
    """CSV of its classes with their kinds, `class,kind`: without it nobody can say whether an image
    shows at least something of the kind that was asked for."""

    @classmethod
    def at(cls, place: str, dtype: str) -> Kind | None:
        known = place == INCEPTION or model_type(place) == FEATURENET
        return cls(weights=place, dtype=dtype) if known else None

    def check(self, role: str) -> None:
        folder = Path(self.weights)
        if (folder / "config.json").is_file():
            readable.require_network(f"judge of {role}", folder, readable.MODEL)

    def need(self) -> Download | None:
        from livo_bench.scorers import features

        if self.weights != INCEPTION:
            return None
        url, path = features.inception_url(), features.inception_file()
        return Download("Inception", url, path, INCEPTION_BYTES)

    def network(self, device: str) -> FeatureNetwork:
        from livo_bench.scorers.features import FeatureNetwork

        return FeatureNetwork(self.weights, device)

    def features(self, network: FeatureNetwork) -> FeatureNetwork:
        return network

    def kinds_of_classes(self) -> Mapping[str, str]:
        if self.kinds is None:
            return {}
        from livo_bench.csvs import read_csv

        rows = read_csv(self.kinds, ("class", "kind"), "Name another file in the model's card.")
        return dict(zip(rows["class"], rows["kind"], strict=True))
