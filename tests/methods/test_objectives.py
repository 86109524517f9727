"""Objectives: those of the package by name, and the training that a method's folder brings."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from documents import blocks

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card
from livo_bench.cli import main
from livo_bench.errors import AdapterFailed, BadInput
from livo_bench.methods.training import checkpoints, processes
from livo_bench.methods.training.objectives import OBJECTIVES, OWN, objective_of
from livo_bench.methods.training.training import plan, train
from livo_bench.methods.training.training_plan import TrainingPlan
from livo_bench.methods.training.training_record import alone, read

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "training-method.md"
CARD = """\
name = "mine"
title = "Mine"
version = 1
tasks = ["bias"]
told = "nothing"
summary = "Learns."
paper = ""
differences = []
[settings]
edit = "all"
weights = ""
"""
TRAINING = """\
[mini]
steps = 3
lr = 0.01
"""
PLAN = """

def plan(planned):
    from livo_bench.methods.training.training_plan import TrainingPlan

    return TrainingPlan(planned.title, (0, 0), (0, 0), (f"{planned.rate:g} a second",), seconds=60)
"""


def example() -> str:
    """The adapter that the docs show."""
    [found] = [block for block in blocks(GUIDE) if "def train(training)" in block.code]
    return found.code


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD, encoding="utf-8")
    (folder / "training.toml").write_text(TRAINING, encoding="utf-8")
    (folder / "adapter.py").write_text(example(), encoding="utf-8")
    return folder


def trained(mine: Path, model: Path, **options: object) -> Path:
    runs = mine.parent / "runs"
    return train(str(mine), str(model), device="cpu", runs=runs, **options)  # type: ignore[arg-type]


def test_the_training_of_the_docs_is_recorded_sealed_and_run(mine: Path, tiny_model: Path) -> None:
    out = trained(mine, tiny_model, seed=4)
    assert out == mine.parent / "runs" / "training" / "tiny" / "mine"
    record = read(out)
    assert record is not None
    assert (record["seed"], record["settings"]) == (4, {"steps": 3, "lr": 0.01})
    assert record["files"].keys() == {"all.safetensors"}
    model = model_card(str(tiny_model))
    assert load_method(str(mine), model, str(out)).files
    weights = out / "all.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match="is not what its training wrote"):
        load_method(str(mine), model, str(out))


def test_it_goes_on_where_it_stopped_and_refuses_another_in_its_folder(
    mine: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (trained(mine, tiny_model) / "all.safetensors").read_bytes()
    out = mine.parent / "parts"
    write = checkpoints.write

    def killed(*arguments: object, **named: object) -> None:
        write(*arguments, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(mine, tiny_model, out=out)
    assert (trained(mine, tiny_model, out=out) / "all.safetensors").read_bytes() == whole
    with alone(out), pytest.raises(BadInput, match="A training is writing into"):
        trained(mine, tiny_model, out=out)
    (mine / "training.toml").write_text(TRAINING.replace("3", "4"), encoding="utf-8")
    with pytest.raises(BadInput, match=r"holds a training with settings .*'steps': 3"):
        trained(mine, tiny_model, out=out)
    (mine / "training.toml").write_text(TRAINING, encoding="utf-8")
    (mine / "adapter.py").write_text(example() + "# changed\n", encoding="utf-8")
    with pytest.raises(BadInput, match="holds a training with adapter"):
        trained(mine, tiny_model, out=out)


def test_it_says_what_it_would_take_where_it_can(mine: Path, tiny_model: Path) -> None:
    with pytest.raises(BadInput, match=r"its adapter\.py defines no plan\(planned\)"):
        plan(str(mine), str(tiny_model))
    (mine / "adapter.py").write_text(example() + PLAN, encoding="utf-8")
    words = ["train", "--method", str(mine), "--model", str(tiny_model), "--plan", "--rate", "5"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.stdout.splitlines() == [
        f"{mine} on tiny. Images for it: about 1 s. Training: about 60 s.",
        "    5 a second",
    ]


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("return training.out", BadInput, r"adapter\.py: train\(training\) recorded nothing"),
        (
            "training.begin()\n    (training.out / 'a').touch()\n    training.record('a', 0, 'a')",
            BadInput,
            r"returned None, expected the path of the weights",
        ),
        ("return 1 / 0", AdapterFailed, r"Adapter of 'mine' failed in train: ZeroDivisionError"),
    ],
)
def test_a_training_of_ones_own_that_breaks_the_contract_is_named(
    body: str, error: type[Exception], said: str, mine: Path, tiny_model: Path
) -> None:
    text = f"from livo_bench.methods.overlaid import load\n\ndef train(training):\n    {body}\n"
    (mine / "adapter.py").write_text(text, encoding="utf-8")
    with pytest.raises(error, match=said):
        trained(mine, tiny_model)


def test_what_only_trainings_of_the_package_hear_is_refused(
    mine: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"learns by 'adapter\.py': --fraction, .* value encoders"):
        trained(mine, tiny_model, steps=5)

    class Two:
        num_processes, process_index, is_main_process = 2, 0, True

    monkeypatch.setattr(processes, "join", lambda device: None)
    monkeypatch.setattr(processes, "PartialState", Two)
    with pytest.raises(BadInput, match="trains in one process, got 2"):
        trained(mine, tiny_model)


def test_an_unknown_objective_names_all_there_are(mine: Path) -> None:
    (mine / "training.toml").write_text('objective = "ucce"\n' + TRAINING, encoding="utf-8")
    with pytest.raises(BadInput) as error:
        objective_of(str(mine))
    for name in OBJECTIVES:
        assert name in str(error.value)
    assert "train(training)" in str(error.value)


def test_without_an_objective_and_a_training_there_is_nothing_to_train(mine: Path) -> None:
    assert objective_of(str(mine))[0] == OWN
    (mine / "adapter.py").write_text("def load(context): ...\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"names no objective, and its adapter\.py defines no train"):
        objective_of(str(mine))
    (mine / "training.toml").unlink()
    with pytest.raises(BadInput, match="so there is nothing to train"):
        objective_of(str(mine))


def test_all_training_settings_of_the_package_name_an_objective_of_the_table() -> None:
    found = {path.parent.name for path in (DATA / "methods").glob("*/training.toml")}
    named = {name: objective_of(name)[0] for name in found}
    assert {*named.values()} <= {*OBJECTIVES}
    assert named["dpo"] == "dpo"
    assert isinstance(plan("uce", "sd15"), TrainingPlan)
