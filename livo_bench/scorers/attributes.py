"""The attribute judge: which of a prompt's class texts an image is closest to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from livo_bench.cards.prompts import neutral
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.scorers import judge_id
from livo_bench.scorers.clip_encoder import ClipEncoder


class AttributeJudge:
    """Zero-shot classification among a subset's attributes, given the prompt.

    Source: Wang et al. 2024, arXiv:2410.12700, section 4: the class text is the prompt, a comma
    and the attribute; the label is the arg-max of the image-text logits.
    """

    def __init__(
        self, encoder: ClipEncoder, subset: str, attributes: Sequence[str], class_text: str
    ) -> None:
        """Say what to tell apart.

        Args:
            encoder: Shared with other judges of the same weights.
            subset: `gender` or `race`; part of the id.
            attributes: The classes, in the order of the columns.
            class_text: Their text, with `{prompt}` or `{neutral}`, and `{attribute}`; see
                `TaskCard.class_text`.
        """
        self.id = judge_id(
            f"clip-{subset}",
            weights=encoder.digest,
            dtype=encoder.dtype,
            attributes=list(attributes),
            class_text=class_text,
        )
        self._encoder = encoder
        self._attributes = tuple(attributes)
        self._classes = lru_cache(maxsize=4096)(
            partial(_encode_classes, encoder, self._attributes, class_text)
        )

    def load(self) -> None:
        """Load the network now."""
        self._encoder.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Label images.

        Returns:
            `label`, one of the attributes; `p_<attribute>`, the softmax over the class texts of
            cosine times CLIP's own logit scale, float32.
        """
        images = self._encoder.encode_images(pixels)
        classes = torch.stack([self._classes(prompt) for prompt in prompts])
        cosines = torch.einsum("nd,nad->na", images, classes)
        shares = (cosines * self._encoder.logit_scale()).softmax(dim=1).cpu().numpy()
        columns = {f"p_{name}": shares[:, i] for i, name in enumerate(self._attributes)}
        return {"label": np.array(self._attributes)[shares.argmax(axis=1)], **columns}


def _encode_classes(
    encoder: ClipEncoder, attributes: Sequence[str], class_text: str, prompt: Prompt
) -> Tensor:
    """Unit vectors of a prompt's class texts, `(attributes, d)`."""
    says = {"prompt": prompt.text}
    if "{neutral}" in class_text:
        says = {"neutral": neutral(prompt)}
    texts = [class_text.format(attribute=attribute, **says) for attribute in attributes]
    return encoder.encode_texts(texts)
