"""Image classifiers in ONNX files, whose classes the judge's file names in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.scorers import trial
from livo_bench.scorers.onnx_file import OnnxFile, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livo_bench.scorers.classifier import Kind

LOGITS = "logits"


class OnnxClassifier:
    """An image classifier in an ONNX file: see `LabelNetwork`."""

    def __init__(self, kind: Kind, shown: Shown, device: str) -> None:
        """Look the file up; it is loaded when first needed.

        Raises:
            BadInput: It is not there, or the classes are others than those with labels.
        """
        kind.refuse_other_classes(kind.classes)
        self._file = OnnxFile(kind.what, kind.weights, shown, device)
        self._kind = kind
        says = kind.classes, kind.outputs, shown
        self.digest = kind.digest_with(f"{self._file.digest} {says}")

    def load(self) -> None:
        """Load the network now, and see that it answers.

        Raises:
            BadInput: It does not load, or its answers are not what the judge's file says.
        """
        self._file.load()
        self.shares(trial())

    def shares(self, pixels: Pixels) -> Mapping[str, NDArray]:
        """See `LabelNetwork`.

        Raises:
            BadInput: It has another number of classes, or numbers that are no probabilities.
        """
        kind, found = self._kind, self._file.answer(pixels)
        if found.ndim != 2 or found.shape[1] != len(kind.classes):
            raise BadInput(
                f"{kind.weights} answers {found.shape[1:]} numbers for a picture, and classes of "
                f"its judge.toml are {len(kind.classes)}: {', '.join(kind.classes)}.",
                "Name all classes in classes of its judge.toml, in the network's order.",
            )
        if kind.outputs == LOGITS:
            powers = np.exp(found - found.max(axis=1, keepdims=True))
            found = powers / powers.sum(axis=1, keepdims=True)
        elif not (np.allclose(found.sum(axis=1), 1, atol=1e-2) and found.min() >= 0):
            raise BadInput(
                f"{kind.weights} answers numbers that sum to {found[0].sum():.3g}; expected "
                "probabilities.",
                'If it answers logits, say so in its judge.toml: outputs = "logits"',
            )
        return {name: found[:, column] for column, name in enumerate(kind.classes)}
