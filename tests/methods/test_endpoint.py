"""The language model stage, against a server of chat completions on this machine."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Quiet, served

from livo_bench.cards.catalog import model_card
from livo_bench.errors import BadInput
from livo_bench.methods.retrieval.endpoint import ASKED, Answer, LanguageModel, read_answer
from livo_bench.methods.retrieval.retriever import build
from livo_bench.methods.retrieval.values import MALFORMED

NURSE = "A nurse is a human being."
GOOD = f'{{"rationale": "{NURSE}", "label": "person"}}'
ANIMAL = '{"rationale": "A dog is an animal.", "label": "value-free"}'


class Endpoint:
    """Answers requests in turn, the last answer for ever, and keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: list[str | int | bytes | None] = [GOOD]
        """A text is the model's reply or, with `{key}` in it, the error that echoes the key; a
        number an HTTP status, bytes a page, None no answer."""
        self.requests: list[dict[str, Any]] = []
        self.closing = threading.Event()

    def handler(self) -> type[Quiet]:
        endpoint = self

        class Handler(Quiet):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.requests.append({**json.loads(body), "path": self.path})
                turn = min(len(endpoint.requests), len(endpoint.replies)) - 1
                self.answer(endpoint.replies[turn])

            def answer(self, reply: str | int | bytes | None) -> None:
                match reply:
                    case None:
                        endpoint.closing.wait(10)
                    case bytes():
                        self.send(200, "text/html", reply)
                    case str() if "{key}" in reply:
                        key = self.headers["Authorization"].removeprefix("Bearer ")
                        error = json.dumps({"error": {"message": reply.replace("{key}", key)}})
                        self.send(401, "application/json", error.encode())
                    case str():
                        self.send(200, "application/json", completion(reply).encode())
                    case _:
                        self.send(reply, "application/json", b"{}")

        return Handler


def completion(reply: str) -> str:
    message = {"role": "assistant", "content": reply}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    )


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    monkeypatch.setenv("OPENAI_API_KEY", "local")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served(endpoint.handler()) as port:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        yield endpoint
        endpoint.closing.set()


def test_a_good_reply_is_taken(endpoint: Endpoint, tmp_path: Path) -> None:
    retrieval = LanguageModel("m", tmp_path).retrieve("a photo of a nurse")
    assert retrieval.principle is not None
    assert retrieval.principle.value == "gender equality"
    assert (retrieval.stage, retrieval.rationale) == ("language model", NURSE)


def test_the_model_is_asked_for_a_rationale_before_the_label(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    LanguageModel("some-model", tmp_path).retrieve("a photo of a nurse")
    [request] = endpoint.requests
    assert (request["path"], request["model"]) == ("/v1/chat/completions", "some-model")
    assert request["temperature"] == 0
    system, *examples, last = request["messages"]
    assert system["role"] == "system"
    assert system["content"].index('"rationale"') < system["content"].index('"label"')
    assert last == {"role": "user", "content": "a photo of a nurse"}
    replies = [one["content"] for one in examples if one["role"] == "assistant"]
    assert len(replies) == 3
    assert [list(json.loads(reply)) for reply in replies] == [["rationale", "label"]] * 3


def test_value_free_is_no_value(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [ANIMAL]
    retrieval = LanguageModel("m", tmp_path).retrieve("a red dog")
    assert (retrieval.principle, retrieval.stage) == (None, "language model")


def test_malformed_reply_is_asked_for_again_with_what_was_wrong(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.replies = ["gender, I guess", GOOD]
    retrieval = LanguageModel("m", tmp_path).retrieve("a photo of a nurse")
    assert retrieval.stage == "language model"
    first, second = (request["messages"] for request in endpoint.requests)
    assert second[: len(first)] == first
    assert second[len(first)] == {"role": "assistant", "content": "gender, I guess"}
    assert "label, one of: person, nudity, bloody, horror, value-free" in second[-1]["content"]


@pytest.mark.parametrize(
    "reply",
    ["", "no idea", '{"label": "person"}', '{"rationale": "x", "label": "racial equality"}'],
)
def test_replies_that_stay_malformed_are_value_free(
    endpoint: Endpoint, tmp_path: Path, reply: str
) -> None:
    endpoint.replies = [reply]
    retrieval = LanguageModel("m", tmp_path).retrieve("a photo of a nurse")
    assert (retrieval.principle, retrieval.stage) == (None, MALFORMED)
    assert repr(reply) in retrieval.rationale
    assert len(endpoint.requests) == ASKED


def test_what_is_no_chat_completion_is_malformed(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [b"<html>Please log in.</html>"]
    assert LanguageModel("m", tmp_path).retrieve("a photo of a nurse").stage == MALFORMED


def test_server_errors_are_tried_again(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [500, 503, GOOD]
    assert LanguageModel("m", tmp_path).retrieve("a nurse").stage == "language model"
    assert len(endpoint.requests) == 3


def test_server_errors_that_stay_are_said_and_nothing_is_lost(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    model = LanguageModel("m", tmp_path, max_retries=1)
    model.retrieve("a photo of a nurse")
    endpoint.replies = [500]
    with pytest.raises(BadInput, match="500") as error:
        model.retrieve("a photo of a cook")
    for part in ("'m'", "127.0.0.1:", str(tmp_path), "--retriever embeddings"):
        assert part in str(error.value)
    assert len(endpoint.requests) == 3
    assert model.retrieve("a photo of a nurse").stage == "language model"
    assert len(endpoint.requests) == 3


def test_refusal_is_said_at_once(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [401]
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        LanguageModel("m", tmp_path).retrieve("a nurse")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("key", ["local", "sk-proj-0123456789abcdef", "EMPTY+/="])
@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: {key}.",
        "Authorization: Bearer {key}",
        "no such route: https://me:{key}@host.test/v1?api_key={key}",
        "x" * 290 + "{key}",
    ],
)
def test_a_key_that_is_echoed_is_not_shown(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    endpoint.replies = [said]
    with pytest.raises(BadInput, match="401") as error:
        LanguageModel("m", tmp_path).retrieve("a nurse")
    reason, _, _ = str(error.value).partition("Expected an OpenAI")
    assert key[:4] not in reason


def test_what_is_shown_of_a_reply_is_short_and_steers_no_terminal(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "open-sesame")
    endpoint.replies = ["\x1b[31m{key}" + "y" * 10_000]
    with pytest.raises(BadInput) as error:
        LanguageModel("m", tmp_path).retrieve("a nurse")
    assert len(str(error.value)) < 1000
    assert "\x1b" not in str(error.value)
    rationale = "\x1b]0;x\x07 open-sesame " + "y" * 10_000
    endpoint.replies = [json.dumps({"rationale": rationale, "label": "person"})]
    kept = LanguageModel("m", tmp_path).retrieve("a photo of a nurse").rationale
    assert kept.startswith(r"\x1b]0;x\x07 *** y")
    assert len(kept) < 1100
    endpoint.replies = [f"no, {rationale}"]
    kept = LanguageModel("n", tmp_path).retrieve("a photo of a nurse").rationale
    assert "open-sesame" not in kept
    assert len(kept) < 400


def test_silence_ends_after_the_time_out(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [None]
    with pytest.raises(BadInput, match="timed out"):
        LanguageModel("m", tmp_path, timeout=0.2, max_retries=0).retrieve("a nurse")


def test_nobody_at_the_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:secret@127.0.0.1:{port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "local")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(BadInput, match=f"at 127.0.0.1:{port}: .*OPENAI_BASE_URL") as error:
        LanguageModel("m", tmp_path, max_retries=0).retrieve("a nurse")
    assert "secret" not in str(error.value)


def test_an_address_that_is_none_is_said(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:port/v1")
    with pytest.raises(BadInput, match=r"'port'.*OPENAI_BASE_URL"):
        LanguageModel("m", tmp_path).retrieve("a nurse")


def test_missing_key_names_the_variable(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BadInput, match=r"OPENAI_API_KEY.*--retriever embeddings"):
        LanguageModel("m", tmp_path).retrieve("a nurse")
    assert endpoint.requests == []


def test_missing_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(BadInput, match=r'pip install "livo-bench\[openai\]"'):
        LanguageModel("m", tmp_path).retrieve("a nurse")


def test_a_kept_answer_needs_no_request_key_or_package(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = LanguageModel("m", tmp_path).retrieve("a photo of a nurse")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setitem(sys.modules, "openai", None)
    assert LanguageModel("m", tmp_path).retrieve("a photo of a nurse") == first
    assert len(endpoint.requests) == 1


def test_answers_of_another_model_are_not_taken(endpoint: Endpoint, tmp_path: Path) -> None:
    one, other = LanguageModel("m", tmp_path), LanguageModel("n", tmp_path)
    assert one.id != other.id
    one.retrieve("a nurse")
    other.retrieve("a nurse")
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "x", "stage": "", "rationale": ""}'])
def test_a_damaged_answer_is_named(endpoint: Endpoint, tmp_path: Path, content: str) -> None:
    model = LanguageModel("m", tmp_path)
    model.retrieve("a nurse")
    [path] = (tmp_path / model.id).iterdir()
    path.write_text(content)
    with pytest.raises(BadInput, match="Delete it") as error:
        model.retrieve("a nurse")
    assert str(path) in str(error.value)


def test_keywords_come_before_the_language_model(endpoint: Endpoint, tmp_path: Path) -> None:
    both = build("openai", model_card("mini"), tmp_path, "m")
    assert both.retrieve("a nude mannequin").stage == "keywords"
    assert endpoint.requests == []
    assert both.retrieve("a photo of a nurse").stage == "language model"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (GOOD, Answer("person", NURSE)),
        (f"Let me think.\n```json\n{GOOD}\n```\nDone.", Answer("person", NURSE)),
        (f"{ANIMAL} No, wait: {GOOD}", Answer("person", NURSE)),
        ('{a} {"rationale": "x", "label": " Horror "}', Answer("horror", "x")),
        (
            '{"rationale": "x {", "label": "bloody", "more": {"label": "person"}}',
            Answer("bloody", "x {"),
        ),
        (f"{GOOD} {{}}", None),
        ('{"rationale": " ", "label": "person"}', None),
        ('{"rationale": "x", "label": ["person"]}', None),
        ('{"rationale": "x", "label": "robot"}', None),
        ('[1, 2] "person"', None),
        ('{"a":' * 100_000, None),
    ],
)
def test_answer_is_the_last_object_of_the_reply(reply: str, answer: Answer | None) -> None:
    assert read_answer(reply) == answer
