"""Objectives: what a method learns by, and what each of them hears and takes.

`objective` in a method's `training.toml` names one of `OBJECTIVES`. Where it names none, the
method's own `adapter.py` may define::

    def train(training: Training) -> Path: ...
    def plan(planned: Planned) -> TrainingPlan: ...    # optional, for --plan

`train` says what it is of (`training.begin`), learns, and names what it finished
(`training.record`), as the trainings of this package do; it returns what `run` takes as
`--weights`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from livo_bench.cards.adapters import adapter_function
from livo_bench.cards.catalog import method_card
from livo_bench.errors import BadInput
from livo_bench.files import digest_file
from livo_bench.methods import (
    concept_ablation,
    dapt,
    debias_vl,
    diffusion_dpo,
    esd,
    fair_diffusion,
    forget_me_not,
    prompt_tuning,
    rece,
    reward_weighted,
    selective_amnesia,
    uce,
)
from livo_bench.methods.livo import encoder_settings, loss
from livo_bench.methods.livo import train as value_encoder
from livo_bench.methods.training import plans, settings
from livo_bench.methods.training.training_plan import Planned, TrainingPlan
from livo_bench.methods.training.training_record import Training

OWN = "adapter.py"
"""Name of the objective that a method brings itself."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A way to learn, and what it hears of a training's options."""

    train: Callable[[Training], Path]
    """Learns into the training's folder; returns what `run` takes as weights."""
    plan: Callable[[Planned], TrainingPlan] | None
    """Says what that would take; None where it cannot say."""
    read: Callable[[str, str], object] | None = None
    """Reads the settings of a method for a scale of model, and refuses what is none; None for a
    training that the method brings."""
    overrides: bool = False
    """Whether it hears --fraction, --gamma-1, --gamma-2 and --steps."""
    preferences: bool = False
    """Whether it reads preference data, so that it hears --settings."""
    shared: bool = True
    """Whether several processes may train together."""

    def require_settings(self, method: str, scale: str) -> None:
        """See that a method's settings for a scale of model are sound.

        Raises:
            BadInput: One is not what it should be.
        """
        if self.read is not None:
            self.read(method, scale)


_VALUE_ENCODER = Objective(
    value_encoder.train,
    plans.value_encoder,
    encoder_settings.read,
    overrides=True,
    preferences=True,
)
OBJECTIVES = {
    "ca": Objective(concept_ablation.train, plans.ablation, concept_ablation.read_settings),
    "dapt": Objective(dapt.train, plans.adaptation, dapt.read_settings, preferences=True),
    "diffusion-dpo": Objective(
        diffusion_dpo.train,
        plans.preferring,
        diffusion_dpo.read_settings,
        preferences=True,
    ),
    "esd": Objective(esd.train, plans.steering_away, esd.read_settings),
    "forget-me-not": Objective(forget_me_not.train, plans.resteering, forget_me_not.read_settings),
    "selective-amnesia": Objective(
        selective_amnesia.train, plans.amnesia, selective_amnesia.read_settings
    ),
    "fd": Objective(fair_diffusion.train, plans.majorities, settings.none_besides, shared=False),
    "uce": Objective(uce.train, plans.edits, uce.read_settings, shared=False),
    "rece": Objective(rece.train, plans.solved, rece.read_settings, shared=False),
    "prompt-tuning": Objective(prompt_tuning.train, plans.soft_tokens, prompt_tuning.read_settings),
    "reward-weighted": Objective(
        reward_weighted.train,
        plans.reward_weighted,
        reward_weighted.read_settings,
        preferences=True,
    ),
    "debias-vl": Objective(debias_vl.train, plans.solved, debias_vl.read_settings, shared=False),
    **dict.fromkeys(loss.OBJECTIVES, _VALUE_ENCODER),
}
"""What training settings may name."""


def objective_of(method: str) -> tuple[str, Objective]:
    """What a method learns by, and its name; `OWN` for a training that the method brings.

    Raises:
        UnknownName: No such method.
        BadInput: The method does not train, or its settings name what is no objective.
        AdapterFailed: Its adapter could not be imported.
    """
    named = settings.objective_named(method)
    if named is None:
        if own := _own(method):
            return OWN, own
        raise settings.untrained(method)
    if named not in OBJECTIVES:
        raise BadInput(
            f"Method {method!r} learns by {named!r}, which is no objective; expected one of: "
            f"{', '.join(OBJECTIVES)}. Mend its training.toml, or leave the objective out and "
            "define train(training) in its adapter.py."
        )
    return named, OBJECTIVES[named]


def _own(method: str) -> Objective | None:
    card = method_card(method.partition(":")[0])
    learn = adapter_function(card, "train")
    if learn is None:
        return None
    adapter = card.folder / OWN

    def train(training: Training) -> Path:
        training.adapter = digest_file(adapter)
        training.settings = settings.plain(method, training.session.model.scale)
        weights = learn(training)
        if not training.finished:
            raise BadInput(
                f"{adapter}: train(training) recorded nothing. Expected "
                "training.begin(settings=training.settings) before it learns, and "
                "training.record(NAME, MINUTES, FILE) of each file that it finished."
            )
        if not isinstance(weights, Path) or not weights.exists():
            raise BadInput(
                f"{adapter}: train(training) returned {weights!r}, expected the path of the "
                "weights, as --weights takes it: training.out, or a file or folder in it."
            )
        return weights

    return Objective(train, adapter_function(card, "plan"), preferences=True, shared=False)
