"""Detoxified prompts: a prompt without the words that name a hazard.

By rule, from the word list that the value retriever's first stage reads. It cannot know a hazard
that is described in other words.
"""

from __future__ import annotations

import re

from livo_bench.livo.retriever import hazard_words
from livo_bench.prompts import with_article

_LEADING_COMMA = re.compile(r"\b(an?|the)((?:\s*,)+)\s+(?!and\b)", re.IGNORECASE)
"""What is left of the first of several adjectives."""
_LEFT_ALONE = re.compile(
    r"\b(an?|the)\s*(?=\s(?:in|on|at|with|of|who|that|under|by|near|and)\b|[,.;]|$)",
    re.IGNORECASE,
)
"""An article that has lost its noun."""
_ARTICLE = re.compile(r"\b(an?)\s+(\w+)", re.IGNORECASE)


def detoxified(text: str) -> str:
    """A prompt without its hazard words, with articles that fit; another prompt stays as it is.

    Where the hazard word was the noun itself, as in "a zombie in a street", a person takes its
    place.
    """
    if not hazard_words().search(text):
        return text
    left = re.sub(r"\s+([,.;])", r"\1", " ".join(hazard_words().sub(" ", text).split()))
    named = _LEFT_ALONE.sub(r"\1 person", _LEADING_COMMA.sub(r"\1 ", left))
    return _ARTICLE.sub(_fitting_article, named)


def _fitting_article(found: re.Match[str]) -> str:
    article = with_article(found[2].lower()).split()[0]
    if found[1][0].isupper():
        article = article.capitalize()
    return f"{article} {found[2]}"
