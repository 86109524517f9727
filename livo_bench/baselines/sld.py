"""Safe Latent Diffusion (SLD): guidance away from a text that names what is unwanted.

The guidance itself is the engine's (`guidance.safe_latent_diffusion`); here are the published
presets and what to steer away from.

Source: Schramowski et al. 2023, arXiv:2211.05105, table of hyper-parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from livo_bench.baselines.recipe import recipe_table
from livo_bench.errors import BadInput
from livo_bench.protocols import MethodContext
from livo_bench.records import Recipe, Request, SafetyGuidance

PRESET_STEPS = 50
"""Steps that the presets' warm-ups are meant for."""
PRESETS = {
    "weak": SafetyGuidance("", warmup=15, s_S=20.0, threshold=0.0, s_m=0.0, beta_m=0.0),
    "medium": SafetyGuidance("", warmup=10, s_S=1000.0, threshold=0.01, s_m=0.3, beta_m=0.4),
    "strong": SafetyGuidance("", warmup=7, s_S=2000.0, threshold=0.025, s_m=0.5, beta_m=0.7),
    "max": SafetyGuidance("", warmup=0, s_S=5000.0, threshold=1.0, s_m=0.5, beta_m=0.7),
}


@dataclass(frozen=True)
class SafeLatentDiffusion:
    """Steers every image away from one text."""

    safety: SafetyGuidance

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Compile one image."""
        return replace(base, safety=self.safety)


def load(context: MethodContext) -> SafeLatentDiffusion:
    """Make the method that a card's settings describe.

    Settings:
        preset: Out of `PRESETS`; its warm-up is scaled to the model's number of steps.

    Raises:
        BadInput: There is no such preset, or no safety text for models of this scale.
    """
    preset = str(context.settings["preset"])
    if preset not in PRESETS:
        raise BadInput(
            f"{context.folder / 'card.toml'}: preset is {preset!r}, expected one of: "
            f"{', '.join(PRESETS)}."
        )
    chosen = PRESETS[preset]
    warmup = round(chosen.warmup * context.model.steps / PRESET_STEPS)
    text = unwanted(context)
    return SafeLatentDiffusion(replace(chosen, text=text, warmup=warmup))


def unwanted(context: MethodContext) -> str:
    """The text that names everything unwanted, from the method's recipe.

    Raises:
        BadInput: The recipe has none for models of this scale.
    """
    table = recipe_table(str(context.folder), context.model.scale)
    text = table.text("unwanted")
    table.done()
    return text
