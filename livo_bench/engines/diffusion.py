"""The engine: recipes to pixels, the same loop for all methods.

Three seams: the context (texts and values to embeddings, `Diffusion.context`), the weights (the
UNet that `Diffusion.render` hands on) and the guidance (`guidance`, which joins noise predictions).

Equal to diffusers' own `StableDiffusionPipeline` with `DPMSolverMultistepScheduler` on the same
noise; what is left out is the safety checker, progress bars, PIL and the repeated work on texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from livo_bench.cards import readable
from livo_bench.cards.weights import find_weights, loading
from livo_bench.engines import (
    concept_filter,
    networks,
    overlay,
    projection,
    schedule,
    soft_tokens,
    spelling,
    trial,
    value_encoder,
)
from livo_bench.engines.acceleration import COMPILED, accelerate
from livo_bench.engines.guidance import (
    NoisePrediction,
    classifier_free,
    safe_latent_diffusion,
    semantic_guidance,
)
from livo_bench.engines.halving import Halving
from livo_bench.engines.seeds import unit_noise
from livo_bench.engines.tensor_files import CLIP_TEXT, DIFFUSERS, files_of
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.interfaces import Pixels
from livo_bench.records import PARTS, ConceptFilter, Recipe

VAE_PIXELS = 8 * 512 * 512
"""Pixels that the autoencoder sees at a time: eight images of Stable Diffusion 1.5, for which one
of its widest layers holds 1 GiB in half precision."""
READERS = {"projection": projection.load, "tokens": soft_tokens.load}
"""Fields of a recipe that name a file of one tensor for a text's states, and what reads it."""


class Diffusion:
    """A Stable Diffusion 1.x or 2.x model. Several threads may render at once."""

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler_config: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
        switches: Sequence[str] = (),
    ) -> None:
        """
        Args:
            files: Where the files are that recipes name by digest: value encoders, overlays,
                projections and soft tokens.
            switches: What makes the UNet faster, see `acceleration`.
        """
        accelerate(unet, switches)
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.unet = unet
        self.vae = vae
        self.scheduler_config = scheduler_config
        self._value_encoders: dict[str, CLIPTextModel] = {}
        self._overlaid: dict[str, UNet2DConditionModel] = {}
        self._text_encoders: dict[str | None, CLIPTextModel] = {None: text_encoder}
        """The model's own, and those of overlays that change it."""
        # Neither holds this object, which would then outlive its last user, with all its memory.
        self._embed = lru_cache(maxsize=1024)(partial(_embed, tokenizer, self._text_encoders))
        self._filter = lru_cache(maxsize=1024)(partial(_filter, tokenizer, self._text_encoders))
        self._tensors: dict[str, Tensor] = {}
        """Tensors read by `READERS`, by digest."""
        self.value_token = lru_cache(maxsize=1024)(
            partial(_value_token, self._value_encoders, tokenizer, text_encoder.dtype)
        )
        self._switches = switches
        self._filled = 0
        """The longest batch so far, where kernels are compiled: others are filled up to it or, as
        methods that steer every other image have them, to half of it."""
        self._halving = Halving()
        # One batch at a time is on a GPU, while other threads judge and write what was made before.
        self._turn = Lock() if unet.device.type != "cpu" else nullcontext()
        # A tokenizer keeps the length of its last text, so that two threads would cut each other's.
        self._reading = Lock()
        self._files = files or {}

    @torch.inference_mode()
    def render(self, recipes: Sequence[Recipe]) -> Pixels:
        """Make images.

        Args:
            recipes: Recipes of one family, in the order of the images; for the model, the size and
                the dtype that this one was loaded with.

        Returns:
            RGB, uint8, `(n, size, size, 3)`. Image i depends on `recipes[i]`, and on the batch
            shape only in the last bits of the arithmetic. A batch that does not fit into the
            device's memory is halved, and so are those after it.

        Raises:
            BadInput: Not even one image fits into the device's memory.
            ValueError: The recipes are of several families, or not for this engine.
        """
        family = self._family(recipes)
        with self._reading:
            self.load_files([family])
        with self._turn:
            return self._halving.render(recipes, partial(self._render, family), self.unet.device)

    def _render(self, family: Recipe, recipes: Sequence[Recipe]) -> Pixels:
        asked = len(recipes)
        if COMPILED.intersection(self._switches):
            self._filled = max(min(self._filled, self._halving.most or self._filled), asked)
            half = -(-self._filled // 2)
            length = half if asked <= half else self._filled
            recipes = [*recipes, *[recipes[-1]] * (length - asked)]
        with self._reading:
            context = torch.stack([self.context(recipe) for recipe in recipes])
            predict = self._prediction(family, recipes, context)
        noise = self.noise(recipes).to(context)
        return decode(self.vae, denoise(predict, noise, self.scheduler(family.steps))[:asked])

    def context(self, recipe: Recipe) -> Tensor:
        """What the UNet attends to, `(tokens, d)`: the text's states, projected where the recipe
        says so, behind a value token where it has a value, or behind soft tokens."""
        states = self.embed(recipe.text, self._length(recipe), recipe.overlay)
        if recipe.tokens is not None:
            return torch.cat([self._tensors[recipe.tokens], states])
        if recipe.projection is not None:
            return states @ self._tensors[recipe.projection].T
        if recipe.value is None:
            return states
        assert recipe.value_encoder is not None
        token = self.value_token(recipe.value_encoder, recipe.value, recipe.text)
        return torch.cat([token[None], states])

    def _length(self, recipe: Recipe) -> int:
        """How many tokens of its text a recipe's context holds."""
        longest: int = self.tokenizer.model_max_length
        if recipe.tokens is not None:
            return longest - len(self._tensors[recipe.tokens])
        if recipe.value is None:
            return longest
        assert recipe.layout is not None
        return value_encoder.tokens_of_prompt(recipe.layout, self.tokenizer, recipe.text)

    def embed(self, text: str, length: int | None = None, overlay: str | None = None) -> Tensor:
        """The text encoder's states, `(length, d)`: padded or cut, no mask.

        Args:
            text: Any.
            length: The text encoder's own when None. Past that, the state of its last token is
                repeated: what a text without words needs beside a context of the layout `train78`.
            overlay: Digest of one that is loaded, which may bring a text encoder.
        """
        return self._embed(text, length, self._reader(overlay))

    def _reader(self, overlay: str | None) -> str | None:
        """Say whose text encoder reads: an overlay's if it brings one, or (None) the model's."""
        return overlay if overlay in self._text_encoders else None

    def cuts(self, recipe: Recipe) -> bool:
        """Whether the context of a recipe, whose files are loaded, leaves the text's end out."""
        ids = self.tokenizer(recipe.text, verbose=False).input_ids
        return len(ids) > min(self._length(recipe), self.tokenizer.model_max_length)

    def noise(self, recipes: Sequence[Recipe]) -> Tensor:
        """Initial noise of recipes of one size, float32, `(n, channels, size / 8, size / 8)`."""
        shape = self.latent_shape(recipes[0].size)
        return unit_noise([recipe.seed for recipe in recipes], shape)

    def load_files(self, recipes: Iterable[Recipe]) -> None:
        """Load the files that recipes name; the others stay on disk.

        Raises:
            BadInput: One of them is not at hand, or does not load.
        """
        recipes = list(recipes)
        for encoder, overlaid in {(recipe.value_encoder, recipe.overlay) for recipe in recipes}:
            if encoder is not None and encoder not in self._value_encoders:
                folder = overlay.place("value encoder", encoder, self._files)
                self.use_value_encoder(encoder, value_encoder.load(folder, self.text_encoder))
            if overlaid is not None and overlaid not in self._overlaid:
                path = overlay.place("weights", overlaid, self._files)
                own = {"unet": self.unet, "text_encoder": self.text_encoder}
                laid: Mapping[str, Any] = overlay.lay_over(own, path)
                self.use_overlay(overlaid, laid.get("unet", self.unet), laid.get("text_encoder"))
        for what, read in READERS.items():
            for digest in {getattr(recipe, what) for recipe in recipes} - {None, *self._tensors}:
                place = overlay.place(what, digest, self._files)
                self._tensors[digest] = read(place, self.embed(""))

    def use_value_encoder(self, digest: str, encoder: CLIPTextModel) -> None:
        """Answer recipes that name `digest` with this encoder from now on."""
        self._value_encoders[digest] = encoder
        self.value_token.cache_clear()

    def use_overlay(
        self, digest: str, denoiser: Any, text_encoder: CLIPTextModel | None = None
    ) -> None:
        """Answer recipes that name the overlay `digest` with this UNet from now on, and with this
        text encoder if there is one."""
        if denoiser is not self.unet:
            accelerate(denoiser, self._switches)
        if text_encoder is not None:
            self._text_encoders[digest] = text_encoder
        # Last, for from here on other threads draw with it.
        self._overlaid[digest] = denoiser

    def _prediction(
        self, family: Recipe, recipes: Sequence[Recipe], context: Tensor
    ) -> NoisePrediction:
        unet = self.unet if family.overlay is None else self._overlaid[family.overlay]
        length = context.shape[1]
        embed = partial(self.embed, length=length, overlay=family.overlay)
        negative = embed(family.negative)
        if family.edit is not None:
            edits = [recipe.edit for recipe in recipes if recipe.edit is not None]
            # A text that is empty edits nothing, and what predicts so is the negative.
            removed, added = (
                torch.stack([embed(text or family.negative) for text in texts])
                for texts in ([edit.remove for edit in edits], [edit.add for edit in edits])
            )
            return semantic_guidance(
                unet, context, negative, removed, added, family.guidance, family.edit
            )
        if family.safety is not None:
            unsafe = embed(family.safety.text)
            return safe_latent_diffusion(
                unet, context, negative, unsafe, family.guidance, family.safety
            )
        if family.concepts is not None:
            reader = self._reader(family.overlay)
            texts = [self._filter(recipe.text, family.concepts, reader) for recipe in recipes]
            return concept_filter.filtering(
                unet, context, texts, negative, family.guidance, family.steps
            )
        return classifier_free(unet, context, negative, family.guidance)

    def scheduler(self, steps: int) -> DPMSolverMultistepScheduler:
        """A new sampler: it keeps the last predictions, so no two batches can share one."""
        scheduler = DPMSolverMultistepScheduler.from_config(self.scheduler_config)
        scheduler.set_timesteps(steps, device=self.unet.device)
        return scheduler

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        factor = _pixels_per_latent(self.vae)
        if size % factor:
            raise BadInput(
                f"Images of {size} pixels cannot be made by a model of {factor} pixels a latent; "
                f"expected a multiple, e.g. {size - size % factor or factor}."
            )
        return self.unet.config.in_channels, size // factor, size // factor

    def _family(self, recipes: Sequence[Recipe]) -> Recipe:
        families = {recipe.family for recipe in recipes}
        if len(families) != 1:
            raise ValueError(f"A batch holds recipes of one family, got {len(families)}.")
        family = families.pop()
        steered = [name for name in PARTS if getattr(family, name) is not None]
        if len(steered) > 1:
            raise ValueError(f"A recipe is steered in one way, got {' and '.join(steered)}.")
        own = [
            name for name in ("value", "projection", "tokens", "concepts") if getattr(family, name)
        ]
        if len(own) > 1:
            raise ValueError(f"A text's states are changed in one way, got {' and '.join(own)}.")
        dtype = str(self.unet.dtype).removeprefix("torch.")
        if family.sampler != "dpmsolver++" or family.dtype != dtype:
            raise ValueError(
                f"The recipes ask for {family.sampler} in {family.dtype}; this engine was loaded "
                f"with dpmsolver++ in {dtype}."
            )
        return family


def _embed(
    tokenizer: CLIPTokenizer,
    text_encoders: Mapping[str | None, CLIPTextModel],
    text: str,
    length: int | None = None,
    overlay: str | None = None,
) -> Tensor:
    """See `Diffusion.embed`."""
    text_encoder = text_encoders[overlay]
    longest = tokenizer.model_max_length
    length = length or longest
    tokens = tokenizer(
        text,
        padding="max_length",
        max_length=min(length, longest),
        truncation=True,
        return_tensors="pt",
    ).input_ids
    states: Tensor = text_encoder(tokens.to(text_encoder.device)).last_hidden_state
    return torch.cat([states[0], states[0, -1:].expand(max(0, length - longest), -1)])


def _filter(
    tokenizer: CLIPTokenizer,
    text_encoders: Mapping[str | None, CLIPTextModel],
    text: str,
    settings: ConceptFilter,
    overlay: str | None,
) -> concept_filter.Filtered:
    """See `concept_filter.filtered`."""
    return concept_filter.filtered(tokenizer, text_encoders[overlay], text, settings)


def _value_token(
    encoders: Mapping[str, CLIPTextModel],
    tokenizer: CLIPTokenizer,
    dtype: torch.dtype,
    digest: str,
    value: str,
    text: str,
) -> Tensor:
    """What the value encoder of a digest says of a value and a text, `(d,)`."""
    return value_encoder.value_tokens(encoders[digest], tokenizer, [value], [text])[0].to(dtype)


def denoise(
    predict: NoisePrediction,
    noise: Tensor,
    scheduler: DPMSolverMultistepScheduler,
    steps: int | None = None,
) -> Tensor:
    """Run DPM-Solver++ from unit-normal noise to clean latents, `(n, channels, height, width)`.

    Args:
        predict: Predicts the noise.
        noise: To start from.
        scheduler: Says the times.
        steps: How many of them to take, after which the latents have noise left; all when None.

    Source: Lu et al. 2022, arXiv:2211.01095, second order, multistep.
    """
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps[:steps]:
        latents = scheduler.step(predict(latents, t), t, latents, return_dict=False)[0]
    return latents


def decode(vae: AutoencoderKL, latents: Tensor) -> Pixels:
    """Decode latents `(n, channels, height, width)` to images as stored, some at a time."""
    latents = latents / vae.config.scaling_factor
    parts = latents.split(vae_batch(latents.shape[-1] * _pixels_per_latent(vae)))
    images = [to_uint8(vae.decode(part, return_dict=False)[0]) for part in parts]
    return torch.cat(images).permute(0, 2, 3, 1).cpu().contiguous().numpy()


def vae_batch(side: int) -> int:
    """How many images of so many pixels a side the autoencoder sees at a time."""
    return max(1, VAE_PIXELS // side**2)


def _pixels_per_latent(vae: AutoencoderKL) -> int:
    factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
    return factor


def to_uint8(images: Tensor) -> Tensor:
    """Scale [-1, 1] to 0..255, rounded as diffusers' image processor rounds."""
    return ((images * 0.5 + 0.5).clamp(0, 1).float() * 255).round().to(torch.uint8)


def load(
    pipeline: str | Path,
    device: str,
    dtype: str,
    files: Mapping[str, str] | None = None,
    switches: Sequence[str] = (),
) -> Diffusion:
    """Load a Stable Diffusion model, without its safety checker.

    Args:
        pipeline: A diffusers folder, or a Hugging Face repository as `weights.find_weights`
            takes it; Stable Diffusion 1.x or 2.x, weights in safetensors.
        device: As torch names it.
        dtype: `float32`, `float16` or `bfloat16`, for all parts.
        files: Files that recipes name by digest, as `Diffusion` takes them.
        switches: What makes the UNet faster, see `acceleration`.

    Raises:
        BadInput: There is no such model, or it is of another kind, or it does not load.
    """
    found = find_weights(pipeline, readable.INDEX)
    readable.require_kind(str(pipeline), found.config)
    disable_progress_bar()
    logging.disable_progress_bar()
    source = Path(found.source)
    scheduler_config = schedule.read(source / "scheduler")
    number = getattr(torch, dtype)
    tokenizer, text_encoder = load_text(source, number, device)
    noise = files_of("UNet", source / "unet", DIFFUSERS)
    pixels = files_of("VAE", source / "vae", DIFFUSERS)
    unet = networks.diffuser(UNet2DConditionModel, noise, number, device)
    vae = networks.diffuser(AutoencoderKL, pixels, number, device)
    _refuse_strangers(pipeline, text_encoder.config.hidden_size, unet, vae)
    sampler = DPMSolverMultistepScheduler.from_config(dict(scheduler_config))
    trial.first_step(pipeline, partial(_embed, tokenizer, {None: text_encoder}), unet, sampler, vae)
    return Diffusion(tokenizer, text_encoder, unet, vae, scheduler_config, files, switches)


def load_text(
    pipeline: Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Load the tokenizer and the text encoder of a diffusers folder.

    Raises:
        BadInput: One does not load, or they do not belong together.
    """
    files = files_of("text encoder", pipeline / "text_encoder", CLIP_TEXT)
    text_encoder = networks.transformer(CLIPTextModel, files, dtype, device)
    folder = pipeline / "tokenizer"
    with loading("tokenizer", folder):
        tokenizer = CLIPTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    config = text_encoder.config
    with loading("tokenizer", folder):
        words = 1 + max(tokenizer.get_vocab().values())
    for what, said, most in (
        ("words", words, config.vocab_size),
        ("tokens of a text", tokenizer.model_max_length, config.max_position_embeddings),
    ):
        if type(said) is not int or not 0 < said <= most:
            raise BadInput(
                f"The tokenizer of {pipeline} has {excerpt(str(said), 40)} {what}, and its text "
                f"encoder takes up to {most}. Expected parts that were saved together; copy the "
                "model again."
            )
    with loading("tokenizer", folder):
        spelling.refuse_mute(tokenizer, folder, config.vocab_size)
        spelling.refuse_left(tokenizer, folder)
    trial.text(pipeline, partial(_embed, tokenizer, {None: text_encoder}))
    return tokenizer, text_encoder


def _refuse_strangers(
    pipeline: str | Path, width: int, unet: UNet2DConditionModel, vae: AutoencoderKL
) -> None:
    """See that the parts belong together: each takes what another hands on."""
    noise, latents = unet.config, vae.config.latent_channels
    for what, takes, given in (
        ("context", noise.cross_attention_dim, width),
        ("input", noise.in_channels, latents),
        ("output", noise.out_channels, latents),
    ):
        if takes != given:
            raise BadInput(
                f"The parts of {pipeline} are of several models: the UNet's {what} is {takes} wide,"
                f" and that of the others {given}. Expected parts that were saved together; copy "
                "the model again."
            )
