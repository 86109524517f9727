"""Ray, started on this machine for one command, or a cluster that is there.

Ray runs the code of whoever reaches its ports. So here it listens on loopback alone, answers those
alone who know its token, has no dashboard and reports nothing; what is so is said.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any

from livo_bench.bars import status
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.interrupt import require_unasked

log = logging.getLogger(__name__)

OBJECTS = 80 * 2**20
"""Bytes of Ray's memory for objects, about the least that it takes: no pixels pass."""
SECONDS = 120
"""Until Ray is given up that does not answer."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has Ray listen on 127.0.0.1 alone, which it otherwise does where it knows no clusters; an address
that it is told it replaces by one that others reach."""
UNTOLD: Any = {"configure_logging": False, "logging_level": logging.ERROR, "log_to_driver": False}
"""What Ray says goes to its own files."""
UNREPORTED = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Nothing is sent to whoever makes Ray, and nothing of what it says stands among the results."""


def require_ray() -> None:
    """See that Ray is installed.

    Raises:
        BadInput: It is not.
    """
    if "ray" not in sys.modules and find_spec("ray") is None:
        raise BadInput(
            "The blocks are to be done by Ray, which is not installed.",
            "Install it: pip install 'livo-bench[ray]', or leave --executor ray out.",
        )


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster while the block lasts.

    Args:
        address: Address of a cluster, `HOST:PORT` or `auto`; one is started here when None, and
            ended.
        workers: How many workers a cluster that is started has room for at least.

    Returns:
        The module `ray`.

    Raises:
        BadInput: The cluster is not reached, or has another version or token.
    """
    folder = tempfile.mkdtemp(prefix="livo-ray-")
    try:
        with status("starting Ray" if address is None else f"reaching Ray at {address}"):
            ray = _started(folder, workers) if address is None else _reached(address)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: str, workers: int | None) -> Any:
    """Ray on this machine alone."""
    # Before it is imported, which is when it reads them. The token is for this process and those
    # that it starts; Ray's own would be a file in the home folder.
    os.environ.update(LOOPBACK | UNREPORTED | {"RAY_AUTH_MODE": "token"})
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    paths = [path or os.getcwd() for path in sys.path]
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        # In this thread: what Ray starts ends with the thread that started it.
        ray.init(
            "local",
            num_cpus=max(workers or 1, os.cpu_count() or 1),
            object_store_memory=OBJECTS,
            include_dashboard=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}},
            _temp_dir=folder,
            **UNTOLD,
        )
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        raise BadInput(
            f"Ray cannot be started: {_reason(error)}.",
            "See that this machine has memory and room, or leave --executor ray out.",
        ) from error
    if main:
        signal.signal(signal.SIGTERM, before)  # Ray takes it for itself
    log.warning(
        f"Ray {ray.__version__} runs on this machine for this command: it listens on "
        f"{ray.util.get_node_ip_address()} and nowhere else, asks for a token, has no dashboard "
        "and reports nothing."
    )
    return ray


def _reached(address: str) -> Any:
    """Ray on a cluster that is there."""
    if "://" in address:
        raise BadInput(
            f"Ray cannot be reached at {address!r}; expected HOST:PORT or auto.",
            "Run this on a machine of the cluster, which sees the same files: --address auto",
        )
    os.environ.update(UNREPORTED)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if address.rpartition(":")[0] in ("127.0.0.1", "localhost"):
        os.environ.update(LOOPBACK)
    import ray

    error = _connect(ray, address)
    if isinstance(error, ray.exceptions.AuthenticationError):
        raise BadInput(
            f"Ray at {address} asks for a token: {_reason(error)}.",
            "Give the cluster's: RAY_AUTH_TOKEN=..., or the file that has it: "
            "RAY_AUTH_TOKEN_PATH=... If it has none: RAY_AUTH_MODE=disabled",
        ) from error
    if error is not None:
        raise BadInput(
            f"Ray at {address} cannot be used: {_reason(error)}.",
            "Start it on each machine with the same Ray and Python (ray start), run this on one "
            "of them, with its token in RAY_AUTH_TOKEN, and name the head: --address HOST:6379",
        ) from error
    token = os.environ["RAY_AUTH_MODE"] == "token"
    known = "asks for a token" if token else "asks for no token: whoever reaches it runs code there"
    log.warning(f"Ray {ray.__version__} at {address} does the work; it {known}.")
    return ray


def _connect(ray: Any, address: str) -> Exception | None:
    """Connect in a thread, since Ray waits for ever for a head that does not answer; why it could
    not, if so."""
    ended: SimpleQueue[Exception | None] = SimpleQueue()

    def connect() -> None:
        try:
            ray.init(address, **UNTOLD)
        except Exception as error:
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=connect, daemon=True).start()
    for _ in range(SECONDS * 5):
        require_unasked()
        with suppress(Empty):
            return ended.get(timeout=0.2)
    return TimeoutError(f"it did not answer in {SECONDS} seconds")


def _reason(error: Exception) -> str:
    """The first sentence of what Ray said."""
    return excerpt(str(error).partition(". ")[0]).rstrip(".")
