"""Kinds of pipelines against the installed diffusers, and what they offer methods."""

from inspect import signature

import pytest
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

from livo_bench.cards.kinds import KINDS as KNOWN
from livo_bench.cards.kinds import NO_NEGATIVE, TRUE_CFG, offers
from livo_bench.records import NEEDS, Scalar


def test_kinds_are_those_that_diffusers_draws_from_a_text_with() -> None:
    classes = {kind.__name__: kind for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    others = {
        name
        for name in classes
        if "Control" in name or "Combined" in name or name.startswith("Helios")
    }
    assert classes.keys() - others == KNOWN
    takes = {name: signature(classes[name].__call__).parameters for name in KNOWN}
    assert {name for name in KNOWN if "negative_prompt" not in takes[name]} == NO_NEGATIVE
    assert {
        name: parameters["true_cfg_scale"].default
        for name, parameters in takes.items()
        if "true_cfg_scale" in parameters
    } == TRUE_CFG
    needed = ("prompt", "num_inference_steps", "height", "width", "generator", "output_type")
    assert all({*needed} <= parameters.keys() for parameters in takes.values())


FLOW = ("weights", "value token")
XL = ("weights", "unet", "value token", "noise prediction")


@pytest.mark.parametrize(
    ("kind", "guidance", "call", "offered"),
    [
        ("StableDiffusionPipeline", 7.5, {}, NEEDS),
        ("StableDiffusionXLPipeline", 5.0, {}, ("text", "negative", *XL)),
        ("StableDiffusionXLPipeline", 1.0, {}, ("text", *XL)),
        ("StableDiffusion3Pipeline", 4.5, {}, ("text", "negative", *FLOW)),
        ("FluxPipeline", 3.5, {}, ("text", *FLOW)),
        ("FluxPipeline", 3.5, {"true_cfg_scale": 1.0}, ("text", *FLOW)),
        ("FluxPipeline", 1.0, {"true_cfg_scale": 4}, ("text", "negative", *FLOW)),
        ("QwenImagePipeline", 1.0, {}, ("text", "negative")),
        ("Flux2Pipeline", 4.0, {}, ("text",)),
    ],
)
def test_a_negative_prompt_is_offered_where_it_is_heard(
    kind: str, guidance: float, call: dict[str, Scalar], offered: tuple[str, ...]
) -> None:
    assert offers(kind, guidance, call) == offered
