"""Training a method by whatever its recipe says it learns by: `livo-bench train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from livo_bench.cards.catalog import RUNS, model_card
from livo_bench.errors import BadInput
from livo_bench.methods import concept_ablation, dapt, fair_diffusion, uce
from livo_bench.methods.livo import train as value_encoder
from livo_bench.methods.livo.preference import SETTINGS
from livo_bench.methods.training import processes
from livo_bench.methods.training.recipes import objective_of
from livo_bench.methods.training.training_record import Training, alone
from livo_bench.runs import fetch
from livo_bench.runs.session import Session, find_device

BASELINES = {
    "ca": concept_ablation.train,
    "dapt": dapt.train,
    "fd": fair_diffusion.train,
    "uce": uce.train,
}
"""By their objective, trainings of something else than a value encoder."""


def train(
    method: str,
    model: str = "mini",
    *,
    seed: int = 0,
    data_seed: int = 42,
    fraction: float = 1.0,
    gamma_1: float | None = None,
    gamma_2: float | None = None,
    steps: int | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    out: Path | None = None,
    settings: Path = SETTINGS,
) -> Path:
    """Train a method, or go on where an earlier training stopped.

    Processes that `accelerate launch` started together share the batches of a recipe.

    Args:
        method: Name, variant or folder of a method with a recipe.
        model: Name or card; data that the method learns from is made first, where it is missing.
        seed: Of batches and noise.
        data_seed: Base seed of the pictures that it trains on.
        fraction: For value encoders, part of each scene's pictures to train on.
        gamma_1: Likewise, the margin of the preferred hinge, for every value; the recipe's when
            None.
        gamma_2: Likewise of the dispreferred hinge.
        steps: Likewise; the recipe's when None.
        device: `auto`, `cpu`, `cuda`, ...
        runs: Folder of images and data.
        out: Folder to write to; `<runs>/training/<model>/<method>` when None.
        settings: Of the preference data, for methods that learn from it.

    Returns:
        What `run` takes as `weights`.

    Raises:
        LivoBenchError: Something to fix first, or another training holds the folder; nothing done
            is lost.
    """
    card = model_card(model)
    objective = objective_of(method)
    fetch.require(model, fetch.wanted(card, (), annotator=True))
    if objective in BASELINES:
        if (fraction, gamma_1, gamma_2, steps) != (1, None, None, None):
            raise BadInput(
                f"Method {method!r} learns by {objective!r}: --fraction, --gamma-1, --gamma-2 and "
                "--steps are for value encoders. Leave them out, or change its recipe."
            )
        if settings != SETTINGS and objective != "dapt":
            raise BadInput(
                f"Method {method!r} learns by {objective!r}, which reads no preference data, so "
                f"--settings {settings} says nothing to it. Leave it out."
            )
    if not 0 < fraction <= 1:
        raise BadInput(f"The data fraction is {fraction}; expected it above 0 and at most 1.")
    device = find_device(device)
    processes.join(device)
    if objective in ("fd", "uce"):
        processes.refuse_company(method)
    session = Session(card, data_seed, device, card.dtype, runs)
    place = out or runs / "training" / card.name / Path(method).name.replace(":", "-")
    training = Training(method, model, session, seed, place, settings)
    with alone(place) if processes.first() else nullcontext():
        if objective in BASELINES:
            return BASELINES[objective](training)
        return value_encoder.train(training, fraction, gamma_1, gamma_2, steps)
