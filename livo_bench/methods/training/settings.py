"""Settings that trainings read: a table for each scale of model in the method's `training.toml`.

A variant that is trained differently has what differs in `[variants.<name>.<scale>]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from livo_bench.cards.catalog import method_card, variant_of
from livo_bench.cards.declared import SCALES
from livo_bench.cards.fields import Table, read_table
from livo_bench.errors import BadInput
from livo_bench.schema import Text

FILE = "training.toml"
"""Name of the training settings in a method's folder."""


def objective_named(method: str) -> str | None:
    """What a method's training settings say that it learns by; None where there are none, or they
    do not say.

    Raises:
        UnknownName: No such method.
        BadInput: The settings cannot be read, or their objective is no text.
    """
    if not _path(method).is_file():
        return None
    objective: str | None = _read(method).get("objective", Text, None)
    return objective


def untrained(method: str) -> BadInput:
    """The error for a method that neither has an objective nor brings a training."""
    path = _path(method)
    if not path.is_file():
        return _none(method)
    return BadInput(
        f"Method {method!r} does not train: {path} names no objective, and its adapter.py defines "
        "no train(training).",
        "See which methods there are: livo-bench list methods",
    )


def plain(method: str, scale: str) -> dict[str, Any]:
    """The table of a method's own settings for models of a scale, as it stands there; empty where
    there is none.

    Raises:
        UnknownName: No such method.
        BadInput: The settings cannot be read.
    """
    return _read(method).table(scale).plain() if _path(method).is_file() else {}


def settings_table(method: str, scale: str) -> Table:
    """The table of a method's settings for models of a scale, with what a variant has otherwise.

    Raises:
        UnknownName: No such method or variant.
        BadInput: The method has no settings, or none for this scale; or the variant none of its
            own, while others have; or a table is there that is none of a scale or variant.
    """
    settings, variant = _read(method), method.partition(":")[2]
    table, variants = of_scale(settings, scale), settings.named_tables("variants")
    settings.has("objective")
    settings.refuse_others()
    for other in variants.values():
        of_scales(other)
        other.refuse_others()
    if not variant or not variants:
        return table
    if variant not in variants:
        raise untrained_variant(method, settings, variants)
    return table.with_others(variants[variant].table(scale))


def none_besides(method: str, scale: str) -> None:
    """See that a method's file names its objective and no setting.

    Args:
        method: As for `settings_table`.
        scale: Scale of the model; it makes no difference.

    Raises:
        BadInput: There is something else in it.
    """
    settings = _read(method)
    settings.has("objective")
    settings.refuse_others()


def untrained_variant(method: str, settings: Table, variants: Iterable[str]) -> BadInput:
    """The error for a variant that the settings do not know, but others."""
    name, _, variant = method.partition(":")
    trained = ", ".join([name, *(f"{name}:{other}" for other in variants)])
    return BadInput(
        f"{method!r} has no training of its own: {settings.file} has no [variants.{variant}]. "
        f"Trained there: {trained}."
    )


def of_scale(settings: Table, scale: str) -> Table:
    """The table of some settings for models of a scale.

    Raises:
        BadInput: There is none.
    """
    if scale not in of_scales(settings):
        raise BadInput(
            f"{settings.file} has no table [{scale}], expected one for models of that scale."
        )
    return settings.table(scale)


def of_scales(settings: Table) -> list[str]:
    """The scales of models that some settings have a table for."""
    return [name for name in SCALES if settings.has(name)]


def _read(method: str) -> Table:
    """Read a method's file, whose variants are such as its card has."""
    path, (name, _, variant) = _path(method), method.partition(":")
    if not path.is_file():
        raise _none(method)
    card, settings = method_card(name), read_table(path)
    if variant:
        variant_of(card, variant)
    for other in settings.named_tables("variants"):
        if other not in card.variants:
            known = ", ".join(card.variants) or "none"
            raise BadInput(
                f"{path}: variants.{other}, expected a variant that card.toml has: {known}.",
                f"Add [variants.{other}] there, for a run could not ask for it.",
            )
    return settings


def _path(method: str) -> Path:
    return method_card(method.partition(":")[0]).folder / FILE


def _none(method: str) -> BadInput:
    return BadInput(
        f"Method {method!r} has no {_path(method)}, so there is nothing to train.",
        "See which methods there are: livo-bench list methods",
    )
