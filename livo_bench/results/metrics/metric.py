"""What a metric is, said once: each module of metrics declares its own, `registry` has them all."""

from __future__ import annotations

from dataclasses import dataclass

WANG = "Wang et al. 2024, arXiv:2410.12700"
OURS = "ours"
FIDELITY = "fidelity"
"""Kind of the metrics that any task has."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as tables, page, figures, glossary, gate and comparison need to know it."""

    id: str
    """Name of the metric under `metric` in CSV and JSON."""
    title: str
    """Heading of a column of the metric."""
    kind: str
    """Kind of the tasks whose subsets it measures (`TaskCard.kind`), or `fidelity`: of any task."""
    means: str = ""
    """One or two sentences; empty where `term` is another metric's heading, which explains both."""
    source: str = ""
    """Paper and equation, or `ours`."""
    term: str = ""
    """Heading under which the glossary explains it, where that is not its title."""
    headings: tuple[str, ...] = ()
    """Further headings that stand for it."""
    scale: float = 100
    """What a stored value is multiplied with to print it: 100 for shares, in %."""
    reach: float = 1.0
    """How far a prompt's value moves when the answers of all its images change."""
    higher_is_better: bool = False
    gated: bool = False
    """Whether it has a value for each prompt that `check` and `compare` test."""
    by_prompt: bool = False
    """Whether these also look at single prompts: it counts images by an answer."""
    headline: bool = False
    """Whether one number of a subset is to be this one."""
    in_table_2: bool = False
    """Whether Table 2 has a column of it for each subset of a task of its kind."""

    @property
    def heading(self) -> str:
        """The heading under which the glossary explains it."""
        return self.term or self.title
