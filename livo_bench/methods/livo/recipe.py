"""Training recipes: what `livo-bench train` reads from a method's `recipe.toml`.

A table for each scale of model, `[mini]` and `[sd]`, with a table `[mini.<subset>]` for each value
it trains on; `[variants.<name>]` replaces the objective and the coefficients' ratio. A method that
differs in these alone names another one as `like`, and has no tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livo_bench.cards.catalog import method_card, value_tasks
from livo_bench.cards.declared import SCALES
from livo_bench.cards.fields import Table, read_table
from livo_bench.errors import BadInput
from livo_bench.methods.livo.loss import OBJECTIVES, Coefficients

TRAINING_LAYOUTS = ("pad77", "train78")
"""`paper` has another number of tokens for each prompt, so its batches cannot be formed."""
LEAST = 1e-6
"""Of a coefficient: a margin is divided by it."""
PRECISIONS = ("no", "fp16", "bf16")


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """How a value encoder is trained on one scale of model."""

    objective: str
    """`livo` (Eq. 6), `wo-m` (Eq. 10) or `dpo`."""
    layout: str
    steps: int
    batch: int
    """Pairs a step, over all processes together."""
    lr: float
    schedule: str
    """`constant`, or `cosine` to zero after a linear warm-up of 3 % of the steps."""
    weight_decay: float
    adam_beta_2: float
    """Decay of AdamW's second moments."""
    frozen: tuple[str, ...]
    """Prefixes of the encoder's parameters that stay as they are."""
    weight: str
    """How a preferred picture is drawn: `uniform` over all of a value, as the released code; or
    with scenes drawn evenly, and within one groups by their `deficit`, 1/N minus their share."""
    precision: str
    """Mixed precision, as accelerate names it."""
    gradient_checkpointing: bool
    """Compute the UNet's activations again in the backward pass, to save memory."""
    checkpoint: int
    """Steps between checkpoints."""
    dev: int
    """Steps between evaluations on dev prompts."""
    dev_images: int
    """Images a dev prompt, half of them steered."""
    coefficients: Mapping[str, Coefficients]
    """By subset."""
    draws: Mapping[str, float]
    """How often a pair is of a subset, relative to the others; by subset."""

    def looks(self, done: int) -> bool:
        """Whether dev prompts are looked at after so many steps."""
        return done % self.dev == 0 or done == self.steps


def read(spec: str, scale: str) -> TrainingRecipe:
    """Read the recipe of a method or variant.

    Args:
        spec: As `--method` takes it: `livo`, `livo:wo-m`, a folder.
        scale: Of the model.

    Raises:
        UnknownName: No such method or variant.
        BadInput: The method does not train, or its recipe is not what it should be.
    """
    place, _, variant = spec.partition(":")
    card = method_card(place)
    path = card.folder / "recipe.toml"
    if not path.is_file():
        raise BadInput(
            f"Method {card.name!r} has no {path}, so there is nothing to train. Methods that "
            "train: livo, dpo."
        )
    table = read_table(path)
    scales = table
    if table.has("like"):
        scales = read_table(method_card(table.text("like")).folder / path.name)
    present = [name for name in SCALES if scales.has(name)]
    if scale not in present:
        raise BadInput(
            f"{scales.file} has no table [{scale}], expected one for models of that scale."
        )
    variants = table.named_tables("variants")
    if variant and variant not in variants:
        trained = ", ".join([card.name, *(f"{card.name}:{name}" for name in variants)])
        raise BadInput(
            f"{spec!r} has no training of its own: {path} has no [variants.{variant}]. "
            f"Trained there: {trained}."
        )
    return _recipe(scales.table(scale), table, variants.get(variant))


def _recipe(table: Table, method: Table, variant: Table | None) -> TrainingRecipe:
    own = variant or method
    subsets = [name for card in value_tasks().values() for name in card.subsets]
    values = {name: table.table(name) for name in subsets if table.has(name)}
    with table, own:
        recipe = TrainingRecipe(
            objective=own.choice("objective", OBJECTIVES),
            layout=table.choice("layout", TRAINING_LAYOUTS),
            steps=table.whole("steps", 1),
            batch=table.whole("batch", 1),
            lr=table.number("lr", 0),
            schedule=table.choice("schedule", ("constant", "cosine")),
            weight_decay=table.number("weight_decay", 0),
            adam_beta_2=table.share("adam_beta_2"),
            frozen=table.texts("frozen"),
            weight=table.choice("weight", ("uniform", "deficit")),
            precision=table.choice("precision", PRECISIONS),
            gradient_checkpointing=table.flag("gradient_checkpointing"),
            checkpoint=table.whole("checkpoint", 1),
            dev=table.whole("dev", 1),
            dev_images=table.whole("dev_images", 4),
            draws={name: value.number("draw", 0) for name, value in values.items()},
            coefficients={name: _coefficients(value, own) for name, value in values.items()},
        )
    if not sum(recipe.draws.values()):
        raise BadInput(
            f"{table.file} trains on no value, expected a table for at least one, with a draw "
            "above 0."
        )
    return recipe


def _coefficients(table: Table, own: Table) -> Coefficients:
    """Of one value; a method or variant may set alpha as a multiple of beta."""
    with table:
        beta = table.number("beta", LEAST)
        alpha = table.number("alpha", LEAST)
        if own.has("alpha_over_beta"):
            alpha = beta * own.number("alpha_over_beta", LEAST)
        return Coefficients(beta, alpha, table.number("gamma_1", 0), table.number("gamma_2", 0))
