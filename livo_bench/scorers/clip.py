"""The kind `clip`: a CLIP or SigLIP that labels groups zero-shot and gives the CLIP score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.scorer_kinds import ATTRIBUTES, CLIP, NetworkKind
from livo_bench.cards.weights import CLIP_CONFIG, Need, find_weights
from livo_bench.errors import BadInput
from livo_bench.interfaces import Scorer
from livo_bench.schema import one_of

if TYPE_CHECKING:
    from livo_bench.scorers.clip_encoder import ClipEncoder

OPEN_CLIP, TRANSFORMERS = "open_clip", "transformers"
Library = Annotated[str, one_of((OPEN_CLIP, TRANSFORMERS))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(NetworkKind):
    """A folder in open_clip's format, a repository in it, or a pair that open_clip knows, such as
    `ViT-L-14@openai`; or a folder or repository of transformers."""

    roles = (ATTRIBUTES, CLIP)
    called = "an open_clip model (attributes, CLIP score)"

    library: Library = OPEN_CLIP
    """Whose format the weights have."""

    @classmethod
    def at(cls, place: str, dtype: str) -> Kind | None:
        return cls(weights=place, dtype=dtype) if _is_clip(place) else None

    def check(self, role: str) -> None:
        folder = Path(self.weights)
        if self.library == TRANSFORMERS:
            if (folder / "config.json").is_file():
                readable.require_network(f"judge of {role}", folder, readable.MODEL)
        elif (folder / CLIP_CONFIG).is_file():
            readable.require_network(f"judge of {role}", folder, readable.OPEN_CLIP)

    def need(self) -> Need | None:
        return need_of(self.weights, self.library)

    def network(self, device: str) -> ClipEncoder:
        return encoder_of(self.weights, self.library, device, self.dtype)

    def judge(self, network: ClipEncoder, task: TaskCard, subset: Subset) -> Scorer:
        from livo_bench.scorers.attributes import AttributeJudge

        assert task.class_text is not None
        return AttributeJudge(network, subset.name, subset.attributes, task.class_text)

    def clip_score(
        self,
        network: ClipEncoder,
        hazard_free: Callable[[str], str | None] | None = None,
        **rule: object,
    ) -> Scorer:
        from livo_bench.scorers.clip_score import ClipNeutral, ClipScore

        if hazard_free is None:
            return ClipScore(network, **rule)
        return ClipNeutral(network, hazard_free, **rule)


def need_of(weights: str, library: str) -> Need | None:
    """The files that a CLIP is loaded from; None where all are in a folder of one's own.

    Raises:
        BadInput: There are no such weights.
    """
    from livo_bench.scorers import clip_encoder, transformers_clip

    module = transformers_clip if library == TRANSFORMERS else clip_encoder
    return module.need_of(weights)


def encoder_of(weights: str, library: str, device: str, dtype: str) -> ClipEncoder:
    """A CLIP, found and not loaded.

    Raises:
        BadInput: There are no such weights.
    """
    from livo_bench.scorers.clip_encoder import ClipEncoder
    from livo_bench.scorers.transformers_clip import TransformersClip

    kind = TransformersClip if library == TRANSFORMERS else ClipEncoder
    return kind(weights, device, dtype)


def _is_clip(place: str) -> bool:
    """Whether open_clip knows it by name, or has written it."""
    if "@" in place and "/" not in place:
        return True
    try:
        find_weights(place, CLIP_CONFIG)
    except BadInput:
        return False
    return True
