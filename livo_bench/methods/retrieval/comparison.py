"""How often retrievers find the value of a prompt, and how often one where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from scipy.stats import binomtest

from livo_bench.cards.catalog import RUNS, model_card
from livo_bench.cards.prompts import VALUE_FREE
from livo_bench.methods.retrieval.retriever import build
from livo_bench.methods.retrieval.values import (
    KINDS,
    MALFORMED,
    PERSON,
    Retrieval,
    labelled_prompts,
)

ACCURACY, INTERVENTIONS = "accuracy", "false interventions"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rate of one retriever on one kind of prompt."""

    retriever: str
    """Name of the retriever, as it was asked for."""
    kind: str
    """Kind of the prompts, one of `values.KINDS`."""
    measure: str
    """`accuracy`: the share of prompts that got their own value, a person's being gender or race
    alike. `false interventions`: the share of value-free prompts that got any."""
    n: int
    """Number of prompts."""
    count: int
    """Number of prompts that the measure counts."""
    rate: float
    """Share of the prompts that the measure counts, in [0, 1]."""
    low: float
    """Lower end of the exact (Clopper-Pearson) 95 % interval, as if prompts were independent;
    those that share a template and a concept are less than that."""
    high: float
    malformed: int
    """Prompts that count as value-free because no reply could be read."""
    id: str
    """Id of the retriever."""


def compare(
    retrievers: Sequence[str],
    model: str = "mini",
    split: str = "eval",
    language_model: str | None = None,
    runs: Path = RUNS,
) -> list[Comparison]:
    """Ask retrievers about the prompts of the tasks and those that touch no value.

    Args:
        retrievers: Names as `retriever.build` takes them.
        model: Model whose prompts and text encoder are used.
        split: `train`, `dev` or `eval`.
        language_model: What the endpoint calls the model of the retriever `openai`.
        runs: A language model's answers are kept below it, in `retrieved`.

    Returns:
        For every retriever a rate for each kind of prompt.

    Raises:
        UnknownName: No such retriever or model.
        BadInput: There are no prompts for the model's scale, or a language model does not answer.
    """
    card = model_card(model)
    pairs = labelled_prompts(card.scale, split)
    built = {name: build(name, card, runs / "retrieved", language_model) for name in retrievers}
    comparisons: list[Comparison] = []
    console = Console(stderr=True)
    for name, retriever in built.items():
        answers = [
            (kind, retriever.retrieve(prompt.text))
            for prompt, kind in track(pairs, name, console=console, disable=not console.is_terminal)
        ]
        comparisons += _rates(name, retriever.id, answers)
    return comparisons


def _rates(name: str, id_: str, answers: Sequence[tuple[str, Retrieval]]) -> Iterator[Comparison]:
    for kind in KINDS:
        got = [retrieval for of, retrieval in answers if of == kind]
        if kind == VALUE_FREE:
            measure, count = INTERVENTIONS, sum(one.principle is not None for one in got)
        else:
            measure, count = ACCURACY, sum(_is(kind, one) for one in got)
        malformed = sum(one.stage == MALFORMED for one in got)
        test = binomtest(count, len(got))
        low, high = test.proportion_ci(0.95, method="exact")
        rate = count / len(got)
        yield Comparison(name, kind, measure, len(got), count, rate, low, high, malformed, id_)


def _is(kind: str, retrieval: Retrieval) -> bool:
    if retrieval.principle is None:
        return False
    return retrieval.principle.subset in (("gender", "race") if kind == PERSON else (kind,))
