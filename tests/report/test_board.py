"""Results of several people on one board."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from places import REFERENCE

from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.report import board as boards
from livo_bench.report.board import add_to_board as add
from livo_bench.runs.remake import ANOTHER, LAST_BITS, Remade
from livo_bench.runs.store import Store


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One result in the place of all that come with the package."""
    folder = tmp_path / "shipped" / "mini"
    shutil.copytree(REFERENCE / "sd" / "bias", folder / "sd" / "bias")
    monkeypatch.setattr(boards, "SHIPPED", folder)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    shutil.copytree(REFERENCE / "livo" / "bias", folder / "mini" / "livo" / "bias")
    return folder


def test_results_of_several_people_stand_in_one_table(mine: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    for by in ("ada", "grace", "ada"):
        page = add([mine], by, board)
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [sum(line.startswith(f"| {name} |") for line in rows) for name in
            ("SD", "LiVO by ada", "LiVO by grace")] == [1, 1, 1]  # fmt: skip
    assert "- ada: no images at hand, so none was made again." in text
    copied = board / "ada" / "mini" / "livo" / "bias" / "aggregates.csv"
    assert copied.read_bytes() == (mine / "mini/livo/bias/aggregates.csv").read_bytes()


def test_what_cannot_be_compared_or_was_changed_is_refused_and_nothing_is_written(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = tmp_path / "board"
    with pytest.raises(BadInput, match="no name of an entry"):
        add([mine], "../ada", board)
    with pytest.raises(Incomplete, match="nobody"):
        add([mine], "ada", board, model="nobody")
    load = boards.load_results

    def otherwise(folder: Path, model: str) -> pd.DataFrame:
        return load(folder, model).assign(**{"steps": "3"} if folder == mine else {})

    with monkeypatch.context() as patch:
        patch.setattr(boards, "load_results", otherwise)
        with pytest.raises(NotComparable, match="steps"):
            add([mine], "ada", board)
    numbers = mine / "mini" / "livo" / "bias" / "aggregates.csv"
    numbers.write_text(numbers.read_text().replace("0.", "0.0", 1))
    with pytest.raises(BadInput, match=r"aggregates\.csv"):
        add([mine], "ada", board)
    assert not board.exists()


def test_images_that_are_at_hand_are_made_again(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = LAST_BITS
    monkeypatch.setattr(Store, "sample_keys", lambda *_: {"a" * 64})
    monkeypatch.setattr(
        boards, "remake", lambda *_: [Remade("a" * 64, "a photo of a nurse", 0.1, 1.0, verdict)]
    )
    page = add([mine], "ada", tmp_path / "board")
    assert "- ada: 1 images last bits." in page.read_text(encoding="utf-8")
    verdict = ANOTHER
    with pytest.raises(NotComparable, match="other images when they are made again"):
        add([mine], "grace", tmp_path / "board")
    assert not (tmp_path / "board" / "grace").exists()
