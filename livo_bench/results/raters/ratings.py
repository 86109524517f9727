"""Files of raters' answers, as the page of an audit saves them, read back with care."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from livo_bench.cards.fields import read_json
from livo_bench.errors import BadInput, NotComparable
from livo_bench.escaping import excerpt
from livo_bench.results.raters.drawn import Draw

FORMAT = 1
COLUMNS = ["item", "rater", "answer"]
AGAIN = "Open the page in the same browser again and save the file anew; answers are kept there."


def read(paths: Sequence[Path], draw: Draw) -> pd.DataFrame:
    """Read the answers of raters.

    Args:
        paths: A file a rater.
        draw: Draw that the answers are to.

    Returns:
        A row an answer, with `COLUMNS`: the id of the item, the rater's name and one of the
        question's choices. A rater who stopped has fewer.

    Raises:
        BadInput: A file is damaged, has an answer that nobody could give, or is of a rater who has
            another one.
        NotComparable: The answers are to another draw.
    """
    rows: list[tuple[str, str, str]] = []
    first: dict[str, Path] = {}
    for path in paths:
        rater, answers = _read(path, draw)
        other = first.setdefault(" ".join(rater.casefold().split()), path)
        if other != path or path in paths[paths.index(path) + 1 :]:
            raise BadInput(
                f"{other} and {path} are both of the rater {rater!r}; expected one file a rater, "
                "or one person's answers would count twice.",
                "Name the file with more answers alone. Of two people of one name, one saves under "
                "another name.",
            )
        rows += [(item, rater, answer) for item, answer in answers]
    return pd.DataFrame(rows, columns=COLUMNS)


def _read(path: Path, draw: Draw) -> tuple[str, list[tuple[str, str]]]:
    held = read_json(path, AGAIN)
    rater, answers = _fields(path, held)
    if held["draw"] != draw.digest:
        raise NotComparable(
            f"{path} has ratings of the draw {excerpt(str(held['draw']))}, and the images here "
            f"are of the draw {draw.digest}.",
            "Name the folder of that draw: --draw DIR",
        )
    choices = {item.id: draw.question(item.question).choices for item in draw.items}
    seen: set[str] = set()
    for item, answer in answers:
        if item not in choices:
            raise BadInput(f"{path} has an answer to {item!r}, which was not asked.", AGAIN)
        if answer not in choices[item]:
            raise BadInput(
                f"{path} has the answer {answer!r} to {item}; expected one of "
                f"{', '.join(choices[item])}.",
                AGAIN,
            )
        if item in seen:
            raise BadInput(f"{path} has two answers to {item}; expected one.", AGAIN)
        seen.add(item)
    return rater, answers


def _fields(path: Path, held: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """See that a file has what the page writes, and as many answers as it says."""
    kinds = {"format": int, "draw": str, "rater": str, "answered": int, "answers": list}
    if {name: type(held.get(name)) for name in kinds} != kinds:
        raise BadInput(
            f"{path} is no file of ratings; expected JSON with {', '.join(kinds)}.", AGAIN
        )
    answers = held["answers"]
    whole = all(
        isinstance(one, list) and len(one) == 2 and all(isinstance(word, str) for word in one)
        for one in answers
    )
    if held["format"] != FORMAT or not held["rater"].strip() or not whole:
        raise BadInput(
            f"{path} is of format {held['format']}, of the rater {held['rater']!r}; expected "
            f"format {FORMAT}, a name, and answers that are pairs of an item and a choice.",
            AGAIN,
        )
    if len(answers) != held["answered"] or not answers:
        raise BadInput(
            f"{path} has {len(answers)} answers and says that it has {held['answered']}; expected "
            "as many, and at least one.",
            AGAIN,
        )
    return held["rater"], [(item, answer) for item, answer in answers]
