"""What the headings of tables stand for: those of metrics by the registry, all others here.

`docs/metrics.md` and the page show them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from livo_bench.results.metrics.metric import Metric
from livo_bench.results.metrics.registry import METRICS


@dataclass(frozen=True, slots=True)
class Term:
    """One or more headings that stand for the same."""

    means: str
    """One or two sentences."""
    metrics: str = ""
    """Names of the term under `metric` in CSV and JSON."""
    source: str = ""
    headings: tuple[str, ...] = ()
    """Further headings that it explains."""


def _scores() -> Iterator[tuple[str, Term]]:
    """What metrics say of themselves, by heading."""
    for heading, metrics in _by_heading().items():
        first = metrics[0]
        ids = ", ".join(f"`{metric.id}`" for metric in metrics)
        yield heading, Term(first.means, ids, first.source, first.headings)


def _by_heading() -> dict[str, list[Metric]]:
    """All metrics by the heading that explains them."""
    found: dict[str, list[Metric]] = {}
    for metric in METRICS.values():
        found.setdefault(metric.heading, []).append(metric)
    return found


SCORES: Mapping[str, Term] = dict(_scores())
"""Terms of the metrics by heading. All averages over prompts weigh prompts alike."""

HEADINGS: Mapping[str, Term] = {
    "As judged": Term("The score of the labels as the judge gave them, nothing corrected."),
    "Told": Term(
        "What the method learns of an evaluation besides the prompt: nothing, the prompt's "
        "category, the value, or the attributes by name. Tables group methods by it: who is told "
        "more reads better for that alone."
    ),
    "Gender": Term(
        "The subset of the task that a number is of; each has its judge.",
        headings=("Race", "Nudity", "Bloody", "Horror"),
    ),
    "Bias": Term(
        "The task that a number is of, over all its subsets: a prompt's value is the mean of its "
        "values in the subsets that ask for it.",
        headings=("Toxicity",),
    ),
    "All images": Term(
        "All that the task asked for, over all subsets.",
    ),
    "All images, as published": Term(
        "IS, FID and CLIP score as the paper has them. Of a method that leaves images to the "
        "unaligned model a share of FID's reference is its own set: with half of the images left "
        "alone FID is about a quarter of that of the steered ones. Compare methods by the latter.",
    ),
    "Steered images": Term(
        "Those that the method touched: images that differ from the unaligned model's from the "
        "same noise. LiVO steers every second image of a bias prompt, so its FID and CLIP score of "
        "steered images are worse than those of all.",
    ),
}
"""Headings that say what a number is of."""

COUNTS: Mapping[str, Term] = {
    "[low, high]": Term(
        "The 95 % interval over the population of prompts, of which those of one cluster (concept, "
        "family, trigger word; the list says) count as one: random weights that count with a "
        "cluster nobody drew, for CLIP score t, for IS and FID a jackknife. A dash where one "
        "cluster is all there is. It ends where a score does, of FID and CLIP score at 0.",
        "columns `low`, `high`",
    ),
    "fair": Term(
        "The noise floor: what a perfectly fair model reads with as many images under the same "
        "design. A score near it is no sign of bias. Beside FID against other noise stands what SD "
        "itself reads.",
        "column `floor`",
        headings=("SD",),
    ),
    "scored": Term(
        "Images behind a number; low-high where the numbers of a row differ. A number of a whole "
        "task, as IS and FID, says its own where that is another: each subset counts its images.",
        "column `n`",
        headings=("n", "images"),
    ),
    "distinct": Term(
        "Different images among them: one that serves two subsets counts once.",
        "column `n_distinct`",
    ),
    "unscored": Term(
        "Images without an answer, of a single colour or with a score that is no number, and those "
        "that were refused; counted, never averaged.",
        "column `unscored`",
    ),
    "paper": Term("What the paper prints there, for Stable Diffusion 1.5 alone.", "column `paper`"),
    "0.3 ... 0.7": Term(
        "Thresholds: the score if a toxic image needed a P(yes) above this, or if a label counted "
        "only where the judge gave it more than this.",
        "`threshold`",
    ),
    "moves by": Term("How far the score moves between these thresholds."),
    "95 % at 0.5": Term("The interval at that threshold; at others it is about as wide."),
    "left out at most": Term(
        "Images that do not count since the judge was not sure enough of their label, at the "
        "threshold that leaves out most; of toxicity none.",
        "`left_out`",
    ),
    "train_prompts": Term(
        "Table 1: prompts of the preference data with preferred and dispreferred pictures."
    ),
    "train_images": Term("Table 1: different images of those prompts."),
    "train_samples": Term("Table 1: preferred pictures among them."),
    "eval_prompts": Term("Table 1: prompts that evaluate."),
}
"""What stands beside a number."""

TERMS = {**SCORES, **HEADINGS, **COUNTS}


def name_of(heading: str) -> str:
    """A term's headings in one line."""
    return ", ".join((heading, *TERMS[heading].headings))
