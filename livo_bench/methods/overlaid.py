"""The adapter of methods that lay weights over the model and do nothing else: CA, UCE, DAPT ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.fields import settings_of
from livo_bench.engines import overlay
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods.training.training_record import require_named
from livo_bench.records import Recipe, Request
from livo_bench.schema import Text

CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Given:
    """The setting of methods that a run may give weights."""

    weights: str
    """Where they are; empty for the method's own."""


@dataclass(frozen=True, slots=True)
class _Settings:
    edit: Text
    weights: str
    variant: str = ""


@dataclass(frozen=True)
class Overlaid:
    """Draws every image with an overlay, chosen by the prompt's category or one for all."""

    edit: str
    """Name of the overlay for all prompts, or `category`."""
    overlays: Mapping[str, overlay.Found]
    """Overlays by name."""

    @property
    def files(self) -> Mapping[str, str]:
        """The overlays, by digest."""
        return {found.digest: found.path for found in self.overlays.values()}

    @property
    def sources(self) -> Mapping[str, str]:
        """The overlays, by the names of their files."""
        return {Path(found.path).name: found.path for found in self.overlays.values()}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Lay the overlay over the model.

        Raises:
            BadInput: There is none for the prompt's category.
        """
        category = request.principle.category or request.prompt.category
        name = category if self.edit == CATEGORY else self.edit
        if name not in self.overlays:
            raise BadInput(
                f"There are no weights for category {name!r}; there are some for: "
                f"{', '.join(sorted(self.overlays))}. Choose one edit for all prompts in the card, "
                "or leave such prompts out."
            )
        return replace(base, overlay=self.overlays[name].digest)


def load(context: MethodContext) -> Overlaid:
    """Make the method that a card's settings describe.

    Settings:
        edit: Name of the overlay, or `category` for the one that is named like the prompt's
            category.
        variant: Sub-folder of the own weights, for variants that are trained by themselves; may be
            left out.
        weights: Folder with the overlays `<name>.safetensors`, or one for all prompts, see
            `overlay.find`; empty for the own folder, `weights/<model>/` in the method's.

    Raises:
        BadInput: There are no weights for the model, they do not fit it, or they are not those that
            the record beside them names.
    """
    settings = settings_of(context, _Settings)
    edit, given = settings.edit, settings.weights
    if given and overlay.is_whole(Path(given)):
        return whole(Path(given), context.model)
    own = context.folder / "weights" / context.model.name
    folder = Path(given) if given else own / settings.variant
    wanted = "*" if edit == CATEGORY else edit
    paths = sorted(folder.glob(f"{wanted}.safetensors"))
    if not paths:
        raise context.untrained("weights", folder / f"{wanted}.safetensors")
    return Overlaid(edit, {path.stem: find(path, context.model) for path in paths})


def whole(place: Path, model: ModelCard) -> Overlaid:
    """The method of one overlay for all prompts.

    Raises:
        BadInput: It does not fit the model, or is not what the record beside it names.
    """
    found = find(place, model)
    name = Path(found.path).stem
    return Overlaid(name, {name: found})


def find(
    place: Path,
    model: ModelCard,
    require_fit: Callable[[Path, ModelCard], None] = overlay.require_fit,
) -> overlay.Found:
    """Find an overlay, or another file that names its model as one does, and see that it fits.

    Args:
        place: See `overlay.find`.
        model: What it is for.
        require_fit: Holds the tensors against the model. Those of a training of ours are known to
            fit by the record beside them, so that a plan need not build the model.

    Raises:
        BadInput: It does not fit the model, or is not what the record beside it names.
    """
    found = overlay.find(place, model)
    path = Path(found.path)
    if not require_named(path, found.digest):
        require_fit(path, model)
    return found
