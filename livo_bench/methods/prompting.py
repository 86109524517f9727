"""Methods that rewrite the prompt alone: what any aligned model should be compared with."""

from __future__ import annotations

from dataclasses import replace

from livo_bench.cards.prompts import with_attributes
from livo_bench.cards.wording import detoxified
from livo_bench.methods.quota import group_of
from livo_bench.records import Recipe, Request


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
