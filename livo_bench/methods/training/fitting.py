"""Fitting a network to one loss by a schedule: what fine-tuning and the miniature world share."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from livo_bench.files import write_atomically
from livo_bench.methods.training import loop, processes
from livo_bench.methods.training.loop import Hooks, Learner

Step = Callable[[int, torch.Generator], Tensor]

SAVING = 0.05
"""Part of the time that may go into writing checkpoints, which are as large as three UNets."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how hard a part trains."""

    steps: int
    batch: int
    lr: float
    """Peak of a cosine that falls to 2 % after a linear warm-up of 3 % of the steps; or, where
    constant, the rate of every step."""
    until: int | None = None
    """Step at which to hand on to the next part, before the cosine has ended."""
    weight_decay: float = 0.01
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is what is kept."""
    constant: bool = False
    warmup: int = 0
    """Steps over which a constant rate rises to it."""
    accumulation: int = 1
    """Batches whose gradients make one step."""
    adam_beta_2: float = 0.99
    precision: str = "no"
    """Precision that losses are computed in, see `Learner`."""

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if self.constant:
            return self.lr * min(1, (step + 1) / (self.warmup + 1))
        return self.lr * cosine(step, self.steps, least=0.02)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training run says of itself, for the model card."""

    parameters: int
    steps: int
    minutes: float
    """Minutes of wall-clock time."""
    seed: int


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def fit(
    name: str,
    model: nn.Module,
    step: Step,
    schedule: Schedule,
    *,
    seed: int,
    folder: Path,
    pause: float = 120.0,
    of: str = "",
) -> Fit:
    """Train the parameters of `model` that require gradients; resume where a checkpoint lies.

    Args:
        step: Takes a batch's number and its generator, returns a scalar loss; of several
            processes, each of its part of the batch.
        folder: Folder for checkpoints; holds `<name>.safetensors` and `<name>.jsonl`, the loss log.
        pause: Seconds between checkpoints, at least; longer where they take long to write.
        of: What is learnt from, for a training whose name and seed do not say it all; a checkpoint
            of something else is refused.

    Returns:
        The record for the model card. `model` then holds the trained (or averaged) weights.

    Raises:
        BadInput: The checkpoint is damaged, or of another training.
    """
    parameters, last = sum(p.numel() for p in model.parameters()), schedule.until or schedule.steps
    learner = Learner(
        model,
        schedule.rate,
        weight_decay=schedule.weight_decay,
        adam_beta_2=schedule.adam_beta_2,
        ema=schedule.ema,
        precision=schedule.precision,
    )
    folder.mkdir(parents=True, exist_ok=True)
    hooks = _Fitting(learner, step, schedule.accumulation, seed, folder / f"{name}.jsonl", pause)
    said = f"{name}, seed {seed}" + (f", {of}" if of else "")
    seconds = loop.run(name, learner, hooks, last, folder / f"{name}.safetensors", said)
    learner.take_average()
    return Fit(parameters=parameters, steps=last, minutes=round(seconds / 60, 1), seed=seed)


class _Fitting(Hooks):
    """One loss a batch, whose mean over the last ones is logged at every checkpoint."""

    def __init__(
        self, learner: Learner, step: Step, batches: int, seed: int, log: Path, pause: float
    ) -> None:
        self._learner, self._step, self._batches = learner, step, batches
        self._seed, self._log, self._pause = seed, log, pause
        self._recent: deque[float] = deque(maxlen=50)
        self._saved = time.monotonic()

    def step(self, number: int) -> str:
        for batch in range(number * self._batches, (number + 1) * self._batches):
            loss = self._step(batch, loop.generator(self._seed, batch))
            self._learner.gather(loss / self._batches)
            self._recent += processes.mean([loss.item()])
        self._learner.learn(number)
        return f"loss {self._mean:.4f}"

    def due(self, done: int) -> bool:
        return time.monotonic() - self._saved > self._pause

    def saved(self, done: int, seconds: float, took: float) -> None:
        with self._log.open("a") as lines:
            lines.write(json.dumps({"step": done, "loss": self._mean, "s": seconds}) + "\n")
        self._saved = time.monotonic()
        self._pause = max(self._pause, took / SAVING)

    @property
    def _mean(self) -> float:
        return sum(self._recent) / len(self._recent)


def cosine(step: int, steps: int, least: float = 0.0) -> float:
    """Factor of the learning rate at a step: a linear warm-up of 3 % of the steps, then a cosine.

    Args:
        step: From 0.
        steps: Number of steps of the whole schedule.
        least: What the cosine falls to.
    """
    warm_up = max(1, round(0.03 * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    fallen = math.cos(math.pi * (step - warm_up) / (steps - warm_up))
    return least + (1 - least) * 0.5 * (1 + fallen)


def write_report(folder: Path, name: str, fit: Fit) -> None:
    """Keep a part's record beside its checkpoints, for the model card."""
    write_atomically(folder / f"{name}.json", json.dumps(asdict(fit), indent=2).encode())
