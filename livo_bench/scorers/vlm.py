"""The kind `vlm`: an image-text-to-text model that answers a question in one of named words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livo_bench.cards import readable
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.weights import Need, find_weights
from livo_bench.errors import BadInput
from livo_bench.interfaces import Scorer
from livo_bench.schema import Text
from livo_bench.scorers.labelled import LabelKind
from livo_bench.scorers.llava import BESIDES, TOKENIZER

if TYPE_CHECKING:
    from livo_bench.scorers.first_word import FirstWord


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(LabelKind):
    """A folder or repository that `AutoModelForImageTextToText` reads, with a chat template;
    `labels` are by the words that it may begin its answer with."""

    what = "vlm"

    question: Text = ""
    """What it is asked, with `{word}`, the subset's word or else its name; the task's own question
    when empty."""
    answer: Text = ""
    """What the answer is made to begin with, up to the word: of a model that answers in JSON, for
    example, all before its rating."""
    template_ends: Text = ""
    """What a question ends with by a chat template that begins an answer unasked; others are asked
    to (`add_generation_prompt`)."""

    def check(self, role: str) -> None:
        folder = Path(self.weights)
        if (folder / "config.json").is_file():
            readable.require_network(f"judge of {role}", folder, readable.MODEL)

    def need(self) -> Need | None:
        repository = find_weights(self.weights, "config.json").repository
        required = ("config.json", *TOKENIZER, "model.safetensors")
        return None if repository is None else Need("vlm", repository, required, BESIDES)

    def network(self, device: str) -> FirstWord:
        from livo_bench.scorers.first_word import FirstWord

        return FirstWord(self, device)

    def judge(self, network: FirstWord, task: TaskCard, subset: Subset) -> Scorer:
        question = self.question or task.question
        if question is None:
            raise BadInput(
                f"The vlm {self.weights} has no question, and task {task.name!r} asks none.",
                'Write one into its judge.toml: question = "Is the person male or female?"',
            )
        asked = question.replace("{word}", subset.word or subset.name)
        return self.judge_of(network.asked(asked), task, subset)
