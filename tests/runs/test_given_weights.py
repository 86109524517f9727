"""Whose weights they are that a run is given."""

from __future__ import annotations

import pytest

from livo_bench.errors import BadInput
from livo_bench.runs.given_weights import by_method


def test_weights_are_those_of_the_one_method_that_takes_some() -> None:
    assert by_method(["./x"], ["sd", "livo", "attributes"]) == {"livo": ["./x"]}
    assert by_method(["./x=1.safetensors"], ["sd", "weights"]) == {"weights": ["./x=1.safetensors"]}
    assert by_method([], ["sd", "livo"]) == {}


def test_of_several_methods_each_is_named() -> None:
    given = ["ca=./a", "dpo:d=./d", "uce=hub:me/mine/x"]
    assert by_method(given, ["sd", "ca", "dpo:d", "uce", "dapt"]) == {
        "ca": ["./a"],
        "dpo:d": ["./d"],
        "uce": ["hub:me/mine/x"],
    }


def test_several_weights_may_be_handed_over() -> None:
    given = ["./a.safetensors", "weights=./b"]
    assert by_method(given, ["sd", "weights"]) == {"weights": ["./a.safetensors", "./b"]}


@pytest.mark.parametrize(
    ("given", "methods", "says", "then"),
    [
        (["./x"], ["ca", "sd", "uce"], "given to 2 methods", "--weights ca=./x"),
        (["./x"], ["sd", "negative"], "no method of this run takes any: sd, negative", "weights"),
        (["ca=./x"], ["sd", "uce"], "none of this run's methods: sd, uce", "--method ca"),
        (["uce=./x", "uce=./y"], ["uce"], "2 times: ./x, ./y", "--method weights"),
        (["ca="], ["sd", "ca"], "'ca=' names no place", "the weights of the package"),
        ([""], ["ca"], "'' names no place", "the weights of the package"),
        (["cca=."], ["sd", "ca"], "given to 'cca' (cca=.), which is none of this run's", "Say"),
        (["x" * 5000], ["ca"], "...' cannot be the path of a file", ""),
        (["ca=a\0b"], ["ca"], "cannot be the path of a file", ""),
    ],
)
def test_what_is_not_said_or_said_twice_is_refused(
    given: list[str], methods: list[str], says: str, then: str
) -> None:
    with pytest.raises(BadInput) as refused:
        by_method(given, methods)
    assert says in refused.value.message
    assert then in refused.value.hint
