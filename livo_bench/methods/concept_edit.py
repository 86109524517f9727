"""Unified Concept Editing's closed form: a concept is answered as another text would be.

An edit gives concepts, phrases as they are in prompts, a target each: a combination of texts whose
keys and values the concept gets. All other texts that are named keep theirs.

Source: Gandikota et al. 2024, Unified Concept Editing in Diffusion Models, arXiv:2308.14761, and
the released code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from livo_bench.engines.denoiser import Denoiser
from livo_bench.methods.training.parameters import names_in
from livo_bench.schema import Factor, Weight, one_of

Edit = Mapping[str, Mapping[str, float]]
"""Target of each concept, which is a weight for each text, by concept."""
States = NDArray[np.float64]
"""States of text tokens, `(tokens, d)`."""

RANGES = ("last", "to-end", "all")
"""Which states of a text take part: that of its last word, those from its last word to the end of
the padding, or all. The released code of the paper's time edits concepts `to-end` and preserves
`all`; its present version takes the `last` for both."""


@dataclass(frozen=True, slots=True)
class Weighting:
    """What enters the sum, and how much it counts; the symbols are those of the released code."""

    edited: Annotated[str, one_of(RANGES[:2])]
    """Which states of a concept and its target."""
    preserved: Annotated[str, one_of(RANGES)]
    """Which states of a preserved text."""
    s_e: Factor
    """Weight of edited concepts."""
    s_p: Factor
    """Weight of preserved texts."""
    lam: Weight
    """Weight of the layers' weights as they were."""


def joint(edits: Iterable[Edit]) -> Edit:
    """All edits in one. Of a concept that several edit, the last target counts."""
    return {concept: target for edit in edits for concept, target in edit.items()}


class Stacked(NamedTuple):
    """States of texts that `solve` is given."""

    concepts: States
    targets: States
    preserved: States


def transformation(
    denoiser: Denoiser, edit: Edit, others: Iterable[str], weighting: Weighting
) -> States:
    """What `solve` gives for texts: M, `(d, d)`. The arguments are those of `stacked`."""
    return solve(*stacked(denoiser, edit, others, weighting), weighting)


def stacked(denoiser: Denoiser, edit: Edit, others: Iterable[str], weighting: Weighting) -> Stacked:
    """The states of texts that enter the sum.

    Args:
        denoiser: Reads them.
        edit: Concepts and their targets.
        others: Texts to preserve, as are the empty text and the texts that targets are made of;
            none of these is preserved where it is an edited concept.
        weighting: Which states of a text those are.
    """
    made_of = [text for target in edit.values() for text in target]
    preserved = [text for text in dict.fromkeys(["", *others, *made_of]) if text not in edit]
    pairs = [
        _aligned(denoiser, concept, target, weighting.edited) for concept, target in edit.items()
    ]
    kept = [_states(denoiser, text, weighting.preserved) for text in preserved]
    d = denoiser.network.config.cross_attention_dim
    none = np.empty((0, d))
    return Stacked(
        np.concatenate([none, *(own for own, _ in pairs)]),
        np.concatenate([none, *(target for _, target in pairs)]),
        np.concatenate([none, *kept]),
    )


def solve(concepts: States, targets: States, preserved: States, weighting: Weighting) -> States:
    """The map M of text states for which `W M` are the edited weights of every layer.

    UCE minimises, for each layer's weights W_old by themselves,

        s_e sum_i |W c_i - W_old t_i|^2 + s_p sum_j |W c_j - W_old c_j|^2 + lam |W - W_old|^2

    Its minimum `W = (s_e sum_i v_i c_i^T + s_p sum_j W_old c_j c_j^T + lam W_old) B^-1` with
    `v_i = W_old t_i` and `B = s_e sum_i c_i c_i^T + s_p sum_j c_j c_j^T + lam I` is W_old times a
    matrix that no layer enters, so that one solve serves them all.

    Args:
        concepts: c_i, `(n, d)`; n may be 0.
        targets: t_i, `(n, d)`.
        preserved: c_j, `(m, d)`; m may be 0.
        weighting: Its s_e, s_p and lam; B must be regular, as it is with lam above 0.

    Returns:
        M, `(d, d)`, float64; the identity where there is nothing to edit.
    """
    kept = weighting.s_p * preserved.T @ preserved + weighting.lam * np.eye(concepts.shape[1])
    numerator = weighting.s_e * targets.T @ concepts + kept
    denominator = weighting.s_e * concepts.T @ concepts + kept
    # X B = N, for a symmetric B.
    return np.linalg.solve(denominator, numerator.T).T.astype(np.float64, copy=False)


def edited_weights(unet: UNet2DConditionModel, m: States) -> dict[str, Tensor]:
    """Keys' and values' weights of cross-attention after an edit, by name, in the UNet's dtype."""
    own = unet.state_dict()
    matrix = torch.from_numpy(m)
    return {
        name: (own[name].cpu().double() @ matrix).to(own[name])
        for name in names_in("cross-attn", own)
    }


def _aligned(
    denoiser: Denoiser, concept: str, target: Mapping[str, float], token_range: str
) -> tuple[States, States]:
    """States of a concept and of its target, each `(tokens, d)`, from the last word of every
    text; as many as the longest text leaves."""
    own = _states(denoiser, concept, token_range)
    parts = [(weight, _states(denoiser, text, token_range)) for text, weight in target.items()]
    length = min(len(own), *(len(states) for _, states in parts))
    weights = np.array([weight for weight, _ in parts])
    combined: States = np.einsum("k,ktd->td", weights, [states[:length] for _, states in parts])
    return own[:length], combined


def _states(denoiser: Denoiser, text: str, token_range: str) -> States:
    states: States = denoiser.conditions([text]).context[0].cpu().double().numpy()
    if token_range == "all":
        return states
    # Behind the last word comes the end of the text; before it, if there is none, the start.
    ids = denoiser.tokenizer(text, truncation=True).input_ids
    last = len(ids) - 2
    return states[last : last + 1] if token_range == "last" else states[last:]
