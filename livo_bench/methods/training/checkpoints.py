"""Training checkpoints: weights, optimiser and progress in one safetensors file, no pickle.

The file carries a seal in its metadata, the SHA-256 of all that it holds, and says which training
it is of. Nothing of it is put to use before both were looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from livo_bench.errors import BadInput
from livo_bench.files import written_whole

_SEAL, _OF = "seal", "of"
_AGAIN = (
    "Delete it, and train again with the same command: that starts from step 0, and what is "
    "finished stays."
)


def write(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Mapping[str, str],
    average: Iterable[Tensor] = (),
    *,
    of: str,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Path of the file; a previous one is replaced.
        model: All of its tensors are kept.
        optimiser: Its state of every parameter is kept.
        progress: What else a training loop has to know.
        average: Further tensors, such as a moving average of weights.
        of: Names the training; no other one reads the file.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimiser)):
        state = optimiser.state[parameter]
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    tensors |= {f"average.{number}": value for number, value in enumerate(average)}
    keep(path, tensors, progress, of=of)


def keep(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, str], *, of: str) -> None:
    """Write sealed tensors of a training, whole or not at all.

    Args:
        path: Path of the file; a previous one is replaced.
        tensors: Tensors by name, on any device.
        said: What else the file is to say.
        of: Names the training; no other one reads the file.
    """
    whole = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    size = sum(tensor.nbytes for tensor in whole.values())
    said = {**said, _OF: of}
    with written_whole(path, size) as unfinished:
        try:
            save_file(whole, unfinished, metadata={**said, _SEAL: _seal(whole, said)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Iterable[Tensor] = (),
    *,
    of: str,
) -> dict[str, str]:
    """Put a checkpoint back into the objects it was written from, and return its progress.

    Raises:
        BadInput: The file is damaged, is of another training, or does not fit; the objects are as
            they were, unless it does not fit.
    """
    tensors, said = kept(path, of=of)
    try:
        model.load_state_dict(
            {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        )
        for number, value in enumerate(average):
            value.copy_(tensors[f"average.{number}"])
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{path} does not fit what is trained: {reason}. {_AGAIN}") from error
    for number, parameter in enumerate(_parameters(optimiser)):
        prefix = f"optimiser.{number}."
        optimiser.state[parameter] = {
            n.removeprefix(prefix): t if n.endswith(".step") else t.to(parameter.device)
            for n, t in tensors.items()
            if n.startswith(prefix)
        }
    return said


def kept(path: Path, *, of: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that `keep` wrote, on the CPU, and what else the file says.

    Raises:
        BadInput: The file is damaged, or is of another training.
    """
    tensors, said = _read(path)
    seal = said.pop(_SEAL, None)
    if seal is None:
        raise BadInput(f"{path} has no seal: an older version wrote it, or it is damaged. {_AGAIN}")
    if (found := _seal(tensors, said)) != seal:
        raise BadInput(
            f"{path} is damaged: its content has the SHA-256 {found[:12]}, and its seal is "
            f"{seal[:12]!r}. {_AGAIN}"
        )
    if (written := said.pop(_OF, None)) != of:
        raise BadInput(
            f"{path} is a checkpoint of {written!r}; expected one of {of!r}. Put the right one "
            f"there. Or: {_AGAIN}"
        )
    return tensors, said


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            said = dict(file.metadata() or {})
    # What the library raises over damaged files is of many kinds.
    except Exception as error:
        raise BadInput(f"{path} is damaged: {error}. {_AGAIN}") from error
    return tensors, said


def _seal(tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> str:
    """SHA-256 of what a checkpoint holds, in whatever order its file does.

    Args:
        tensors: On the CPU, contiguous.
        said: Its metadata but for the seal.
    """
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
