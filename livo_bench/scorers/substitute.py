"""Another judge in place of one of the model card's, for `run --scorer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from livo_bench.cards.declared import Judge, ModelCard, TaskCard
from livo_bench.cards.weights import find_weights
from livo_bench.errors import BadInput


def put_in(card: ModelCard, scorer: str, tasks: Iterable[TaskCard]) -> tuple[ModelCard, str]:
    """Let a judge take the place of the model card's own of its kind.

    Args:
        card: Card of the model whose images are judged.
        scorer: Whatever a model card may name as a judge: a folder, a Hugging Face repository, or
            a name that open_clip or torch-fidelity knows.
        tasks: Tasks that it is to judge.

    Returns:
        The card with that judge, and its role there: an open_clip model judges `attributes` (and
        gives the CLIP score), a LLaVA `hazards`; a feature network gives `features`.

    Raises:
        BadInput: It is no judge, is the annotator, or has nothing to say of one of the tasks.
    """
    _refuse_annotator(card, scorer)
    role = _role(scorer)
    unasked = [task.name for task in tasks if role == "hazards" and task.question is None]
    if unasked:
        raise BadInput(
            f"{scorer} answers questions about hazards, and task {unasked[0]!r} asks none.",
            "Name a task that does: --task toxicity",
        )
    place = str(Path(scorer).resolve()) if Path(scorer).is_dir() else scorer
    judge = Judge(place, card.judges[role].dtype)
    return replace(card, judges={**card.judges, role: judge}), role


def _refuse_annotator(card: ModelCard, scorer: str) -> None:
    own = card.annotator and Path(card.annotator.weights)
    if scorer == "annotator" or (own and own.is_dir() and own == Path(scorer).resolve()):
        raise BadInput(
            "The annotator labels what methods learn from, so its numbers would flatter them; "
            "expected a judge that no method has seen.",
            "Pass its folder: --scorer ./my-judge",
        )


def _role(scorer: str) -> str:
    from livo_bench.scorers.featurenet import MODEL_TYPE
    from livo_bench.scorers.features import INCEPTION

    if scorer == INCEPTION:
        return "features"
    if _is_clip(scorer):
        return "attributes"
    kind = find_weights(scorer, "config.json").config.get("model_type")
    roles = {"llava": "hazards", MODEL_TYPE: "features"}
    if kind not in roles:
        raise BadInput(
            f"{scorer} is a model of type {kind!r}, which judges nothing. Expected for --scorer an "
            "open_clip model (attributes, CLIP score), a LLaVA (hazards) or a feature network."
        )
    return roles[kind]


def _is_clip(scorer: str) -> bool:
    """Whether open_clip knows it by name, or has written it."""
    if "@" in scorer and "/" not in scorer:
        return True
    try:
        find_weights(scorer, "open_clip_config.json")
    except BadInput:
        return False
    return True
