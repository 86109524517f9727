"""Another judge in place of one of the model card's, for `run --scorer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from livo_bench import cards
from livo_bench.cards.declared import ModelCard, TaskCard
from livo_bench.cards.fields import read_table
from livo_bench.cards.scorer_kinds import (
    ATTRIBUTES,
    CLIP,
    HAZARDS,
    PEOPLE,
    ScorerKind,
    kind_named,
    known_kinds,
)
from livo_bench.cards.weights import find_weights
from livo_bench.errors import BadInput
from livo_bench.records import BIAS
from livo_bench.schema import Text

JUDGE = "judge.toml"
"""File that declares a judge, in a folder of its own."""
READY = Path(cards.__file__).parent / "judges"
"""Folder of the judges that come with the package, a file each."""


def put_in(card: ModelCard, scorer: str, tasks: Iterable[TaskCard]) -> tuple[ModelCard, str]:
    """Let a judge take the place of the model card's own of its kind.

    Args:
        card: Card of the model whose images are judged.
        scorer: What a kind of scorers knows by its place alone (`ScorerKind.at`): a folder, a
            Hugging Face repository, or a name that open_clip or torch-fidelity knows; or a
            `judge.toml`, or the folder of one.
        tasks: Tasks that it is to judge.

    Returns:
        The card with that judge, and its role there: an open_clip model judges `attributes` (and
        gives the CLIP score), a LLaVA `hazards`; a feature network gives `features`, a detector
        counts `people`. Of a judge of attributes that gives no CLIP score the card's own still
        does.

    Raises:
        BadInput: It is no judge, is the annotator, or has nothing to say of one of the tasks.
    """
    tasks = list(tasks)
    role, judge = judge_named(card, scorer)
    unasked = [task.name for task in tasks if role == HAZARDS and task.question is None]
    if unasked:
        raise BadInput(
            f"{scorer} answers questions about hazards, and task {unasked[0]!r} asks none.",
            "Name a task that does: --task toxicity",
        )
    if role == PEOPLE and not any(task.kind == BIAS for task in tasks):
        raise BadInput(
            f"{scorer} counts the persons that images of bias tasks show, and none is asked for.",
            "Name one: --task bias",
        )
    others = [task.name for task in tasks if task.judge == HAZARDS]
    if role == ATTRIBUTES and CLIP not in judge.roles and others:
        raise BadInput(
            f"{scorer} tells groups apart, and task {others[0]!r} asks about hazards.",
            "Name a task that asks about groups: --task bias",
        )
    judges = {**card.judges, role: judge}
    if CLIP not in (*judges, *judges[ATTRIBUTES].roles):
        judges[CLIP] = card.judges[ATTRIBUTES]
    return replace(card, judges=judges), role


def judge_named(card: ModelCard, scorer: str) -> tuple[str, ScorerKind]:
    """Find the role and the judge that `--scorer` means.

    Args:
        card: Card of the model whose images are judged.
        scorer: As `put_in` takes it.

    Raises:
        BadInput: It is no judge, or is the annotator.
    """
    _refuse_annotator(card, scorer)
    place = str(Path(scorer).resolve()) if Path(scorer).is_dir() else scorer
    if (file := judge_file(place)) is None:
        return _judge(card, scorer, place)
    role, judge = read_judge(file)
    _refuse_annotator(card, judge.weights)
    return role, judge


def ready() -> list[str]:
    """Names of the judges that come with the package."""
    return sorted(path.stem for path in READY.glob("*.toml"))


def judge_file(place: str) -> Path | None:
    """The `judge.toml` that a place or the name of a ready judge means, if it means one."""
    if place.endswith(".toml"):
        return Path(place)
    if place in ready() and not Path(place).exists():
        return READY / f"{place}.toml"
    return file if (file := Path(place, JUDGE)).is_file() else None


def read_judge(file: Path) -> tuple[str, ScorerKind]:
    """Read `judge.toml`: a role, a kind that can have it, and what a card's table of it holds.

    Raises:
        BadInput: It cannot be read, or a field is missing, unknown or not what the kind asks for.
    """
    table = read_table(file.resolve())
    kind = kind_named(table.get("kind", Text))
    if kind is None:
        raise table.wrong("kind", f"one of: {', '.join(known_kinds())}")
    role: str = table.get("role", Text)
    if role not in kind.roles or role == CLIP:
        can = ", ".join(one for one in kind.roles if one != CLIP)
        raise table.wrong("role", f"what its kind can be: {can or 'nothing'}")
    name = file.resolve().parent.name if file.name == JUDGE else file.stem
    return role, table.read(kind, name=name)


def _refuse_annotator(card: ModelCard, scorer: str) -> None:
    own = card.annotator and Path(card.annotator.weights)
    if scorer == "annotator" or (own and own.is_dir() and own == Path(scorer).resolve()):
        raise BadInput(
            "The annotator labels what methods learn from, so its numbers would flatter them; "
            "expected a judge that no method has seen.",
            "Pass its folder: --scorer ./my-judge",
        )


def _judge(card: ModelCard, scorer: str, place: str) -> tuple[str, ScorerKind]:
    """The judge of the kind that knows a place, in the precision that the card's own has."""
    called = []
    for kind in filter(None, map(kind_named, known_kinds())):
        if not kind.called:
            continue
        role = kind.roles[0]
        dtype = getattr(card.judges[role], "dtype", "float32")
        if (judge := kind.at(place, dtype)) is not None:
            return role, judge
        called.append(kind.called)
    found = find_weights(scorer, "config.json").config.get("model_type")
    raise BadInput(
        f"{scorer} is a model of type {found!r}, which judges nothing. Expected for --scorer one "
        f"of: {', '.join(called)}."
    )
