"""Figures in a notebook or a program of one's own: `livo_bench.plot.trade_off(results)`."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from livo_bench.report import trade_off as drawn


def trade_off(results: pd.DataFrame) -> Figure:
    """Draw what methods gain in alignment against what their steered images lose.

    Args:
        results: Numbers of one model, as `livo_bench.load_results` gives them, with all rows of the
            methods that are to be drawn.

    Returns:
        The figure of `livo-bench report --figure trade-off`, which a notebook shows;
        `savefig` writes it.

    Raises:
        Incomplete: There is nothing to draw.
        NotComparable: Two methods were judged by different scorers, on different prompts or under
            other conditions.
    """
    return drawn.trade_off(results)
