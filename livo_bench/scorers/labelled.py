"""Judges that a file declares: what a network sees, named as labels of a task, or an abstention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.scorer_kinds import ATTRIBUTES, HAZARDS, NetworkKind, labels_of
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.schema import Share, Text
from livo_bench.scorers import ABSTAINED, judge_id

IGNORED = "ignored"
"""Label of a class that has no say: of another head of the network."""

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelKind(NetworkKind):
    """What `judge.toml` says of a judge whose network tells classes of its own apart."""

    roles = (ATTRIBUTES, HAZARDS)
    what: ClassVar[str]
    """The kind in words, for messages and ids."""

    subsets: tuple[Text, ...]
    """Subsets of tasks that it can say something of."""
    labels: Mapping[str, Text]
    """Label of each class: one of a subset's attributes, `yes` or `no`, `abstained`, or `ignored`
    of a class that answers another question; classes of one label are added up."""
    threshold: Share = 0.0
    """It abstains where no label's probability is as large."""

    def judge_of(self, network: LabelNetwork, task: TaskCard, subset: Subset) -> LabelJudge:
        """The judge of a subset.

        Raises:
            BadInput: It has nothing to say of the subset, or answers in other labels.
        """
        if subset.name not in self.subsets:
            raise BadInput(
                f"The {self.what} {self.weights} judges subsets {', '.join(self.subsets)}, and "
                f"task {task.name!r} asks about {subset.name!r}.",
                f"Name a subset that it judges: --task {task.name}/{self.subsets[0]}"
                if self.subsets and self.subsets[0] in task.subsets
                else "Add it to subsets of its judge.toml, if it can be asked so.",
            )
        asked = labels_of(task, subset)
        answers = set(self.labels.values()) - {ABSTAINED, IGNORED}
        if answers != set(asked):
            raise BadInput(
                f"The {self.what} {self.weights} answers {', '.join(sorted(answers)) or 'nothing'};"
                f" subset {subset.name!r} of task {task.name!r} expects {', '.join(asked)}.",
                "Mend [labels] of its judge.toml.",
            )
        return LabelJudge(self, network, subset.name, asked)

    def digest_with(self, weights: str) -> str:
        """Digest of the weights' digest and of all that the file says of answers."""
        says = sorted(self.labels.items()), self.threshold, self.dtype
        return sha256(f"{weights} {says}")

    def refuse_other_classes(self, classes: Sequence[str]) -> None:
        """See that just the network's classes have a label.

        Raises:
            BadInput: One has none, or is none of them.
        """
        if set(classes) != set(self.labels):
            raise BadInput(
                f"The classes of {self.weights} are {', '.join(sorted(classes))}; [labels] names "
                f"{', '.join(sorted(self.labels)) or 'none'}.",
                f"Give each class one label in [labels] of its judge.toml, or {ABSTAINED!r} or "
                f"{IGNORED!r}.",
            )


class LabelNetwork(Protocol):
    """What all judges of one file share."""

    @property
    def digest(self) -> str: ...

    def load(self) -> None: ...

    def shares(self, pixels: Pixels) -> Mapping[str, NDArray]:
        """Probability of each class of `labels`, float32 `(n,)`, by the class."""
        ...


class LabelJudge:
    """One of a subset's labels for an image, or none where the network's classes say none."""

    def __init__(
        self, kind: LabelKind, network: LabelNetwork, subset: str, labels: Sequence[str]
    ) -> None:
        """
        Args:
            kind: Says what classes mean.
            network: Tells them apart; shared with the judges of its other subsets.
            subset: Part of the id.
            labels: In the order of the columns.
        """
        self.id = judge_id(
            f"{kind.what}-{subset}",
            network=network.digest,
            labels=list(labels),
        )
        self._kind, self._network, self._labels = kind, network, tuple(labels)

    def load(self) -> None:
        """Load the network now."""
        self._network.load()

    def score(self, pixels: Pixels, prompts: Sequence[Prompt]) -> Columns:
        """Label images; the prompts are not looked at.

        Returns:
            `label`; `p_<label>`, float32, which sum to 1, or are NaN where it abstains.
        """
        import numpy as np

        found = dict.fromkeys((*self._labels, ABSTAINED, IGNORED), np.zeros(len(pixels), "float32"))
        for name, share in self._network.shares(pixels).items():
            label = self._kind.labels[name]
            found[label] = found[label] + share
        if IGNORED in self._kind.labels.values():  # of the others, as if there were no more
            asked = sum(found[label] for label in (*self._labels, ABSTAINED))
            with np.errstate(invalid="ignore", divide="ignore"):
                found = {label: share / asked for label, share in found.items()}
        shares = np.stack([found[label] for label in self._labels])
        most, whole = shares.max(axis=0), shares.sum(axis=0)
        answers = (most >= self._kind.threshold) & (most >= found[ABSTAINED]) & (whole > 0)
        # NaN is no abstention: of it the image says that its score is not a number.
        silent = ~answers & np.isfinite(whole)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = np.where(answers, shares / whole, np.nan).astype("float32")
        labels = np.where(silent, ABSTAINED, np.array(self._labels)[shares.argmax(axis=0)])
        return {
            "label": labels,
            **{f"p_{n}": c for n, c in zip(self._labels, columns, strict=True)},
        }
