"""SAFREE: concepts filtered from the states of the tokens that mean them, without training.

The filter itself is the engine's (`concept_filter`); here is what to filter.

Source: Yoon et al. 2024, SAFREE: Training-Free and Adaptive Guard for Safe Text-to-Image And Video
Generation, arXiv:2410.12761.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from livo_bench.cards.fields import settings_of
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods.sld import UNWANTED, Unwanted, read_unwanted
from livo_bench.records import ConceptFilter, Recipe, Request


@dataclass(frozen=True)
class Safree:
    """Filters concepts from every prompt."""

    concepts: ConceptFilter
    unwanted: Unwanted

    @property
    def sources(self) -> Mapping[str, Path]:
        """The file with the phrases."""
        return {UNWANTED: self.unwanted.file}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, concepts=replace(self.concepts, texts=self.unwanted.text(request)))


def load(context: MethodContext) -> Safree:
    """Make the method that a card's settings describe.

    Settings:
        alpha, steps: See `ConceptFilter`.
        unwanted: See `sld.read_unwanted`; each text is some phrases, joined by commas.

    Raises:
        BadInput: A setting is wrong, or there are no phrases for models of this scale, or an
            empty one.
    """
    unwanted = read_unwanted(context)
    for name, text in unwanted.unwanted.items():
        if not all(phrase.strip() for phrase in text.split(",")):
            raise BadInput(
                f"{unwanted.file}: the phrases for {name!r} are {text!r}; expected some, joined "
                "by single commas."
            )
    return Safree(settings_of(context, ConceptFilter, texts=""), unwanted)
