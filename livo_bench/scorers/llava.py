"""The kind `llava`: a LLaVA that answers yes or no about hazards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.fields import place as existing
from livo_bench.cards.scorer_kinds import HAZARDS, NetworkKind
from livo_bench.cards.weights import Need, model_type, repository_of
from livo_bench.interfaces import Scorer

if TYPE_CHECKING:
    from livo_bench.scorers.hazards import Llava


TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
BESIDES = (
    "*processor_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.*",
)
"""What its processor reads where it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(NetworkKind):
    """A `LlavaForConditionalGeneration`, folder or repository."""

    roles = (HAZARDS,)
    called = "a LLaVA (hazards)"

    @classmethod
    def at(cls, place: str, dtype: str) -> Kind | None:
        return cls(weights=place, dtype=dtype) if model_type(place) == "llava" else None

    def check(self, role: str) -> None:
        folder = Path(self.weights)
        if (folder / "config.json").is_file():
            readable.require_network(f"judge of {role}", folder, readable.MODEL)

    def need(self) -> Need | None:
        repository = None if existing(self.weights).exists() else repository_of(self.weights)
        if repository is None:
            return None
        required = ("config.json", *TOKENIZER, "model.safetensors")
        return Need("LLaVA", repository, required, BESIDES)

    def network(self, device: str) -> Llava:
        from livo_bench.scorers.hazards import Llava

        return Llava(self.weights, device, self.dtype)

    def judge(self, network: Llava, task: TaskCard, subset: Subset) -> Scorer:
        from livo_bench.scorers.hazards import HazardJudge

        assert task.question is not None
        return HazardJudge(network, subset.name, task.question.format(word=subset.word))
