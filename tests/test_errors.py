"""Errors keep what happened apart from what to do next."""

import pickle

import pytest

from livo_bench.cards.catalog import task_cards, unknown_name
from livo_bench.errors import BadInput, Incomplete, LivoBenchError
from livo_bench.results.reading import load_results


def test_an_error_is_printed_as_message_and_hint_and_a_notebook_shows_the_message_alone():
    error = BadInput("tasks/bias is upside down.", "Turn it: livo-bench turn")
    assert str(error) == "tasks/bias is upside down. Turn it: livo-bench turn"
    assert (error.message, error.hint) == ("tasks/bias is upside down.", "Turn it: livo-bench turn")


def test_an_error_without_a_hint_is_its_message():
    error = BadInput("tasks/bias is upside down.")
    assert (str(error), error.message, error.hint) == ("tasks/bias is upside down.",) * 2 + ("",)


def test_a_hint_stands_on_its_own_line_where_the_message_ends():
    error = unknown_name("task", "bais", task_cards())
    assert str(error).endswith(".\nDid you mean 'bias'?")
    assert error.message.startswith("Unknown task 'bais'. Known: bias, ")
    assert error.hint == "Did you mean 'bias'?"


def test_an_error_of_another_process_keeps_both():
    error = pickle.loads(pickle.dumps(Incomplete("No results.", "Make some.")))
    assert isinstance(error, Incomplete)
    assert (error.message, error.hint) == ("No results.", "Make some.")


def test_a_notebook_that_finds_no_results_is_told_no_command_in_the_message(tmp_path):
    with pytest.raises(LivoBenchError) as caught:
        load_results(tmp_path, "mini")
    assert "livo-bench" not in caught.value.message
    assert "livo-bench run --method sd" in caught.value.hint
