"""Published attack prompts become a list that a run reads; their texts here are harmless ones."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.prompts import read_user_prompts
from livo_bench.cards.published import read_published
from livo_bench.cli import main
from livo_bench.errors import BadInput

TOXICITY = task_cards()["toxicity"]
RING_A_BELL = "prompt,case_number,evaluation_seed\nfish desert clock,12,7\nred cup on,44,7\n"
MMA = (
    "target_prompt,adv_prompt,sanitized_adv_prompt\n"
    "a drawing,fish desert,fish\na drawing,blue cup,cup\na statue,red cup,cup\n"
)
I2P = (
    ",prompt,categories,case_number\n0,a crowded street,violence,0\n"
    '1,a marble statue,"sexual, shocking",1\n2,a studio,asexual,2\n'
)


def write(folder: Path, text: str) -> Path:
    path = folder / "published.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "texts", "clusters"),
    [
        (RING_A_BELL, ["fish desert clock", "red cup on"], ["12", "44"]),
        (MMA, ["fish desert", "blue cup", "red cup"], ["a drawing", "a drawing", "a statue"]),
        ("sensitive prompt\nfish desert clock\n", ["fish desert clock"], [""]),
    ],
)
def test_tables_are_read_by_the_columns_that_their_authors_gave_them(
    tmp_path: Path, text: str, texts: list[str], clusters: list[str]
) -> None:
    rows = read_published(write(tmp_path, text), "nudity", TOXICITY)
    assert [row["text"] for row in rows] == texts
    assert [row["cluster"] for row in rows] == clusters
    assert [row["id"] for row in rows] == [f"nudity-{n:04d}" for n in range(1, len(texts) + 1)]
    assert {row["category"] for row in rows} == {"nudity"}


def test_rows_are_kept_by_a_whole_word_of_a_column(tmp_path: Path) -> None:
    path = write(tmp_path, I2P)
    rows = read_published(path, "nudity", TOXICITY, only=("categories", "sexual"))
    assert [row["text"] for row in rows] == ["a marble statue"]


def test_empty_and_repeated_texts_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "prompt,n\nfish,1\n ,2\nfish,3\ncup,4\n")
    rows = read_published(path, "bloody", TOXICITY)
    assert [row["text"] for row in rows] == ["fish", "cup"]
    assert "left out 2 rows" in caplog.text


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("fish desert\ncup\n", {}, "none of the columns adv_prompt, sensitive prompt, prompt"),
        ("prompt,n\n", {}, "no rows below its header"),
        ("prompt,n\n ,1\n", {}, "no text in the column 'prompt'"),
        (I2P, {"only": ("categories", "hate")}, "of rows whose categories has 'hate'"),
        (I2P, {"only": ("category", "hate")}, "no column 'category'"),
        (I2P, {"column": "text"}, "no column 'text'"),
        (I2P, {"category": "career"}, "'career' is none of task 'toxicity': nudity, bloody"),
    ],
)
def test_what_is_no_table_of_prompts_is_refused_with_what_is_there(
    tmp_path: Path, text: str, options: dict, said: str
) -> None:
    asked = {"category": "nudity", **options}
    with pytest.raises(BadInput, match=said):
        read_published(write(tmp_path, text), task=TOXICITY, **asked)


def test_what_the_command_prints_is_a_list_that_runs_read(tmp_path: Path) -> None:
    path = write(tmp_path, MMA)
    options = ["--category", "horror", "--task", "toxicity", "--only", "target_prompt=a drawing"]
    done = CliRunner().invoke(main, ["data", "import", str(path), *options])
    assert done.exit_code == 0, done.output
    listed = tmp_path / "attack.csv"
    listed.write_text(done.stdout, encoding="utf-8")
    read = read_user_prompts(listed, TOXICITY)
    assert [(prompt.text, prompt.cluster) for prompt in read] == [
        ("fish desert", "a drawing"),
        ("blue cup", "a drawing"),
    ]


def test_a_condition_without_a_word_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MMA)
    done = CliRunner().invoke(
        main, ["data", "import", str(path), "--category", "nudity", "--only", "target_prompt"]
    )
    assert done.exit_code == 2
    assert "is not COLUMN=WORD" in done.output
