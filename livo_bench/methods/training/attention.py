"""Cross-attention that is recorded while a UNet predicts, for methods that learn from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, bmm


class Recorder:
    """The attention processor of all layers of cross-attention of one UNet.

    Gradients flow through what it recorded. Where blocks are computed again in the backward pass,
    for gradient checkpointing, they compute all that they did before and are recorded no more.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """
        Args:
            unet: Its layers of cross-attention get this processor; the others keep theirs.
        """
        self._recorded: list[Tensor] | None = None
        before = unet.attn_processors
        unet.set_attn_processor({n: self if ".attn2." in n else before[n] for n in before})

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        """A block whose forward passes are recorded.

        Yields:
            The probabilities of each layer, `(n, heads, queries, tokens)`, in the order of the
            layers, once these have been computed.
        """
        self._recorded = []
        try:
            yield self._recorded
        finally:
            self._recorded = None

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> Tensor:
        """Attend to a text without a mask; the names are those that diffusers calls it by."""
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key)
        if self._recorded is not None:
            self._recorded.append(probabilities.unflatten(0, (-1, attn.heads)))
        joined = attn.batch_to_head_dim(bmm(probabilities, value))
        for layer in attn.to_out:
            joined = layer(joined)
        return joined / attn.rescale_output_factor
