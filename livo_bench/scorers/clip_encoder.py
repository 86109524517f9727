"""A CLIP through open_clip, shared by the judges that use the same weights."""

from __future__ import annotations

import json
import logging
import math
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from livo_bench.cards import readable
from livo_bench.cards.fields import place as existing
from livo_bench.cards.weights import (
    CLIP_CONFIG,
    CLIP_WEIGHTS,
    Need,
    Repository,
    Weights,
    find_weights,
    loading,
)
from livo_bench.engines import networks, spelling
from livo_bench.engines.tensor_files import OPEN_CLIP, Files, files_of
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import sha256
from livo_bench.interfaces import Pixels
from livo_bench.scorers import Lazy, pixels_to_tensor, trial

INTERPOLATIONS = ("bicubic", "bilinear")
"""Interpolations that open_clip judges with; the third that it knows, `random`, is for training."""
TOKENIZER = ("*token*.json", "vocab.*", "merges.txt")
"""What tokenizers are read from, in repositories of architectures that open_clip does not know."""
CHANNELS = 3
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class ClipEncoder:
    """A CLIP that turns images and texts into unit vectors.

    Judges that share an encoder share its work: each thread keeps the features of the batch it
    encoded last, so asking for gender, race and CLIP score of one array encodes it once.
    """

    def __init__(self, weights: str, device: str, dtype: str) -> None:
        """Look the weights up; they are loaded when first needed.

        Args:
            weights: An open_clip folder, a Hugging Face repository in open_clip's format, or a
                built-in pair such as `ViT-L-14@openai`, with `@` and the commit of its
                repository where it is pinned.
            device: As torch names it.
            dtype: `float32`, or `float16` and `bfloat16` in open_clip's mixture.

        Raises:
            BadInput: There are no such weights; raised at first use if they do not load.
        """
        source = _find(weights)
        self.digest = source.digest()
        self.dtype = dtype
        place = self._device = torch.device(device)
        self._model = Lazy(lambda: _load(source, place, PRECISIONS[dtype]))
        self._last = threading.local()
        self._weights = weights

    def load(self) -> None:
        """Load the weights now, and see that they answer.

        Raises:
            BadInput: They do not load, or give no numbers.
        """
        self._model()
        self.see_answers()

    def see_answers(self) -> None:
        """See that a loaded network answers with numbers.

        Raises:
            BadInput: It does not.
        """
        with loading("CLIP", self._weights):
            answers = {"text": self.encode_texts(["a"]), "image": self._encode_images(trial())}
        networks.refuse_not_finite("answer of the CLIP", self._weights, answers)

    def logit_scale(self) -> Tensor:
        """Factor from cosine to logit, a scalar."""
        scale: Tensor = self._model().clip.logit_scale
        return scale.exp().float()

    def logit_bias(self) -> Tensor | None:
        """What is added to logits that a sigmoid makes shares of; None of networks without."""
        bias: Tensor | None = getattr(self._model().clip, "logit_bias", None)
        return None if bias is None else bias.float()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, float32, `(n, d)`."""
        model = self._model()
        tokens = model.tokenize(list(texts)).to(self._device)
        features: Tensor = model.clip.encode_text(tokens, normalize=True)
        return features.float()

    def encode_images(self, pixels: Pixels) -> Tensor:
        """Unit vectors of stored images, float32, `(n, d)`.

        The same array gets the same answer, so do not change an array in place.
        """
        if getattr(self._last, "pixels", None) is not pixels:
            self._last.features = self._encode_images(pixels)
            self._last.pixels = pixels
        features: Tensor = self._last.features
        return features

    @torch.inference_mode()
    def _encode_images(self, pixels: Pixels) -> Tensor:
        model = self._model()
        images = model.preprocess(pixels_to_tensor(pixels, self._device))
        features: Tensor = model.clip.encode_image(images.to(model.dtype), normalize=True)
        return features.float()


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """An architecture and a set of weights that open_clip knows by name."""

    name: str
    tag: str
    settings: Mapping[str, Any]
    repository: Repository
    """Where open_clip keeps the weights, at the commit that was named."""

    @property
    def need(self) -> Need:
        return Need("CLIP", self.repository, (CLIP_WEIGHTS,))

    def digest(self) -> str:
        commit = [self.repository.revision] if self.repository.revision else []
        identity = json.dumps([self.name, self.tag, self.settings, *commit], sort_keys=True)
        return sha256(identity)


@dataclass(frozen=True, eq=False)
class _Clip:
    """A loaded network and what prepares its inputs."""

    clip: Any
    """An `open_clip.CLIP`."""
    tokenize: Callable[[list[str]], Tensor]
    preprocess: Callable[[Tensor], Tensor]
    dtype: torch.dtype


def need_of(weights: str) -> Need | None:
    """The files that a CLIP is loaded from; None for a folder of one's own.

    Raises:
        BadInput: There are no such weights.
    """
    found = _find(weights)
    if isinstance(found, _BuiltIn):
        return found.need
    if found.repository is None:
        return None
    return Need("CLIP", found.repository, (CLIP_CONFIG, CLIP_WEIGHTS), TOKENIZER)


def _find(weights: str) -> Weights | _BuiltIn:
    name, _, rest = weights.partition("@")
    tag, _, commit = rest.partition("@")
    if not tag or "/" in weights or existing(weights).is_dir():
        return find_weights(weights, CLIP_CONFIG)

    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        known = f"has: {', '.join(tags)}" if tags else "is no built-in architecture"
        raise BadInput(
            f"open_clip has no weights {weights!r}: {name} {known}. Expected a folder, "
            "owner/name, or a pair such as ViT-L-14@openai."
        )
    settings = open_clip.get_pretrained_cfg(name, tag)
    place = settings.get("hf_hub", "").rstrip("/")
    if place.count("/") != 1:
        raise BadInput(
            f"open_clip keeps {weights!r} in no Hugging Face repository of its own. Expected "
            "weights that it does, such as ViT-L-14@openai, or a folder in open_clip's format."
        )
    return _BuiltIn(name, tag, settings, Repository(place, "", commit or None))


def _load(source: Weights | _BuiltIn, device: torch.device, precision: str) -> _Clip:
    # Imported late, like the other judges' libraries: with all scores stored, none is needed.
    import open_clip

    wanted: dict[str, Any] = {}
    if isinstance(source, _BuiltIn):
        # Built-in architectures leave the activation to the weights; the wrong one loads as well.
        quick_gelu = source.settings.get("quick_gelu", False)
        wanted = {"force_quick_gelu": quick_gelu, "force_preprocess_cfg": source.settings}
        name = called = source.name
        path = source.need.path(CLIP_WEIGHTS)
        files = Files("CLIP", path, [path], OPEN_CLIP)
    else:
        name, called, folder = f"local-dir:{source.source}", source.source, Path(source.source)
        files = files_of("CLIP", folder, OPEN_CLIP)
        _require_preparation(folder, source.config)
        if source.repository is None:
            _refuse_second_weights(files)
    with loading("CLIP", called), _unsaid():
        built = open_clip.create_model(
            name,
            load_weights=False,
            pretrained_text=False,
            precision=precision,
            device=device,
            **wanted,
        )
        # The tokenizers of open_clip itself take no such word.
        text = open_clip.get_model_config(name)["text_cfg"]
        trust = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
        tokenize = open_clip.get_tokenizer(name, **trust)
        _refuse_mute(tokenize, files.place, getattr(built, "text", built).vocab_size)
        preprocess = _preprocessing(open_clip.get_model_preprocess_cfg(built))
    clip = networks.fill(built, files, device)
    return _Clip(clip, tokenize, preprocess, open_clip.get_input_dtype(precision) or torch.float32)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep open_clip from warning that its networks are random before they are filled."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _refuse_mute(tokenize: Any, place: Path, size: int) -> None:
    """See that texts come out of a tokenizer as tokens of the text tower."""
    tokenizer = getattr(tokenize, "tokenizer", None)
    if tokenizer is None:  # open_clip's own, whose vocabulary comes with it
        ids = tokenize.encode(spelling.PROBE)
        spelling.refuse_misspelt(
            place, tokenize.vocab_size, size, spelling.PROBE, ids, unknown=None
        )
    elif place.is_dir():
        spelling.refuse_mute(tokenizer, place, size)
        spelling.refuse_left(tokenizer, place)


def _require_preparation(folder: Path, config: Mapping[str, Any]) -> None:
    """See that a folder says how its network was trained to see pictures.

    Without mean and standard deviation open_clip takes OpenAI's, and the network sees all pictures
    too dark, too light or too pale, which moves every score and shows in none. open_clip writes
    both into every folder that it saves, so one without them has lost them.

    Raises:
        BadInput: It does not.
    """
    said = config.get("preprocess_cfg")
    said = said if isinstance(said, dict) else {}
    for name, least in (("mean", -math.inf), ("std", 0.0)):
        value = said.get(name)
        numbers = value if isinstance(value, list) else []
        if len(numbers) != CHANNELS or not all(
            isinstance(number, int | float) and least < number < math.inf for number in numbers
        ):
            raise BadInput(
                f"{folder / CLIP_CONFIG} has {name} = {excerpt(json.dumps(value), 80)} in its "
                "preprocess_cfg; expected three numbers, for red, green and blue, that the network "
                "was trained with.",
                "Copy the model again, or add those of its training.",
            )


def _refuse_second_weights(files: networks.Files) -> None:
    """See that a folder has one network: which of two files is meant, nobody could tell.

    Repositories may have a second one for another library; of these open_clip's own counts.

    Raises:
        BadInput: It has two.
    """
    taken, *_ = files.paths
    stems = files.spelling.stems
    whole = [p for stem in stems if (p := files.place / f"{stem}{readable.SUFFIX}").exists()]
    others = [path for path in whole if path not in files.paths]
    if others:
        raise BadInput(
            f"{files.place} has its {files.what} twice, as {taken.name} and as {others[0].name}; "
            "expected one.",
            f"Remove what is not meant, e.g. rm {shlex.quote(str(others[0]))}",
        )


def _preprocessing(settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """open_clip's own transform for square images, on a uint8 batch and without PIL.

    Cropping and the resize modes only matter for images that are not square.
    """
    size = settings["size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    mean, std = (torch.tensor(settings[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    # Looked at now: a picture of the network's own size is never resized.
    if (mode := settings["interpolation"]) not in INTERPOLATIONS:
        raise ValueError(
            f"Its interpolation is {mode!r}, and pictures are resized by one of "
            f"{', '.join(INTERPOLATIONS)}."
        )

    def preprocess(images: Tensor) -> Tensor:
        levels = images.float()
        if levels.shape[-2:] != sides:
            resized = interpolate(levels, sides, mode=mode, antialias=True)
            levels = resized.round().clamp(0, 255)  # PIL, too, resizes to whole levels
        return (levels / 255 - mean.to(levels)) / std.to(levels)

    return preprocess
