"""SAFREE: states of tokens that mean a concept are moved out of the concept's subspace.

With phi the state at the end of a text, C the subspace that the concepts' phrases span by it, and I
the one that the text spans with each of its tokens masked in turn, P_C and P_I projections on them:

- a token is a trigger when its masked text is farther from C than (1 + alpha) times the mean of the
  others;
- states z of triggers become (1 - P_C) P_I z, and others stay;
- that holds for the first steps only, the more of them the more (1 - P_C) P_I turns the text:
  beta' = steps * sigmoid(2 k (10 beta - t)), with beta one minus the mean cosine of the states.

Source: Yoon et al. 2024, SAFREE: Training-Free and Adaptive Guard for Safe Text-to-Image And Video
Generation, arXiv:2410.12761, sections 3.1 and 3.2, and the released code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import CLIPTextModel, CLIPTokenizer

from livo_bench.engines.guidance import NoisePrediction, classifier_free
from livo_bench.records import ConceptFilter

MASK = 0
"""Id that stands in a masked token's place."""
STEPS = 50
"""Steps of sampling that `ConceptFilter.steps` counts in."""
MIDPOINT, SLOPE = 5.333, 2.5
"""t and k of the paper, the middle and the slope of the sigmoid in `steps_of`."""


class Filtered(NamedTuple):
    """A text with concepts filtered from it."""

    context: Tensor
    """`(tokens, d)`."""
    until: float
    """beta', the last of `STEPS` steps that sees it."""


def filtered(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, text: str, settings: ConceptFilter
) -> Filtered:
    """Filter concepts from a text. A text without words is left as it is."""
    device = text_encoder.device
    longest = tokenizer.model_max_length
    padded = tokenizer(
        text, padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
    ).to(device)
    states = text_encoder(padded.input_ids).last_hidden_state[0]
    ids = tokenizer(text, truncation=True, return_tensors="pt").input_ids.to(device)
    words = ids.shape[1] - 2
    if words < 1:
        return Filtered(states, -1.0)
    phrases = [phrase.strip() for phrase in settings.texts.split(",")]
    concepts = torch.stack([_end(tokenizer, text_encoder, phrase) for phrase in phrases])
    masked = ids.repeat(words, 1)
    masked[range(words), range(1, words + 1)] = MASK
    ends = text_encoder(masked).last_hidden_state[:, -1]
    moved = turned(states, ends, concepts)
    kept = torch.ones(longest, dtype=torch.bool, device=device)
    kept[1 : words + 1] = ~triggers(ends, concepts, settings.alpha)
    shown = padded.attention_mask[0] == 1
    beta = 1 - cosine_similarity(moved[shown].float(), states[shown].float()).mean().item()
    context = torch.where(kept[:, None], states, moved)
    return Filtered(context, steps_of(beta, settings.steps))


def triggers(masked: Tensor, concepts: Tensor, alpha: float) -> Tensor:
    """Which tokens mean a concept, bool, `(n,)`.

    Args:
        masked: States at the end of the text with each of its n tokens masked, `(n, d)`.
        concepts: States at the end of the concepts' phrases, `(m, d)`.
        alpha: See `ConceptFilter`.
    """
    ends = masked.cpu().double()
    apart = ends - ends @ onto(concepts)
    distance = apart.norm(dim=1)
    # A token that stands alone has no others to be compared with, and counts as a trigger.
    others = (distance.sum() - distance) / (len(distance) - 1)
    return ~(distance < (1 + alpha) * others).to(masked.device)


def turned(states: Tensor, masked: Tensor, concepts: Tensor) -> Tensor:
    """Project states by (1 - P_C) P_I: keep what is of the text's own subspace, less the concepts'.

    Args:
        states: `(tokens, d)`.
        masked: The text without each of its tokens, as in `triggers`.
        concepts: The concepts, as in `triggers`.
    """
    own = states.cpu().double() @ onto(masked)
    return (own - own @ onto(concepts)).to(states)


def onto(vectors: Tensor) -> Tensor:
    """Make the projection on the subspace that vectors `(n, d)` span: `(d, d)`, float64, on the
    CPU, for not all devices have that precision."""
    rows = vectors.cpu().double()
    return torch.linalg.pinv(rows) @ rows


def steps_of(beta: float, most: int) -> float:
    """Compute beta', how many of `most` steps see the filtered text."""
    turn = torch.tensor(2 * SLOPE * (10 * beta - MIDPOINT), dtype=torch.float64)
    return float(round(most * turn.sigmoid().item()))


def filtering(
    unet: UNet2DConditionModel,
    context: Tensor,
    texts: list[Filtered],
    negative: Tensor,
    scale: float,
    steps: int,
) -> NoisePrediction:
    """Classifier-free guidance by filtered texts at first, then by the texts as they are.

    The prediction is for one sampling run: it counts steps.

    Args:
        unet: Predicts noise.
        context: Embeddings of the texts as they are, `(n, tokens, d)`.
        texts: The same, filtered.
        negative: Embedding of the negative text, `(tokens, d)`.
        scale: The guidance scale.
        steps: Number of steps of the sampling run.
    """
    safe = torch.stack([text.context for text in texts]).to(context)
    until = torch.tensor([text.until for text in texts], device=context.device)[:, None, None]
    step = 0

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        nonlocal step
        seen = torch.where(step * STEPS / steps <= until, safe, context)
        step += 1
        return classifier_free(unet, seen, negative, scale)(latents, t)

    return predict


def _end(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, text: str) -> Tensor:
    """The state at the end of a text, `(d,)`."""
    ids = tokenizer(text, truncation=True, return_tensors="pt").input_ids
    state: Tensor = text_encoder(ids.to(text_encoder.device)).last_hidden_state[0, -1]
    return state
