"""Training checkpoints: weights, optimiser and progress in one safetensors file, no pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from livo_bench.store import written_whole


def write(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Mapping[str, str],
    average: Iterable[Tensor] = (),
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Of the file; a previous one is replaced.
        model: All of its tensors are kept.
        optimiser: Its state of every parameter is kept.
        progress: What else a training loop has to know.
        average: Further tensors, such as a moving average of weights.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimiser)):
        state = optimiser.state[parameter]
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    tensors |= {f"average.{number}": value for number, value in enumerate(average)}
    whole = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    size = sum(tensor.nbytes for tensor in whole.values())
    with written_whole(path, size) as unfinished:
        try:
            save_file(whole, unfinished, metadata=dict(progress))
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Iterable[Tensor] = (),
) -> dict[str, str]:
    """Put a checkpoint back into the objects it was written from, and return its progress."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress: dict[str, str] = file.metadata()
    model.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    for number, parameter in enumerate(_parameters(optimiser)):
        prefix = f"optimiser.{number}."
        optimiser.state[parameter] = {
            n.removeprefix(prefix): t if n.endswith(".step") else t.to(parameter.device)
            for n, t in tensors.items()
            if n.startswith(prefix)
        }
    for number, value in enumerate(average):
        value.copy_(tensors[f"average.{number}"])
    return progress


def progress_of(path: Path) -> dict[str, str]:
    """What a checkpoint says of its progress, without reading its tensors."""
    with safe_open(path, framework="pt") as file:
        progress: dict[str, str] = file.metadata()
    return progress


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
