"""Kinds of scorers: what a card's table of one may hold, and what becomes of it.

A kind is one module of `livo_bench.scorers`, which a card names: `kind = "clip"`. The module
defines `Kind`, a data class of the table's fields, from `ScorerKind` or `NetworkKind`. It is
imported as the card is read, so it imports torch, and whatever else takes long, in the functions
that need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from livo_bench.cards.fields import Table
from livo_bench.cards.weights import Download, Need
from livo_bench.errors import BadInput
from livo_bench.schema import Limit, Place, Text, one_of

if TYPE_CHECKING:
    from livo_bench.cards.declared import Subset, TaskCard
    from livo_bench.interfaces import Scorer

Dtype = Annotated[str, one_of(("float32", "float16", "bfloat16"))]

ATTRIBUTES, HAZARDS, FEATURES, CLIP = "attributes", "hazards", "features", "clip"
PEOPLE = "people"
"""Roles of scorers: labels of groups, answers about hazards, what IS and FID are made of, the CLIP
score, and how many persons an image shows."""
USUAL = {
    ATTRIBUTES: "clip",
    HAZARDS: "llava",
    FEATURES: "torchfidelity",
    CLIP: "clip",
    PEOPLE: "detector",
}
"""The kind of each role's scorer where a card names none."""
OPTIONAL = (CLIP, PEOPLE)
"""Roles that a card need not name."""
ROOM = "livo_bench.scorers"
_DEFINES = "\nclass Kind("
_NONE = Limit(lambda value: not value, lambda kind: "none, for this kind has no weights")


class Network(Protocol):
    """What the scorers of one table share, looked up and loaded when first needed."""

    @property
    def digest(self) -> str:
        """SHA-256 of what their answers depend on besides texts, as `run.json` names it."""
        ...


class FeatureScorer(Network, Protocol):
    """A scorer with the columns `features`, for FID, and `logits`, for IS, rows of vectors."""

    id: str
    """See `Scorer`, as of the rest."""
    classes: tuple[str, ...] | None
    """What each of the `logits` stands for, in the words of tasks; None where nobody knows."""

    def load(self) -> None: ...

    def score(self, pixels: Any, prompts: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerKind:
    """A scorer of a kind, as a card declares it; this one is the base of all.

    A kind has the functions of its roles: `judge` for `ATTRIBUTES` and `HAZARDS`, `clip_score` for
    `CLIP`, `features` for `FEATURES`, `people` for `PEOPLE`.
    """

    roles: ClassVar[tuple[str, ...]] = ()
    """Roles that it can have, the one that `--scorer` gives it first."""
    called: ClassVar[str] = ""
    """What `--scorer` expects of the kind, for messages; empty where `at` knows none."""

    name: Text = ""
    """What its results are called as those of another judge; the place of its weights when
    empty."""
    weights: Annotated[str, _NONE] = ""
    """Place of its network; a kind that has one declares it anew."""
    licence: Text = ""
    """Licence of the weights, as `fetch` tells it."""

    @classmethod
    def at(cls, place: str, dtype: str) -> ScorerKind | None:
        """The scorer that `--scorer` means by a place and nothing else; None where it is of another
        kind, or does not say."""
        return None

    def check(self, role: str) -> None:
        """See by names of files alone that it can be read as it lies there; a plan asks this.

        Raises:
            BadInput: It cannot.
        """

    def need(self) -> Need | Download | None:
        """What `fetch` gets for it; None where all is on this machine, or nowhere else."""
        return None

    def network(self, device: str) -> Network:
        """What all its scorers share, on a device as torch names it; loads nothing yet.

        Raises:
            BadInput: There are no such weights.
        """
        return Weightless()

    def judge(self, network: Any, task: TaskCard, subset: Subset) -> Scorer:
        """The judge of a subset: with `label`, one of `labels_of`, and `p_<label>` for each."""
        raise NotImplementedError

    def clip_score(
        self,
        network: Any,
        hazard_free: Callable[[str], str | None] | None = None,
        **rule: object,
    ) -> Scorer:
        """The scorer with the column `cosine`, of an image and its prompt.

        Args:
            network: What `network` returned.
            hazard_free: A text without the hazard that it names, None for one that names none; then
                prompts are held against images without theirs.
            rule: What else that depends on, for the id.
        """
        raise NotImplementedError

    def features(self, network: Any) -> FeatureScorer:
        """The feature network."""
        raise NotImplementedError

    def people(self, network: Any) -> Scorer:
        """The scorer with the column `persons`, how many an image shows."""
        raise NotImplementedError

    def kinds_of_classes(self) -> Mapping[str, str]:
        """Kinds of a feature network's classes; empty where nobody says them.

        Raises:
            BadInput: The file that says them cannot be read.
        """
        return {}


class Weightless:
    """The network of a kind that has none."""

    digest = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind(ScorerKind):
    """A scorer that is a network with weights."""

    weights: Place
    """Hub id, a folder (as absolute path), or a name that its library knows."""
    dtype: Dtype
    """Precision."""


def labels_of(task: TaskCard, subset: Subset) -> tuple[str, ...]:
    """What a judge may answer about an image of a subset."""
    return ("yes", "no") if task.judge == HAZARDS else subset.attributes


def read_scorers(table: Table) -> dict[str, ScorerKind]:
    """Read a model card's scorers by role; the CLIP score may be left to the attribute judge, and
    nobody need count persons.

    Raises:
        BadInput: One is missing, or not what it should be.
    """
    scorers = {
        role: _read(table, role) for role in USUAL if role not in OPTIONAL or table.has(role)
    }
    if CLIP not in (*scorers, *scorers[ATTRIBUTES].roles):
        raise BadInput(
            f"{table.file}: no judges.{CLIP}, expected a table with a kind and weights: the judge "
            f"of {ATTRIBUTES} gives no CLIP score."
        )
    table.refuse_others()
    return scorers


def _read(scorers: Table, role: str) -> ScorerKind:
    """Read the table of a scorer.

    Raises:
        BadInput: Its kind is none, cannot have the role or does not load, or a field is missing,
            unknown or not what the kind asks for.
    """
    table = scorers.table(role)
    name = table.get("kind", Text, USUAL[role])
    kind = kind_named(name)
    if kind is None:
        raise table.wrong("kind", f"one of: {', '.join(known_kinds())}")
    if role not in kind.roles:
        raise BadInput(
            f"{table.file}: judges.{role} is of kind {name!r}, which can be: "
            f"{', '.join(kind.roles) or 'nothing'}."
        )
    return table.read(kind)


def kind_named(name: str) -> type[ScorerKind] | None:
    """The kind of a name, or None.

    Raises:
        BadInput: Its module does not load.
    """
    spec = find_spec(f"{ROOM}.{name}") if name.isidentifier() else None
    if spec is None or spec.origin is None or not _defines(Path(spec.origin)):
        return None
    try:
        kind = importlib.import_module(spec.name).Kind
    except Exception as error:  # whatever a module raises as it is imported
        raise BadInput(
            f"The kind of scorers {name!r} does not load: {type(error).__name__}: {error} "
            f"({spec.origin})."
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, ScorerKind)):
        raise BadInput(f"{spec.origin}: Kind is {kind!r}, expected a data class from ScorerKind.")
    return kind


def known_kinds() -> list[str]:
    """The names of all kinds, found by the text of their modules: some others import torch."""
    rooms = map(Path, importlib.import_module(ROOM).__path__)
    return sorted(path.stem for room in rooms for path in room.glob("*.py") if _defines(path))


def _defines(path: Path) -> bool:
    return _DEFINES in path.read_text("utf-8")
