"""The adapter of methods that change a text's states by a file a value: DebiasVL, prompt tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.fields import settings_of
from livo_bench.engines import overlay
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods import overlaid
from livo_bench.methods.overlaid import Given
from livo_bench.records import Recipe, Request


@dataclass(frozen=True)
class ByValue:
    """Draws every image with the file of the value that is asked for."""

    field: str
    """Field of the recipe, which names the file."""
    what: str
    """What the files are called in messages."""
    found: Mapping[str, overlay.Found]
    """Files that were found, by subset."""

    @property
    def files(self) -> Mapping[str, str]:
        """The files, by digest."""
        return {found.digest: found.path for found in self.found.values()}

    @property
    def sources(self) -> Mapping[str, str]:
        """The files, by their names."""
        return {f"{name}.safetensors": found.path for name, found in self.found.items()}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image.

        Raises:
            BadInput: There is no file for the value.
        """
        subset = request.principle.subset
        if subset not in self.found:
            raise BadInput(
                f"There are no {self.what} for {subset!r}; there are some for: "
                f"{', '.join(sorted(self.found))}.",
                "Train some, or leave such prompts out.",
            )
        named: dict[str, Any] = {self.field: self.found[subset].digest}
        return replace(base, **named)


def find(
    context: MethodContext,
    field: str,
    what: str,
    require_fit: Callable[[Path, ModelCard], None],
) -> ByValue:
    """Find the files that a card's setting `weights` names.

    Args:
        context: `weights` is the folder with files `<subset>.safetensors`; empty for the own one,
            `weights/<model>/` in the method's folder.
        field: Field of the recipe.
        what: Names the files in messages.
        require_fit: Holds one against the model.

    Raises:
        BadInput: There are none for the model, they do not fit it, or they are not those that the
            record beside them names.
    """
    given = settings_of(context, Given).weights
    folder = Path(given) if given else context.folder / "weights" / context.model.name
    if folder.is_file():
        raise BadInput(
            f"{folder} is a file; expected a folder with gender.safetensors and so on.",
            f"Pass the folder: --weights {folder.parent}",
        )
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise context.untrained(what, folder / "gender.safetensors")
    found = {path.stem: overlaid.find(path, context.model, require_fit) for path in paths}
    return ByValue(field, what, found)
