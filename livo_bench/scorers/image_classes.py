"""Networks that say of an image how likely each of their classes is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from livo_bench.cards.weights import Weights, find_weights, loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import files_of
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.scorers import Lazy, trial
from livo_bench.scorers.labelled import LabelKind


class ImageClassifier:
    """An image classifier of transformers, shown images as its own processor does."""

    def __init__(self, kind: LabelKind, device: str) -> None:
        """Look the weights up; they are loaded when first needed.

        Raises:
            BadInput: There is no such model, or its classes are others than those with labels.
        """
        found = find_weights(kind.weights, "config.json")
        if found.folder is not None:
            from transformers.models.auto import modeling_auto

            known = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
            named = found.config.get("model_type")
            if named not in known:
                raise BadInput(
                    f"{kind.weights} is a model of type {named!r}, which classifies no images.",
                    "Name one that does, or say what it is: kind = 'detector', 'vlm'",
                )
            kind.refuse_other_classes([*map(str, found.config.get("id2label", {}).values())])
        self.digest = kind.digest_with(found.digest())
        self._weights = kind.weights
        self._net = Lazy(lambda: _load(found, device, kind.dtype))

    def load(self) -> None:
        """Load the weights now, and see that they answer.

        Raises:
            BadInput: They do not load.
        """
        self._net()
        with loading("classifier", self._weights):
            self.shares(trial())

    @torch.inference_mode()
    def shares(self, pixels: Pixels) -> Mapping[str, NDArray]:
        """See `LabelNetwork`: the softmax of the logits."""
        network, processor = self._net()
        shown = processor(images=list(pixels), return_tensors="pt")["pixel_values"]
        logits = network(pixel_values=shown.to(network.device, network.dtype)).logits
        every = logits.float().softmax(dim=1).cpu().numpy()
        return {name: every[:, int(index)] for index, name in network.config.id2label.items()}


def _load(found: Weights, device: str, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    files = files_of("classifier", Path(found.source))
    with loading("classifier", found.source):
        processor = AutoImageProcessor.from_pretrained(
            found.source, trust_remote_code=False, local_files_only=True
        )
    library = AutoModelForImageClassification
    return networks.of_any_kind(library, files, getattr(torch, dtype), device), processor
