"""Training a method by its objective, and what that would take: `livo-bench train`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from livo_bench import trackers
from livo_bench.cards.adapters import require_offered
from livo_bench.cards.catalog import RUNS, method_card, model_card
from livo_bench.cards.declared import ModelCard
from livo_bench.errors import BadInput
from livo_bench.methods.livo.preference import SETTINGS
from livo_bench.methods.training import processes
from livo_bench.methods.training.objectives import objective_of
from livo_bench.methods.training.training_plan import Planned, TrainingPlan
from livo_bench.methods.training.training_record import RECORD, Overrides, Training, alone, read
from livo_bench.runs import fetch
from livo_bench.runs.session import Session, find_device
from livo_bench.schema import kinds_of


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
    log_to: Sequence[str] = (),
) -> Path:
    """Train a method, or go on where an earlier training stopped.

    Processes that `accelerate launch` started together share the batches of the training settings.

    Args:
        method: Name, variant or folder of a method that trains.
        model: Name or card; data that the method learns from is made first, where it is missing.
        seed: Seed of batches and noise.
        data_seed: Base seed of the pictures that it trains on.
        fraction: For value encoders, part of each scene's pictures to train on.
        gamma_1: For value encoders, the margin of the preferred hinge, for every value; the
            settings' when None.
        gamma_2: For value encoders, the margin of the dispreferred hinge, for every value; the
            settings' when None.
        steps: For value encoders, the steps to take; the training settings' when None.
        device: `auto`, `cpu`, `cuda`, ...
        runs: Folder of images and data.
        out: Folder to write to; `<runs>/training/<model>/<method>` when None.
        settings: Settings of the preference data, for methods that learn from it.
        log_to: For value encoders, the trackers that get losses and dev numbers besides the logs,
            see `trackers`.

    Returns:
        What `run` takes as `weights`.

    Raises:
        LivoBenchError: Something to fix first, or another training holds the folder; nothing done
            is lost.
    """
    card = model_card(model)
    _, objective = objective_of(method)
    require_offered(method, card)
    objective.require_settings(method, card.scale)
    overrides = Overrides(fraction, gamma_1, gamma_2, steps)
    _require_heard(method, overrides, settings)
    trackers.require(log_to)
    if log_to and not objective.overrides:
        raise BadInput(
            f"The training of {method!r} logs no numbers, so there are none for "
            f"{', '.join(log_to)}. Leave --log-to out: it is for value encoders."
        )
    fetch.require(model, fetch.wanted(card, (), annotator=True))
    device = find_device(device)
    processes.join(device)
    if not objective.shared:
        processes.refuse_company(method)
    # What learns, and what it learns from, stays on the device.
    session = Session(replace(card, offload=False), data_seed, device, card.dtype, runs)
    place = out or runs / "training" / card.name / Path(method).name.replace(":", "-")
    training = Training(
        method, model, session, seed, place, settings, overrides, log_to=tuple(log_to)
    )
    with alone(place) if processes.first() else nullcontext():
        return objective.train(training)


def plan(
    method: str,
    model: str = "mini",
    steps: int | None = None,
    settings: Path = SETTINGS,
    rate: float | None = None,
    *,
    fraction: float = 1.0,
    gamma_1: float | None = None,
    gamma_2: float | None = None,
) -> TrainingPlan:
    """Say what `train` with the same arguments would take; loads no model.

    Args:
        method: Name, variant or folder of a method that trains.
        model: Name or card.
        steps: Number of steps of a value encoder; the training settings' when None.
        settings: Settings of the preference data, for methods that learn from it.
        rate: Images sampled and judged per second; the card's when None.
        fraction: As for `train`; changes no plan.
        gamma_1: As for `train`; changes no plan.
        gamma_2: As for `train`; changes no plan.

    Raises:
        BadInput: The method does not train, does not hear what is asked or cannot say what that
            takes, or the card does not say what the model takes.
    """
    card = model_card(model)
    name, objective = objective_of(method)
    require_offered(method, card)
    objective.require_settings(method, card.scale)
    _require_heard(method, Overrides(fraction, gamma_1, gamma_2, steps), settings)
    if objective.plan is None:
        raise BadInput(
            f"What a training of {method!r} would take is not known: its {name} defines no "
            "plan(planned). Train it without --plan."
        )
    found = objective.plan(Planned(method, card, rate or card.rate, steps, settings))
    return replace(found, arithmetic=(*found.arithmetic, *_recorded(method, card)))


def _recorded(method: str, card: ModelCard) -> list[str]:
    """What the training of the weights that a method has took, by its record, for a plan counts
    the evaluations of the network alone."""
    own = method_card(method.partition(":")[0]).folder / "weights" / card.name
    records = [read(path.parent) for path in sorted(own.glob(f"**/{RECORD}"))]
    return [
        f"recorded: the method's own weights took {sum(record['minutes'].values()):.1f} min, on "
        "the machine that trained them"
        for record in records
        if record is not None and record.get("method") == method and record.get("minutes")
    ]


def _require_heard(method: str, overrides: Overrides, settings: Path) -> None:
    """See that a method hears what is asked of its training.

    Raises:
        BadInput: It does not, or an option is out of range.
    """
    name, objective = objective_of(method)
    if overrides != Overrides() and not objective.overrides:
        raise BadInput(
            f"Method {method!r} learns by {name!r}: --fraction, --gamma-1, --gamma-2 and "
            "--steps are for value encoders. Leave them out, or change its training settings."
        )
    if settings != SETTINGS and not objective.preferences:
        raise BadInput(
            f"Method {method!r} learns by {name!r}, which reads no preference data, so "
            f"--settings {settings} says nothing to it. Leave it out."
        )
    if not 0 < overrides.fraction <= 1:
        raise BadInput(
            f"The data fraction is {overrides.fraction}; expected it above 0 and at most 1."
        )
    for option, kind in kinds_of(Overrides).items():
        if not kind.holds(value := getattr(overrides, option)):
            raise BadInput(f"{option} is {value!r}; expected {kind.expected}.")
