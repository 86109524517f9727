"""The page of a run that still goes: served on loopback from what lies on disk, until interrupted.

The run knows nothing of it. Its store says which images and scores there are, and its result
folders hold the report, which is written anew when results change.
"""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2

from livo_bench.cards.catalog import RUNS, results_of
from livo_bench.errors import BadInput, LivoBenchError
from livo_bench.escaping import visible
from livo_bench.report import html
from livo_bench.report.contents import PORT
from livo_bench.report.page_pictures import SIDE, to_png
from livo_bench.runs.keeping import AGAIN
from livo_bench.runs.store import Store

HOST = "127.0.0.1"
NEWEST = 24
"""Pictures that are shown of a run that goes."""
SECONDS = 2.0
"""Between two looks at the disk."""
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
_PAGE = Path(__file__).parent / "page"


@dataclass
class Watched:
    """What was found on disk at the last look."""

    runs: Path
    model: str
    folder: Path
    """Where the report is written."""
    images: int = 0
    """Images that were made."""
    unkept: int = 0
    """Those of them whose pixels are not kept."""
    first: int | None = None
    """Images that there were at the first look; None before it."""
    judged: dict[str, int] = field(default_factory=dict)
    """Images by who judged them."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """The newest as PNG by the keys of their recipes, the newest first."""
    version: int = 0
    """Counts the reports that were written."""
    trouble: str = ""
    """Why there is no newer report."""

    def __post_init__(self) -> None:
        try:
            self._store = Store(self.runs, results_of(self.model)[0])
        except ValueError as error:
            raise BadInput(
                f"{self.model} is no name of a model's results; expected one such as mini.",
                "See which there are: livo-bench list models",
            ) from error
        self._seen: set[str] = set()
        self._results: list[tuple[str, int]] = []

    def look(self) -> None:
        """Look at the disk again."""
        try:
            self._look_at_store()
            results = self._stamps()
            if results != self._results:
                self._results = results
                html.write(self.folder, self.runs, self.model)
                self.version, self.trouble = self.version + 1, ""
        except LivoBenchError as error:
            # Results that are being written may not fit together yet.
            self.trouble = str(error)

    def _stamps(self) -> list[tuple[str, int]]:
        found = self.runs.rglob("aggregates.csv")
        return sorted((str(path), path.stat().st_mtime_ns) for path in found)

    def _look_at_store(self) -> None:
        keys = self._store.sample_keys()
        new = sorted(keys - self._seen)[-NEWEST:]
        self._seen, self.images = keys, len(self._store.made_keys())
        self.unkept = self.images - len(keys)
        self.first = self.images if self.first is None else self.first
        made = {
            key: to_png(pixels, min(SIDE, len(pixels)))
            for key, pixels in self._store.read_samples(new).items()
        }
        self.pictures = dict([*made.items(), *self.pictures.items()][:NEWEST])
        scores = self._store.folder / "scores"
        self.judged = {
            path.name: len(self._store.score_keys(path.name))
            for path in sorted(scores.glob("*"))
            if path.is_dir()
        }


def view(
    runs: Path = RUNS,
    model: str = "mini",
    port: int = PORT,
    said: Callable[[str], object] = print,
) -> None:
    """Serve the page of results and of a run that goes, on this machine alone, until interrupted.

    Args:
        runs: Folder of results, which a run may be writing.
        model: Model, as results name it.
        port: Port of 127.0.0.1; 0 takes a free one.
        said: Is told the address.

    Raises:
        BadInput: There is no such folder, or the port is taken.
    """
    if not runs.is_dir():
        raise BadInput(
            f"There is no folder {runs}; expected one that a run writes to.",
            "Start a run first, or name its folder: livo-bench view DIR",
        )
    with TemporaryDirectory() as folder:
        watched = Watched(runs, model, Path(folder) / "report")
        try:
            server = ThreadingHTTPServer((HOST, port), partial(_Handler, watched))
        except OSError as error:
            raise BadInput(
                f"Port {port} of {HOST} cannot be had: {error.strerror}.",
                "Name another one, or take a free one: --port 0",
            ) from error
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            said(f"http://{HOST}:{server.server_port}/")
            while True:
                watched.look()
                time.sleep(SECONDS)
        except KeyboardInterrupt:
            pass
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers with the page, its pictures and the files of the report, and with nothing else."""

    def __init__(self, watched: Watched, *args: object) -> None:
        self._watched = watched
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        # Another site's name that was pointed at this address is no way in.
        _, _, port = self.headers.get("Host", "").rpartition(":")
        allowed = {f"{HOST}:{port}", f"localhost:{port}"}
        if self.headers.get("Host") not in allowed:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = self.path.split("?")[0]
        answer = self._answer(path)
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind = mimetypes.guess_type(path)[0] or "text/html"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if "text" in kind else kind)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(answer)

    def _answer(self, path: str) -> bytes | None:
        room, _, name = path[1:].partition("/")
        if path in ("/", "/live"):
            return _render(f"{room or 'view'}.html.jinja", self._watched)
        if path in ("/view.js", "/report.css"):
            return (_PAGE / room).read_bytes()
        if path == "/favicon.ico":
            return b""  # browsers ask for one unasked
        if room == "pictures":
            return self._watched.pictures.get(name.removesuffix(".png"))
        if room == "report":
            folder = self._watched.folder.resolve()
            file = (folder / name).resolve()
            return file.read_bytes() if file.is_relative_to(folder) and file.is_file() else None
        return None

    def log_message(self, format: str, *args: object) -> None:
        """The terminal is for the address."""


def _render(template: str, watched: Watched) -> bytes:
    page = _environment().get_template(template).render(watched=watched, keep_again=AGAIN)
    return page.encode("utf-8", "xmlcharrefreplace")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
