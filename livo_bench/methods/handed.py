"""Weights that somebody fine-tuned elsewhere, against the model they were fine-tuned from.

Their file gives the results their name, so that several can be compared.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from livo_bench.cards.catalog import HANDED, result_names
from livo_bench.cards.fields import settings_of
from livo_bench.engines import overlay
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods.overlaid import Given, Overlaid, whole


@dataclass(frozen=True)
class Handed(Overlaid):
    """Draws every image with the weights that were handed over."""

    called: str
    """Name that results call the weights by, after their file."""


def load(context: MethodContext) -> Handed:
    """Make the method of the weights that a run was given.

    Settings:
        weights: A safetensors file with tensors of a UNet, an overlay or a LoRA; or a folder of
            diffusers with a UNet or a LoRA.

    Raises:
        BadInput: There are none, or they do not fit the model.
    """
    given = settings_of(context, Given).weights
    place = Path(given)
    if not given:
        raise BadInput(
            f"Method {HANDED!r} is that of weights that are handed to it, and was given none.",
            "Pass a LoRA, a UNet or changed tensors of one: --weights ./my-lora.safetensors",
        )
    if not overlay.is_whole(place):
        raise BadInput(
            f"{place} is no file and no folder of weights; expected a safetensors file with a "
            "LoRA or with tensors of a UNet, or the folder of one of diffusers.",
            _instead(place),
        )
    found = whole(place, context.model)
    return Handed(found.edit, found.overlays, called_after(Path(found.overlays[found.edit].path)))


def _instead(place: Path) -> str:
    """What to pass in place of what is no weights."""
    from livo_bench.engines import lora

    parts = (place / name for name in lora.DENOISERS)
    inside = [*filter(overlay.is_whole, parts), *sorted(place.glob("*.safetensors"))]
    if not inside:
        return f"Name one that is there; in {place} is none." if place.is_dir() else "Name it."
    also = " or, of a method's several, to that: --weights uce=DIR" if len(inside) > 1 else ""
    return f"Pass what is in it: --weights {shlex.quote(str(inside[0]))}{also}"


def called_after(place: Path) -> str:
    """What results of weights are called: as their file or folder, or what that lies in where it is
    called as all are."""
    common = {overlay.LORA, "unet"}
    inside = place.absolute().parent.name
    name = inside if place.name in common else place.name.removesuffix(".safetensors")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return f"{HANDED}-{plain}" if not plain or plain in result_names() else plain
