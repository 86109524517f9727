"""LiVO's value encoders for models of several text encoders: one for each CLIP tower.

Each starts as a copy of its tower and reads "value, text". Its state at the end of that, of the
layer that the model's own context is of, the last but one, is its part of the value token; the
parts of all towers stand side by side, and zeros fill up a context that is wider. FLUX's context is
T5's alone: there the one tower's pooled state goes through a matrix that starts at zero, and what
comes out is added to the state whose place the token takes, so that the token changes nothing
before it has learnt.

On disk each is a folder of transformers, named by the part of the pipeline that it started from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Module, ModuleDict
from torch.nn.functional import pad
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from livo_bench.cards.kinds import TOWERS
from livo_bench.cards.weights import find_weights
from livo_bench.engines import hearing, value_encoder
from livo_bench.engines.hearing import hearing_of


class Towers(ModuleDict):
    """Value encoders, by the part of the pipeline that each started from."""

    def __init__(self, towers: Mapping[str, Module], projected: bool) -> None:
        """
        Args:
            towers: CLIP text encoders of transformers.
            projected: Whether their parts of the token are their pooled states, projected; else
                they are states of the last layer but one.
        """
        super().__init__(towers)
        self.projected = projected

    def at_end(self, name: str, ids: Tensor, end: int) -> Tensor:
        """One encoder's part of the token for texts, `(n, d)`.

        Args:
            name: Of the encoder.
            ids: Tokens of the texts, `(n, length)`.
            end: The token that ends a text.
        """
        tower = self[name]
        if self.projected:
            pooled: Tensor = tower(ids).text_embeds
            return pooled
        states: Tensor = tower(ids, output_hidden_states=True).hidden_states[-2]
        places = (ids == end).int().argmax(dim=1)
        return states[torch.arange(len(ids), device=ids.device), places]

    def learning(self) -> set[str]:
        """Names of the parameters that the token is made of."""
        names = {name for name, _ in self.named_parameters()}
        if self.projected:
            return names
        last = [
            f"{name}.{inside}encoder.layers.{cast(Any, tower).config.num_hidden_layers - 1}."
            for name, tower in self.items()
            for inside in ("", "text_model.")
        ]
        apart = (*last, *(f"{name}.text_projection." for name in self))
        return {n for n in names if not n.startswith(apart) and "final_layer_norm." not in n}


def new(pipeline: Any) -> Towers:
    """Value encoders before their first step, float32, on the devices of the pipeline's own.

    Args:
        pipeline: Of a kind out of `hearing.HEARINGS`.
    """
    own = {name: getattr(pipeline, name) for name in TOWERS[type(pipeline).__name__]}
    if hearing_of(pipeline).clip:
        return Towers({name: deepcopy(tower).float() for name, tower in own.items()}, False)
    width = pipeline.transformer.config.joint_attention_dim
    return Towers({name: _projecting(tower, width) for name, tower in own.items()}, True)


def _projecting(tower: Any, width: int) -> Module:
    """A copy of a tower behind which a matrix of zeros stands."""
    config = CLIPTextConfig(**{**tower.config.to_dict(), "projection_dim": width})
    copy = CLIPTextModelWithProjection(config).to(tower.device)
    projection = torch.nn.init.zeros_(copy.text_projection.weight)
    states = {f"text_model.{value_encoder.plain(n)}": t for n, t in tower.state_dict().items()}
    copy.load_state_dict({**states, "text_projection.weight": projection})
    return copy


def load(folder: str | Path, pipeline: Any) -> Towers:
    """Load value encoders in float32, on the devices of the pipeline's own text encoders.

    Args:
        folder: Folder or repository, as `value_encoder.find` takes it.
        pipeline: Of a kind out of `hearing.HEARINGS`, for the tensors that the folder leaves out.

    Raises:
        BadInput: One does not load, or leaves out tensors without naming the model they come from.
    """
    projected = not hearing_of(pipeline).clip
    loaded: dict[str, Module] = {}
    for name in TOWERS[type(pipeline).__name__]:
        own = getattr(pipeline, name)
        found = find_weights(folder, f"{name}/config.json")
        kind = CLIPTextModelWithProjection if projected else type(own)
        loaded[name] = value_encoder.loaded(found, Path(found.source) / name, kind, own)
        end = getattr(pipeline, name.replace("text_encoder", "tokenizer")).eos_token_id
        say = partial(Towers({name: loaded[name]}, projected).at_end, name, end=end)
        value_encoder.refuse_deaf(loaded[name], found, end, say)
    return Towers(loaded, projected).eval().requires_grad_(False)


def tokens(towers: Towers, pipeline: Any, values: Sequence[str], texts: Sequence[str]) -> Tensor:
    """Value tokens of "value, text" pairs, `(n, d)`, in the dtype of the encoders.

    Args:
        towers: Value encoders for the pipeline.
        pipeline: Whose tokenizers read.
        values: Values, one a text.
        texts: Texts.
    """
    said = [f"{value}, {text}" for value, text in zip(values, texts, strict=True)]
    parts = []
    for name, tower in towers.items():
        tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
        ids = tokenizer(
            said,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        parts.append(towers.at_end(name, ids.to(tower.device), tokenizer.eos_token_id))
    return torch.cat(parts, dim=1)


def lay(token: Tensor, context: Tensor, pipeline: Any, kept: int, seats: int) -> Tensor:
    """Contexts with a value token before them, `(n, tokens, d)`.

    Args:
        token: Value tokens, `(n, d)` or less wide.
        context: Contexts of the texts alone, `(n, tokens, d)`.
        pipeline: That they are for.
        kept: How many of the first `seats` states stay.
        seats: How many states of a text come first in the context.
    """
    token = pad(token.to(context), (0, context.shape[-1] - token.shape[-1]))
    if not hearing_of(pipeline).clip:
        token = token + context[:, seats - 1]
    return torch.cat([token[:, None], context[:, :kept], context[:, seats:]], dim=1)


def beside(context: Tensor, kept: int, seats: int) -> Tensor:
    """The context of a text without a value, as long as one of `lay`; where it is too short, its
    last state is repeated."""
    more = context[:, seats - 1 : seats].expand(-1, max(0, kept + 1 - seats), -1)
    return torch.cat([context[:, : min(kept + 1, seats)], more, context[:, seats:]], dim=1)


def kept(layout: str | None, pipeline: Any, text: str, most: int) -> int:
    """How many of a text's states stay beside the value token.

    Args:
        layout: Out of `records.LAYOUTS`.
        pipeline: Whose tokenizer reads.
        text: The text.
        most: Tokens that T5 reads, where there is one.
    """
    tokenizer = getattr(pipeline, hearing_of(pipeline).tokenizer)
    return value_encoder.tokens_of_prompt(layout, tokenizer, text, hearing.seats(pipeline, most))
