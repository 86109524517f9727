"""Files of answers are read as the page writes them, and nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_audit import honest, ratings

from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.results.raters import drawn
from livo_bench.results.raters import ratings as files
from livo_bench.results.raters.drawn import FITS, LABEL, UNSURE, Draw, Item, Question, Stratum

QUESTIONS = (
    Question("t/s", LABEL, "?", ("yes", "no", UNSURE), "judge-1"),
    Question("fits", FITS, "?", ("yes", "no", UNSURE)),
)
ITEMS = (
    Item("q0000", "t/s", ("k",), "", "c", ("sd", "livo"), "yes, sure"),
    Item("q0001", "fits", ("l",), "a text", "c", ("sd",)),
)
DRAW = Draw(
    "mini", 0, "sd", QUESTIONS, (Stratum("t/s", "yes, sure", "yes", 9, {"sd": 9}),), ITEMS, {}
)


def test_answers_of_raters_stand_under_each_other(tmp_path: Path) -> None:
    paths = [ratings(tmp_path, DRAW, name, honest) for name in ("Ada", "Grace")]
    found = files.read(paths, DRAW)
    assert found.to_numpy().tolist() == [
        ["q0000", "Ada", "yes"],
        ["q0001", "Ada", "no"],
        ["q0000", "Grace", "yes"],
        ["q0001", "Grace", "no"],
    ]


def test_who_stopped_has_fewer_answers(tmp_path: Path) -> None:
    assert len(files.read([ratings(tmp_path, DRAW, "Ada", honest, first=1)], DRAW)) == 1


def change(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda held: held | fields


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda held: [], "holds a list; expected a JSON object"),
        (lambda held: {}, "no file of ratings; expected JSON with format"),
        (change(draw=7), "no file of ratings"),
        (change(answered=True), "no file of ratings"),
        (change(format=2), "is of format 2.*expected format 1"),
        (change(rater="  "), r"of the rater '  '; expected format 1, a name"),
        (change(answers=[["q0000"]], answered=1), "pairs of an item and a choice"),
        (change(answers=[["q0000", 1]], answered=1), "pairs of an item and a choice"),
        (change(answered=3), "has 2 answers and says that it has 3"),
        (change(answers=[], answered=0), "has 0 answers.*at least one"),
        (change(answers=[["q9", "yes"], ["q0001", "no"]]), "answer to 'q9', which was not asked"),
        (
            change(answers=[["q0000", "maybe"], ["q0001", "no"]]),
            "'maybe' to q0000; expected one of yes, no, cannot tell",
        ),
        (change(answers=[["q0001", "no"], ["q0001", "no"]]), "two answers to q0001"),
    ],
)
def test_a_damaged_file_is_refused_and_says_where_the_answers_are_kept(
    spoil: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    path = ratings(tmp_path, DRAW, "Ada", honest)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(BadInput, match=rf"(?s){said}.*Open the page in the same browser"):
        files.read([path], DRAW)


def test_a_file_that_is_cut_off_or_is_not_there_is_refused(tmp_path: Path) -> None:
    path = ratings(tmp_path, DRAW, "Ada", honest)
    path.write_bytes(path.read_bytes()[:-9])
    for one in (path, tmp_path / "none.json"):
        with pytest.raises(BadInput, match=rf"Cannot read .*{one.name}"):
            files.read([one], DRAW)


def test_ratings_of_other_images_are_refused(tmp_path: Path) -> None:
    other = Draw("mini", 1, "sd", QUESTIONS, DRAW.strata, ITEMS, {})
    path = ratings(tmp_path, other, "Ada", honest)
    said = rf"of the draw {other.digest}.*of the draw {DRAW.digest}.*--draw DIR"
    with pytest.raises(NotComparable, match=said):
        files.read([path], DRAW)


def test_nobody_counts_twice(tmp_path: Path) -> None:
    first = ratings(tmp_path, DRAW, "Ada", honest)
    again = ratings(tmp_path, DRAW, "ada ", honest, first=1)
    for paths in ([first, again], [first, first]):
        with pytest.raises(BadInput, match=r"both of the rater '[aA]da ?'.*one file a rater"):
            files.read(paths, DRAW)


# The draw ----------------------------------------------------------------------------------------


def test_a_draw_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / drawn.FILE).write_bytes(DRAW.as_json())
    assert drawn.read(tmp_path) == DRAW


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"images": 9', '"images": 8', "it was changed"),
        ('"items"', '"itmes"', "is no draw: 'items'"),
        ('"digest"', '"digets"', "is no draw: 'digest'"),
        ("}", "", "Cannot read"),
    ],
)
def test_a_damaged_draw_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    (tmp_path / drawn.FILE).write_text(DRAW.as_json().decode().replace(old, new, 1))
    with pytest.raises(BadInput, match=rf"{said}.*Draw again"):
        drawn.read(tmp_path)


def test_without_a_draw_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"no .*draw\.json.*--draw DIR"):
        drawn.read(tmp_path)
