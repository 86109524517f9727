"""The kind `zero_shot`: a CLIP or SigLIP that takes an image for the text that is closest to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.weights import Need
from livo_bench.errors import BadInput
from livo_bench.interfaces import Scorer
from livo_bench.schema import one_of
from livo_bench.scorers import clip
from livo_bench.scorers.labelled import LabelKind, LabelNetwork

if TYPE_CHECKING:
    from livo_bench.scorers.texts import Texts

SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(LabelKind):
    """A CLIP or SigLIP, see `clip.Kind`; `labels` are by the texts that images are held against, or
    by the names of learnt vectors."""

    what = "zero-shot"

    library: clip.Library = clip.OPEN_CLIP
    """Whose format the weights have."""
    shares: Annotated[str, one_of(("softmax", SIGMOID))] = "softmax"
    """What becomes of cosines: a choice between the texts, or for each text, as SigLIP learnt,
    whether it fits. With a threshold the second abstains from images that no text fits."""
    vectors: Path | None = None
    """Safetensors file with a vector for each name in `labels`, in place of texts."""

    def check(self, role: str) -> None:
        if self.vectors is not None and not self.vectors.is_file():
            raise BadInput(
                f"There is no file {self.vectors}, which vectors of the judge name.",
                "Save them with safetensors.torch.save_file, a vector a name of [labels].",
            )
        clip.Kind(weights=self.weights, dtype=self.dtype, library=self.library).check(role)

    def need(self) -> Need | None:
        return clip.need_of(self.weights, self.library)

    def network(self, device: str) -> Texts:
        from livo_bench.scorers.texts import Texts

        return Texts(self, clip.encoder_of(self.weights, self.library, device, self.dtype))

    def judge(self, network: LabelNetwork, task: TaskCard, subset: Subset) -> Scorer:
        return self.judge_of(network, task, subset)
