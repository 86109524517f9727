from pathlib import Path

import pandas as pd
import pytest

from livo_bench.csvs import parse_parquet, read_csv
from livo_bench.errors import BadInput


def test_empty_cells_and_nan_are_missing_and_other_words_are_text(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("name,value\nNone,1\nNA,\nnull,nan\n")
    rows = read_csv(path, ("name", "value"), "Make it again.", numbers=("value",))
    assert rows["name"].tolist() == ["None", "NA", "null"]
    assert rows["value"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Cannot read .*No such file"),
        (b"", "Cannot read .*No columns"),
        (b"\xff\xfe\x00", "Cannot read"),
        (b"name,value\n1,2,3,4\n1,2\n1,2,3,4,5\n", "Cannot read"),
        (b"name\nx\n", "has the columns name; expected name, value"),
        (b"value,name\n", "has the columns value, name; expected name, value"),
        (b"name,value\nx,1\ny,2.", "ends within a line"),
        (b"name,value\nx,1\n,2\n", "has nothing for name in line 3; expected a text"),
        (b"name,value\nx,1\ny,inf\n", "has inf for value in line 3; expected a number"),
        (b"name,value\nx,1\ny,two\n", "has 'two' for value in line 3; expected a number"),
        (b"name,value\nx,True\ny,False\n", "has True for value in line 2; expected a number"),
        (b"name,value\nx,1\ny,-1e308\n", "has -1e\\+308 for value in line 3; expected a number"),
    ],
)
def test_a_file_that_is_no_such_table_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "some.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=rf"(?s){said}.*Make it again\."):
        read_csv(path, ("name", "value"), "Make it again.", numbers=("value",))


def test_whole_numbers_of_any_size_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text(f"name,value\nx,{10**30}\ny,1\n")
    assert read_csv(path, ("name", "value"), "Make it again.", ("value",))["value"].sum() == 1e30


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": ["x", "y"], "value": [1.0, 1e308]}, r"1e\+308 for value in line 3"),
        ({"label": ["x", "y"], "value": [True, False]}, "True for value in line 2"),
        ({"label": ["x", "y"], "value": ["1", "2"]}, "'1' for value in line 2"),
        ({"label": [1, 2], "value": [1.0, 2.0]}, "1 for label in line 2"),
    ],
)
def test_a_parquet_column_of_something_else_is_named(
    columns: dict[str, list[object]], said: str
) -> None:
    data = pd.DataFrame(columns).to_parquet()
    with pytest.raises(BadInput, match=said):
        parse_parquet(data, Path("some.parquet"), ("label",), (), ("value",), "Make it again.")


def test_a_parquet_file_may_have_no_rows() -> None:
    columns = {
        "label": pd.Series(dtype=str),
        "more": pd.Series(dtype=str),
        "value": pd.Series(dtype=float),
    }
    data = pd.DataFrame(columns).to_parquet()
    rows = parse_parquet(
        data, Path("x"), ("label",), (), ("value",), "Make it again.", holed=("more",)
    )
    assert list(rows.columns) == [*columns]
    assert rows.empty
