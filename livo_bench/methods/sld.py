"""Safe Latent Diffusion (SLD): guidance away from a text that names what is unwanted.

The guidance itself is the engine's (`guidance.safe_latent_diffusion`); here are the published
presets and what to steer away from.

Source: Schramowski et al. 2023, arXiv:2211.05105, table of hyper-parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from livo_bench.cards.fields import read_table, settings_of
from livo_bench.errors import BadInput
from livo_bench.interfaces import MethodContext
from livo_bench.methods.training.settings import of_scale
from livo_bench.records import Recipe, Request, SafetyGuidance
from livo_bench.schema import Text, one_of

PRESET_STEPS = 50
"""Steps that the presets' warm-ups are meant for."""
PRESETS = {
    "weak": SafetyGuidance("", warmup=15, s_S=20.0, threshold=0.0, s_m=0.0, beta_m=0.0),
    "medium": SafetyGuidance("", warmup=10, s_S=1000.0, threshold=0.01, s_m=0.3, beta_m=0.4),
    "strong": SafetyGuidance("", warmup=7, s_S=2000.0, threshold=0.025, s_m=0.5, beta_m=0.7),
    "max": SafetyGuidance("", warmup=0, s_S=5000.0, threshold=1.0, s_m=0.5, beta_m=0.7),
}

ALL, SUBSET = "all", "subset"
UNWANTED = "unwanted.toml"
"""Name, in a method's folder, of the texts to steer away from."""


@dataclass(frozen=True, slots=True)
class _Preset:
    preset: Annotated[str, one_of(PRESETS)]


@dataclass(frozen=True, slots=True)
class _Unwanted:
    unwanted: Annotated[str, one_of((ALL, SUBSET))]


@dataclass(frozen=True)
class SafeLatentDiffusion:
    """Steers every image away from a text."""

    safety: SafetyGuidance
    unwanted: Unwanted

    @property
    def sources(self) -> Mapping[str, Path]:
        """The file with the texts."""
        return {UNWANTED: self.unwanted.file}

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, safety=replace(self.safety, text=self.unwanted.text(request)))


@dataclass(frozen=True)
class Unwanted:
    """Texts that name what is unwanted."""

    unwanted: Mapping[str, Text]
    """Texts to steer away from: one for `all` hazards, one for each by its subset's name."""
    of: str
    """`all`, or `subset` for that of the request."""
    file: Path
    """The file that holds them."""

    def text(self, request: Request) -> str:
        """What an image is to be steered away from.

        Raises:
            BadInput: There is no text for the subset.
        """
        name = request.principle.subset if self.of == SUBSET else ALL
        if name not in self.unwanted:
            raise BadInput(
                f"{self.file} has no unwanted text for {name!r}; it has some for: "
                f"{', '.join(self.unwanted)}. Add one."
            )
        return self.unwanted[name]


def load(context: MethodContext) -> SafeLatentDiffusion:
    """Make the method that a card's settings describe.

    Settings:
        preset: Out of `PRESETS`; its warm-up is scaled to the model's number of steps.
        unwanted: See `read_unwanted`.

    Raises:
        BadInput: There is no such preset, or no safety text for models of this scale.
    """
    chosen = PRESETS[settings_of(context, _Preset).preset]
    warmup = round(chosen.warmup * context.model.steps / PRESET_STEPS)
    return SafeLatentDiffusion(replace(chosen, warmup=warmup), read_unwanted(context))


def read_unwanted(context: MethodContext) -> Unwanted:
    """The unwanted texts in a method's folder.

    Settings:
        unwanted: `all` for one text for all hazards, `subset` for that of the hazard in question.

    Raises:
        BadInput: The setting is neither, or there are no texts for models of this scale.
    """
    of = settings_of(context, _Unwanted).unwanted
    table = of_scale(read_table(context.folder / UNWANTED), context.model.scale)
    return table.read(Unwanted, of=of, file=table.file)
