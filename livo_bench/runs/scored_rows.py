"""Stored scores as rows: a request's, and what a scorer said of its image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from livo_bench.cards import prompts
from livo_bench.errors import BadInput, Incomplete
from livo_bench.results.frames import CLUSTER, CONCEPT, SEED, TEXT, as_refused, default_cluster
from livo_bench.runs.store import Store
from livo_bench.runs.wanted import Wanted


def rows_of(wanted: Wanted) -> pd.DataFrame:
    """What a scored frame says of a request before a judge has spoken."""
    asked = [prompt for prompt, _ in wanted.asked]
    # Results hold no texts, and where a list names no concepts a prompt's text stands for its own.
    ids = {prompt.text: prompt.id for prompt in asked}
    concepts = [ids.get(prompt.concept, prompt.concept) or prompt.id for prompt in asked]
    of_asked = {
        "subset": [principle.subset for _, principle in wanted.asked],
        "prompt": [prompt.id for prompt in asked],
        "category": [prompt.category for prompt in asked],
        CONCEPT: concepts,
        CLUSTER: [
            ids.get(prompt.cluster, prompt.cluster) or default_cluster(prompt.category, concept)
            for prompt, concept in zip(asked, concepts, strict=True)
        ],
        TEXT: [prompts.text_digest(prompt) for prompt in asked],
    }
    told = {name: np.array(values, object)[wanted.asked_of] for name, values in of_asked.items()}
    known = np.array([recipe.noise is not None for recipe in wanted.recipes])
    strata = np.array([recipe.stratum for recipe in wanted.recipes], object)
    columns = {
        **{name: told[name] for name in of_asked if name != TEXT},
        "index": wanted.indices.astype(np.int64),
        "key": wanted.keys(),
        "stratum": strata[wanted.recipe_of],
        # Of 63 bits, which a float has no room for: a plain column would turn into one of
        # these where a seed is missing.
        SEED: pd.arrays.IntegerArray(wanted.seeds.copy(), ~known[wanted.recipe_of]),
        TEXT: told[TEXT],
    }
    return pd.DataFrame(columns)


def scored_rows(
    store: Store,
    scorer: str,
    rows: pd.DataFrame,
    least: Sequence[str],
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows with the columns of a scorer, all of them by default; those that were refused say so.

    Args:
        store: Where the scores are.
        scorer: Its id.
        rows: See `rows_of`.
        least: Columns that the frame has even where the scorer had no picture to look at.
        columns: Which to read.

    Raises:
        Incomplete: A stored score is damaged or gone.
        BadInput: One is not a number, and there is no reason why.
    """
    wanted = rows["key"].unique()
    scores = store.read_scores(scorer, wanted, columns)
    lost = [key for key in wanted if key not in scores.index]
    refused = store.read_refused(lost) if lost else {}
    if len(lost) > len(refused):
        raise Incomplete(
            f"{len(lost) - len(refused)} scores of {scorer} are missing.", "Run the command again."
        )
    numbers = scores[scores["unscored"].isna()].select_dtypes("number")
    if wrong := int(numbers.isna().any(axis="columns").sum()):
        raise BadInput(
            f"{wrong} of {len(scores)} scores of {scorer} are not numbers, and no reason is given; "
            "expected one in the column unscored.",
            f"Delete {store.folder / 'scores' / scorer} and "
            "run the command again; images are kept.",
        )
    if scores.empty:
        scores = scores.reindex(columns=[*least, "unscored"])
    frame = rows.join(scores, on="key")
    if not refused:
        return frame
    reasons = frame["key"].map({key: as_refused(reason) for key, reason in refused.items()})
    return frame.assign(unscored=frame["unscored"].astype(object).fillna(reasons))
