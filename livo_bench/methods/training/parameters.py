"""Groups of a UNet's parameters that methods train or edit, in any Stable Diffusion 1.x or 2.x.

Source: the names are those of the released code of Kumari et al. 2023, arXiv:2303.13516, and, of
`xattn` and `noxattn`, of Gandikota et al. 2023, arXiv:2303.07345.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from livo_bench.errors import BadInput

GROUPS = {
    "cross-attn": re.compile(r"\.attn2\.to_[kv]\."),
    "attn": re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)\."),
    "xattn": re.compile(r"\.attn2\."),
    "noxattn": re.compile(r"^(?!.*\.attn2\.)"),
    "full-weight": re.compile(""),
}
"""What a parameter's name must hold, by name of the group: keys and values of cross-attention; all
projections of self- and cross-attention; all of cross-attention; all but that; everything."""


def names_in(group: str, names: Iterable[str]) -> list[str]:
    """The names that belong to a group, in their order.

    Raises:
        BadInput: There is no such group, or it has no parameter among these.
    """
    if group not in GROUPS:
        raise BadInput(
            f"There is no group of parameters {group!r}; expected one of: {', '.join(GROUPS)}. "
            "Mend the training settings."
        )
    found = [name for name in names if GROUPS[group].search(name)]
    if not found:
        raise BadInput(
            f"No parameter of this UNet belongs to {group!r}; expected one of Stable Diffusion 1.x "
            "or 2.x, whose cross-attention is named attn2."
        )
    return found
