"""Training settings of value encoders: what `livo-bench train` reads from a `training.toml`.

A table for each scale of model, `[mini]` and `[sd]`, with a table `[mini.<subset>]` for each value
it trains on; `[mini.flow]` has what is otherwise for models that learnt as flows, such a table
included. `[variants.<name>]` replaces the objective and the coefficients' ratio. A method that
differs in these alone names another one as `like`, and has no tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from livo_bench.cards.catalog import method_card, value_tasks
from livo_bench.cards.fields import Table, read_table
from livo_bench.cards.kinds import FLOWS
from livo_bench.cards.readable import PIPELINE
from livo_bench.engines.noising import DENSITIES
from livo_bench.errors import BadInput
from livo_bench.methods.livo.loss import OBJECTIVES, Coefficients
from livo_bench.methods.livo.pairs import WEIGHTS
from livo_bench.methods.training.settings import FILE, of_scale, untrained_variant
from livo_bench.schema import MOST, Count, Factor, Rate, Share, Text, Weight, between, one_of


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How a value encoder is trained on one scale of model."""

    objective: str
    """`livo` (Eq. 6), `wo-m` (Eq. 10) or `dpo`."""
    layout: Annotated[str, one_of(("pad77", "train78"))]
    """`paper` has another number of tokens for each prompt, so its batches cannot be formed."""
    steps: Count
    batch: Count
    """Pairs a step, over all processes together."""
    lr: Rate
    schedule: Annotated[str, one_of(("constant", "cosine"))]
    """`constant`, or `cosine` to zero after a linear warm-up of 3 % of the steps."""
    weight_decay: Share
    adam_beta_2: Annotated[float, between(0, 0.999999)]
    """Decay of AdamW's second moments."""
    frozen: tuple[Text, ...]
    """Prefixes of the encoder's parameters that stay as they are."""
    weight: Annotated[str, one_of(WEIGHTS)]
    """How a preferred picture is drawn."""
    precision: Annotated[str, one_of(("no", "fp16", "bf16"))]
    """Mixed precision, as accelerate names it."""
    gradient_checkpointing: bool
    """Compute the UNet's activations again in the backward pass, to save memory."""
    checkpoint: Count
    """Steps between checkpoints."""
    dev: Count
    """Steps between evaluations on dev prompts."""
    dev_images: Annotated[int, between(4, MOST)]
    """Images a dev prompt, half of them steered."""
    coefficients: Mapping[str, Coefficients]
    """Coefficients of the loss, by subset."""
    draws: Mapping[str, Factor]
    """How often a pair is of a subset, relative to the others; by subset."""
    density: Annotated[str, one_of(DENSITIES)] | None = None
    """How the times of a flow are drawn; None for other models, whose times are drawn evenly."""

    def looks(self, done: int) -> bool:
        """Whether dev prompts are looked at after so many steps."""
        return done % self.dev == 0 or done == self.steps

    @property
    def times(self) -> int:
        """How often they are looked at."""
        return -(-self.steps // self.dev)


def read(spec: str, scale: str, kind: str = PIPELINE) -> EncoderSettings:
    """Read the training settings of a method or variant.

    Args:
        spec: Name of the method as `--method` takes it: `livo`, `livo:wo-m`, a folder.
        scale: Scale of the model.
        kind: Class of its pipeline.

    Raises:
        UnknownName: No such method or variant.
        BadInput: The method does not train, or its settings are not what they should be.
    """
    place, _, variant = spec.partition(":")
    card = method_card(place)
    path = card.folder / FILE
    if not path.is_file():
        raise BadInput(
            f"Method {card.name!r} has no {path}, so there is nothing to train. Methods that "
            "train: livo, dpo."
        )
    table = read_table(path)
    scales = table
    if table.has("like"):
        scales = read_table(method_card(table.get("like", Text)).folder / path.name)
    of_model = of_scale(scales, scale)
    flow = of_model.table("flow")
    if kind in FLOWS:
        of_model = of_model.with_others(flow)
        of_model.table("flow")
    variants = table.named_tables("variants")
    if variant and variant not in variants:
        raise untrained_variant(spec, table, variants)
    return _settings(of_model, variants.get(variant, table))


def _settings(table: Table, own: Table) -> EncoderSettings:
    """Settings, of the table for a scale and a method's or variant's own."""
    subsets = [name for card in value_tasks().values() for name in card.subsets]
    values = {name: table.table(name) for name in subsets if table.has(name)}
    settings = table.read(
        EncoderSettings,
        objective=own.get("objective", Annotated[str, one_of(OBJECTIVES)]),
        draws={name: one.get("draw", Factor) for name, one in values.items()},
        coefficients={name: _coefficients(one, own) for name, one in values.items()},
    )
    own.refuse_others()
    if not sum(settings.draws.values()):
        raise BadInput(
            f"{table.file} trains on no value, expected a table for at least one, with a draw "
            "above 0."
        )
    return settings


def _coefficients(table: Table, own: Table) -> Coefficients:
    """Read the coefficients of one value; a method may set alpha as a multiple of beta."""
    found = table.read(Coefficients)
    if own.has("alpha_over_beta"):
        found = replace(found, alpha=found.beta * own.get("alpha_over_beta", Weight))
    return found
