"""What all figures have in common. matplotlib is imported when something is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from livo_bench.errors import BadInput
from livo_bench.escaping import one_line
from livo_bench.files import write_atomically
from livo_bench.report.titles import UNTOLD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
WITHOUT_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata by format: the same figure is the same file."""


@dataclass(frozen=True, slots=True)
class Family:
    """How methods are drawn that are told the same."""

    marker: str
    sign: str
    """The marker as a letter."""
    colour: str
    words: str


BASE = "base"
FAMILIES = {
    BASE: Family("*", "★", "#000000", "the unaligned model"),
    "nothing": Family("o", "●", "#0072b2", "told nothing"),
    "category": Family("s", "■", "#d55e00", "told the category"),
    "value": Family("^", "▲", "#009e73", "told the value"),
    "attributes": Family("D", "◆", "#cc79a7", "told the attributes"),
    UNTOLD: Family("X", "✖", "#808080", "told what is not known"),
}
"""By what methods are told, which is what groups them in tables: only within a family an order is
one of methods. Colours are of Okabe and Ito's palette, which colour-blind people tell apart."""


def family(told: str) -> Family:
    """The family of methods that are told this."""
    return FAMILIES.get(told, FAMILIES[UNTOLD])


def require_format(path: Path) -> None:
    """See that a figure can be written under this name.

    Raises:
        BadInput: It ends in none of `FORMATS`.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise BadInput(f"{path} is to be a {form or 'nameless'} file; expected .svg, .png or .pdf.")


def plain(text: str) -> str:
    """A text of others for a figure, where dollars would set mathematics."""
    return one_line(text).replace("$", r"\$")


def caption_above(figure: Figure, words: str) -> None:
    """Write above all axes, with room below."""
    figure.suptitle(f"{words}\n", fontsize=9)


def write(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name; the same figure gives the same file."""
    from matplotlib import rc_context

    form, buffer = path.suffix.removeprefix("."), BytesIO()
    metadata = WITHOUT_DATE.get(form)
    # Ids come from a fixed salt. Letters stay letters, which people can search; as shapes they
    # would be most of the file.
    with rc_context({"svg.hashsalt": "livo-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=form, dpi=120, metadata=metadata)
    write_atomically(path, buffer.getvalue())


def pareto_front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other is better than: as good in all costs and better in one.

    Args:
        costs: Less is better, shape `(n, costs)`.

    Returns:
        Shape `(n,)`.
    """
    beaten = [((costs <= one).all(axis=1) & (costs < one).any(axis=1)).any() for one in costs]
    return ~np.array(beaten, dtype=bool)
