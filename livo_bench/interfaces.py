"""The seams of the house: what a method, a scorer and a model must do, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from livo_bench.errors import Untrained
from livo_bench.records import Prompt, Recipe, Request, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from livo_bench.cards.declared import ModelCard

# In quotes, for numpy takes longer to import than `livo-bench list` may take.
Pixels: TypeAlias = "NDArray[np.uint8]"
"""Images as stored: RGB, uint8, shape `(n, size, size, 3)`."""

Columns: TypeAlias = "Mapping[str, NDArray]"
"""Named columns, each of length n along its first axis."""


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What an adapter's `load(context) -> Method` is given."""

    folder: Path
    """The method's own, with `card.toml` and whatever else it needs."""
    settings: Mapping[str, Scalar]
    """`[settings]` of the card, with those of the variant laid over."""
    model: ModelCard
    method: str
    """Name as `--method` takes it, without a variant."""
    published: Mapping[str, str] = field(default_factory=dict)
    """`[published]` of the card: repositories of weights."""

    def untrained(self, what: str, place: str | Path) -> Untrained:
        """The error of a method that has not been trained on the model.

        Args:
            what: What it lacks, in the plural.
            place: Where that would be.
        """
        return Untrained(
            f"There are no {what} of {self.folder.name!r} for model {self.model.name!r}: no "
            f"{place}.",
            "Train the method with\n"
            f"    livo-bench train --method {self.method} --model {self.model.spec}\n"
            "and pass the folder that it names with --weights.",
        )


@runtime_checkable
class Method(Protocol):
    """A text-to-image method under test: compiles a request to a recipe.

    Example, the whole `adapter.py` of a method that asks for a frontal picture::

        from dataclasses import replace

        class Frontal:
            def resolve(self, request, base):
                return replace(base, text=request.prompt.text + ", seen from the front")

        def load(context):
            return Frontal()
    """

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Say how to make one image.

        Args:
            request: The task's prompt, image index and principle.
            base: What the unaligned model would do: the prompt's text, the model's own settings
                and the request's seed. Return it as it is, or `dataclasses.replace(base, ...)`.
                Keep `seed`: all methods start image i of a prompt from the same noise.

        Returns:
            The recipe. What depends on the index depends on it alone, never on how many images
            were asked for.
        """
        ...


@runtime_checkable
class OwnGenerator(Method, Protocol):
    """A method that fits none of the engine's seams and renders by itself.

    `cards.adapters` sets `recipe.generator` to the digest of its folder.
    """

    def generate(self, requests: Sequence[Request], latents: Tensor) -> Pixels:
        """Render requests, one image each, in order.

        Args:
            requests: Requests of one prompt.
            latents: Unit-normal noise, float32, `(n, channels, size / 8, size / 8)`; row i belongs
                to `requests[i]`. Of a Stable Diffusion 1.x or 2.x they are what its image starts
                from; of others, whose latents have shapes of their own, 4 channels of the same
                seeds.

        Returns:
            RGB images, uint8, `(n, size, size, 3)`. Image i depends on row i alone. Several
            threads may call this at once.
        """
        ...


@runtime_checkable
class WithFiles(Method, Protocol):
    """A method whose recipes name files by digest."""

    files: Mapping[str, str]
    """Value encoders (folders or repositories) and overlays (files), by the digest that recipes
    carry."""


@runtime_checkable
class Called(Method, Protocol):
    """A method whose results have a name of their own, not its card's."""

    called: str
    """Letters, digits, dots, hyphens and underscores."""


@runtime_checkable
class WithSources(Method, Protocol):
    """A method whose images rest on more files than its card and adapter."""

    sources: Mapping[str, str | Path]
    """Files, folders and repositories, by what `run.json` is to call them: no path of a machine."""


class Renderer(Protocol):
    """What turns recipes into pixels: the engine of a kind of model."""

    def render(self, recipes: Sequence[Recipe]) -> Pixels:
        """Make images of recipes of one family, in their order; several threads may ask at once."""
        ...

    def noise(self, recipes: Sequence[Recipe]) -> Tensor:
        """What an `OwnGenerator` is given for recipes of one size."""
        ...

    def load_files(self, recipes: Iterable[Recipe]) -> None:
        """Load the files that recipes name.

        Raises:
            BadInput: One of them is not at hand, or does not load.
        """
        ...

    def use_overlay(self, digest: str, denoiser: Any) -> None:
        """Answer recipes that name the overlay `digest` with this UNet or transformer from now
        on."""
        ...

    def cuts(self, recipe: Recipe) -> bool:
        """Whether the end of a recipe's text is left out."""
        ...


class Scorer(Protocol):
    """What turns pixels into columns: a pure function of (pixels, task prompt), batched.

    Example::

        class Brightness:
            id = "brightness-1"

            def load(self):
                pass

            def score(self, pixels, prompts):
                return {"mean": pixels.mean(axis=(1, 2, 3))}
    """

    id: str
    """Name and digest of weights, texts and preprocessing; the folder its scores are kept in."""

    def load(self) -> None:
        """Load the weights now; otherwise the first `score` does."""
        ...

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Score images.

        Args:
            pixels: Pixels as stored, uint8 `(n, size, size, 3)`.
            prompts: The task's prompts, one an image, whatever text the method used.

        Returns:
            Columns of length n. Judges with classes return `label` (str) and `p_<class>`
            (float32 in [0, 1], summing to one); other columns as they need. An image with a number
            that is none (NaN, infinity) counts as unscored by this scorer.
        """
        ...
