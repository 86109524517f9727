"""Switches that make a UNet faster on a GPU, and what each does to an image.

Class A leaves every bit as it is. Class B changes the last bits: the same image to the eye, though
a judge that hesitates may change its mind. Class C would make other images, and there is none here.
Whatever is always on (embeddings once a text, the decoder in batches, judging and writing beside
the sampling) is of class A and no switch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livo_bench.errors import BadInput

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True, slots=True)
class Switch:
    """A change to a UNet that makes it faster."""

    image: str
    """What it does to an image: class `A` or `B`."""
    summary: str
    apply: Callable[[UNet2DConditionModel], object]
    """Changes a UNet in place; once more on a UNet that an overlay was laid over."""


def _channels_last(unet: UNet2DConditionModel) -> None:
    import torch

    unet.to(memory_format=torch.channels_last)


def _fuse(unet: UNet2DConditionModel) -> None:
    unet.fuse_qkv_projections()


def _compile(unet: UNet2DConditionModel) -> None:
    unet.compile(fullgraph=True, dynamic=False)


def _cuda_graphs(unet: UNet2DConditionModel) -> None:
    unet.compile(fullgraph=True, dynamic=False, mode="reduce-overhead")


SWITCHES = {
    "channels-last": Switch("B", "convolutions in the layout of the tensor cores", _channels_last),
    "fuse": Switch("B", "queries, keys and values of attention in one product", _fuse),
    "compile": Switch("B", "kernels made for the model by torch.compile", _compile),
    "cuda-graphs": Switch("B", "the same, and a step's kernels launched at once", _cuda_graphs),
}
"""All switches, in the order in which they are thrown."""

COMPILED = frozenset({"compile", "cuda-graphs"})
"""Switches that make kernels for one batch shape: short batches are filled up to it."""


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """Switches by name, in the order in which they are thrown.

    Raises:
        BadInput: There is no such switch, or two exclude each other.
    """
    for name in names:
        if name not in SWITCHES:
            raise BadInput(
                f"There is no switch {name!r}; there are: {', '.join(SWITCHES)}.",
                "Pass one of them with --switch",
            )
    if COMPILED.issubset(names):
        raise BadInput(
            "The switches compile and cuda-graphs exclude each other: the second compiles too.",
            "Pass one of them.",
        )
    return tuple(name for name in SWITCHES if name in names)


def accelerate(unet: UNet2DConditionModel, switches: Sequence[str]) -> None:
    """Throw switches on a UNet, in place."""
    for name in switches:
        SWITCHES[name].apply(unet)
