"""Written results looked at once more: what has no score, and what was refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pandas as pd

from livo_bench.errors import NothingScored
from livo_bench.results import seal
from livo_bench.results.frames import ALL, refused
from livo_bench.results.judged import listed, reasons

log = logging.getLogger(__name__)


def refuse_unscored(folders: Iterable[Path]) -> None:
    """See that each number of written results has a scored image behind it, and say how many images
    were refused, which is an outcome even where all were.

    Raises:
        NothingScored: One counts unscored images alone; the message says where, and by which judge.
    """
    said = []
    for folder in folders:
        opened = seal.reopen(folder)
        rows = pd.read_csv(BytesIO(opened.files[seal.AGGREGATES]))
        rows = rows[(rows["n"] == 0) & (rows["unscored"] > 0) & (rows["category"] == ALL)]
        images = pd.read_parquet(BytesIO(opened.files[seal.IMAGES]))
        gone = refused(images)
        if gone.any():
            log.warning(
                f"{folder}: refused {gone.sum():,} of {len(images):,} images, of which there is no "
                f"score ({listed(reasons(images.loc[gone, 'unscored']))})"
            )
        unanswered = images.loc[images["unscored"].notna() & ~gone, "subset"]
        excused = set(images.loc[gone, "subset"]) - set(unanswered)
        excused |= {ALL} if gone.any() and unanswered.empty else set()
        why = listed(reasons(images["unscored"])) or "not numbers"
        for (subset, scorer), part in rows[~rows["subset"].isin(excused)].groupby(
            ["subset", "scorer"]
        ):
            count = int(part["unscored"].max())
            said.append(f"{folder}, subset {subset}: none of {count} images by {scorer} ({why})")
    if said:
        raise NothingScored(
            "Judges scored no image of these results, so they hold no numbers: "
            + "; ".join(said)
            + ". The results are kept. Look at the images, mend what makes them, and run again."
        )
