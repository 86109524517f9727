"""Numbers of a run, handed to trackers without a network."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from places import REFERENCE

from livo_bench import trackers
from livo_bench.errors import BadInput
from livo_bench.methods.training.training import train
from livo_bench.runs import logged
from livo_bench.runs.runner import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REFERENCE / "sd" / "bias", tmp_path / "bias"))


@pytest.fixture
def gender(folder: Path) -> Any:
    rows = pd.read_csv(folder / "aggregates.csv")
    [row] = rows.query("subset == 'gender' and category == 'all' and metric == 'D1'").to_dict(
        "records"
    )
    return row


def test_wandb_gets_each_number_with_its_interval_and_count(
    folder: Path, gender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, dict[str, float]]] = []
    ended: list[bool] = []
    asked: dict[str, Any] = {}

    def init(**options: Any) -> SimpleNamespace:
        asked.update(options)
        return SimpleNamespace(
            log=lambda numbers, step: shown.append((step, numbers)),
            finish=lambda: ended.append(True),
        )

    wandb = ModuleType("wandb")
    monkeypatch.setattr(wandb, "init", init, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logged.log(folder, ["wandb"])
    assert (asked["name"], asked["project"]) == ("mini/sd/bias", "livo-bench")
    assert asked["config"]["seed"] == 42
    [(step, numbers)] = shown
    assert step == 0
    assert numbers["bias/gender/all/D1"] == gender["value"]
    for of in ("low", "high", "floor", "n"):
        assert numbers[f"bias/gender/all/D1/{of}"] == gender[of]
    assert all(value == value for value in numbers.values())
    assert ended == [True]


def test_mlflow_gets_each_number_in_one_run(
    folder: Path, gender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics: dict[str, float] = {}
    ended: list[str] = []

    class Client:
        def get_experiment_by_name(self, name: str) -> None:
            assert name == "livo-bench"

        def create_experiment(self, name: str) -> str:
            return f"id of {name}"

        def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
            return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment}: {run_name}"))

        def log_param(self, run: str, key: str, value: object) -> None:
            pass

        def log_metric(self, run: str, key: str, value: float, step: int) -> None:
            metrics[key] = value

        def set_terminated(self, run: str) -> None:
            ended.append(run)

    mlflow = ModuleType("mlflow")
    monkeypatch.setattr(mlflow, "MlflowClient", Client, raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    logged.log(folder, ["mlflow"])
    assert metrics["bias/gender/all/D1"] == gender["value"]
    assert ended == ["id of livo-bench: mini/sd/bias"]


def test_tensorboard_reads_the_numbers_and_the_results_stay_sealed(
    folder: Path, gender: Any
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged.log(folder, ["tensorboard"])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    [event] = events.Scalars("bias/gender/all/D1")
    assert event.value == pytest.approx(gender["value"])
    logged.log(folder, ["tensorboard"])  # the folder opens as before


def test_what_is_unknown_or_not_installed_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'livo-bench\[wandb\]'"):
        run(["sd"], "bias", runs=tmp_path, log_to=["wandb"])
    with pytest.raises(BadInput, match="expected one of: tensorboard, wandb, mlflow"):
        run(["sd"], "bias", runs=tmp_path, log_to=["wanddb"])
    monkeypatch.undo()
    with pytest.raises(BadInput, match="logs no numbers"):
        train("uce", runs=tmp_path, log_to=["tensorboard"])
    assert not list(tmp_path.iterdir())
