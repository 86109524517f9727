"""Detectors in ONNX files as Ultralytics writes them, NudeNet's among them.

Such a file answers `(n, 4 + classes, boxes)`: centre, width and height in pixels of the input, then
a score of each class; names of classes are in its metadata. Of boxes that overlap the one with the
higher score stays, whatever their classes, as in NudeNet's own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.scorers import trial
from livo_bench.scorers.boxes import refuse_other_classes
from livo_bench.scorers.onnx_file import OnnxFile, Shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livo_bench.scorers.detector import Kind


class OnnxBoxes:
    """A detector in an ONNX file: see `Boxes`."""

    def __init__(self, kind: Kind, shown: Shown, device: str) -> None:
        """Look the file up; it is loaded when first needed.

        Raises:
            BadInput: It is not there.
        """
        self._file = OnnxFile("detector", kind.weights, shown, device)
        self._kind = kind
        self.digest = kind.digest_with(self._file.digest)

    def load(self) -> None:
        """Load the network now, and see that it draws boxes of the classes that count.

        Raises:
            BadInput: It does not load, or does not.
        """
        self._file.load()
        refuse_other_classes(self._kind, self._file.names)
        self.count(trial())

    def count(self, pixels: Pixels) -> NDArray:
        """See `Boxes`.

        Raises:
            BadInput: Its answer is none of boxes.
        """
        names, found = self._file.names, self._file.answer(pixels)
        if found.ndim != 3 or found.shape[1] != 4 + len(names):
            raise BadInput(
                f"{self._kind.weights} answers {found.shape[1:]} numbers for a picture; expected "
                f"(4 + {len(names)} classes, boxes), as Ultralytics writes detectors.",
                "Export the network anew, without what sorts its boxes.",
            )
        counts = [self._of(image, names) for image in found]
        finite = np.isfinite(found).all(axis=(1, 2))
        return np.where(finite, counts, np.nan).astype("float32")

    def _of(self, answer: NDArray, names: tuple[str, ...]) -> int:
        from torchvision.ops import nms

        scores, classes = torch.from_numpy(answer[4:]).max(dim=0)
        kept = scores >= self._kind.threshold
        centre, size = torch.from_numpy(answer[:4, kept.numpy()]).T.split(2, dim=1)
        boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
        alone = nms(boxes, scores[kept], self._kind.overlap)
        return sum(names[int(one)] in self._kind.classes for one in classes[kept][alone])
