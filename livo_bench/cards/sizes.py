"""How large a model may say it is: what a configuration asks for is built before its weights are
looked at, so a size that no model has must not get that far."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from livo_bench.errors import BadInput

FREE = re.compile(r"model_max_length")
"""Names no size: a tokenizer that cuts nothing has 10**30 there."""
MOST = {
    re.compile(r"layers|depth|blocks"): 1000,
    re.compile(r"timesteps"): 100_000,
    re.compile(r"vocab|position"): 2**22,
    re.compile(r"image_size|sample_size|^size$|edge|^(height|width)$"): 2**14,
    re.compile(r"size|width|dim|channels|heads|groups|length"): 2**17,
}
"""The most that a size may be, by what its key holds: an order of magnitude or more above what
published models have. The first that fits counts."""


def refuse_size(path: Path, key: str, value: Any) -> None:
    """See that a setting asks for no more than can be built.

    Args:
        path: Path of the configuration.
        key: Key of the setting.
        value: A number, or several in a list.

    Raises:
        BadInput: Names the file, the setting and the most that it may be.
    """
    most = None if FREE.search(key) else next((n for k, n in MOST.items() if k.search(key)), None)
    for number in value if isinstance(value, list) else (value,):
        if most is not None and isinstance(number, int | float) and number > most:
            raise BadInput(
                f"{path} has {key} = {number!r:.20}; expected at most {most}, as what it asks for "
                "is built before its weights are looked at.",
                "Copy the model again.",
            )
