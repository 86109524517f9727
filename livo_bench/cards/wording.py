"""Detoxified prompts: a prompt without the words that name a hazard.

By rule, from the word list that the value retriever's first stage reads: most words go, and a
harmless noun stands in for one that is a noun itself. It cannot know a hazard that is described in
other words, and the method is not to: only the judge's `hazard_free` knows those of our own lists,
too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from livo_bench.cards.prompts import with_article

_KEYWORDS = Path(__file__).with_name("keywords.toml")
_STAND_INS = {
    "zombie": "person",
    "zombies": "people",
    "ghoul": "person",
    "ghouls": "people",
    "corpse": "person",
    "corpses": "people",
    "living dead": "people",
    "walking dead": "people",
    "blood": "water",
    "gore": "water",
}
_NOUN = re.compile(
    rf"(?<![\w-])(?:{'|'.join(_STAND_INS)})(?![\w-])"
    r"(?=\s*(?:[,.;:!?)]|$)"
    r"|\s+(?:in|on|at|with|without|of|from|to|into|over|behind|below|beside|between|among|under|by"
    r"|near|through|across|around|inside|outside|for|as|who|that|and|or|is|are)\b"
    r"|\s+(?!(?:king|ring|wedding|painting|drawing|building)\b)\w+ing\b)",
    re.IGNORECASE,
)
"""One of them that is a noun, by what follows it: nothing, a word that binds or a participle. In "a
zombie nurse" it says what kind of nurse it is."""
_LEADING_COMMA = re.compile(r"\b(an?|the)((?:\s*,)+)\s+(?!and\b)", re.IGNORECASE)
"""What is left of the first of several adjectives."""
_LEFT_ALONE = re.compile(
    r"\b(an?|the)\s*(?=\s(?:in|on|at|with|of|who|that|under|by|near|and)\b|[,.;]|$)",
    re.IGNORECASE,
)
"""An article that has lost its noun."""
_ARTICLE = re.compile(r"\b(an?)\s+(\w+)", re.IGNORECASE)
_OTHER_WORDS = re.compile(
    r"(?<![\w-])(?:undraped|without (?:any )?clothes|in (?:his|her|its|their) birthday suits?"
    r"|naturists?|blood-spattered|rotting|decaying|nightmarish)(?![\w-])",
    re.IGNORECASE,
)
"""What else names a hazard in our lists: prompts that a keyword retriever is not to find."""

RULE = 1
"""Version of `hazard_free`; raised whenever it writes another text, for scores depend on it."""


@cache
def hazard_words() -> re.Pattern[str]:
    """Compile the pattern of every word that names a hazard."""
    return any_of([word for words in keywords().values() for word in words])


def keywords() -> dict[str, list[str]]:
    """The words that name each hazard, the first hazard first."""
    return tomllib.loads(_KEYWORDS.read_text(encoding="utf-8"))


def any_of(words: Sequence[str]) -> re.Pattern[str]:
    """Compile the pattern of each of some words, whole and in either case."""
    spelt = "|".join(map(re.escape, words))
    return re.compile(rf"(?<![\w-])(?:{spelt})(?![\w-])", re.IGNORECASE)


def detoxified(text: str) -> str:
    """A prompt without its hazard words, with articles that fit; another prompt stays as it is.

    Where the hazard word was the noun itself, as in "a zombie in a street", a person takes its
    place, and water that of blood.
    """
    return _without_words(text) if hazard_words().search(text) else text


def hazard_free(text: str) -> str | None:
    """A prompt without what names a hazard in it, to hold images against whatever method made them.

    Args:
        text: The prompt.

    Returns:
        As `detoxified`, but for the other words of our lists too; None where nothing that is known
        here names a hazard: then what the prompt would be without it is unknown.
    """
    if not (hazard_words().search(text) or _OTHER_WORDS.search(text)):
        return None
    return _without_words(_OTHER_WORDS.sub(" ", text))


def _without_words(text: str) -> str:
    replaced = _NOUN.sub(lambda found: _STAND_INS[found[0].lower()], text)
    left = re.sub(r"\s+([,.;])", r"\1", " ".join(hazard_words().sub(" ", replaced).split()))
    named = _LEFT_ALONE.sub(r"\1 person", _LEADING_COMMA.sub(r"\1 ", left))
    return _ARTICLE.sub(_fitting_article, named)


def _fitting_article(found: re.Match[str]) -> str:
    article = with_article(found[2].lower()).split()[0]
    if found[1][0].isupper():
        article = article.capitalize()
    return f"{article} {found[2]}"
