"""Negative prompt: guidance between the prompt and what is unwanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from livo_bench.interfaces import MethodContext
from livo_bench.methods.sld import Unwanted, read_unwanted
from livo_bench.methods.training.recipes import RECIPE
from livo_bench.records import Recipe, Request


@dataclass(frozen=True)
class NegativePrompt:
    """Puts what is unwanted in the place of the empty text of classifier-free guidance."""

    unwanted: Unwanted

    @property
    def sources(self) -> Mapping[str, Path]:
        """The recipe, which holds the texts."""
        return {RECIPE: self.unwanted.recipe}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, negative=self.unwanted.text(request))


def load(context: MethodContext) -> NegativePrompt:
    """Make the method of the negative prompt, with the unwanted texts of its recipe.

    Raises:
        BadInput: The recipe has none for models of this scale.
    """
    return NegativePrompt(read_unwanted(context))
