"""Replies of an endpoint that are none, through the package that reads them."""

import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import COUNTS, as_json, damaged, string, survive
from serving import Quiet, served

from livo_bench.errors import LivoBenchError
from livo_bench.methods.retrieval.endpoint import LanguageModel, read_answer

KEY = "sesame-0123456789"
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": '{"rationale": "A nurse is a human being.", "label": "person"}',
            },
        }
    ],
}


Reply = tuple[int, str, bytes]
"""Status, content type and body."""


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Reply]]:
    """What a server on this machine answers next."""
    waiting: list[Reply] = []

    class Handler(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, kind, body = waiting[0]
            self.send(status, kind, body)

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served(Handler) as port:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        yield waiting


@COUNTS
def test_a_reply_is_read_or_refused_and_shows_no_key(
    tmp_path: Path, replies: list[Reply], count: int
) -> None:
    draw = random.Random("replies")
    model = LanguageModel("m", tmp_path, max_retries=0)
    numbers = itertools.count()
    shown: list[str] = []

    def ask(made: Reply) -> None:
        replies[:] = [made]
        try:
            shown.append(model.retrieve(f"prompt {next(numbers)}").rationale)
        except LivoBenchError as error:
            shown.append(str(error))
            raise

    def made() -> Reply:
        body = as_json(COMPLETION, draw)
        if draw.random() < 0.3:
            body = damaged(body, draw).replace(b"m", KEY.encode())
        kind = draw.choice(("application/json", "application/json", "text/html", "", "x/y"))
        return draw.choice((200, 200, 200, 200, 302, 401, 404, 500)), kind, body

    survive("reply of an endpoint", (made() for _ in range(count)), ask, 0.1)
    assert not [said for said in shown if KEY in said or "\x1b" in said or len(said) > 1200]


@COUNTS
def test_a_kept_answer_is_read_or_refused(tmp_path: Path, replies: list[Reply], count: int) -> None:
    draw = random.Random("kept")
    model = LanguageModel("m", tmp_path)
    kept = {"text": "a nurse", "kind": "person", "rationale": "A nurse.", "stage": "keywords"}
    folder = tmp_path / model.id
    folder.mkdir()
    path = folder / f"{hashlib.sha256(b'a nurse').hexdigest()}.json"

    def read(made: bytes) -> None:
        path.write_bytes(made)
        model.retrieve("a nurse")

    survive("kept answer", (as_json(kept, draw) for _ in range(count)), read, 0.2)


@COUNTS
def test_the_text_of_a_reply_is_an_answer_or_none(count: int) -> None:
    draw = random.Random("answers")
    good = b'Let me think. {"rationale": "A nurse.", "label": "person"}'

    def read(made: str) -> None:
        answer = read_answer(made)
        assert answer is None or len(answer.rationale) < 1100

    texts = (damaged(good, draw).decode("utf-8", "replace") + string(draw) for _ in range(count))
    survive("text of a reply", texts, read)
