"""The training loop: killed and resumed it ends where an unbroken run ends."""

import json
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from livo_bench import interrupt
from livo_bench.errors import BadInput
from livo_bench.methods.training import checkpoints, fitting
from livo_bench.methods.training.fitting import Fit, Schedule, Step, device, fit, write_report

SCHEDULE = Schedule(steps=12, batch=8, lr=0.05, ema=0.7)


class Killed(Exception):
    pass


class Network(nn.Module):
    """Two layers, one parameter that stays, and statistics that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.last = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)
        self.last.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.norm(self.first(x)))
        return y


def regression(net: nn.Module, killed_at: int | None = None) -> Step:
    def step(number: int, generator: torch.Generator) -> Tensor:
        if number == killed_at:
            raise Killed
        inputs = torch.randn(SCHEDULE.batch, 4, generator=generator)
        return F.mse_loss(net(inputs), inputs.sum(1, keepdim=True))

    return step


def run(net: nn.Module, folder: Path, killed_at: int | None = None, pause: float = 0.0) -> Fit:
    return fit(
        "part",
        net,
        regression(net, killed_at),
        SCHEDULE,
        seed=5,
        folder=folder,
        pause=pause,
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit, buffers included."""
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def test_what_diverges_stops_before_its_weights_or_its_checkpoint_are_lost(tmp_path: Path) -> None:
    net = Network()

    def step(number: int, generator: torch.Generator) -> Tensor:
        return regression(net)(number, generator) * (math.nan if number == 7 else 1)

    with pytest.raises(BadInput, match=r"gradient of step 8 is not finite.*diverged.*`lr`"):
        fit("part", net, step, SCHEDULE, seed=5, folder=tmp_path, pause=0.0)
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    with safe_open(tmp_path / "part.safetensors", framework="pt") as file:
        assert int(file.metadata()["done"]) <= 7


def test_half_precision_leaves_out_steps_that_overflow_until_nothing_is_left_to_halve(
    tmp_path: Path,
) -> None:
    schedule, net = replace(SCHEDULE, steps=60, precision="fp16"), Network()
    overflows = {2, 5}

    def step(number: int, generator: torch.Generator) -> Tensor:
        return regression(net)(number, generator) * (math.inf if number in overflows else 1)

    def scale() -> float:
        with safe_open(tmp_path / "part.safetensors", framework="pt") as file:
            found: float = json.loads(file.metadata()["scaler"])["scale"]
        return found

    short = replace(schedule, until=8)
    fit("part", net, step, short, seed=5, folder=tmp_path)
    assert scale() == 2.0**16 / 4
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    overflows |= set(range(8, 60))
    with pytest.raises(BadInput, match="gradient of step 33 is not finite"):
        fit("part", net, step, schedule, seed=5, folder=tmp_path)


@pytest.mark.parametrize("kills", [[1], [6], [11], [3, 4, 9]])
def test_killed_and_resumed_it_ends_as_an_unbroken_run(kills: list[int], tmp_path: Path) -> None:
    unbroken = Network()
    run(unbroken, tmp_path / "unbroken")
    for number in kills:
        with pytest.raises(Killed):
            run(Network(), tmp_path / "broken", killed_at=number)
    resumed = Network()
    with torch.no_grad():  # what the process starts from plays no part once there is a checkpoint
        resumed.first.weight.zero_()
    run(resumed, tmp_path / "broken")
    assert same(resumed, unbroken)
    assert not same(unbroken, Network())


def test_killed_before_the_first_checkpoint_it_starts_again(tmp_path: Path) -> None:
    unbroken = Network()
    run(unbroken, tmp_path / "unbroken")
    with pytest.raises(Killed):
        run(Network(), tmp_path / "broken", killed_at=7, pause=1000)
    again = Network()
    run(again, tmp_path / "broken", pause=1000)
    assert same(again, unbroken)


def test_a_signal_ends_it_after_the_step_in_hand_which_is_kept(tmp_path: Path) -> None:
    unbroken = Network()
    run(unbroken, tmp_path / "unbroken")
    stopped = Network()
    plain = regression(stopped)

    def step(number: int, generator: torch.Generator) -> Tensor:
        if number == 6:
            signal.raise_signal(signal.SIGINT)
        return plain(number, generator)

    with pytest.raises(interrupt.Stopped) as caught, interrupt.listening():
        fit("part", stopped, step, SCHEDULE, seed=5, folder=tmp_path / "broken")
    place = tmp_path / "broken" / "part.safetensors"
    assert caught.value.__notes__ == [f"7 of 12 steps are in {place}."]
    resumed = Network()
    run(resumed, tmp_path / "broken", killed_at=6)
    assert same(resumed, unbroken)


def test_finished_run_is_loaded_and_takes_no_further_step(tmp_path: Path) -> None:
    first, again = Network(), Network()
    run(first, tmp_path)
    run(again, tmp_path, killed_at=0)
    assert same(again, first)


def test_other_seed_sees_other_batches(tmp_path: Path) -> None:
    one, other = Network(), Network()
    for seed, net in enumerate((one, other)):
        folder = tmp_path / str(seed)
        fit("part", net, regression(net), SCHEDULE, seed=seed, folder=folder)
    assert not same(one, other)


def test_parameters_that_need_no_gradient_stay(tmp_path: Path) -> None:
    net = Network()
    run(net, tmp_path)
    assert torch.equal(net.last.bias, Network().last.bias)


def trace(schedule: Schedule, folder: Path) -> tuple[list[float], float]:
    """A weight at the start of each step under a constant gradient of 1, and what is kept.

    AdamW without decay then moves it by exactly the learning rate.
    """
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    before: list[float] = []

    def step(number: int, generator: torch.Generator) -> Tensor:
        before.append(net.weight.item())
        return net.weight.sum()

    fit("part", net, step, schedule, seed=0, folder=folder)
    return before, net.weight.item()


def test_learning_rate_warms_up_and_falls_along_a_cosine(tmp_path: Path) -> None:
    steps, lr = 100, 0.1
    before, last = trace(Schedule(steps=steps, batch=1, lr=lr, weight_decay=0), tmp_path)
    moves = [a - b for a, b in zip(before, [*before[1:], last], strict=True)]
    # 3 % of the steps up, then half a cosine down to 2 % of the peak.
    expected = [lr / 3, lr * 2 / 3, lr]
    for number in range(3, steps):
        angle = math.pi * (number - 3) / (steps - 3)
        expected.append(lr * (0.02 + 0.98 * (1 + math.cos(angle)) / 2))
    assert moves == pytest.approx(expected, abs=1e-5)  # float32 rounding of weights up to 5


def test_stopping_early_leaves_the_schedule_as_it_is(tmp_path: Path) -> None:
    schedule = Schedule(steps=100, batch=1, lr=0.1, weight_decay=0)
    whole, _ = trace(schedule, tmp_path / "whole")
    before, last = trace(replace(schedule, until=40), tmp_path / "part")
    assert before == whole[:40]
    assert last == whole[40]


def test_average_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    decay, plain = 0.8, Schedule(steps=60, batch=1, lr=0.1, weight_decay=0)
    before, last = trace(plain, tmp_path / "plain")
    average = 0.0
    for number, weight in enumerate([*before[1:], last]):
        young = min(decay, (1 + number) / (10 + number))
        average = young * average + (1 - young) * weight
    _, kept = trace(replace(plain, ema=decay), tmp_path / "averaged")
    assert kept == pytest.approx(average, abs=1e-5)
    assert abs(kept - last) > 1e-3


def test_checkpoint_holds_the_weights_in_training_and_not_their_average(tmp_path: Path) -> None:
    net = Network()
    run(net, tmp_path)
    with safe_open(tmp_path / "part.safetensors", framework="pt") as file:
        in_training, average = file.get_tensor("model.first.weight"), file.get_tensor("average.0")
        assert file.metadata()["done"] == "12"
    assert torch.equal(average, net.first.weight)
    assert not torch.equal(in_training, average)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.jsonl", "part.safetensors"]


def test_losses_are_logged_at_every_checkpoint_across_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SAVING", math.inf)
    with pytest.raises(Killed):
        run(Network(), tmp_path, killed_at=5)
    run(Network(), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "part.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert all(math.isfinite(row["loss"]) for row in rows)
    seconds = [row["s"] for row in rows]
    assert seconds == sorted(seconds)


def test_checkpoints_that_take_long_are_written_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a UNet of Stable Diffusion that learns is 10 GB."""
    write, calls = checkpoints.write, []

    def slow(*arguments: Any, **named: Any) -> None:
        calls.append(arguments)
        time.sleep(0.05)
        write(*arguments, **named)

    monkeypatch.setattr(checkpoints, "write", slow)
    run(Network(), tmp_path)
    assert len(calls) == 2  # the first, and the last


def test_record_says_what_was_trained(tmp_path: Path) -> None:
    record = run(Network(), tmp_path)
    # 4*3+3 and 3*1+1 weights of the layers, 3+3 of the normalisation.
    assert (record.parameters, record.steps, record.seed) == (25, 12, 5)
    assert 0 <= record.minutes < 5
    write_report(tmp_path, "part", record)
    assert json.loads((tmp_path / "part.json").read_text()) == {
        "parameters": 25,
        "steps": 12,
        "minutes": record.minutes,
        "seed": 5,
    }


def test_minutes_add_up_over_kills(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(Network(), tmp_path, killed_at=5)
    [*_, last] = (tmp_path / "part.jsonl").read_text().splitlines()
    path, of = tmp_path / "part.safetensors", "part, seed 5"
    net = Network()
    optimiser = torch.optim.AdamW(p for p in net.parameters() if p.requires_grad)
    average = [torch.empty_like(p) for p in net.parameters() if p.requires_grad]
    kept = checkpoints.read(path, net, optimiser, average, of=of)
    assert float(kept["seconds"]) == json.loads(last)["s"]
    # As if those five steps had taken ten minutes.
    checkpoints.write(path, net, optimiser, {**kept, "seconds": "600"}, average, of=of)
    assert 10 <= run(Network(), tmp_path).minutes < 15


def test_device_is_one_that_works() -> None:
    assert torch.ones(1, device=device()).item() == 1
