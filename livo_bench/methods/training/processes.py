"""Several processes that train as one, as `accelerate launch` starts them.

Each computes its part of every batch; gradients are averaged, so all hold the same weights, and the
first alone writes. A process on its own is the first of one: nothing here changes what it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce
from torch import Tensor

from livo_bench.errors import BadInput
from livo_bench.runs.plan import Shard

PATIENCE = timedelta(days=1)
"""For which processes wait for each other: the first alone looks at dev prompts, and parts of the
data do not end at once."""


def join(device: str) -> None:
    """Meet the other processes, before a model is loaded: each gets a device of its own.

    Args:
        device: Device of the training; on `cpu` messages go through gloo.
    """
    PartialState(cpu=device == "cpu", timeout=PATIENCE)


def first() -> bool:
    """Whether this process writes and reports."""
    return PartialState().is_main_process


def first_goes_first() -> AbstractContextManager[None]:
    """A block that the other processes enter when the first has left it."""
    return PartialState().main_process_first()


def wait() -> None:
    """Wait until all processes are here."""
    PartialState().wait_for_everyone()


def shard() -> Shard:
    """Which part of work that all can do at once is this process's; `wait` for the others' then."""
    state = PartialState()
    return state.process_index + 1, state.num_processes


def part(batch: int) -> slice:
    """Which of a batch's rows are this process's.

    Raises:
        BadInput: The processes cannot share the batch evenly, so that its mean is the mean of
            theirs.
    """
    state = PartialState()
    if batch % state.num_processes:
        raise BadInput(
            f"A batch of {batch} cannot be shared by {state.num_processes} processes; expected a "
            "number that divides it. Start as many, or change the batch of its training settings."
        )
    return slice(state.process_index, None, state.num_processes)


def refuse_company(method: str) -> None:
    """See that this process is alone.

    Raises:
        BadInput: It is not.
    """
    if (count := PartialState().num_processes) > 1:
        raise BadInput(
            f"Method {method!r} trains in one process, got {count}.",
            "Start it with livo-bench train, not with accelerate launch.",
        )


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Put the mean over all processes in place of each gradient."""
    if PartialState().num_processes == 1:
        return
    # One by one: together their copies would take twice the memory of what learns.
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.copy_(reduce(parameter.grad, reduction="mean"))


def mean(values: Sequence[float]) -> list[float]:
    """The mean over all processes of each value."""
    state = PartialState()
    if state.num_processes == 1:
        return list(values)
    averaged: list[float] = reduce(
        torch.tensor(values, dtype=torch.float32, device=state.device), reduction="mean"
    ).tolist()
    return averaged


def most(number: int) -> int:
    """The largest of all processes' numbers."""
    state = PartialState()
    if state.num_processes == 1:
        return number
    return int(gather(torch.tensor([number], device=state.device)).max())
