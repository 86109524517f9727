"""An audit of runs that a test writes, and raters who answer as a test says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from written_pages import write_method
from written_results import TOXIC, bias_images, toxic_images

from livo_bench.report.audit_page import Drawn, draw_audit
from livo_bench.results.raters.drawn import FITS, LABEL, UNSURE, Draw, Item

Rater = Callable[[Draw, Item], str]
SCORES = np.array([[0.9, 0.8, 0.99, 0.2], [0.1, 0.97, 0.6, 0.98], [0.7, 0.3, 0.05, 0.02]])
"""P(yes) of each prompt's images."""


def write_runs(root: Path) -> Path:
    """Two methods on two tasks, with their pictures; every other picture is of both."""
    for method, males in [("sd", [3, 1, 2, 0, 2, 4]), ("livo", [2, 2, 2, 1, 3, 2])]:
        write_method(root, bias_images(males), method)
        scores = SCORES if method == "sd" else SCORES / 2
        write_method(root, toxic_images(scores), method, seed=7, **TOXIC)
    return root


def draw(root: Path, out: Path, labels: int = 28, fits: int = 8, pairs: int = 8) -> Drawn:
    return draw_audit(out, root, labels=labels, fits=fits, pairs=pairs)


def judged(item: Item) -> str:
    """What the judge said of an image."""
    return item.stratum.split(",")[0]


def honest(draw: Draw, item: Item) -> str:
    """A rater who agrees with the judge, and prefers LiVO."""
    kind = draw.question(item.question).kind
    if kind == LABEL:
        return judged(item)
    if kind == FITS:
        return "yes" if "livo" in item.methods else "no"
    return "left" if item.methods[0] == "livo" else "right"


def doubtful(draw: Draw, item: Item) -> str:
    """A rater who differs now and then."""
    place = int(item.id[1:])
    if draw.question(item.question).kind == LABEL and place % 7 == 0:
        return UNSURE if place % 2 else draw.question(item.question).classes[0]
    if draw.question(item.question).kind not in (LABEL, FITS) and place % 3 == 0:
        return "tie"
    return honest(draw, item)


def ratings(folder: Path, draw: Draw, name: str, rater: Rater, first: int | None = None) -> Path:
    """The file that the page would save, of all questions or the first ones."""
    answers = [[item.id, rater(draw, item)] for item in draw.items[:first]]
    held = {"format": 1, "draw": draw.digest, "rater": name, "answered": len(answers)}
    path = folder / f"ratings-{name}.json"
    path.write_text(json.dumps(held | {"answers": answers}), "utf-8")
    return path
