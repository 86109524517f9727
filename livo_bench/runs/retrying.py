"""Writes of the store that are refused or hang are tried again, and it is said how often.

A disk that is full for a while, a file system of the network that is remounted or does not answer:
hours of work need not end over it. What cannot pass by itself, as a folder that may not be written,
is an error at once.
"""

from __future__ import annotations

import errno
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from livo_bench.errors import BadInput
from livo_bench.interrupt import require_unasked

log = logging.getLogger(__name__)

PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EAGAIN, errno.EBUSY),
        *(errno.ETIMEDOUT, errno.ESTALE, errno.ENOTCONN, errno.ECONNRESET, errno.EHOSTDOWN),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOLCK),
    }
)
"""Numbers of errors that may pass by themselves."""
PAUSES = (1.0, 4.0, 16.0)
"""Seconds before each further try, of which up to half are left out at random, so that processes
that failed together do not try together."""
PATIENCE = 300.0
"""Seconds after which a write hangs: a file takes seconds."""


@dataclass
class _Counted:
    """How often this process had to try again."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    writes: int = 0


_counted = _Counted()


def persist(write: Callable[[], None], name: str) -> None:
    """Do a write that may be done twice, again where it is refused or hangs.

    What is said of writes that had to be tried again is said of the 1st, 2nd, 4th, 8th and so on.

    Args:
        write: Writes; raises `BadInput` because of an `OSError`.
        name: What is written, for messages.

    Raises:
        BadInput: It was refused in the end, or for a reason that does not pass.
        Stopped: A signal came, and it was refused until then.
    """
    started = time.monotonic()
    refused: list[str] = []
    while (error := _tried(write, name)) is not None:
        cause = error.__cause__
        passing = isinstance(cause, OSError) and cause.errno in PASSING
        if not passing or len(refused) == len(PAUSES):
            tries = len(refused) + 1
            if tries == 1:
                raise error
            seconds = time.monotonic() - started
            raise BadInput(
                f"{error.message} It was tried {tries} times in {seconds:.0f} s.", error.hint
            ) from error
        require_unasked()
        time.sleep(PAUSES[len(refused)] * random.uniform(0.5, 1))
        refused.append(str(cause.strerror if isinstance(cause, OSError) else cause))
    if refused:
        with _counted.lock:
            _counted.writes += 1
            count = _counted.writes
        if count & (count - 1) == 0:
            times = "once" if len(refused) == 1 else f"{len(refused)} times"
            log.warning(
                f"{name} was refused {times} ({refused[-1]}) and is written now; files that had "
                f"to be tried again in this process until now: {count:,}."
            )


def _tried(write: Callable[[], None], name: str) -> BadInput | None:
    """Try in a thread of its own, which is left to itself where it hangs: should it end after all,
    it has written what another try writes."""
    raised: list[BaseException] = []

    def attempt() -> None:
        try:
            write()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        hung = BadInput(
            f"Cannot write {name}: it hung for {PATIENCE:.0f} s.",
            "See that its folder answers, or write elsewhere: --runs DIR",
        )
        hung.__cause__ = OSError(errno.ETIMEDOUT, "it hung")
        return hung
    if raised and not isinstance(raised[0], BadInput):
        raise raised[0]
    return raised[0] if raised else None  # type: ignore[return-value]
