"""Negative prompt: guidance between the prompt and what is unwanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from livo_bench.interfaces import MethodContext
from livo_bench.methods.sld import UNWANTED, Unwanted, read_unwanted
from livo_bench.records import Recipe, Request


@dataclass(frozen=True)
class NegativePrompt:
    """Puts what is unwanted in the place of the empty text of classifier-free guidance."""

    unwanted: Unwanted

    @property
    def sources(self) -> Mapping[str, Path]:
        """The file with the texts."""
        return {UNWANTED: self.unwanted.file}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, negative=self.unwanted.text(request))


def load(context: MethodContext) -> NegativePrompt:
    """Make the method of the negative prompt, with the unwanted texts in its folder.

    Raises:
        BadInput: There are none for models of this scale.
    """
    return NegativePrompt(read_unwanted(context))
