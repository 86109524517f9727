"""Recipes of baselines: a table for each scale of model in the method's `recipe.toml`."""

from __future__ import annotations

from livo_bench.cards.catalog import method_card
from livo_bench.cards.fields import Table, read_table
from livo_bench.errors import BadInput

RECIPE = "recipe.toml"
"""In a method's folder."""


def objective_of(method: str) -> str:
    """What a method's recipe says that it learns by.

    Raises:
        UnknownName: No such method.
        BadInput: The method does not train.
    """
    table = _recipe(method)
    if not table.has("objective"):
        raise BadInput(
            f"Method {method!r} does not train: {table.file} names no objective. See which methods "
            "there are: livo-bench list methods"
        )
    return table.text("objective")


def recipe_table(method: str, scale: str) -> Table:
    """The table of a method's recipe for models of a scale.

    Raises:
        UnknownName: No such method.
        BadInput: The method has no recipe, or none for this scale.
    """
    table = _recipe(method)
    if not table.has(scale):
        raise BadInput(f"{table.file} has no table [{scale}], expected one for such models.")
    return table.table(scale)


def _recipe(method: str) -> Table:
    card = method_card(method.partition(":")[0])
    path = card.folder / RECIPE
    if not path.is_file():
        raise BadInput(
            f"Method {card.name!r} has no {path}, so there is nothing to train. "
            "See which methods there are: livo-bench list methods"
        )
    return read_table(path)
