"""Judges that read images from JPEG files, as the released evaluation does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from livo_bench.interfaces import Columns, Pixels, Scorer
from livo_bench.records import Prompt
from livo_bench.scorers import judge_id


class Jpeg:
    """What images look like when they come back from JPEG files.

    Judges that share one share its work: that of the array last seen. So do not change an array in
    place.
    """

    def __init__(self, quality: int) -> None:
        """
        Args:
            quality: As PIL takes it, with PIL's 4:2:0 chroma.
        """
        self.quality = quality
        self._decoded = lru_cache(maxsize=4)(self._decode)

    def __call__(self, pixels: Pixels) -> Pixels:
        """The images after the round trip, uint8 `(n, size, size, 3)`."""
        return self._decoded(_Same(pixels))

    def _decode(self, images: _Same) -> Pixels:
        decoded = []
        for image in images.pixels:
            file = BytesIO()
            Image.fromarray(image).save(file, "jpeg", quality=self.quality)
            decoded.append(np.asarray(Image.open(file)))
        return np.stack(decoded)


class _Same:
    """An array as a key: equal to itself alone."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.pixels is other.pixels

    def __hash__(self) -> int:
        return id(self.pixels)


class ThroughJpeg:
    """A judge that is shown JPEG files."""

    def __init__(self, judge: Scorer, jpeg: Jpeg) -> None:
        name, _, digest = judge.id.rpartition("-")
        self.id = judge_id(f"{name}-jpeg", judge=digest, quality=jpeg.quality)
        self._judge = judge
        self._jpeg = jpeg

    def load(self) -> None:
        """Load the judge now."""
        self._judge.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Judge images after the round trip."""
        return self._judge.score(self._jpeg(pixels), prompts)
