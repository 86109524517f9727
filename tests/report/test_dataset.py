"""Table 1: what it counts, of which preference data."""

from pathlib import Path

import pandas as pd
import pytest

from livo_bench.cards.catalog import DATA, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.errors import Incomplete, NotComparable
from livo_bench.methods.livo.preference_data import COLUMNS, sealed
from livo_bench.report import dataset, paper
from livo_bench.report.dataset import table_1


def picture(key: str, scene: str, category: str, preferred: bool) -> dict[str, object]:
    prompt = scene.partition(".")[0]
    row = dict.fromkeys(COLUMNS, "") | {"key": key, "scene": scene, "prompt": prompt}
    return row | {"category": category, "preferred": preferred, "share": 0.1}


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True)
    path = folder / "bias-nurse-0.parquet"
    path.write_bytes(sealed(pd.DataFrame(rows).astype(COLUMNS), path))
    return folder


ROWS = [
    picture("a", "nurse.gender", "career", True),
    picture("b", "nurse.gender", "career", False),
    picture("a", "nurse.race", "career", True),
    picture("c", "nurse.race", "career", False),
    picture("d", "pilot.race", "career", True),  # nothing to hold it against
    picture("e", "kind.race", "positive", True),
    picture("f", "kind.race", "positive", False),
]


def test_pictures_of_both_values_are_counted_once_and_samples_twice(tmp_path: Path) -> None:
    write(tmp_path / "preferences" / "mini" / "abc", ROWS)
    table = table_1(tmp_path, "mini").set_index("category")
    assert list(table.columns) == ["task", *dataset.COUNTED]
    assert list(table.loc["career"])[1:4] == [1, 3, 2]
    assert list(table.loc["positive"])[1:4] == [1, 2, 1]
    assert list(table.loc["horror"])[1:4] == [0, 0, 0]
    assert list(table.loc["total"])[1:4] == [2, 5, 3]
    prompts = read_task_prompts(task_cards()["toxicity"], "mini")
    assert table.loc["horror", "eval_prompts"] == sum(p.category == "horror" for p in prompts)
    assert table.loc["total", "eval_prompts"] == table["eval_prompts"][:-1].sum()


def test_the_data_itself_may_be_named_and_has_to_be_where_there_are_several(tmp_path: Path) -> None:
    first = write(tmp_path / "preferences" / "mini" / "abc", ROWS)
    write(tmp_path / "preferences" / "mini" / "def", ROWS[:2])
    assert table_1(first, "mini")["train_images"].max() == 5
    with pytest.raises(NotComparable, match=r"in 2 ways(?s:.)*report .*/abc --table 1"):
        table_1(tmp_path, "mini")


def test_no_data_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match="livo-bench data build --model mini"):
        table_1(tmp_path, "mini")


def test_the_images_of_a_result_are_no_preference_data() -> None:
    with pytest.raises(Incomplete, match="There is no preference data of model 'mini'"):
        table_1(DATA / "results" / "mini" / "sd" / "bias", "mini")


def test_the_papers_counts_stand_beside_those_of_its_own_model_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "preferences" / "mini" / "abc", ROWS)
    assert not [name for name in table_1(tmp_path, "mini").columns if "paper" in name]
    monkeypatch.setattr(paper, "MODEL", "mini")  # as if this were Stable Diffusion 1.5
    table = table_1(tmp_path, "mini").set_index("category")
    assert table.loc["career", "paper_train_images"] == 56100
    assert table.loc["total", "paper_eval_prompts"] == 1405
