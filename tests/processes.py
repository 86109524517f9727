"""Processes of their own, forked from one that has loaded the libraries."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from livo_bench.engines.diffusion import Diffusion
from livo_bench.records import Recipe

SECONDS = 600
"""Until a wait is given up: far more than it takes on a busy machine."""


def start(target: Callable[..., object], *arguments: Any, **options: Any) -> BaseProcess:
    """Call a function in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["livo_bench.engines.diffusion", "livo_bench.runs.runner", "open_clip", "torch_fidelity"]
    )
    process = context.Process(target=target, args=arguments, kwargs=options)
    process.start()
    return process


def run_in(environment: dict[str, str], methods: Sequence[str], **options: Any) -> None:
    """Run methods with other variables in the environment."""
    from livo_bench.runs import runner

    os.environ.update(environment)
    runner.run(methods, **options)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def command(words: Sequence[str], folder: Path) -> None:
    """Run a command line that stops in its second block, and waits there for a file `go`.

    It touches `in-hand` when it is there, and writes standard error to `stderr`.
    """
    from livo_bench.cli import main
    from livo_bench.engines.diffusion import Diffusion

    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in background
    os.cpu_count = lambda: 1
    render, calls = Diffusion.render, []

    def render_and_wait(self: Diffusion, recipes: Sequence[Recipe]) -> np.ndarray:
        calls.append(recipes)
        if len(calls) == 2:
            (folder / "in-hand").touch()
            wait_for((folder / "go").exists)
        return render(self, recipes)

    Diffusion.render = render_and_wait  # type: ignore[method-assign]  # the process ends with it
    main(list(words))


def whole_command(words: Sequence[str], folder: Path) -> None:
    """Run a command line, whose standard error goes to `stderr` in a folder."""
    from livo_bench.cli import main

    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in background
    main(list(words))


def command_that_is_killed(words: Sequence[str]) -> None:
    """Run a command line of another pipeline that is killed in its second block."""
    from livo_bench.cli import main
    from livo_bench.engines.pipeline import Pipeline

    os.cpu_count = lambda: 1
    render, calls = Pipeline.render, []

    def render_once(self: Pipeline, recipes: Sequence[Recipe]) -> np.ndarray:
        calls.append(recipes)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return render(self, recipes)

    Pipeline.render = render_once  # type: ignore[method-assign]  # the process ends with it
    main(list(words))
