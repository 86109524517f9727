"""Stored images made again from their recipes: does this machine draw what another one drew?

Images that are stored together were one batch, and the shape of a batch moves last bits, so it is
made again whole.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import RUNS, method_cards, model_card, model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.errors import BadInput, Incomplete, LivoBenchError, NotComparable
from livo_bench.interfaces import Pixels
from livo_bench.interrupt import require_unasked
from livo_bench.records import SERVICE, Recipe
from livo_bench.runs import fetch, keeping
from livo_bench.runs.sampling import in_parallel
from livo_bench.runs.session import Session, find_device
from livo_bench.runs.store import Store

SAME_BITS, LAST_BITS, ANOTHER, NOT_MADE = "same bits", "last bits", "another image", "not made"
CLOSE = 1.0
"""Mean absolute difference in levels of 255 up to which images differ in last bits alone."""


@dataclass(frozen=True, slots=True)
class Remade:
    """One image, as it is stored and as it was made again."""

    key: str
    text: str
    """Text that the image was asked for by."""
    mean: float
    """Mean absolute difference in levels of 255; NaN where it was not made."""
    largest: float
    verdict: str
    """`same bits`; `last bits`, see `CLOSE`; `another image`; or `not made`, where a method or a
    service draws by itself what no recipe tells."""


def remake(
    keys: Sequence[str] = (),
    share: float | None = None,
    model: str = "mini",
    methods: Sequence[str] = (),
    weights: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
) -> list[Remade]:
    """Make stored images again and compare; nothing is written.

    Args:
        keys: Keys of images, or beginnings of keys that belong to one image each.
        share: Share of all stored images, in (0, 1]: so many besides, at least one, the same ones
            each time.
        model: Name, card or diffusers folder.
        methods: Methods whose weights recipes may name by digest; all built-in ones when empty.
        weights: Weights of the one method that is named, instead of its own.
        device: `auto`, `cpu`, `cuda`, ...
        runs: Folder of images.

    Returns:
        By key.

    Raises:
        BadInput: A key belongs to no image or to several, or weights are not at hand.
        Incomplete: No image is stored, or one is damaged.
        NotComparable: An image was made with other files of the model.
        Stopped: A signal came.
    """
    card = model_card(model)
    store = Store(runs, card.name)
    wanted = set(_chosen(sorted(store.sample_keys()), keys, share, store))
    recipes = {key: recipe for batch in store.batches(wanted) for key, recipe in batch.items()}
    if lost := wanted - recipes.keys():
        raise Incomplete(
            f"{len(lost)} of {len(wanted)} images in {store.folder} are damaged.",
            "Make them again with the run that they are of: livo-bench run",
        )
    by_hand = {
        key
        for key in wanted
        if recipes[key].generator is not None or recipes[key].sampler == SERVICE
    }
    _refuse_other_models(card, (recipes[key] for key in wanted - by_hand))
    batches = list(store.batches(wanted - by_hand))
    found = [Remade(key, recipes[key].text, math.nan, math.nan, NOT_MADE) for key in by_hand]
    if batches:
        made = (recipe for batch in batches for recipe in batch.values())
        session = _session(card, made, methods, weights, device, runs)
        fetch.require(model, fetch.wanted(card, (), weights=session.files.values()))
        found += _remade(session, batches, wanted)
    return sorted(found, key=lambda one: one.key)


def _chosen(
    stored: Sequence[str], keys: Sequence[str], share: float | None, store: Store
) -> Iterator[str]:
    folder = store.folder
    if not stored and store.made_keys():
        raise Incomplete(
            f"No image in {folder} has kept its pixels, with which to compare.", keeping.AGAIN
        )
    if not stored:
        raise Incomplete(
            f"There are no images in {folder}.",
            "Make some with livo-bench run, or name another folder: --runs DIR",
        )
    for key in keys:
        fitting = [one for one in stored if one.startswith(key)]
        if len(fitting) != 1:
            raise BadInput(
                f"{len(fitting)} of {len(stored):,} images in {folder} have a key that begins with "
                f"{key!r}; expected one. The keys of a run stand in its images.parquet."
            )
        yield fitting[0]
    if share is not None:
        yield from random.Random(0).sample(stored, max(1, round(share * len(stored))))


def _refuse_other_models(card: ModelCard, recipes: Iterable[Recipe]) -> None:
    ours = model_digest(card)
    if others := {recipe.model for recipe in recipes} - {ours}:
        raise NotComparable(
            f"Images were made with files of the model {card.name!r} whose digest is "
            f"{', '.join(sorted(digest[:12] for digest in others))}; those here have {ours[:12]}.",
            "Name images of this one, or the folder of the other: --model DIR",
        )


def _session(
    card: ModelCard,
    recipes: Iterable[Recipe],
    methods: Sequence[str],
    weights: str | None,
    device: str,
    runs: Path,
) -> Session:
    """A session that knows where the weights are that recipes name, as far as they are here."""
    made = list(recipes)
    if len(dtypes := {recipe.dtype for recipe in made}) > 1:
        raise BadInput(
            f"The images were made in {' and '.join(sorted(dtypes))}; expected one precision.",
            "Name those of one by their keys.",
        )
    named = {
        digest
        for recipe in made
        for digest in (recipe.value_encoder, recipe.overlay, recipe.projection, recipe.tokens)
    }
    files: dict[str, str] = {}
    for spec in methods or _all_methods():
        if named <= {None, *files}:
            break
        if methods:
            files |= load_method(spec, card, weights).files
        else:
            with suppress(LivoBenchError):  # of another model, or not fetched: nobody named it
                files |= load_method(spec, card).files
    return Session(card, 0, find_device(device), dtypes.pop(), runs, files)


def _all_methods() -> Iterator[str]:
    for card in method_cards().values():
        yield card.name
        yield from (f"{card.name}:{variant}" for variant in card.variants)


def _remade(
    session: Session, batches: Sequence[dict[str, Recipe]], wanted: Set[str]
) -> Iterator[Remade]:
    """Make batches again and compare the wanted images of each, whose pixels are kept."""

    def compare(batch: dict[str, Recipe]) -> list[Remade]:
        require_unasked()
        stored = session.store.read_samples(batch.keys() & wanted)
        if lost := (batch.keys() & wanted) - stored.keys():
            raise Incomplete(f"{len(lost)} images in {session.store.folder} are damaged.")
        again = dict(zip(batch, session.renderer.render(list(batch.values())), strict=True))
        return [_compared(key, batch[key].text, old, again[key]) for key, old in stored.items()]

    session.renderer.load_files(recipe for batch in batches for recipe in batch.values())
    for some in in_parallel(session, compare, batches, len, "making images again", "images"):
        yield from some


def _compared(key: str, text: str, stored: NDArray[np.uint8], again: Pixels) -> Remade:
    apart = np.abs(stored.astype(np.int16) - again)
    mean = float(apart.mean())
    verdict = SAME_BITS if mean == 0 else LAST_BITS if mean <= CLOSE else ANOTHER
    return Remade(key, text, mean, float(apart.max()), verdict)
