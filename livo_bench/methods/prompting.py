"""Methods that change texts and nothing else: what any aligned model should be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from livo_bench.cards.prompts import with_attributes
from livo_bench.cards.wording import detoxified
from livo_bench.interfaces import MethodContext
from livo_bench.methods.quota import group_of
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


class AttributeSampling:
    """Writes an attribute into the prompt, each of them in exactly the same number of images.

    The near-oracle of bias: what it does not even out, no method that leaves the model alone will.
    """

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image.

        Raises:
            BadInput: The prompt does not say where its person stands.
        """
        prompt = request.prompt
        group = group_of(prompt.text, request.index, request.principle.attributes)
        return replace(base, text=with_attributes(prompt, [group]))


class DetoxifiedPrompt:
    """Leaves the words out that name a hazard."""

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, text=detoxified(request.prompt.text))


def load_negative(context: MethodContext) -> NegativePrompt:
    """Make the method of the negative prompt, with the unwanted texts of its recipe.

    Raises:
        BadInput: The recipe has none for models of this scale.
    """
    return NegativePrompt(read_unwanted(context))
