"""The training loop, one for all that learns by gradients: resumable, stopped by a signal.

A step draws its batch and noise from a generator seeded by (seed, step), so a run that was killed
and resumed sees what an unbroken run would have seen. Several processes take every step together:
each learns from its part of the batch, the first alone writes, and all stop after the same step.
What one training does besides, such as its logs, hangs in as `Hooks`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from livo_bench import interrupt
from livo_bench.bars import bar
from livo_bench.errors import BadInput
from livo_bench.methods.training import checkpoints, processes

MAX_NORM = 1.0
"""Largest norm of the gradient, over all parameters."""
LEAST_SCALE = 2.0**-10
"""Scale of half precision's losses, at which gradients that overflow are past mending."""
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Mixed precisions; `no` is none."""


def generator(seed: int, step: int) -> torch.Generator:
    """The generator of a step's batch and noise."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


Block = AbstractContextManager[object]


def mixed(device: str, precision: str) -> Block:
    """A block that computes in mixed precision, out of `HALVES`, or as it is for `no`."""
    if precision == "no":
        return nullcontext()
    return torch.autocast(device, HALVES[precision])


class Learner:
    """A network, and the optimiser of those of its parameters that require gradients."""

    def __init__(
        self,
        model: nn.Module,
        rate: Callable[[int], float],
        *,
        weight_decay: float,
        adam_beta_2: float,
        ema: float | None = None,
        precision: str = "no",
    ) -> None:
        """
        Args:
            model: The network, on its device.
            rate: Learning rate of a step.
            weight_decay: Weight decay of AdamW.
            adam_beta_2: Decay of AdamW's second moments.
            ema: Decay of an exponential moving average of the weights; None for none.
            precision: Precision that losses are computed in; gradients of `fp16` are scaled.
        """
        self.model = model
        self.rate = rate
        self.ema = ema
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters] if ema else []
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=rate(0), betas=(0.9, adam_beta_2), weight_decay=weight_decay
        )
        device = self.parameters[0].device.type
        self._scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    def gather(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those of the step."""
        self._scaler.scale(loss).backward()

    def learn(self, number: int) -> None:
        """Move the parameters by the gathered gradients of a step, averaged over all processes.

        Raises:
            BadInput: The gradients are not finite; the parameters are as they were.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(number)
        processes.average_gradients(self.parameters)
        self._scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        # The scaler leaves out a step whose gradients overflow, and halves the scale for the next.
        halved = self._scaler.is_enabled() and self._scaler.get_scale() > LEAST_SCALE
        if not halved and not norm.isfinite():
            raise BadInput(
                f"The gradient of step {number + 1:,} is not finite: the training has diverged. "
                "The checkpoint is from before.",
                'Train elsewhere, --out DIR, with a lower `lr` or precision = "no".',
            )
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema:
            # A young average forgets faster, or it would carry the initial weights along.
            decay = min(self.ema, (1 + number) / (10 + number))
            for smooth, parameter in zip(self.average, self.parameters, strict=True):
                smooth.lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Put the average in place of the weights, where one is kept."""
        if self.ema:
            for parameter, value in zip(self.parameters, self.average, strict=True):
                parameter.copy_(value)

    def write(self, path: Path, progress: Mapping[str, str], of: str) -> None:
        """Write a checkpoint, see `checkpoints.write`."""
        if self._scaler.is_enabled():
            progress = {**progress, "scaler": json.dumps(self._scaler.state_dict())}
        checkpoints.write(path, self.model, self.optimiser, progress, self.average, of=of)

    def read(self, path: Path, of: str) -> dict[str, str]:
        """Go back to a checkpoint, and return its progress, see `checkpoints.read`."""
        kept = checkpoints.read(path, self.model, self.optimiser, self.average, of=of)
        if "scaler" in kept:
            self._scaler.load_state_dict(json.loads(kept["scaler"]))
        return kept


class Hooks:
    """What a training does in the loop; all but the step itself may be left as it is here."""

    def resume(self, kept: Mapping[str, str]) -> None:
        """Go on from what a checkpoint says; it says nothing at the first start."""

    def step(self, number: int) -> str:
        """Learn from the batch of a step, counted from 0; returns what the bar is to say."""
        raise NotImplementedError

    def taken(self, done: int) -> None:
        """Write what is to be written after so many steps; asked of the first process alone."""

    def due(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps; one is written at the end anyway."""
        return False

    def keep(self) -> dict[str, str]:
        """What the checkpoint that is about to be written is to say for `resume`."""
        return {}

    def saved(self, done: int, seconds: float, took: float) -> None:
        """Hear that a checkpoint is written.

        Args:
            done: Steps that are in it.
            seconds: Seconds that they took, over all starts.
            took: Seconds that writing it took.
        """


def run(name: str, learner: Learner, hooks: Hooks, steps: int, checkpoint: Path, of: str) -> float:
    """Train from the last checkpoint to the last step.

    Args:
        name: On the bar.
        learner: What learns; it is put back to the checkpoint where there is one.
        hooks: What the training does.
        steps: Number of steps in all.
        checkpoint: The file.
        of: What the training is of; a checkpoint of something else is refused.

    Returns:
        Seconds that all steps took, over all starts.

    Raises:
        BadInput: The checkpoint is damaged, or of another training; or the training diverged.
        Stopped: A signal came to one of the processes; what was done is in the checkpoint.
    """
    kept = learner.read(checkpoint, of) if checkpoint.exists() else {}
    done, seconds = int(kept.get("done", 0)), float(kept.get("seconds", 0))
    hooks.resume(kept)
    writes = processes.first()
    started = time.monotonic()
    with bar("{task.fields[said]}", shown=writes) as progress, interrupt.held():
        task = progress.add_task(name, total=steps, completed=done, said="")
        for number in range(done, steps):
            said = hooks.step(number)
            done = number + 1
            progress.update(task, advance=1, said=said)
            if writes:
                hooks.taken(done)
            # Together: a process that stopped alone would leave the others waiting for its part.
            signal = processes.most(interrupt.asked())
            if writes and (signal or done == steps or hooks.due(done)):
                began = time.monotonic()
                total = seconds + began - started
                progress_of = {"done": str(done), "seconds": str(total)}
                learner.write(checkpoint, {**progress_of, **hooks.keep()}, of)
                hooks.saved(done, total, time.monotonic() - began)
            if signal:
                processes.wait()
                raise interrupt.stopped(signal, f"{done:,} of {steps:,} steps are in {checkpoint}.")
    return seconds + time.monotonic() - started
