"""How well each of some texts, or of some learnt vectors, fits an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from livo_bench.cards.weights import loading
from livo_bench.errors import BadInput
from livo_bench.files import digest_file
from livo_bench.interfaces import Pixels
from livo_bench.scorers import Lazy, trial
from livo_bench.scorers.clip_encoder import ClipEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livo_bench.scorers.zero_shot import Kind


class Texts:
    """A CLIP before the texts of a judge's labels: see `LabelNetwork`."""

    def __init__(self, kind: Kind, encoder: ClipEncoder) -> None:
        """
        Args:
            kind: Has the texts.
            encoder: Loaded when first needed.
        """
        learnt = None if kind.vectors is None else digest_file(kind.vectors)
        self.digest = kind.digest_with(f"{encoder.digest} {kind.shares} {learnt}")
        self._kind, self._encoder = kind, encoder
        self._names = tuple(sorted(kind.labels))
        self._vectors = Lazy(lambda: _vectors(kind, encoder))

    def load(self) -> None:
        """Load the network now, and see that it answers.

        Raises:
            BadInput: It does not load, its vectors do not fit, or it was not trained for what the
                judge's file makes of cosines.
        """
        self._encoder.load()
        self.shares(trial())

    @torch.inference_mode()
    def shares(self, pixels: Pixels) -> Mapping[str, NDArray]:
        """See `LabelNetwork`."""
        vectors, images = self._vectors(), self._encoder.encode_images(pixels)
        if vectors.shape[1] != images.shape[1]:
            raise BadInput(
                f"Vectors of {self._kind.vectors} have {vectors.shape[1]} numbers each, and "
                f"{self._kind.weights} gives images {images.shape[1]}.",
                "Name the weights that they were learnt for.",
            )
        logits = images @ vectors.to(images).T * self._encoder.logit_scale()
        if self._kind.shares == "softmax":
            found = logits.softmax(dim=1)
        else:
            bias = self._encoder.logit_bias()
            if bias is None:
                raise BadInput(
                    f"{self._kind.weights} has no logit_bias, so its logits were not trained for a "
                    "sigmoid.",
                    'Say in its judge.toml: shares = "softmax"',
                )
            found = (logits + bias).sigmoid()
        every = found.cpu().numpy()
        return {name: every[:, column] for column, name in enumerate(self._names)}


def _vectors(kind: Kind, encoder: ClipEncoder) -> Tensor:
    names = sorted(kind.labels)
    if kind.vectors is None:
        return encoder.encode_texts(names)
    with loading("vectors", kind.vectors):
        held = load_file(kind.vectors)
    if set(held) != set(names) or any(one.dim() != 1 for one in held.values()):
        raise BadInput(
            f"{kind.vectors} holds {', '.join(sorted(held)) or 'nothing'}; [labels] names "
            f"{', '.join(names)}.",
            "Save a vector for each of them, and no others.",
        )
    return torch.nn.functional.normalize(torch.stack([held[name] for name in names]).float(), dim=1)
