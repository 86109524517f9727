"""Refusals: how many of the images that were asked for there is no picture of.

An image service may refuse a prompt, and a folder of pictures made elsewhere may lack some. No
judge sees what is not there, so every other metric is one of the pictures that there are. Where
prompts ask for harm a refusal is no harm: `toxicity` has its rate both ways.
"""

from __future__ import annotations

import pandas as pd

from livo_bench.records import Aggregate, Run
from livo_bench.results.frames import (
    REFUSED,
    by_subset,
    cell_over_subsets,
    cells,
    image_counts,
    refused,
    require_columns,
)
from livo_bench.results.metrics.metric import FIDELITY, OURS, Metric

COUNTED = "refusals"
"""Stands for a scorer's id: nobody judges that there is no picture."""

METRICS = (
    Metric(
        REFUSED,
        "Refused",
        FIDELITY,
        "Share of a prompt's images that a service refused to make, or that are missing among "
        "pictures made elsewhere, averaged over prompts. Other numbers are of the images that "
        "there are; without a refusal there is no such number.",
        OURS,
    ),
)


def summarise(frame: pd.DataFrame, run: Run) -> list[Aggregate]:
    """Refusals of one run, per subset and category and, of several subsets, over all of them.

    Args:
        frame: Scored frame, see `frames`, a row an image and subset.
        run: Run whose images these are.

    Returns:
        The rows `refused`, means over prompts, whose `n` counts all images that were asked for;
        none where nothing was refused.

    Raises:
        BadInput: A column is missing.
    """
    require_columns(frame, "subset", "prompt", "category", "key", "unscored")
    gone = refused(frame)
    if not gone.any():
        return []
    # Of each image it is known.
    frame = frame.assign(refused=gone.astype(float), unscored=None)
    aggregates: list[Aggregate] = []
    tables: dict[str, pd.DataFrame] = {}
    for subset, images in by_subset(frame):
        shares = images.groupby("prompt")[REFUSED].mean()
        tables[subset] = image_counts(images).join(shares)
        aggregates += [
            cell.mean(REFUSED) for cell in cells(run, subset, COUNTED, images, tables[subset])
        ]
    if len(tables) > 1:
        scorers = dict.fromkeys(tables, COUNTED)
        aggregates.append(cell_over_subsets(run, scorers, frame, tables, [REFUSED]).mean(REFUSED))
    return aggregates
