"""Result folders with vectors of made-up images, as a run writes them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from livo_bench.records import AGGREGATE_COLUMNS, Run
from livo_bench.results import seal
from livo_bench.results.metrics import quality, vectors
from livo_bench.results.record import Method, Model, RunRecord, Task

SCORERS = {quality.IS: "world-1", quality.FID: "world-1", quality.CLIP: "clip-1"}
PROMPTS, IMAGES, WIDTH, CLASSES = 8, 20, 12, 5
DIFFERENT = PROMPTS * IMAGES
"""Images of a run; each stands in two subsets."""


def rounded(network: pd.DataFrame) -> pd.DataFrame:
    """As `vectors.npz` keeps it, so that the same numbers are to come out."""
    own = network.drop_duplicates("key")
    kept = vectors.unpack(vectors.pack(network.index, network, network["key"] == ""), Path("x"))
    known = pd.DataFrame(
        {"features": list(kept.features), "logits": list(kept.logits)}, index=own["key"]
    )
    return network.drop(columns=["features", "logits"]).join(known, on="key")


def frame(random: np.random.Generator, prefix: str, shift: float = 0) -> pd.DataFrame:
    """A scored frame of two subsets that ask for the same images, in the order of requests."""
    n = DIFFERENT
    prompt = np.repeat(np.arange(PROMPTS), IMAGES)
    features = random.normal(prompt[:, None] % 3 + shift, 1, (n, WIDTH)).astype(np.float32)
    one = pd.DataFrame(
        {
            "prompt": [f"p{number}" for number in prompt],
            "category": "career",
            "concept": [f"c{number // 2}" for number in prompt],
            "index": np.tile(np.arange(IMAGES), PROMPTS),
            "key": [f"{prefix}{number}" for number in range(n)],
            "features": list(features),
            "logits": list(3 * features[:, :CLASSES]),
            "unscored": None,
        }
    )
    # Not in alphabetical order, as the subsets of a card.
    whole = pd.concat([one.assign(subset=subset) for subset in ("race", "gender")])
    return rounded(whole.reset_index(drop=True))


def write(
    folder: Path,
    method: str,
    network: pd.DataFrame,
    unaligned: pd.DataFrame,
    other: pd.DataFrame,
) -> None:
    """A sealed result folder as a run writes it."""
    run = Run("mini", method, "bias")
    steered = network["key"] != unaligned["key"]
    clip = network.assign(cosine=0.2)
    reference = quality.Features.of(unaligned) if steered.any() else None
    numbers = quality.summarise(
        clip, network, run, SCORERS, reference, steered if steered.any() else None
    )
    of_other = quality.Features.of(other)
    numbers.append(
        quality.summarise_independent(
            network, quality.Features.of(unaligned), of_other, run, SCORERS
        )
    )
    # Judges are asked subset by subset in alphabetical order.
    judged = network.sort_values("subset", kind="stable")
    images = judged.drop(columns=["features", "logits"]).assign(stratum="s", label="male")
    packed = vectors.pack(
        judged.index,
        network,
        ~steered if steered.any() else steered,
        None if steered.any() else other,
    )
    table = pd.DataFrame(list(map(asdict, numbers)))[list(AGGREGATE_COLUMNS)]
    record = RunRecord(Model("mini"), method=Method(method), task=Task("bias"))
    files = {
        seal.IMAGES: seal.as_parquet(images),
        seal.PROMPTS: b"subset,prompt\n",
        seal.VECTORS: packed,
        seal.AGGREGATES: table.to_csv(index=False).encode(),
    }
    seal.write(folder / method / "bias", record, files)
