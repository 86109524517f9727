"""Errors keep what happened apart from what to do next."""

import ast
import pickle
import re
from pathlib import Path

import pytest
from places import ROOT

from livo_bench.cards.catalog import task_cards, unknown_name
from livo_bench.errors import BadInput, Incomplete, LivoBenchError
from livo_bench.results.reading import load_results


def test_an_error_is_printed_as_message_and_hint_and_a_notebook_shows_the_message_alone() -> None:
    error = BadInput("tasks/bias is upside down.", "Turn it: livo-bench turn")
    assert str(error) == "tasks/bias is upside down. Turn it: livo-bench turn"
    assert (error.message, error.hint) == ("tasks/bias is upside down.", "Turn it: livo-bench turn")


def test_an_error_without_a_hint_is_its_message() -> None:
    error = BadInput("tasks/bias is upside down.")
    assert (str(error), error.message, error.hint) == ("tasks/bias is upside down.",) * 2 + ("",)


def test_a_hint_stands_on_its_own_line_where_the_message_ends() -> None:
    error = unknown_name("task", "bais", task_cards())
    assert str(error).endswith(".\nDid you mean 'bias'?")
    assert error.message.startswith("Unknown task 'bais'. Known: bias, ")
    assert error.hint == "Did you mean 'bias'?"


def test_an_error_of_another_process_keeps_both() -> None:
    error = pickle.loads(pickle.dumps(Incomplete("No results.", "Make some.")))
    assert isinstance(error, Incomplete)
    assert (error.message, error.hint) == ("No results.", "Make some.")


def test_commands_to_type_stand_in_hints() -> None:
    errors = {error.__name__ for error in LivoBenchError.__subclasses__()}
    found = [
        f"{path}:{call.lineno}"
        for path in [*ROOT.glob("livo_bench/**/*.py"), *ROOT.glob("methods/**/*.py")]
        for call in ast.walk(ast.parse(Path(path).read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in errors and call.args
        # What a command wrote may be named: "a folder for each, as livo-bench run writes them".
        if re.search(r"(?<!as )livo-bench [a-z]", ast.unparse(call.args[0]))
    ]
    assert not found


def test_a_notebook_that_finds_no_results_is_told_no_command_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(LivoBenchError) as caught:
        load_results(tmp_path, "mini")
    assert "livo-bench" not in caught.value.message
    assert "livo-bench run --method sd" in caught.value.hint
