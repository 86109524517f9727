"""What comes back from raters, and the key to it, however they were damaged."""

import json
import random
from pathlib import Path

from damage import COUNTS, as_json, survive
from written_audit import honest, ratings

from livo_bench.results.raters import drawn
from livo_bench.results.raters import ratings as files
from livo_bench.results.raters.drawn import LABEL, PAIR, UNSURE, Draw, Item, Question, Stratum
from livo_bench.results.raters.estimates import Labelled
from livo_bench.results.raters.preferences import fits, preferences

QUESTIONS = (
    Question("t/s", LABEL, "?", ("yes", "no", UNSURE), "judge-1"),
    Question("better", PAIR, "?", ("left", "tie", "right")),
)
STRATA = (
    Stratum("t/s", "yes, sure", "yes", 9, {"sd": 9}),
    Stratum("t/s", "no, sure", "no", 5, {"sd": 5}),
)
ITEMS = (
    Item("q0", "t/s", ("k",), "", "c", ("sd",), "yes, sure"),
    Item("q1", "t/s", ("l",), "", "d", ("sd",), "no, sure"),
    Item("q2", "better", ("k", "l"), "a text", "c", ("sd", "livo")),
)
DRAW = Draw("mini", 0, "sd", QUESTIONS, STRATA, ITEMS, {"livo": 3})


@COUNTS
def test_ratings_are_read_or_refused(tmp_path: Path, count: int) -> None:
    path = ratings(tmp_path, DRAW, "Ada", honest)
    held = json.loads(path.read_text("utf-8"))
    draw = random.Random("ratings")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        answers = files.read([path], DRAW)
        labelled = Labelled.of(DRAW, QUESTIONS[0], answers)
        if not labelled.unlabelled:
            labelled.confusion()
            labelled.shares()
        fits(DRAW, answers)
        preferences(DRAW, answers)

    survive("ratings of an audit", (as_json(held, draw) for _ in range(count)), read, 0.1)


@COUNTS
def test_a_draw_is_read_or_refused(tmp_path: Path, count: int) -> None:
    held = json.loads(DRAW.as_json())
    draw = random.Random("draw")

    def read(data: bytes) -> None:
        (tmp_path / drawn.FILE).write_bytes(data)
        drawn.read(tmp_path)

    survive("draw.json", (as_json(held, draw) for _ in range(count)), read, 0.1)
