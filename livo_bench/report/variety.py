"""How far methods move images, and whether these stay varied: `livo-bench report --table variety`.

Computed from the vectors that result folders hold, without the store or a network. Each prompt of a
subset counts as one, and the same prompts and noise stand on both sides of a change, whose interval
is that of t, for it has no ends that prompts come near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.cards.catalog import run_options
from livo_bench.errors import Incomplete
from livo_bench.report.printing import points, with_interval
from livo_bench.report.titles import labels
from livo_bench.results.frames import clusters_of
from livo_bench.results.kept_vectors import UNALIGNED, Folder, read_folders
from livo_bench.results.metrics import overcorrection
from livo_bench.results.metrics.intervals import interval_of_mean
from livo_bench.results.metrics.overcorrection import MOVED, ends_of
from livo_bench.results.metrics.vendi import vendi_score


@dataclass(frozen=True, slots=True)
class Variety:
    """A method's images of a task beside the unaligned model's of the same prompts and noise."""

    method: str
    task: str
    prompts: int
    """Prompts of subsets that both have vectors of."""
    n: int
    """Images behind the numbers."""
    moved: float
    """Mean of `overcorrection.MOVED` over prompts; images that the method left alone count with
    0."""
    moved_low: float
    """End of its 95 % interval over prompts; as the others NaN where there is none."""
    moved_high: float
    vendi: float
    """Mean Vendi score over prompts."""
    vendi_unaligned: float
    """The unaligned model's."""
    vendi_change: float
    """Mean difference of the two."""
    vendi_change_low: float
    vendi_change_high: float


def variety(root: Path, model: str) -> list[Variety]:
    """Hold every method's images against the unaligned model's.

    Args:
        root: Folder of results.
        model: Model, as results name it.

    Raises:
        BadInput: A file is not what it should be.
        Incomplete: No result of the model has vectors, or the unaligned model has none.
    """
    folders = read_folders(root, model)
    unaligned = {folder.run.task: folder for folder in folders if folder.run.method == UNALIGNED}
    if not unaligned:
        raise Incomplete(
            f"No results of method {UNALIGNED!r} and model {model!r} in {root} hold vectors of "
            "images; what methods move is held against them.",
            f"Make some with\n    livo-bench run --method {UNALIGNED} --task "
            f"{folders[0].run.task} {run_options(model)}",
        )
    found = [
        _measured(folder, unaligned[folder.run.task])
        for folder in folders
        if folder.run.task in unaligned
    ]
    return sorted(
        (one for one in found if one is not None),
        key=lambda one: (one.task, one.method != UNALIGNED, one.method),
    )


def _measured(folder: Folder, unaligned: Folder) -> Variety | None:
    both = folder.beside(unaligned)
    if both is None:
        return None
    scored = both[0]["unscored"].isna() & both[1]["unscored"].isna()
    images, others = both[0][scored], both[1][scored]
    if images.empty:
        return None
    moved = overcorrection.compare(images, others)[MOVED]
    rows = [
        {
            "prompt": prompt,
            MOVED: moved[own.index].mean(),
            "vendi": vendi_score(_stacked(own)),
            "unaligned": vendi_score(_stacked(others.loc[own.index])),
        }
        for (_, prompt), own in images.groupby(["subset", "prompt"], sort=True)
    ]
    by_prompt = pd.DataFrame(rows)
    clusters = clusters_of(images).loc[by_prompt["prompt"]].to_numpy()
    change = by_prompt["vendi"] - by_prompt["unaligned"]
    return Variety(
        folder.run.method,
        folder.run.task,
        len(by_prompt),
        len(images),
        float(by_prompt[MOVED].mean()),
        *interval_of_mean(by_prompt[MOVED], clusters, ends=ends_of(MOVED, by_prompt[MOVED])),
        float(by_prompt["vendi"].mean()),
        float(by_prompt["unaligned"].mean()),
        float(change.mean()),
        *interval_of_mean(change, clusters, ends=None),
    )


def _stacked(frame: pd.DataFrame) -> NDArray[np.float32]:
    return np.stack(list(frame["features"]))


def as_rows(found: list[Variety]) -> list[Mapping[str, object]]:
    """Form rows as people read them: `moved` x100, numbers with their intervals."""
    title_of = {name: one.title for name, one in labels({one.method for one in found}).items()}
    return [
        {
            "method": title_of[one.method],
            "on": one.task,
            "n": one.n,
            "moved": with_interval(points, one.moved, one.moved_low, one.moved_high),
            "Vendi": f"{one.vendi:.3f}",
            "change": with_interval(
                "{:+.3f}".format, one.vendi_change, one.vendi_change_low, one.vendi_change_high
            ),
        }
        for one in found
    ]
