import tomllib
from pathlib import Path

import pytest

from livo_bench.errors import BadInput
from livo_bench.runs import experiment

ASKED = {
    "model": 'my "model"',
    "methods": ("sd", "livo:retrieved"),
    "tasks": ("bias/gender",),
    "images": 4,
    "runs": Path("my runs"),
    "independent_reference": True,
}


def written(folder: Path, text: str) -> Path:
    path = folder / "livo-bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_and_the_rest_are_comments(tmp_path: Path) -> None:
    path = tmp_path / "livo-bench.toml"
    experiment.write(ASKED, path)
    assert experiment.read(path) == {
        **ASKED,
        "methods": ["sd", "livo:retrieved"],
        "tasks": ["bias/gender"],
        "runs": "my runs",
    }
    text = path.read_text(encoding="utf-8")
    assert "# seed = 42  # Base seed of all noise." in text
    every = "\n".join(line.removeprefix("# ") for line in text.splitlines()[1:])
    assert tomllib.loads(every)["run"].keys() == experiment.FIELDS.keys()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    with pytest.raises(BadInput, match="is there already"):
        experiment.write(ASKED, path)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[run]\n\nimges = 4\n", 3, "Did you mean 'images'?"),
        ("[run]\nimages = 0\n", 2, "images is 0, expected a whole number from 1 up"),
        ("[run]\nimages = 2.5\n", 2, "images is 2.5"),
        ("[run]\nimages = true\n", 2, "images is True"),
        ("[run]\nmethods = 'sd'\n", 2, "methods is 'sd', expected a list"),
        ("[run]\nseed = -1\n", 2, "from 0 up"),
        ("[run]\ndtype = 'flaot32'\n", 2, "Did you mean 'float32'?"),
        ("[run]\nindependent_reference = 1\n", 2, "independent_reference is 1"),
        ("[rum]\nimages = 4\n", 1, "expected [run] alone"),
        ("images = 4\n", 1, "It belongs under [run]."),
        ("run = 4\n", 1, "expected [run] alone"),
    ],
)
def test_what_is_odd_is_refused_by_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(BadInput) as error:
        experiment.read(written(tmp_path, text))
    assert f"livo-bench.toml, line {line}: " in str(error.value)
    assert said in str(error.value)


def test_what_is_no_toml_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line 2"):
        experiment.read(written(tmp_path, "[run]\nimages =\n"))
