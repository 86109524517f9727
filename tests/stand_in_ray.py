"""A stand-in for Ray whose actors live in this process and do one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """What Ray raises."""


class AuthenticationError(RayError):
    """What it raises where a token is wrong."""


class StandInRay:
    """What `actors` asks of Ray."""

    __version__ = "0"
    exceptions = SimpleNamespace(RayError=RayError, AuthenticationError=AuthenticationError)
    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")

    def __init__(self, resources: Mapping[str, float] = {"CPU": 2}) -> None:
        self._resources = resources
        self.init_raises: Exception | None = None
        self.options: dict[str, Any] = {}
        self.given: list[str] = []
        """Ids of blocks in the order in which they were begun."""
        self.dies: Callable[[int, str], bool] = lambda actor, id: False
        """Whether an actor dies over a block, as often as Ray begins it again."""
        self.hangs: Callable[[int, str], bool] = lambda actor, id: False
        self.actors: list[object] = []
        self.cancelled = 0
        self.connected = False

    def init(self, address: str, **options: object) -> None:
        if self.init_raises is not None:
            raise self.init_raises
        self.connected = True

    def shutdown(self) -> None:
        self.connected = False

    def cluster_resources(self) -> Mapping[str, float]:
        return self._resources

    def remote(self, **options: Any) -> Callable[[type], SimpleNamespace]:
        self.options = options

        def kind(made: type) -> SimpleNamespace:
            def start(*arguments: object) -> SimpleNamespace:
                number = len(self.actors)
                self.actors.append(actor := made(*arguments))
                calls = {name: self._call(actor, name, number) for name in ("begin", "do")}
                return SimpleNamespace(**calls)

            return SimpleNamespace(remote=start)

        return kind

    def _call(self, actor: object, name: str, number: int) -> SimpleNamespace:
        def remote(*ids: str) -> _Future:
            def answer() -> object:
                self.given.extend(ids)
                if any(self.dies(number, id) for id in ids):
                    raise RayError("the actor died")
                return getattr(actor, name)(*ids)

            return _Future(answer, any(self.hangs(number, id) for id in ids))

        return SimpleNamespace(remote=remote)

    def wait(
        self, futures: Sequence[_Future], num_returns: int, timeout: float | None = None
    ) -> tuple[list[_Future], list[_Future]]:
        done = [future for future in futures if not future.hangs][:num_returns]
        return done, [future for future in futures if future not in done]

    def get(self, future: _Future) -> object:
        return future.answer()

    def cancel(self, future: _Future) -> None:
        self.cancelled += 1

    def kill(self, handle: object) -> None:
        pass


class _Future:
    def __init__(self, answer: Callable[[], object], hangs: bool) -> None:
        self.answer = answer
        self.hangs = hangs
