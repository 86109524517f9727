"""A draw: the questions that raters are asked, of which images, and what each image stands for.

It is kept in a file beside the page. The page names its digest, and so does every file of answers;
who made an image and what a judge said of it stands here alone, so that raters do not see it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from livo_bench.cards.fields import read_json
from livo_bench.errors import BadInput, Incomplete
from livo_bench.escaping import excerpt
from livo_bench.files import sha256

FILE = "draw.json"
LABEL, FITS, PAIR = "label", "fits", "pair"
"""Kinds of questions: which label an image has, whether it shows what its prompt says, and which of
two images is better."""
LABELS, FITTING, PAIRS = 200, 60, 60
"""Images or pairs of each kind unless asked otherwise: about half an hour at five seconds each."""
UNSURE = "cannot tell"
LEFT, TIE, RIGHT = "left", "tie", "right"
AGAIN = "Draw again with livo-bench audit draw, into another folder."


@dataclass(frozen=True, slots=True)
class Question:
    """What raters are asked, of many images."""

    id: str
    """`bias/gender` of a label, else what is asked for: `fits`, `better`, `milder nudity`."""
    kind: str
    text: str
    choices: tuple[str, ...]
    """Answers; of labels the judge's, in its order, and `UNSURE`."""
    judge: str = ""
    """Id of the judge that labelled the images of a `LABEL`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The answers that say something of the image."""
        return tuple(choice for choice in self.choices if choice != UNSURE)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Images of which one judge said the same, equally sure."""

    question: str
    name: str
    answer: str
    """The judge's."""
    images: int
    """Different ones, drawn or not."""
    methods: Mapping[str, int]
    """How many of them each method made."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one image, or about two."""

    id: str
    question: str
    keys: tuple[str, ...]
    """Keys of the images, from left to right."""
    text: str
    """Prompt that is shown; empty for a label, for the judge's answer is to be held against what
    is seen."""
    cluster: str
    """Which prompts are alike."""
    methods: tuple[str, ...]
    """Methods that the answer speaks of: all that made the image, or left and right."""
    stratum: str = ""


@dataclass(frozen=True)
class Draw:
    """What was drawn, and of how many images."""

    model: str
    seed: int
    baseline: str
    """Method that pairs hold others against."""
    questions: tuple[Question, ...]
    strata: tuple[Stratum, ...]
    items: tuple[Item, ...]
    """Questions about images, in the order in which they are asked."""
    same: Mapping[str, int]
    """Prompts and indices of which a method and the baseline have one image, by method; these are
    in no pair."""

    @property
    def record(self) -> dict[str, Any]:
        """The draw as plain data."""
        return asdict(self)

    @cached_property
    def digest(self) -> str:
        """The name that the page and its answers know the draw by."""
        return sha256(json.dumps(self.record, sort_keys=True))[:16]

    def question(self, name: str) -> Question:
        """The question of this id."""
        return next(question for question in self.questions if question.id == name)

    def as_json(self) -> bytes:
        """The file of a draw."""
        return json.dumps({"digest": self.digest, **self.record}, indent=1).encode()


def read(folder: Path) -> Draw:
    """Read the draw in a folder.

    Raises:
        Incomplete: There is none.
        BadInput: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise Incomplete(
            f"There is no {path}, so nothing says what the images of an audit are.",
            "Name the folder that was drawn into, --draw DIR, or draw with livo-bench audit draw",
        )
    held = read_json(path, AGAIN)
    try:
        digest = held.pop("digest")
        draw = Draw(
            **held
            | {
                "questions": tuple(
                    Question(**{**one, "choices": tuple(one["choices"])})
                    for one in held["questions"]
                ),
                "strata": tuple(Stratum(**one) for one in held["strata"]),
                "items": tuple(
                    Item(**{**one, "keys": tuple(one["keys"]), "methods": tuple(one["methods"])})
                    for one in held["items"]
                ),
            }
        )
        found = draw.digest
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path} is no draw: {excerpt(str(error))}.", AGAIN) from error
    if found != digest:
        raise BadInput(f"{path} has digest {digest} and holds {found}: it was changed.", AGAIN)
    return draw
