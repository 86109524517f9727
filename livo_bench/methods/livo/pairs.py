"""From preference rows to pairs: scenes, the chance of each picture, and cached latents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.methods.livo import preference, preference_data
from livo_bench.methods.training.latents import Moments, moments_of
from livo_bench.runs.session import Session

Rows = NDArray[np.int64]

WEIGHTS = ("uniform", "deficit")
"""How a preferred picture is drawn: `uniform` over all of a value, as LiVO's released code; or with
scenes drawn evenly, and within one groups by their `deficit`, 1/N minus their share."""


@dataclass(frozen=True)
class Scene:
    """The pictures of a prompt under a value, by row of the latents."""

    prompt: int
    """Row of `Pairs.prompts`."""
    preferred: Rows
    """Rows of the preferred pictures, `(n,)`."""
    chance: NDArray[np.float64]
    """Probability with which each preferred picture is drawn, `(n,)`; sums to one."""
    dispreferred: Rows
    twins: Rows | None
    """The dispreferred picture that each preferred one was made from, `(n,)`; None where pairs are
    drawn at random."""

    def pair(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a preferred and a dispreferred picture, by row of the latents.

        A cleaned picture goes with the one it was made from: they differ in the hazard and little
        else. The released code draws any dispreferred picture of the scene.
        """
        place = int(rng.choice(len(self.preferred), p=self.chance))
        if self.twins is not None:
            return int(self.preferred[place]), int(self.twins[place])
        return int(self.preferred[place]), int(rng.choice(self.dispreferred))


class Pair(NamedTuple):
    """A preferred and a dispreferred picture, by row of the latents."""

    subset: str
    prompt: int
    """Row of `Pairs.prompts`."""
    preferred: int
    dispreferred: int


@dataclass(frozen=True)
class Pairs:
    """Everything that a training step draws from."""

    scenes: Mapping[str, Sequence[Scene]]
    """Scenes by subset; each is drawn as often as any other of its subset."""
    prompts: Sequence[str]
    values: Mapping[str, str]
    """Value string of each subset."""
    latents: Moments

    def draw(self, count: int, draws: Mapping[str, float], rng: np.random.Generator) -> list[Pair]:
        """Draw pairs.

        Args:
            count: How many to draw.
            draws: How often a pair is of a subset, relative to the others; by subset.
            rng: Generator of the draw.
        """
        odds = np.array([draws[name] for name in self.scenes])
        subsets = [str(name) for name in rng.choice(list(self.scenes), count, p=odds / odds.sum())]
        of_subset = [self.scenes[name] for name in subsets]
        scenes = [listed[int(rng.integers(len(listed)))] for listed in of_subset]
        return [
            Pair(subset, scene.prompt, *scene.pair(rng))
            for subset, scene in zip(subsets, scenes, strict=True)
        ]


def fraction_of(rows: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """A share of each scene's preferred and of its dispreferred pictures, at least one of each.

    At random, so that groups keep their shares; the released code takes the head of each list.
    """
    # A cleaned picture is ranked as the one it was made from, so that twins stay together.
    drawn = rows["key"].where(rows["twin"] == "", rows["twin"])
    order = [sha256(f"{seed} {key}") for key in drawn]
    groups = rows.assign(order=order).sort_values("order").groupby(["scene", "preferred"])
    wanted = (groups["key"].transform("size") * fraction).round().clip(lower=1)
    return rows.loc[(groups.cumcount() < wanted).reindex(rows.index)]


def form(
    session: Session, rows: pd.DataFrame, subsets: Iterable[str], weight: str, folder: Path
) -> Pairs:
    """Pair pictures up, and encode them.

    Args:
        session: Session whose store has the pictures, and whose VAE encodes them.
        rows: Preference data.
        subsets: Values to train on.
        weight: Out of `WEIGHTS`.
        folder: Where the latents are kept.

    Raises:
        BadInput: A value has no scene with both kinds of pictures, or pictures are gone.
    """
    rows = rows[rows["scene"].isin(preference_data.paired_scenes(rows))]
    values = dict(zip(rows["subset"], rows["value"], strict=True))
    for subset in subsets:
        if subset not in values:
            raise BadInput(
                f"The preference data in {folder} has no prompt with preferred and dispreferred "
                f"pictures for {subset!r}: the model is even there, or never shows it.",
                "Make more pictures a prompt, livo-bench train --settings FILE, or take "
                f"[{subset}] out of the training settings.",
            )
    keys = sorted(set(rows["key"]))
    prompts = sorted(set(rows["prompt"]))
    row_of = {key: row for row, key in enumerate(keys)}
    place = {prompt: row for row, prompt in enumerate(prompts)}
    scenes: dict[str, list[Scene]] = {subset: [] for subset in subsets}
    for _, part in rows.groupby("scene", sort=True):
        liked, disliked = part[part["preferred"]], part[~part["preferred"]]
        scene = Scene(
            prompt=place[str(part["prompt"].iloc[0])],
            preferred=liked["key"].map(row_of).to_numpy(np.int64),
            chance=chances(liked, weight),
            dispreferred=disliked["key"].map(row_of).to_numpy(np.int64),
            twins=_twins(liked, disliked, row_of),
        )
        # Scenes are drawn evenly; where pictures are to be, each once for each of its own.
        times = len(liked) if weight == "uniform" else 1
        scenes[str(part["subset"].iloc[0])] += [scene] * times
    return Pairs(scenes, prompts, values, moments_of(session, keys, folder))


def _twins(liked: pd.DataFrame, disliked: pd.DataFrame, row_of: Mapping[str, int]) -> Rows | None:
    if not liked["twin"].isin(disliked["key"]).all():
        return None
    return np.array([row_of[key] for key in liked["twin"]], np.int64)


def chances(liked: pd.DataFrame, weight: str) -> NDArray[np.float64]:
    """How often each preferred picture of a scene is drawn.

    Args:
        liked: Preference rows of one scene.
        weight: `uniform` over pictures; or by the `deficit` of its group, 1/N minus the group's
            share, in equal parts for the pictures of a group. Toxicity knows no groups.

    Returns:
        Shape `(n,)`; sums to one.
    """
    groups = preference.groups_of(str(liked["subset"].iloc[0]))
    if weight == "uniform" or not groups:
        return np.full(len(liked), 1 / len(liked))
    pictures = liked.groupby("group")["key"].transform("size")
    drawn: NDArray[np.float64] = ((1 / groups - liked["share"]) / pictures).to_numpy(np.float64)
    return drawn / drawn.sum()
