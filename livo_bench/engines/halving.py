"""Batches that do not fit into a device's memory, in halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import Recipe


class Halving:
    """Renders batches; one that does not fit into memory is halved, and so are those after it."""

    def __init__(self) -> None:
        self.most = 0
        """The longest batch that fits; 0 while all have fitted."""

    def render(
        self,
        recipes: Sequence[Recipe],
        draw: Callable[[Sequence[Recipe]], Pixels],
        device: torch.device,
    ) -> Pixels:
        """Images of recipes, by a function that may run out of the device's memory.

        Raises:
            BadInput: Not even one image fits.
        """
        length = min(len(recipes), self.most or len(recipes))
        try:
            parts = [recipes[start : start + length] for start in range(0, len(recipes), length)]
            return np.concatenate([draw(part) for part in parts])
        except torch.OutOfMemoryError as error:
            if length == 1:
                raise BadInput(
                    f"One image of {recipes[0].size} pixels in {recipes[0].dtype} does not fit "
                    f"into the memory of {device}: {error}.",
                    "Free it, or pass --dtype float16",
                ) from error
            self.most = length // 2
        # Out here, where the error no longer holds what did not fit.
        torch.accelerator.empty_cache()
        return self.render(recipes, draw, device)
