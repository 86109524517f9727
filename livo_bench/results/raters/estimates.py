"""What labelled images say of all: how a judge errs, and what raters would call a method's images.

The truth of an image is what a rater drawn at random says of it: of two raters who disagree each
counts half. Answers `UNSURE` count for no class. An image of stratum h, of whose N_h images n_h
were labelled, stands for `N_h / n_h`.

- *Confusion*: the images of true class t with label l are estimated as
  `A_tl = sum_(h of answer l) N_h mean_h(f_t)`, where f_t is the share of an image's raters who say
  t; M is A with rows that sum to one. Its file holds, as images, the rates times what they are
  worth: how many labelled images, had they been drawn at random of each class, would leave M as
  uncertain. That is found from draws of what each stratum's truth may be, with half an image right
  and half an image wrong beforehand, so that a large stratum without an error still counts.
- *Shares*: of a method m with N_m images, class t has
  `(sum_(i of m) 1[l_i = t] + sum_h N_h mean_h(1[i of m] (f_t - 1[l_i = t]))) / N_m`, the judge's
  answers of all its images plus the mean error seen among labelled ones: the difference estimator,
  unbiased whatever the judge is like, and whatever was drawn most. It assumes no confusion matrix,
  so it shows where a judge errs on one method otherwise than on others. (Särndal, Swensson and
  Wretman 1992, "Model Assisted Survey Sampling", section 6.3; Angelopoulos et al. 2023,
  arXiv:2301.09633.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from livo_bench.results.metrics.intervals import TAIL, Interval
from livo_bench.results.metrics.judge_error import MATRICES, Confusion
from livo_bench.results.raters.drawn import Draw, Question, Stratum


class Share(NamedTuple):
    """What raters would say of a method's images."""

    method: str
    label: str
    judged: float
    """Share of its judged images with this label."""
    value: float
    """Share that raters would give it, among images that they would give a class."""
    interval: Interval
    """95 % interval; of the images at hand, not of other prompts."""
    n: int
    """Its labelled images."""


@dataclass(frozen=True)
class Labelled:
    """The labelled images of one judge's question."""

    question: Question
    strata: tuple[Stratum, ...]
    images: pd.DataFrame
    """A row an image: its `stratum`, `methods`, and of each class the share of its raters who say
    it; these sum to one, or less where some are unsure."""

    @classmethod
    def of(cls, draw: Draw, question: Question, answers: pd.DataFrame) -> Labelled:
        """Gather what raters said.

        Args:
            draw: Draw that the answers are to.
            question: Question of the kind `LABEL`.
            answers: A row an answer, with `item` and `answer`; of other questions, too.
        """
        items = {item.id: item for item in draw.items if item.question == question.id}
        own = answers[answers["item"].isin(items)]
        said = pd.crosstab(own["item"], own["answer"], normalize="index")
        said = said.reindex(columns=list(question.classes), fill_value=0.0)
        images = said.assign(
            stratum=[items[str(name)].stratum for name in said.index],
            methods=pd.Series({name: items[str(name)].methods for name in said.index}),
        )
        strata = tuple(one for one in draw.strata if one.question == question.id)
        return cls(question, strata, images)

    @cached_property
    def unlabelled(self) -> list[str]:
        """Strata of which no image was labelled; of them nothing can be said."""
        known = set(self.images["stratum"])
        return [stratum.name for stratum in self.strata if stratum.name not in known]

    def _said(self, stratum: Stratum) -> NDArray[np.float64]:
        """Shares of raters who say each class, shape `(n_h, K)`."""
        rows = self.images[self.images["stratum"] == stratum.name]
        return rows[list(self.question.classes)].to_numpy(np.float64)

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """A, shape `(K, K)`: images by true class and the judge's label."""
        found = np.zeros((len(self.question.classes),) * 2)
        for stratum in self.strata:
            label = self.question.classes.index(stratum.answer)
            found[:, label] += stratum.images * self._said(stratum).mean(axis=0)
        return found

    def drawn_totals(self) -> NDArray[np.float64]:
        """What A may as well be, shape `(MATRICES, K, K)`, see above."""
        random = np.random.default_rng(0)
        size = len(self.question.classes)
        found = np.zeros((MATRICES, size, size))
        for stratum in self.strata:
            label = self.question.classes.index(stratum.answer)
            said = self._said(stratum)
            prior = np.where(np.arange(size) == label, 0.5, 0.5 / (size - 1))
            truths = random.dirichlet(said.sum(axis=0) + prior, MATRICES)
            found[:, :, label] += stratum.images * said.sum(axis=1).mean() * truths
        return found

    @cached_property
    def worth(self) -> NDArray[np.float64]:
        """How many images the labels are worth that raters call by each class, shape `(K,)`: 0 of
        a class that no image is called by."""
        named = self.totals.sum(axis=1)
        rates = self.totals / np.where(named > 0, named, 1)[:, None]
        drawn = self.drawn_totals()
        errors = drawn / drawn.sum(axis=2, keepdims=True) - rates
        squares = (errors**2).sum(axis=2).mean(axis=0)
        worth = map(images_worth, rates, range(len(rates)), squares)
        return np.where(named > 0, list(worth), 0.0)

    def confusion(self) -> Confusion | None:
        """How the judge errs; None where the labels of some class are not worth one image."""
        if (self.worth < 1).any():
            return None
        rates = self.totals / self.totals.sum(axis=1, keepdims=True)
        rows = np.round(rates * self.worth[:, None], 6).tolist()
        return Confusion(self.question.judge, self.question.classes, tuple(map(tuple, rows)))

    def shares(self) -> list[Share]:
        """What raters would call the images of each method, by method and class."""
        methods = sorted({method for stratum in self.strata for method in stratum.methods})
        return [share for method in methods for share in self._shares(method)]

    def _shares(self, method: str) -> list[Share]:
        classes = self.question.classes
        made = np.array([stratum.methods.get(method, 0) for stratum in self.strata])
        judged, moved, variance = (np.zeros(len(classes) + 1) for _ in range(3))
        decided = float(made.sum())
        labelled = 0
        for stratum, number in zip(self.strata, made, strict=True):
            label = classes.index(stratum.answer)
            rows = self.images[self.images["stratum"] == stratum.name]
            own = rows["methods"].map(lambda names: method in names).to_numpy(np.float64)
            labelled += int(own.sum())
            said = self._said(stratum)
            answer = np.eye(len(classes))[label]
            # The last column: images that raters give no class.
            errors = np.column_stack([said - answer, said.sum(axis=1) - 1]) * own[:, None]
            judged[label] += number
            moved += stratum.images * errors.mean(axis=0)
            variance += _variance(errors, stratum, int(number))
        decided += moved[-1]
        shares = (judged + moved)[:-1] / decided
        freedom = max(len(self.images) - len(self.strata), 1)
        reach = stdtrit(freedom, 1 - TAIL) * np.sqrt(variance[:-1]) / made.sum()
        return [
            Share(
                method,
                name,
                float(judged[place] / made.sum()),
                float(shares[place]),
                Interval(
                    float(max(shares[place] - reach[place], min(0.0, shares[place]))),
                    float(min(shares[place] + reach[place], max(1.0, shares[place]))),
                ),
                labelled,
            )
            for place, name in enumerate(classes)
        ]


def _variance(errors: NDArray[np.float64], stratum: Stratum, made: int) -> NDArray[np.float64]:
    """Squared errors of a stratum's part of a method's total, by class.

    Where no error was seen there may be some: the variance is at least that of half an image in
    n + 1 being wrong.
    """
    n = len(errors)
    hidden = 0.5 / (n + 1) * made / stratum.images
    seen = errors.var(axis=0, ddof=1) if n > 1 else np.zeros(errors.shape[1])
    left = 1 - n / stratum.images
    found: NDArray[np.float64] = (
        stratum.images**2 * left * np.maximum(seen, hidden * (1 - hidden)) / n
    )
    return found


def images_worth(rates: NDArray[np.float64], place: int, square: float) -> float:
    """How many images of one class, drawn at random, would tell its rates as well.

    Args:
        rates: Rates of each label, shape `(K,)`.
        place: Which of the labels is right.
        square: Expected squared error, summed over labels.

    Returns:
        The n at which draws from the Dirichlet distribution of `Confusion.drawn` have this squared
        error; the larger, the more certain.
    """
    size = len(rates)
    prior = np.where(np.arange(size) == place, 0.5, 0.5 / (size - 1))

    def error(n: float) -> float:
        mean = (n * rates + prior) / (n + 1)
        return float((mean * (1 - mean) / (n + 2) + (mean - rates) ** 2).sum())

    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > square else (low, middle)
    return low
