"""The world's own image network: a small residual network with a head for each question.

One class, two roles that share no weights: the feature network, which stands where Inception
stands for photographs, and the annotator, which labels training data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from livo_bench.cards.weights import FEATURENET, find_weights
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import files_of
from livo_bench.errors import BadInput

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WIDEST = 1024
"""Channels of the first stage, at most: what a configuration asks for is built before its weights
are looked at."""


class FeatureNet(nn.Module):
    """A network that turns pictures into one pooled vector, and that into class logits.

    Source: He et al. 2015, arXiv:1512.03385, basic blocks with batch normalisation, one a stage.
    """

    def __init__(self, width: int, heads: Mapping[str, Sequence[str]]) -> None:
        """Make an untrained network.

        Args:
            width: Channels of the first stage; each of the three later ones doubles them.
            heads: Class names by question, e.g. `{"concept": [...], "gender": [...]}`. The
                Inception Score reads the first.
        """
        super().__init__()
        self.config = {"width": width, "heads": {name: list(heads[name]) for name in heads}}
        self.stem = nn.Sequential(_convolution(3, width, stride=2), nn.ReLU())
        self.stages = nn.Sequential(
            _Block(width, width, stride=1),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 4 * width, stride=2),
            _Block(4 * width, 8 * width, stride=2),
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(8 * width, len(classes)) for name, classes in heads.items()}
        )

    def pool(self, images: Tensor) -> Tensor:
        """Pooled features.

        Args:
            images: RGB as stored, uint8 or the same range in float, `(n, 3, height, width)`;
                made for 64x64.

        Returns:
            float32, `(n, 8 * width)`.
        """
        x = images.float() / 127.5 - 1
        return self.stages(self.stem(x)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of each head, `(n, classes)`, of images as `pool` takes them."""
        pooled = self.pool(images)
        return {name: head(pooled) for name, head in self.heads.items()}

    def save(self, folder: Path) -> None:
        """Write the weights, rounded to float16, and the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": FEATURENET, **self.config}
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        half = {
            name: value.half() if value.is_floating_point() else value
            for name, value in self.state_dict().items()
        }
        save_file(half, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> FeatureNet:
        """Read a folder written by `save`; float32, in evaluation mode, frozen.

        Raises:
            BadInput: It does not load, or a tensor does not fit or is no finite number.
        """
        config = find_weights(folder, CONFIG).config
        heads = heads_of(config, folder)
        width = config.get("width")
        if type(width) is not int or not 1 <= width <= WIDEST:
            raise BadInput(
                f"{folder / CONFIG} has width = {width!r}; expected a whole number from 1 to "
                f"{WIDEST}.",
                "Copy the model again.",
            )
        files = files_of("feature network", folder)
        return networks.fill(cls(width, heads), files, "cpu")


def heads_of(config: Mapping[str, Any], folder: str | Path) -> dict[str, list[str]]:
    """Class names by question, as a configuration has them.

    Raises:
        BadInput: It has none.
    """
    heads = config.get("heads")
    if not isinstance(heads, dict) or not heads or not all(map(_are_names, heads.values())):
        raise BadInput(
            f"{Path(folder) / CONFIG} has heads = {json.dumps(heads)[:80]}; expected the class "
            'names of each question, such as {"gender": ["male", "female"]}.',
            "Copy the model again.",
        )
    return heads


def _are_names(classes: object) -> bool:
    whole = isinstance(classes, list) and len(classes) > 0
    return whole and all(isinstance(name, str) for name in classes)  # type: ignore[attr-defined]


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, stride)
        self.second = _convolution(after, after, stride=1)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(before, after, stride, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


def _convolution(before: int, after: int, stride: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
    )
