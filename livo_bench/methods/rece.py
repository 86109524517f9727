"""RECE: an erasure hardened against what still reaches the concept.

UCE erases a hazard where train prompts name it. The states c' that make the edited keys and values
say what the model's own said of the concept are then solved for, and erased as well::

    c' = argmin_x sum_k |W_k x - W_k^old c|^2 + regular |x|^2
       = (regular I + sum_k W_k^T W_k)^-1 sum_k W_k^T W_k^old c

over all keys and values of cross-attention, for a number of rounds, each of which starts from the
weights of the one before.

Source: Gong et al. 2024, Reliable and Efficient Concept Erasure of Text-to-Image Diffusion Models,
arXiv:2407.12383, section 3, and the released code.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from diffusers import UNet2DConditionModel

from livo_bench.engines import overlay
from livo_bench.files import write_atomically
from livo_bench.methods.concept_edit import (
    Stacked,
    States,
    Weighting,
    edited_weights,
    solve,
    stacked,
)
from livo_bench.methods.erasing import Editor, Erasing
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.settings import settings_table
from livo_bench.methods.training.training_record import Training
from livo_bench.schema import Count, Weight

REACHED = "reached-{}.csv"
"""What still reached the concept before each round, by hazard."""


@dataclass(frozen=True, slots=True)
class ReceSettings(Erasing):
    """How a hazard is erased on one scale of model."""

    rounds: Count
    """Rounds of solving for what reaches the concept, and erasing it."""
    regular: Weight
    """Weight of the size of what is solved for; the released code's `regular_scale`."""


def read_settings(method: str, scale: str) -> ReceSettings:
    """Read a method's training settings.

    Raises:
        BadInput: It is not what it should be.
    """
    table = settings_table(method, scale)
    return table.read(ReceSettings, weighting=table.part(Weighting))


def train(training: Training) -> Path:
    """Make an overlay for each hazard; finished ones are not made again.

    Returns:
        The folder, with `<hazard>.safetensors`, `reached-<hazard>.csv` and `training.json`.

    Raises:
        BadInput: The settings are not what they should be, or the folder holds another training.
    """
    session, out = training.session, training.out
    settings = read_settings(training.method, session.model.scale)
    training.begin(settings=asdict(settings))
    editor = Editor(session, settings)
    for hazard in editor.hazards:
        if training.done(hazard):
            continue
        started = time.monotonic()
        edit, unet = editor.erase(hazard), editor.denoiser.network
        texts = stacked(editor.denoiser, edit, editor.others(edit), settings.weighting)
        m, reached = hardened(texts, gram(unet), settings)
        overlay.save(edited_weights(unet, m), session.digest, out / f"{hazard}.safetensors")
        rows = pd.DataFrame({"round": range(1, settings.rounds + 1), "reached": reached})
        write_atomically(out / REACHED.format(hazard), rows.to_csv(index=False).encode())
        minutes = round((time.monotonic() - started) / 60, 2)
        training.record(hazard, minutes, f"{hazard}.safetensors", REACHED.format(hazard))
    return out


def hardened(texts: Stacked, gram: States, settings: ReceSettings) -> tuple[States, list[float]]:
    """UCE's edit, and then round after round of what still reaches the concept.

    Args:
        texts: States of the concept, of its targets and of what is preserved.
        gram: See `gram`.
        settings: Training settings of the method.

    Returns:
        M, `(d, d)`, for which `W M` are the edited weights; and for each round how much of what the
        model's own weights say of the concept was still said before it, in [0, 1].
    """
    m = solve(*texts, settings.weighting)
    reached = []
    for _ in range(settings.rounds):
        again = reaching(m, gram, texts.concepts, settings.regular)
        missed = again @ m.T - texts.concepts
        own = np.einsum("nd,de,ne->", texts.concepts, gram, texts.concepts)
        reached.append(1 - float(np.einsum("nd,de,ne->", missed, gram, missed) / own))
        m = m @ solve(again, texts.targets, texts.preserved, settings.weighting)
    return m, reached


def reaching(m: States, gram: States, concepts: States, regular: float) -> States:
    """The states with which edited weights come nearest to what the own ones say of a concept.

    Args:
        m: M of the edit, so that `W_k = W_k^old M`.
        gram: See `gram`.
        concepts: c, `(n, d)`.
        regular: Weight of the size of what is solved for.

    Returns:
        c', `(n, d)`.
    """
    normal = regular * np.eye(len(m)) + m.T @ gram @ m
    return np.linalg.solve(normal, m.T @ gram @ concepts.T).T.astype(np.float64, copy=False)


def gram(unet: UNet2DConditionModel) -> States:
    """The sum of W^T W over all keys and values of cross-attention, `(d, d)`, float64."""
    own = unet.state_dict()
    weights = [own[name].cpu().double().numpy() for name in names_in("cross-attn", own)]
    total: States = sum((w.T @ w for w in weights), np.zeros((weights[0].shape[1],) * 2))
    return total
