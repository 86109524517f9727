"""Kinds of text-to-image pipelines, by the class that `model_index.json` names.

A plan asks this, and may not import torch; a test holds it against the installed diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping

from livo_bench.cards.readable import PIPELINE
from livo_bench.records import NEEDS, SERVICE, TEXT, Scalar

DPM, OWN = "dpmsolver++", "pipeline"
"""Samplers: Stable Diffusion 1.x and 2.x, whose parts are driven one by one, have the first, all
other pipelines the one that they were saved with."""
TRUE_CFG = {
    "FluxPipeline": 1.0,
    "FluxKontextPipeline": 1.0,
    "QwenImagePipeline": 4.0,
    "QwenImage21Pipeline": 1.0,
}
"""Kinds whose `guidance_scale` is what a distilled network is told, if anything. Classifier-free
guidance, and so a negative prompt, is by their `true_cfg_scale`; its default."""
NO_NEGATIVE = frozenset(
    {
        "Flux2KleinPipeline",
        "Flux2Pipeline",
        "GlmImagePipeline",
        "Ideogram4Pipeline",
        "LatentConsistencyModelPipeline",
    }
)
"""Kinds that take no negative prompt."""
_CLIPS = ("text_encoder", "text_encoder_2")
TOWERS = {
    "StableDiffusionXLPipeline": _CLIPS,
    "StableDiffusion3Pipeline": _CLIPS,
    "FluxPipeline": ("text_encoder",),
}
"""Parts that a value encoder starts from, by kind; of Stable Diffusion 1.x and 2.x that is the one
text encoder."""
_TAKEN_APART = {
    "StableDiffusionXLPipeline": ("weights", "unet", "value token", "noise prediction"),
    "StableDiffusion3Pipeline": ("weights", "value token"),
    "FluxPipeline": ("weights", "value token"),
}
"""What kinds offer besides texts, of those that are called as they are."""
FLOWS = frozenset({"FluxPipeline", "StableDiffusion3Pipeline"})
"""Kinds of `TOWERS` whose networks learnt the velocity from a picture to noise."""
KINDS = frozenset(
    {
        PIPELINE,
        *TRUE_CFG,
        *NO_NEGATIVE,
        "AuraFlowPipeline",
        "ChromaPipeline",
        "CogView3PlusPipeline",
        "CogView4Pipeline",
        "HunyuanDiTPAGPipeline",
        "HunyuanDiTPipeline",
        "IFPipeline",
        "Kandinsky3Pipeline",
        "Krea2Pipeline",
        "Lumina2Pipeline",
        "LuminaPipeline",
        "NucleusMoEImagePipeline",
        "OvisImagePipeline",
        "PRXPipeline",
        "PixArtAlphaPipeline",
        "PixArtSigmaPAGPipeline",
        "PixArtSigmaPipeline",
        "SanaPAGPipeline",
        "SanaPipeline",
        "StableDiffusion3PAGPipeline",
        "StableDiffusion3Pipeline",
        "StableDiffusionPAGPipeline",
        "StableDiffusionXLPAGPipeline",
        "StableDiffusionXLPipeline",
        "ZImageOmniPipeline",
        "ZImagePipeline",
    }
)
"""Kinds that diffusers' `AutoPipelineForText2Image` knows and that draw from a text alone: without
ControlNets, which take a picture besides, pipelines of several repositories, and films."""


def offers(kind: str, guidance: float, call: Mapping[str, Scalar]) -> tuple[str, ...]:
    """What a method may ask of a model, out of `records.NEEDS`.

    Args:
        kind: The pipeline's class, or `SERVICE`.
        guidance: Guidance of the model.
        call: What its pipeline is called with besides.
    """
    if kind == PIPELINE:
        return NEEDS
    if kind == SERVICE:
        return (TEXT,)
    negative = ("negative",) if hears_negative(kind, guidance, call) else ()
    # What rescales its own guidance does not know another.
    unknown = ("noise prediction",) if call.get("guidance_rescale") else ()
    return (TEXT, *negative, *(n for n in _TAKEN_APART.get(kind, ()) if n not in unknown))


def hears_negative(kind: str, guidance: float, call: Mapping[str, Scalar]) -> bool:
    """Whether a pipeline guides away from a negative prompt; arguments as of `offers`."""
    if kind in TRUE_CFG:
        return float(call.get("true_cfg_scale", TRUE_CFG[kind])) > 1
    return kind not in NO_NEGATIVE and guidance > 1
