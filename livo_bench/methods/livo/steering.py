"""From a request to LiVO's recipe: which images are steered, by which value, and how.

The adapters of `livo` and `dpo` are this class under different settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.fields import read_json, settings_of
from livo_bench.engines import value_encoder
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods.retrieval import retriever
from livo_bench.methods.training.training_record import digest_of, require_named
from livo_bench.records import LAYOUTS, Principle, Recipe, Request
from livo_bench.schema import Text, between, one_of

ENCODER, PROMPT = "encoder", "prompt"
TASK = "task"
LOCAL = ("keywords", "embeddings")
"""Retrievers that need no network, and so give the same recipes everywhere."""
SHARES = "shares.json"
"""Beside a value encoder's folder: the per cent of images to steer that `calibrate` found."""

_SHARES_AGAIN = "Copy it again, or train again: livo-bench train"

Chooser = Callable[[Request], Principle | None]
"""The principle that an image is steered by, or None for the unaligned model."""


def steered(index: int, per_cent: int) -> bool:
    """Whether an image is steered: spread evenly over the indices, and by the index alone.

    Of the images up to any index, `per_cent` are steered, rounded up; 50 steers the even ones.
    """

    def so_far(count: int) -> int:
        return -(-count * per_cent // 100)

    return so_far(index + 1) > so_far(index)


def first(index: int, per_cent: int) -> bool:
    """Whether an image is steered where the first ones are: of 50 images and 50 %, the first 25."""
    return index % 50 < 50 * per_cent / 100


ORDERS = {"spread": steered, "first": first}


@dataclass(frozen=True, slots=True)
class _Settings:
    encoder: Text
    weights: str
    value_in: Annotated[str, one_of((ENCODER, PROMPT))]
    value_from: Annotated[str, one_of((TASK, *LOCAL))]
    layout: Annotated[str, one_of(LAYOUTS)]
    share_bias: Annotated[int, between(0, 100)]
    steered: Annotated[str, one_of(ORDERS)]


@dataclass(frozen=True)
class Steering:
    """Steers a share of the images of a prompt, each by a value."""

    choose: Chooser
    share: Callable[[Principle], int]
    """Per cent of images that are steered by a principle."""
    encoder: value_encoder.Found | None
    """None writes the value into the prompt."""
    layout: str
    steers: Callable[[int, int], bool] = steered
    """Whether an image is steered, by its index and the per cent that are."""
    calibrated: Path | None = None
    """Where the share is from, if it is no setting."""

    @property
    def sources(self) -> Mapping[str, str | Path]:
        """The value encoder, and the calibrated shares if it is for them to say how many."""
        encoder = {} if self.encoder is None else {value_encoder.FOLDER: self.encoder.folder}
        return encoder | ({} if self.calibrated is None else {SHARES: self.calibrated})

    @property
    def files(self) -> Mapping[str, str]:
        """The value encoder, by digest."""
        return {} if self.encoder is None else {self.encoder.digest: self.encoder.folder}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image; an image that is not steered is the unaligned model's."""
        principle = self.choose(request)
        if principle is None:
            return base
        if not self.steers(request.index, self.share(principle)):
            return base
        if self.encoder is None:
            return replace(base, text=f"{principle.value}, {base.text}")
        return replace(
            base,
            value=principle.value,
            value_encoder=self.encoder.digest,
            layout=self.layout,
        )


def load(context: MethodContext) -> Steering:
    """Make the method that a card's settings describe.

    Settings:
        encoder: Name of the value encoder in `weights/<model>/` of the method's folder.
        weights: A folder or repository with a value encoder instead; empty for the own one, or
            for the published one where the method's folder has none.
        value_in: `encoder`, or `prompt` to write the value into the prompt.
        value_from: `task`, or a retriever out of `LOCAL`.
        layout: Out of `records.LAYOUTS`.
        share_bias: Per cent of the images of a bias prompt that are steered; 0 for what
            `calibrate` found for each value.
        steered: Which images these are, out of `ORDERS`.

    Raises:
        BadInput: A setting is wrong, there are no weights for the model, they do not fit it, or
            they are not those that the record beside them names.
    """
    settings = settings_of(context, _Settings)
    layout, steers = settings.layout, ORDERS[settings.steered]
    if settings.value_in == PROMPT:
        if settings.weights:
            raise BadInput(
                f"Weights {settings.weights!r} were given to a variant that writes the value "
                "into the prompt and uses none. Leave --weights out."
            )
        share = _share(context, settings.share_bias, None)
        chooser = _chooser(settings.value_from, context.model)
        return Steering(chooser, share, None, layout, steers)
    place = f"{context.model.name}/{settings.encoder}"
    folder = context.folder / "weights" / place
    own = str(folder / value_encoder.FOLDER) if folder.is_dir() else context.published.get(place)
    weights = settings.weights or own
    if weights is None:
        raise context.untrained("weights", folder)
    found = value_encoder.find(weights, context.model)
    encoder = Path(weights).absolute()
    if encoder.is_dir() and encoder.name == value_encoder.FOLDER:
        require_named(encoder, found.digest)
    beside = encoder.parent / SHARES
    calibrated = None if settings.share_bias else beside
    share = _share(context, settings.share_bias, beside)
    chooser = _chooser(settings.value_from, context.model)
    return Steering(chooser, share, found, layout, steers, calibrated)


def read_shares(path: Path) -> dict[str, int]:
    """Read the per cent of images to steer, by subset, that `calibrate` found.

    Raises:
        BadInput: The file is not what it should be, or not the one that the record beside it names.
    """
    shares = read_json(path, _SHARES_AGAIN)
    require_named(path, digest_of(path))
    if not all(type(share) is int and 0 <= share <= 100 for share in shares.values()):
        raise BadInput(
            f"{path} holds {json.dumps(shares)[:100]}; expected whole numbers from 0 to 100 by "
            f"subset. {_SHARES_AGAIN}"
        )
    return shares


def _share(
    context: MethodContext, per_cent: int, calibrated: Path | None
) -> Callable[[Principle], int]:
    if per_cent:
        return lambda principle: per_cent if principle.attributes else 100
    if calibrated is None or not calibrated.is_file():
        raise BadInput(
            f"There are no calibrated shares of {context.folder.name!r} for model "
            f"{context.model.name!r}: no {calibrated}.",
            "Training writes them: "
            f"livo-bench train --method {context.method} --model {context.model.spec}",
        )
    shares = read_shares(calibrated)

    def found(principle: Principle) -> int:
        if principle.attributes and principle.subset not in shares:
            raise BadInput(
                f"{calibrated} has no share for {principle.subset}, on which the encoder was not "
                "trained. Train on it, or steer a fixed share: share_bias = 50 in the card."
            )
        return shares[principle.subset] if principle.attributes else 100

    return found


def _chooser(source: str, model: ModelCard) -> Chooser:
    if source == TASK:
        return lambda request: request.principle
    finder = retriever.build(source, model)
    return lambda request: finder.retrieve(request.prompt.text).principle
