"""A CLIP or SigLIP of transformers, as an encoder like those of open_clip."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from livo_bench.cards.weights import Need, Weights, find_weights, loading
from livo_bench.engines import networks
from livo_bench.engines.tensor_files import files_of
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.scorers import Lazy
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.llava import BESIDES, TOKENIZER

TYPES = ("clip", "siglip")
"""Types of models that have a tower for texts and one for images; fixed sizes of SigLIP 2 are of
type `siglip`."""


class TransformersClip(ClipEncoder):
    """A CLIP or SigLIP that turns images and texts into unit vectors, see `ClipEncoder`."""

    def __init__(self, weights: str, device: str, dtype: str) -> None:
        """Look the weights up; they are loaded when first needed.

        Args:
            weights: A folder or repository as transformers saves them.
            device: As torch names it.
            dtype: `float32`, `float16` or `bfloat16`.

        Raises:
            BadInput: There are no such weights; raised at first use if they do not load.
        """
        found = find_weights(weights, "config.json")
        named = None if found.folder is None else found.config.get("model_type")
        if named is not None and named not in TYPES:
            raise BadInput(
                f"{weights} is a model of type {named!r}; expected one of: {', '.join(TYPES)}.",
                "Name one, or weights in open_clip's format: library = 'open_clip'",
            )
        self.digest, self.dtype = found.digest(), dtype
        self._weights = weights
        self._last = threading.local()
        self._towers = Lazy(lambda: _load(found, device, dtype))

    def load(self) -> None:
        """Load the weights now, and see that they answer; see `ClipEncoder.load`."""
        self._towers()
        self.see_answers()

    def logit_scale(self) -> Tensor:
        """Factor from cosine to logit, a scalar."""
        scale: Tensor = self._towers().network.logit_scale
        return scale.exp().float()

    def logit_bias(self) -> Tensor | None:
        """What is added to logits that a sigmoid makes shares of; None of networks without."""
        bias: Tensor | None = getattr(self._towers().network, "logit_bias", None)
        return None if bias is None else bias.float()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, float32, `(n, d)`; padded to the longest, as SigLIP learnt."""
        towers = self._towers()
        tokens = towers.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=towers.network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        names = ("input_ids", "attention_mask")[
            : 2 if towers.network.config.model_type == "clip" else 1
        ]
        given = {name: tokens[name].to(towers.network.device) for name in names}
        return _units(towers.network.get_text_features(**given))

    @torch.inference_mode()
    def _encode_images(self, pixels: Pixels) -> Tensor:
        towers = self._towers()
        shown = towers.processor(images=list(pixels), return_tensors="pt")["pixel_values"]
        network = towers.network
        return _units(
            network.get_image_features(pixel_values=shown.to(network.device, network.dtype))
        )


class _Towers(NamedTuple):
    network: Any
    tokenizer: Any
    processor: Any


def need_of(weights: str) -> Need | None:
    """The files of a repository; None of a folder of one's own."""
    repository = find_weights(weights, "config.json").repository
    required = ("config.json", "preprocessor_config.json", *TOKENIZER, "model.safetensors")
    return None if repository is None else Need("CLIP", repository, required, BESIDES)


def _units(answer: Any) -> Tensor:
    features: Tensor = answer if isinstance(answer, Tensor) else answer.pooler_output
    return torch.nn.functional.normalize(features.float(), dim=1)


def _load(found: Weights, device: str, dtype: str) -> _Towers:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    files = files_of("CLIP", Path(found.source))
    with loading("CLIP", found.source):
        tokenizer, processor = (
            library.from_pretrained(found.source, trust_remote_code=False, local_files_only=True)
            for library in (AutoTokenizer, AutoImageProcessor)
        )
    network = networks.of_any_kind(AutoModel, files, getattr(torch, dtype), device)
    return _Towers(network, tokenizer, processor)
