"""Where numbers are shown besides: TensorBoard, Weights & Biases or MLflow, each an extra.

Each is set up by its own variables, such as `WANDB_MODE=offline` or `MLFLOW_TRACKING_URI`; nothing
is sent anywhere but by those that are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from livo_bench.errors import BadInput

Numbers = Mapping[str, float]


class Tracker(Protocol):
    """Shows the numbers of one run or training."""

    def show(self, step: int, numbers: Numbers) -> None:
        """Take the numbers of a step, by name."""

    def close(self) -> None:
        """Write out what is held back."""


class TensorBoard:
    """Numbers as TensorBoard reads them, in files of a folder."""

    def __init__(self, folder: Path, name: str, about: Mapping[str, object]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("about", f"{name}: {dict(about)}")

    def show(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Numbers of a run of Weights & Biases, in the project `livo-bench` unless it is told one."""

    def __init__(self, folder: Path, name: str, about: Mapping[str, object]) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT", "livo-bench")
        self._run: Any = wandb.init(
            project=project, name=name, config=dict(about), dir=str(folder), reinit="create_new"
        )

    def show(self, step: int, numbers: Numbers) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """Numbers of a run of MLflow, in the experiment that it is told."""

    def __init__(self, folder: Path, name: str, about: Mapping[str, object]) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient()
        named = os.environ.get("MLFLOW_EXPERIMENT_NAME", "livo-bench")
        found = self._client.get_experiment_by_name(named)
        experiment = found.experiment_id if found else self._client.create_experiment(named)
        self._run: str = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in about.items():
            self._client.log_param(self._run, key, value)

    def show(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


TENSORBOARD = "tensorboard"
TRACKERS: Mapping[str, type[TensorBoard | WeightsAndBiases | MLflow]] = {
    TENSORBOARD: TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
"""Trackers by the name of the package, which is that of its extra, too."""


def installed(name: str) -> bool:
    """Whether a tracker's package is at hand."""
    try:
        return find_spec(name) is not None
    except ValueError:  # a module that was put there by hand
        return True


def require(names: Iterable[str]) -> None:
    """See that trackers are known and installed.

    Raises:
        BadInput: One is not.
    """
    for name in names:
        if name not in TRACKERS:
            raise BadInput(f"There is no tracker {name!r}; expected one of: {', '.join(TRACKERS)}.")
        if not installed(name):
            raise BadInput(
                f"Numbers are to be logged to {name}, which is not installed.",
                f"Install it: pip install 'livo-bench[{name}]'",
            )


def opened(
    names: Iterable[str], folder: Path, name: str, about: Mapping[str, object]
) -> list[Tracker]:
    """Begin to show the numbers of one run or training.

    Args:
        names: Out of `TRACKERS`, see `require`.
        folder: Folder of the run, for those that write files of their own.
        name: What it is called there.
        about: What there is to know of it, by name.
    """
    return [TRACKERS[one](folder, name, about) for one in dict.fromkeys(names)]
