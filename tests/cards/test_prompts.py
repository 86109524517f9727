import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from livo_bench.cards import catalog
from livo_bench.cards.declared import TaskCard
from livo_bench.cards.prompts import (
    list_name,
    read_task_prompts,
    read_user_prompts,
    read_value_free_prompts,
    spread,
    with_article,
)
from livo_bench.errors import BadInput
from livo_bench.records import Prompt

HEADER = "id,text,concept,category,template,split\n"


@pytest.fixture
def bias() -> TaskCard:
    return catalog.task_cards()["bias"]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_user_list_needs_text_and_category_only(tmp_path: Path, bias: TaskCard) -> None:
    path = write(
        tmp_path / "mine.csv",
        'text,category\na photo of a cook,career\n"a kind, calm person",positive\n',
    )
    assert read_user_prompts(path, bias) == [
        Prompt("career-0001", "a photo of a cook", "a photo of a cook", "career", "", "eval"),
        Prompt(
            "positive-0002", "a kind, calm person", "a kind, calm person", "positive", "", "eval"
        ),
    ]


def test_user_list_keeps_what_it_fills_in_itself(tmp_path: Path, bias: TaskCard) -> None:
    path = write(tmp_path / "mine.csv", "category,id,text,concept\ncareer,cook,a cook,cooking\n")
    assert read_user_prompts(path, bias) == [
        Prompt("cook", "a cook", "cooking", "career", "", "eval")
    ]


def test_task_list_is_read_by_split(
    tmp_path: Path, bias: TaskCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(
        f"{split}-{n},text {split} {n},concept,career,template,{split}\n"
        for split in ("train", "dev", "eval")
        for n in range(2)
    )
    path = write(tmp_path / "mini.csv", HEADER + rows)
    monkeypatch.setattr(type(bias), "prompts", lambda self, scale: path)
    assert [prompt.id for prompt in read_task_prompts(bias, "mini")] == ["eval-0", "eval-1"]
    assert [prompt.id for prompt in read_task_prompts(bias, "mini", "dev")] == ["dev-0", "dev-1"]


def test_task_without_a_list_for_the_scale_says_which_it_has(
    bias: TaskCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sd.csv"
    write(tmp_path / "mini.csv", HEADER)
    monkeypatch.setattr(type(bias), "prompts", lambda self, scale: path)
    with pytest.raises(BadInput, match=r"'bias' has no prompts .* 'sd'.*has: mini.*--prompts FILE"):
        read_task_prompts(bias, "sd")


def test_lists_of_the_package_are_sound() -> None:
    for task in catalog.task_cards().values():
        for path in task.folder.glob("prompts/*.csv"):
            splits = {
                split: read_task_prompts(task, path.stem, split)
                for split in ("train", "dev", "eval")
            }
            for field in ("concept", "template"):
                values = [
                    {getattr(prompt, field) for prompt in prompts} for prompts in splits.values()
                ]
                assert len(set().union(*values)) == sum(map(len, values)), f"{path}: {field}"


def test_byte_order_mark_blank_lines_and_windows_line_ends_are_fine(
    tmp_path: Path, bias: TaskCard
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("\ufefftext,category\r\na cook,career\r\n\r\na nurse,career\r\n".encode())
    assert [prompt.text for prompt in read_user_prompts(path, bias)] == ["a cook", "a nurse"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["line 1", "no column 'text'", "has: nothing"]),
        ("text\na cook\n", ["line 1", "no column 'category'", "has: text"]),
        ("text,category,kind\n", ["line 1", "unknown column 'kind'"]),
        ("text,category,text\n", ["line 1", "repeated column 'text'"]),
        ("text,category\n", ["no prompts", "at least one row"]),
        ("text,category\na cook,career\n ,career\n", ["line 3", "text is empty"]),
        ("text,category\na cook,job\n", ["line 2", "category is 'job'", "career, positive"]),
        ("text,category\na,career\nb,career\na,career\n", ["line 4", "'a' is already on line 2"]),
        ("id,text,category\nx,a,career\nx,b,career\n", ["line 3", "id 'x' is already on line 2"]),
        ("id,text,category\n../x,a,career\n", ["line 2", "id is '../x'", "letters, digits"]),
        ("id,text,category\n,a,career\n", ["line 2", "id is ''"]),
        ("text,category,split\na,career,test\n", ["line 2", "split is 'test'", "train, dev, eval"]),
        ("text,category\na cook\n", ["line 2 has 1 fields, the header has 2", "for: category"]),
        ("text,category\na, cook,career\n", ["line 2 has 3 fields", "double quotes"]),
        # A quoted text spans lines 2 and 3, so the short row is on physical line 4.
        ('text,category\n"a\ncook",career\nb\n', ["line 4 has 1 fields"]),
        ('text,category\n"a cook,career\n', ["line 2 is not CSV"]),
    ],
)
def test_a_wrong_list_is_refused_at_the_line_with_the_value(
    tmp_path: Path, bias: TaskCard, text: str, said: list[str]
) -> None:
    path = write(tmp_path / "mine.csv", text)
    with pytest.raises(BadInput) as error:
        read_user_prompts(path, bias)
    for part in [str(path), *said]:
        assert part in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("told", ["", "sep={}\r\n", '"sep={}"\n', "SEP={},,\n"])
def test_lists_of_spreadsheets_are_read(
    tmp_path: Path, bias: TaskCard, told: str, separator: str, encoding: str
) -> None:
    rows = ["text|category", '"a; kind, calm|\tperson"|positive', "a cook|career"]
    table = "\r\n".join(row.replace("|", separator) if row[0] != '"' else row for row in rows)
    table = table.replace('"|positive', f'"{separator}positive')
    path = tmp_path / "mine.csv"
    path.write_bytes((told.format(separator) + table).encode(encoding))
    if separator == "|" and not told:
        with pytest.raises(BadInput, match=r"line 1: no column 'text', .*has: text\|category"):
            read_user_prompts(path, bias)
    else:
        texts = [prompt.text for prompt in read_user_prompts(path, bias)]
        assert texts == ["a; kind, calm|\tperson", "a cook"]


def test_lines_are_counted_below_what_a_spreadsheet_puts_above(
    tmp_path: Path, bias: TaskCard
) -> None:
    path = write(tmp_path / "mine.csv", "sep=;\ntext;category\na;b;career\n")
    with pytest.raises(BadInput, match=r"line 3 has 3 fields.* holds a semicolon in double"):
        read_user_prompts(path, bias)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(tmp_path: Path, bias: TaskCard, encoding: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("text,category\na cook,career\n".encode(encoding))
    with pytest.raises(BadInput, match=r"line 1 holds a NUL, as a file in UTF-16 without"):
        read_user_prompts(path, bias)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_list_that_is_no_file_is_refused(
    tmp_path: Path, bias: TaskCard, make: Callable[..., object]
) -> None:
    make(tmp_path / "mine.csv")
    for read in (list_name, lambda path: read_user_prompts(path, bias)):
        with pytest.raises(BadInput, match=r"mine\.csv: it is a (pipe|folder), expected a plain"):
            read(tmp_path / "mine.csv")


def test_of_a_list_with_splits_eval_alone_is_taken_and_it_is_said(
    tmp_path: Path, bias: TaskCard, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("a", "train"), ("b", "eval"), ("c", "dev"), ("d", "train"), ("e", "eval")]
    lines = [f"{text},career,{split}\n" for text, split in rows]
    path = write(tmp_path / "mine.csv", "text,category,split\n" + "".join(lines))
    found = read_user_prompts(path, bias)
    assert [(prompt.id, prompt.text) for prompt in found] == [
        ("career-0002", "b"),
        ("career-0005", "e"),
    ]
    assert "mine.csv: left out 3 prompts of splits train, dev" in caplog.text
    write(path, "text,category,split\na,career,train\n")
    with pytest.raises(BadInput, match=r"has 1 prompts, all of the splits train; expected some of"):
        read_user_prompts(path, bias)


def test_bytes_that_are_no_utf8_are_named_with_their_line(tmp_path: Path, bias: TaskCard) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"text,category\na cook,career\na caf\xe9 owner,career\n")
    with pytest.raises(BadInput, match=r"mine.csv line 3: byte 0xe9 is not UTF-8"):
        read_user_prompts(path, bias)


def test_a_list_that_is_not_there_is_named(tmp_path: Path, bias: TaskCard) -> None:
    with pytest.raises(BadInput, match=r"Cannot read the prompts .*nowhere.csv: No such file"):
        read_user_prompts(tmp_path / "nowhere.csv", bias)


def test_a_task_list_needs_every_column(
    tmp_path: Path, bias: TaskCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mini.csv", "id,text,category,split\n")
    monkeypatch.setattr(type(bias), "prompts", lambda self, scale: path)
    with pytest.raises(BadInput, match="no column 'concept'"):
        read_task_prompts(bias, "mini")


def test_no_value_free_list_for_a_scale_names_the_file_that_is_missing() -> None:
    with pytest.raises(BadInput, match=r"scale 'xl': no .*value_free/xl\.csv.*for: mini, sd"):
        read_value_free_prompts("xl")


def test_a_list_of_ones_own_is_named_by_its_file_and_what_it_holds(tmp_path: Path) -> None:
    first = write(tmp_path / "mine.csv", "text,category\na cook,career\n")
    (tmp_path / "other").mkdir()
    second = write(tmp_path / "other" / "mine.csv", "text,category\na nurse,career\n")
    names = [list_name(first), list_name(second)]
    assert all(re.fullmatch(r"mine\.csv [0-9a-f]{12}", name) for name in names)
    assert len(set(names)) == 2
    with pytest.raises(BadInput, match=r"Cannot read the prompts .*gone\.csv"):
        list_name(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("nurse", "a"),
        ("optician", "an"),
        ("honest person", "an"),
        ("hourglass", "an"),
        ("horse trainer", "a"),
        ("uniform", "a"),
        ("union representative", "a"),
        ("unimaginative person", "an"),
        ("unidentified object", "an"),
        ("umpire", "an"),
        ("urologist", "a"),
        ("European", "a"),
        ("IT consultant", "an"),
    ],
)
def test_the_article_fits_the_sound(words: str, article: str) -> None:
    assert with_article(words) == f"{article} {words}"


def test_concepts_are_spread_over_the_list_and_each_gives_its_first_prompt() -> None:
    prompts = [
        Prompt(f"{concept}-{n}", f"{concept} {n}", concept, "career", "", "train")
        for concept in "abcde"
        for n in (0, 1)
    ]
    assert [prompt.id for prompt in spread(prompts, 3)] == ["a-0", "c-0", "e-0"]
    assert [prompt.id for prompt in spread(prompts, 9)] == ["a-0", "b-0", "c-0", "d-0", "e-0"]
