"""The engine of whatever pipeline of diffusers draws from a text alone: recipes to pixels.

The pipeline is called as anybody calls it, with its own sampler, and a generator an image on the
CPU, so that an image is that of its seed whatever else is in the batch. Methods may give it another
text, a negative prompt or other weights, and join its predictions in another way (`guided_call`);
what else takes it apart is `diffusion`'s.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from threading import Lock, local
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.utils.logging import disable_progress_bar
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module
from transformers.utils import logging

from livo_bench.cards import readable
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.kinds import OWN, TRUE_CFG, hears_negative, offers
from livo_bench.cards.readable import PIPELINE
from livo_bench.cards.weights import find_weights, loading
from livo_bench.engines import (
    guided_call,
    hearing,
    lora,
    networks,
    overlay,
    spelling,
    towers,
    value_seam,
)
from livo_bench.engines.denoiser import Denoiser
from livo_bench.engines.halving import Halving
from livo_bench.engines.hearing import HEARINGS
from livo_bench.engines.seeds import generators, unit_noise
from livo_bench.engines.tensor_files import CLIP_TEXT, DIFFUSERS, files_of
from livo_bench.engines.towers import Towers
from livo_bench.engines.value_call import ValueCalls
from livo_bench.engines.value_seam import ValueSeam
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import PARTS, Recipe

UNSEEN = {"add_watermarker": False, "requires_safety_checker": False}
"""What pipelines are built with, where they ask: nothing marks or hides pictures, which else would
depend on the packages that are installed."""
UNTIDIED = {"clean_caption": False}
"""What pipelines are called with, where they ask: a text is read as it stands."""
CHANNELS = 4
"""Channels of the noise that methods are given which render by themselves."""


class Pipeline:
    """A pipeline of diffusers. Several threads may render at once."""

    def __init__(
        self,
        kind: type[Any],
        parts: Mapping[str, Any],
        dtype: str,
        device: str,
        offload: bool = False,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            kind: The pipeline's class.
            parts: What it is built of, networks on their device unless they are offloaded.
            dtype: Dtype of the networks.
            device: To render on.
            offload: Whether networks wait in the CPU's memory for their turn.
            files: Where the files are that recipes name by digest: value encoders and overlays.
        """
        self._kind = kind
        self._parts = parts
        self._dtype = dtype
        self._device = torch.device(device)
        self._offload = offload and self._device.type != "cpu"
        self._files = files or {}
        self._values = ValueCalls()
        self._overlaid: dict[str | None, Mapping[str, Module]] = {None: {}}
        """Networks that take the place of the model's own, by overlay."""
        self._reading = Lock()
        self._takes = signature(kind.__call__).parameters
        self._changeable = {
            name: part
            for name, part in parts.items()
            if overlay.changeable(name, type(part).__name__)
        }
        self._halving = Halving()
        self._of_thread = local()
        # One batch at a time is on a GPU; and in half precision a pipeline may change its VAE's for
        # as long as it decodes.
        alone = self._device.type != "cpu" or dtype != "float32"
        self._turn = Lock() if alone else nullcontext()
        self._reading = Lock()

    @torch.inference_mode()
    def render(self, recipes: Sequence[Recipe]) -> Pixels:
        """Make images.

        Args:
            recipes: Recipes of one family, in the order of the images; for the model and the dtype
                that this one was loaded with.

        Returns:
            RGB, uint8, `(n, size, size, 3)`. Image i depends on `recipes[i]`, and on the batch
            shape only in the last bits of the arithmetic. A batch that does not fit into the
            device's memory is halved, and so are those after it.

        Raises:
            BadInput: Not even one image fits into the device's memory, images come in another
                size, or an overlay does not load.
            ValueError: The recipes are of several families, or not for this engine.
        """
        family = self._family(recipes)
        self.load_files([family])
        with self._turn:
            return self._halving.render(recipes, partial(self._render, family), self._device)

    def _render(self, family: Recipe, recipes: Sequence[Recipe]) -> Pixels:
        pixels: Pixels = (self.draw(family, recipes) * 255).round().astype(np.uint8)
        return pixels

    def draw(self, family: Recipe, recipes: Sequence[Recipe]) -> NDArray[np.float32]:
        """Images before they are rounded, `(n, size, size, 3)` in [0, 1]."""
        size = family.size
        given = {
            "generator": generators([recipe.seed for recipe in recipes]),
            "height": size,
            "width": size,
            "output_type": "np",
            **self._settings(family),
        }
        with self._pipeline(family.overlay) as pipeline:
            if family.safety or family.edit:
                drawn = guided_call.draw(pipeline, family, recipes, given)
            else:
                drawn = pipeline(**self._told(pipeline, family, recipes), **given)
        images: NDArray[np.float32] = drawn.images
        if images.shape != (len(recipes), size, size, 3):
            raise BadInput(
                f"A {self._kind.__name__} that was asked for {len(recipes)} images of {size} "
                f"pixels made {images.shape}; expected {(len(recipes), size, size, 3)}.",
                "Set `size` in the model's card to one that it can make.",
            )
        return images

    def _settings(self, family: Recipe) -> dict[str, Any]:
        """What the pipeline is called with besides texts, for all images of a batch alike."""
        call = json.loads(family.call or "{}")
        settings = {"num_inference_steps": family.steps, "guidance_scale": family.guidance}
        return {k: v for k, v in (settings | UNTIDIED).items() if k in self._takes} | call

    def _told(self, pipeline: Any, family: Recipe, recipes: Sequence[Recipe]) -> dict[str, Any]:
        """What the pipeline is told, as texts or, where a value stands before them, as states."""
        call = json.loads(family.call or "{}")
        hears = self._hears(family, call)
        if family.value is not None:
            return self._values.told(pipeline, recipes, self._most(call) or 0, hears)
        told: dict[str, Any] = {"prompt": [recipe.text for recipe in recipes]}
        # These guide where a negative prompt is given, be it empty.
        if family.negative or (hears and self._kind.__name__ in TRUE_CFG):
            told["negative_prompt"] = [family.negative] * len(recipes)
        return told

    def _hears(self, family: Recipe, call: Mapping[str, Any]) -> bool:
        return hears_negative(self._kind.__name__, family.guidance, call)

    @contextmanager
    def _pipeline(self, overlay: str | None) -> Iterator[Any]:
        """This thread's pipeline with an overlay, for one call."""
        pipeline, laid = self._own(), self._overlaid[overlay]
        for name, part in self._changeable.items():
            setattr(pipeline, name, laid.get(name, part))
        if not self._offload:
            yield pipeline
            return
        # For this call alone, as pipelines share what others move.
        pipeline.enable_model_cpu_offload(device=self._device)
        yield pipeline
        pipeline.remove_all_hooks()

    def _own(self) -> Any:
        """This thread's pipeline: all share the networks, and none what a call leaves behind in
        sampler, tokenizers and the pipeline itself."""
        if not hasattr(self._of_thread, "pipeline"):
            parts = {
                name: part if isinstance(part, Module) else copy.deepcopy(part)
                for name, part in self._parts.items()
            }
            self._of_thread.pipeline = self._kind(**parts)
            self._of_thread.pipeline.set_progress_bar_config(disable=True)
        return self._of_thread.pipeline

    def noise(self, recipes: Sequence[Recipe]) -> Tensor:
        """Noise of recipes of one size, float32, `(n, 4, size / 8, size / 8)`: not what the
        pipeline starts from, whose latents have a shape of their own."""
        side = recipes[0].size // 8
        return unit_noise([recipe.seed for recipe in recipes], (CHANNELS, side, side))

    def load_files(self, recipes: Iterable[Recipe]) -> None:
        """Load the value encoders and overlays that recipes name.

        Raises:
            BadInput: One of them is not at hand, or does not load.
        """
        with self._reading:
            for recipe in recipes:
                encoder, laid = recipe.value_encoder, recipe.overlay
                if encoder is not None and encoder not in self._values:
                    place = overlay.place("value encoder", encoder, self._files)
                    self._values.use(encoder, towers.load(place, self._own()))
                if laid is not None and laid not in self._overlaid:
                    path = overlay.place("weights", laid, self._files)
                    self._overlaid[laid] = overlay.lay_over(self._changeable, path)

    def use_value_encoder(self, digest: str, encoders: Towers) -> None:
        """Answer recipes that name `digest` with these encoders from now on."""
        self._values.use(digest, encoders)

    def use_overlay(self, digest: str, denoiser: Any) -> None:
        """Answer recipes that name the overlay `digest` with this denoiser from now on."""
        self._overlaid[digest] = {lora.denoiser_of(self._parts): denoiser}

    def cuts(self, recipe: Recipe) -> bool:
        """Whether all text encoders leave the end of a text out."""
        most = self._most(json.loads(recipe.call or "{}"))
        return all(
            len(tokenizer(recipe.text, verbose=False).input_ids)
            > min(tokenizer.model_max_length, most or tokenizer.model_max_length)
            for name, tokenizer in self._parts.items()
            if name.startswith("tokenizer") and tokenizer is not None
        )

    def denoiser(self, card: ModelCard) -> Denoiser:
        """What learning takes of the pipeline.

        Args:
            card: The card that it was loaded by.

        Raises:
            BadInput: Its parts cannot be driven one by one.
        """
        return hearing.denoiser(self._learnt_from(card), card, self._most(card.call) or 0)

    def value_seam(self, card: ModelCard) -> ValueSeam:
        """Where a value token enters the pipeline; takes and raises what `denoiser` does."""
        return value_seam.of_pipeline(self._learnt_from(card), self._most(card.call) or 0)

    def _learnt_from(self, card: ModelCard) -> Any:
        """A pipeline for learning, whose parts are those that all threads' have."""
        if card.kind not in HEARINGS:
            raise BadInput(
                f"The model {card.name!r} is a {card.kind}; expected a {PIPELINE} or one of: "
                f"{', '.join(HEARINGS)}, whose parts can be driven one by one.",
                "Name such a model: --model sd15",
            )
        return self._kind(**self._parts)

    def _most(self, call: Mapping[str, Any]) -> int | None:
        """How many tokens an encoder reads that has no length of its own; None if all have."""
        told = self._takes.get("max_sequence_length")
        most: int | None = call.get("max_sequence_length", told.default if told else None)
        return most

    def _family(self, recipes: Sequence[Recipe]) -> Recipe:
        families = {recipe.family for recipe in recipes}
        if len(families) != 1:
            raise ValueError(f"A batch holds recipes of one family, got {len(families)}.")
        family = families.pop()
        if family.sampler != OWN or family.dtype != self._dtype:
            raise ValueError(
                f"The recipes ask for {family.sampler} in {family.dtype}; this engine was loaded "
                f"with {OWN} in {self._dtype}."
            )
        others = [name for name in ("overlay", *PARTS) if getattr(family, name) is not None]
        if family.value is not None and others:
            raise ValueError(f"A recipe with a value has nothing else, got {', '.join(others)}.")
        call = json.loads(family.call or "{}")
        if unheard := family.needs - {*offers(self._kind.__name__, family.guidance, call)}:
            raise ValueError(
                f"The recipes need {', '.join(sorted(unheard))}, which this engine has not."
            )
        return family


def load(
    card: ModelCard, device: str, dtype: str, files: Mapping[str, str] | None = None
) -> Pipeline:
    """Load a pipeline, without its safety checker.

    Args:
        card: Card of the model: where the pipeline is, its class and what it is called with.
        device: As torch names it.
        dtype: `float32`, `float16` or `bfloat16`, for all parts.
        files: Files that recipes name by digest, as `Pipeline` takes them.

    Raises:
        BadInput: There is no such pipeline, it is of another kind, takes no such argument, or does
            not load.
    """
    found = find_weights(card.pipeline, readable.INDEX)
    readable.require_kind(card.pipeline, found.config, card.kind)
    kind = getattr(diffusers, card.kind)
    _require_arguments(card, kind)
    built = _require_parts(card.pipeline, kind, found.config)
    disable_progress_bar()
    logging.disable_progress_bar()
    source = Path(found.source)
    number = getattr(torch, dtype)
    place = "cpu" if card.offload else device
    parts = readable.parts_of(found.config)
    for name, (_, of) in parts.items():
        if readable.role_of(of) == readable.TOKENIZER:
            _require_sentencepiece(source / name)
    loaded: dict[str, Any] = {
        name: _part(name, source / name, library, of, number, place)
        for name, (library, of) in parts.items()
    }
    for name, part in loaded.items():
        if readable.role_of(parts[name][1]) == readable.TOKENIZER:
            reader = loaded.get(name.replace("tokenizer", "text_encoder"))
            words = getattr(getattr(reader, "config", None), "vocab_size", None)
            with loading("tokenizer", source / name):
                spelling.refuse_mute(part, source / name, words or len(part))
    if hasattr(loaded.get("vae"), "enable_slicing"):
        # One image at a time: a batch of large ones would not fit.
        loaded["vae"].enable_slicing()
    pipeline = Pipeline(kind, built | loaded, dtype, device, card.offload, files)
    with loading("pipeline", card.pipeline):
        pipeline._own()
    return pipeline


def _require_arguments(card: ModelCard, kind: type[Any]) -> None:
    """See that a pipeline takes what its card calls it with."""
    takes = signature(kind.__call__).parameters
    for name in card.call:
        if name not in takes:
            close = difflib.get_close_matches(name, takes, n=1)
            raise BadInput(
                f"A {card.kind} takes no {name!r}, which the card of {card.name} has in [call].",
                f"Did you mean {close[0]!r}?" if close else "Leave it out.",
            )


def _require_sentencepiece(folder: Path) -> None:
    """See that a tokenizer which is kept in the format of another package can be read."""
    there = sorted(path.name for path in folder.glob("*.model"))
    if there and not (folder / "tokenizer.json").is_file() and not find_spec("sentencepiece"):
        raise BadInput(
            f"{folder} keeps its words in {there[0]} alone, which the packages sentencepiece and "
            "protobuf read, and the first is not installed.",
            "pip install sentencepiece protobuf",
        )


def _require_parts(pipeline: str, kind: type[Any], index: Mapping[str, Any]) -> dict[str, Any]:
    """See that no part is missing and none is strange; what the pipeline is built with besides."""
    wanted = {
        name: parameter.default
        for name, parameter in signature(kind.__init__).parameters.items()
        if name != "self" and parameter.kind != Parameter.VAR_KEYWORD
    }
    parts = readable.parts_of(index)
    told = {
        name: value
        for name, value in index.items()
        if name in wanted and not isinstance(value, list)
    }
    told |= {name: UNSEEN[name] for name in UNSEEN.keys() & wanted.keys()}
    told |= dict.fromkeys(wanted.keys() & {*readable.LEFT_OUT})
    # A part that is there as [null, null] was left out on purpose.
    told |= {name: None for name in wanted.keys() & index.keys() if index[name] == [None, None]}
    lacks = [
        name
        for name, default in wanted.items()
        if default is Parameter.empty and name not in parts and name not in told
    ]
    strange = sorted(parts.keys() - wanted.keys())
    if lacks or strange:
        raise BadInput(
            f"The {readable.INDEX} of {pipeline} names {', '.join(parts)} as the parts of a "
            f"{kind.__name__}; {'it lacks ' + ', '.join(lacks) if lacks else 'expected no'} "
            f"{', '.join(strange)}".rstrip()
            + ".",
            "Copy the model again.",
        )
    return told


def _part(name: str, folder: Path, library: str, kind: str, dtype: torch.dtype, device: str) -> Any:
    """Load one part of a pipeline.

    Raises:
        BadInput: There is no such class, or it does not load.
    """
    of = getattr(import_module(library), kind, None)
    if of is None:
        raise BadInput(
            f"{folder.parent} has a {kind} of {library} as its {name}, which the installed "
            f"{library} does not know.",
            f"Install a newer one: pip install --upgrade {library}",
        )
    what = name.replace("_", " ")
    if issubclass(of, Module):
        if library == "diffusers":
            return networks.diffuser(of, files_of(what, folder, DIFFUSERS), dtype, device)
        return networks.transformer(of, files_of(what, folder, CLIP_TEXT), dtype, device)
    with loading(what, folder):
        return of.from_pretrained(folder, local_files_only=True)
