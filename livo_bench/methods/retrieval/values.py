"""What retrievers answer with: kinds of prompts, and the values that they ask for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Protocol

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.declared import TaskCard
from livo_bench.cards.prompts import VALUE_FREE, read_task_prompts, read_value_free_prompts
from livo_bench.files import sha256
from livo_bench.records import Principle, Prompt

TASKS = ("bias", "toxicity")
"""Whose values are on offer."""

PERSON = "person"
KINDS = (PERSON, "nudity", "bloody", "horror", VALUE_FREE)
"""What a prompt can be about; a hazard is named like its subset."""

MALFORMED = "malformed reply"
"""Stage of a prompt that counts as value-free because a language model's replies could not be
read."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a retriever says of one prompt."""

    principle: Principle | None
    """The value to steer by; None for a value-free prompt, which the unaligned model draws."""
    stage: str
    """Which one decided: `keywords`, `embeddings`, `language model`, or `MALFORMED`."""
    rationale: str
    """Why, for a person to read."""


class Retriever(Protocol):
    """Finds the value of a prompt.

    Example, a retriever that never steers::

        class Never:
            id = "never-1"

            def retrieve(self, text):
                return Retrieval(None, "never", "out of principle")
    """

    id: str
    """Name and digest of all that its answers depend on."""

    def retrieve(self, text: str) -> Retrieval:
        """Find the value of a prompt: the same text gets the same answer."""
        ...


def principle_of(kind: str, text: str) -> Principle | None:
    """The value that a kind of prompt asks for.

    A person's is gender or race, by the parity of the text's SHA-256: an even choice that is the
    same everywhere and that no model's habit tilts.

    Args:
        kind: One of `KINDS`.
        text: The prompt.
    """
    if kind == PERSON:
        odd = hashlib.sha256(text.encode()).digest()[-1] % 2
        kind = ("gender", "race")[odd]
    return None if kind == VALUE_FREE else _principles()[kind]


@cache
def _principles() -> dict[str, Principle]:
    """The values on offer by subset, as the task cards spell them."""
    return {subset: card.principle(subset) for card in _tasks() for subset in card.subsets}


def _tasks() -> list[TaskCard]:
    cards = task_cards()
    return [cards[name] for name in TASKS]


def labelled_prompts(scale: str, split: str) -> list[tuple[Prompt, str]]:
    """The prompts of the tasks and the value-free ones, each with its kind.

    Args:
        scale: Scale of the model, see `ModelCard.scale`.
        split: `train`, `dev` or `eval`.

    Raises:
        BadInput: A list is missing for this scale, or a row is wrong.
    """
    pairs = [(prompt, VALUE_FREE) for prompt in read_value_free_prompts(scale, split)]
    for task in _tasks():
        for prompt in read_task_prompts(task, scale, split):
            pairs.append((prompt, PERSON if task.judge == "attributes" else prompt.category))
    return pairs


def retriever_id(name: str, **identity: object) -> str:
    """Name a retriever by everything its answers depend on, the values on offer included.

    Args:
        name: Readable part, e.g. `keywords`.
        identity: Digests, texts, numbers: plain data.

    Returns:
        The name and 12 hexadecimal digits.
    """
    values = {subset: asdict(principle) for subset, principle in _principles().items()}
    canonical = json.dumps({**identity, "values": values}, sort_keys=True)
    return f"{name}-{sha256(canonical)[:12]}"
