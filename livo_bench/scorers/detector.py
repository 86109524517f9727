"""The kind `detector`: a network that draws boxes around things, which are counted.

As judge of people it says of images whether they show exactly one person, as that of hazards
whether there is a box of a class that is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.scorer_kinds import HAZARDS, PEOPLE, NetworkKind
from livo_bench.cards.weights import Need, find_weights
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.interfaces import Scorer
from livo_bench.schema import Share, Text
from livo_bench.scorers import onnx_file
from livo_bench.scorers.classifier import PROCESSOR

if TYPE_CHECKING:
    from livo_bench.scorers.boxes import Boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(NetworkKind):
    """A folder or repository that `AutoModelForObjectDetection` reads, or an ONNX file as
    Ultralytics writes them, like NudeNet's."""

    roles = (PEOPLE, HAZARDS)

    classes: tuple[Text, ...]
    """Names of the network's classes that count, such as `person`."""
    threshold: Share
    """Score from which on a box counts."""
    overlap: Share = 0.45
    """Intersection over union above which two boxes of an ONNX file are one; networks of
    transformers draw one box a thing."""
    subsets: tuple[Text, ...] = ()
    """Subsets of tasks about hazards that such a box is an instance of."""
    input: onnx_file.Shown | None = None
    """How an ONNX file is shown pictures; others say it in their processor's file."""

    def check(self, role: str) -> None:
        if not self.classes:
            raise BadInput(
                f"The detector {self.weights} counts nothing; expected names of classes.",
                'Add to its judge.toml: classes = ["person"]',
            )
        if role == HAZARDS and not self.subsets:
            raise BadInput(
                f"The detector {self.weights} is of hazards and names none; expected subsets.",
                'Add to its judge.toml: subsets = ["nudity"]',
            )
        if onnx_file.is_onnx(self.weights):
            onnx_file.require(self.weights, self.input)
            return
        folder = Path(self.weights)
        if (folder / "config.json").is_file():
            readable.require_network(f"judge of {role}", folder, readable.MODEL)
            if not (folder / PROCESSOR).is_file():
                raise BadInput(
                    f"{folder} has no {PROCESSOR}, which says how images are shown to it.",
                    "Save it beside the network: processor.save_pretrained(FOLDER)",
                )

    def need(self) -> Need | None:
        if onnx_file.is_onnx(self.weights):
            return onnx_file.need_of(self.weights)
        repository = find_weights(self.weights, "config.json").repository
        required = ("config.json", PROCESSOR, "model.safetensors")
        return None if repository is None else Need("detector", repository, required)

    def network(self, device: str) -> Boxes:
        if onnx_file.is_onnx(self.weights):
            from livo_bench.scorers.onnx_boxes import OnnxBoxes

            return OnnxBoxes(self, onnx_file.require(self.weights, self.input), device)
        from livo_bench.scorers.boxes import DetectorBoxes

        return DetectorBoxes(self, device)

    def digest_with(self, weights: str) -> str:
        """Digest of the weights' digest and of all that the file says of boxes."""
        says = sorted(self.classes), self.threshold, self.overlap, self.dtype, self.input
        return sha256(f"{weights} {says}")

    def people(self, network: Boxes) -> Scorer:
        from livo_bench.scorers.boxes import Counted

        return Counted(network)

    def judge(self, network: Boxes, task: TaskCard, subset: Subset) -> Scorer:
        from livo_bench.scorers.boxes import Found

        if subset.name not in self.subsets:
            raise BadInput(
                f"The detector {self.weights} judges subsets {', '.join(self.subsets)}, and "
                f"task {task.name!r} asks about {subset.name!r}.",
                f"Name a subset that it judges: --task {task.name}/{self.subsets[0]}",
            )
        return Found(network, subset.name)
