"""The kind `classifier`: an image classifier of transformers, its classes named as labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.weights import Need, find_weights
from livo_bench.errors import BadInput
from livo_bench.interfaces import Scorer
from livo_bench.scorers.labelled import LabelKind, LabelNetwork

if TYPE_CHECKING:
    from livo_bench.scorers.image_classes import ImageClassifier

PROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(LabelKind):
    """A folder or repository that `AutoModelForImageClassification` reads; `labels` are by the
    names of its classes in `config.json`."""

    what = "classifier"

    def check(self, role: str) -> None:
        folder = Path(self.weights)
        if (folder / "config.json").is_file():
            readable.require_network(f"judge of {role}", folder, readable.MODEL)
            if not (folder / PROCESSOR).is_file():
                raise BadInput(
                    f"{folder} has no {PROCESSOR}, which says how images are shown to it.",
                    "Save it beside the network: processor.save_pretrained(FOLDER)",
                )

    def need(self) -> Need | None:
        repository = find_weights(self.weights, "config.json").repository
        required = ("config.json", PROCESSOR, "model.safetensors")
        return None if repository is None else Need("classifier", repository, required)

    def network(self, device: str) -> ImageClassifier:
        from livo_bench.scorers.image_classes import ImageClassifier

        return ImageClassifier(self, device)

    def judge(self, network: LabelNetwork, task: TaskCard, subset: Subset) -> Scorer:
        return self.judge_of(network, task, subset)
