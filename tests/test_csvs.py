from pathlib import Path

import pytest

from livo_bench.csvs import read_csv
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
