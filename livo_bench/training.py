"""Training a method by whatever its recipe says it learns by: `livo-bench train`."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

from livo_bench.baselines.recipe import objective_of
from livo_bench.catalog import model_card
from livo_bench.errors import BadInput
from livo_bench.livo.preference import SETTINGS

BASELINES = ("ca", "dapt", "fd", "uce")
"""Objectives of methods that train something else than a value encoder."""


class Options(TypedDict, total=False):
    """What a training may be asked for besides method and model."""

    seed: int
    """Of batches and noise."""
    data_seed: int
    """Base seed of the pictures that it trains on."""
    fraction: float
    """For value encoders, part of each scene's pictures to train on."""
    gamma_1: float | None
    """Likewise, the margin of the preferred hinge, for every value; the recipe's when None."""
    gamma_2: float | None
    """Likewise of the dispreferred hinge."""
    steps: int | None
    """Likewise; the recipe's when None."""
    device: str
    """`auto`, `cpu`, `cuda`, ..."""
    runs: Path
    """Folder of images and data."""
    out: Path | None
    """Folder to write to; `<runs>/training/<model>/<method>` when None."""
    settings: Path
    """Of the preference data, for methods that learn from it."""


def train(method: str, model: str = "mini", **options: Unpack[Options]) -> Path:
    """Train a method, or go on where an earlier training stopped.

    Processes that `accelerate launch` started together share the batches of a recipe.

    Args:
        method: Name, variant or folder of a method with a recipe.
        model: Name or card.
        **options: See `Options`.

    Returns:
        What `run` takes as `weights`.

    Raises:
        LivoBenchError: Something to fix first; nothing done is lost.
    """
    from livo_bench import fetch

    objective = objective_of(method)
    fetch.require(model, fetch.wanted(model_card(model), (), annotator=True))
    if objective not in BASELINES:
        from livo_bench.livo import train as value_encoders

        return value_encoders.train(method, model, **options) / "value_encoder"
    return _train_baseline(method, model, objective, **options)


def _train_baseline(
    method: str,
    model: str,
    objective: str,
    seed: int = 0,
    data_seed: int = 42,
    fraction: float = 1.0,
    gamma_1: float | None = None,
    gamma_2: float | None = None,
    steps: int | None = None,
    device: str = "auto",
    runs: Path = Path("results/runs"),
    out: Path | None = None,
    settings: Path = SETTINGS,
) -> Path:
    if (fraction, gamma_1, gamma_2, steps) != (1.0, None, None, None):
        raise BadInput(
            f"Method {method!r} learns by {objective!r}: --fraction, --gamma-1, --gamma-2 and "
            "--steps are for value encoders. Leave them out, or change its recipe."
        )
    if settings != SETTINGS and objective != "dapt":
        raise BadInput(
            f"Method {method!r} learns by {objective!r}, which reads no preference data, so "
            f"--settings {settings} says nothing to it. Leave it out."
        )
    from livo_bench import processes
    from livo_bench.baselines import concept_ablation, dapt, fair_diffusion, uce
    from livo_bench.baselines.training import Training
    from livo_bench.session import Session, find_device

    card = model_card(model)
    processes.join(find_device(device))
    if objective in ("fd", "uce"):
        processes.refuse_company(method)
    session = Session(card, data_seed, find_device(device), card.dtype, runs)
    place = out or runs / "training" / card.name / Path(method).name.replace(":", "-")
    trainers = {
        "ca": concept_ablation.train,
        "dapt": dapt.train,
        "fd": fair_diffusion.train,
        "uce": uce.train,
    }
    return trainers[objective](Training(method, model, session, seed, place, settings))
