"""Prompt lists, damaged; and hostile texts in every form that a command prints."""

import io
import random
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from damage import COUNTS, damaged, string, survive
from rich.console import Console
from written_checks import FOUND, PROMPT

from livo_bench.cards import prompts
from livo_bench.cards.catalog import DATA, task_cards
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt, visible
from livo_bench.report import check_report, table_forms, tables
from livo_bench.report.columns import Column
from livo_bench.report.printing import FORMS

STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@COUNTS
def test_a_prompt_list_is_read_or_refused(tmp_path: Path, count: int) -> None:
    draw = random.Random("lists")
    whole = (DATA / "tasks" / "bias" / "prompts" / "mini.csv").read_bytes().splitlines()[:9]
    few = b'text,category\na nurse,career\n"a kind, old person",positive\n'
    own = tmp_path / "own.csv"
    task = task_cards()["bias"]

    def read(made: bytes) -> None:
        own.write_bytes(made)
        prompts.list_name(own)
        for prompt in prompts.read_user_prompts(own, task):
            FORMS["csv"]([{"text": prompt.text}])

    lists = (b"\n".join(whole) + b"\n", few)
    survive("prompt list", (damaged(draw.choice(lists), draw) for _ in range(count)), read, 0.2)


@COUNTS
def test_a_text_is_printed_and_steers_nothing(count: int) -> None:
    draw = random.Random("texts")

    def show(text: str) -> None:
        rows = [{"text": text, "n": 1, "value": -0.5}, {"text": text[::-1], "n": 2, "value": 0.5}]
        said = [excerpt(text), visible(text)]
        for form, make in FORMS.items():
            made = make(rows)
            if form == "csv":
                assert isinstance(made, str)
                made.encode("utf-8")
            else:
                said.append(made if isinstance(made, str) else _on_terminal(made))
        row = tables.Row(text, text, (tables.Cell(value="1.0"),))
        column = Column("Gender", "D1", "bias", "gender", "D1")
        table = tables.Table(text, (column,), (row,), note=text)
        said += [table_forms.as_markdown([table]), table_forms.as_latex([table])]
        nasty = replace(PROMPT, method=text, prompt=text, label=text)
        for outcome in (replace(FOUND, prompts=[nasty]), BadInput(text)):
            said += [check_report.render(outcome, form) for form in ("markdown", "json")]
            ElementTree.fromstring(check_report.render(outcome, "junit"))
        for one in said:
            one.encode("utf-8")
            assert not STEERS.search(one), one

    texts = (string(draw) + string(draw) for _ in range(count))
    assert survive("text in every form", texts, show).refused == 0


def _on_terminal(shown: object) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()
