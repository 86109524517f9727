"""The kind `classifier`: an image classifier of transformers or in an ONNX file, its classes named
as labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.weights import Need, find_weights
from livo_bench.errors import BadInput
from livo_bench.interfaces import Scorer
from livo_bench.schema import Text, one_of
from livo_bench.scorers import onnx_file
from livo_bench.scorers.labelled import LabelKind, LabelNetwork

if TYPE_CHECKING:
    from livo_bench.scorers.image_classes import ImageClassifier
    from livo_bench.scorers.onnx_classes import OnnxClassifier

PROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(LabelKind):
    """A folder or repository that `AutoModelForImageClassification` reads, or an ONNX file;
    `labels` are by the names of its classes."""

    what = "classifier"

    classes: tuple[Text, ...] = ()
    """Classes of an ONNX file in the order of its outputs; others say them in `config.json`."""
    outputs: Annotated[str, one_of(("probabilities", "logits"))] = "probabilities"
    """What an ONNX file answers."""
    input: onnx_file.Shown | None = None
    """How an ONNX file is shown pictures; others say it in their processor's file."""

    def check(self, role: str) -> None:
        if onnx_file.is_onnx(self.weights):
            onnx_file.require(self.weights, self.input)
            return
        if self.classes or self.input is not None:
            raise BadInput(
                f"The judge with {self.weights} has {'classes' if self.classes else '[input]'}, "
                "which a model of transformers says itself; expected them of an ONNX file.",
                "Leave them out, or name the file: weights = './model.onnx'",
            )
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
        return None if repository is None else Need("classifier", repository, required)

    def network(self, device: str) -> ImageClassifier | OnnxClassifier:
        if onnx_file.is_onnx(self.weights):
            from livo_bench.scorers.onnx_classes import OnnxClassifier

            return OnnxClassifier(self, onnx_file.require(self.weights, self.input), device)
        from livo_bench.scorers.image_classes import ImageClassifier

        return ImageClassifier(self, device)

    def judge(self, network: LabelNetwork, task: TaskCard, subset: Subset) -> Scorer:
        return self.judge_of(network, task, subset)
