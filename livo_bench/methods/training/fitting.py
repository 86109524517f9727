"""The training loop of networks that learn alone: resumable, seeded step by step.

Every step draws its batch and noise from a generator seeded by (seed, step), so a run that was
killed and resumed sees what an unbroken run would have seen.
"""

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

from livo_bench import interrupt
from livo_bench.bars import bar
from livo_bench.files import write_atomically
from livo_bench.methods.training import checkpoints, processes

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
    adam_beta_2: float = 0.99


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training run says of itself, for the model card."""

    parameters: int
    steps: int
    minutes: float
    """Of wall-clock time."""
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
        step: Takes the step's number and its generator, returns a scalar loss; of several
            processes, each of its part of the batch.
        folder: For checkpoints; holds `<name>.safetensors` and `<name>.jsonl`, the loss log.
        pause: Seconds between checkpoints, at least; longer where they take long to write.
        of: What is learnt from, for a training whose name and seed do not say it all; a checkpoint
            of something else is refused.

    Returns:
        The record for the model card. `model` then holds the trained (or averaged) weights.

    Raises:
        BadInput: The checkpoint is damaged, or of another training.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters,
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        betas=(0.9, schedule.adam_beta_2),
    )
    average = [p.detach().clone() for p in parameters] if schedule.ema else []
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, log = folder / f"{name}.safetensors", folder / f"{name}.jsonl"
    done, seconds = 0, 0.0
    of = f"{name}, seed {seed}" + (f", {of}" if of else "")
    if checkpoint.exists():
        kept = checkpoints.read(checkpoint, model, optimiser, average, of=of)
        done, seconds = int(kept["done"]), float(kept["seconds"])
    last = schedule.until or schedule.steps
    recent: deque[float] = deque(maxlen=50)
    started = saved = time.monotonic()
    writes = processes.first()
    with bar("loss {task.fields[loss]:.4f}", shown=writes) as progress, interrupt.held():
        task = progress.add_task(name, total=last, completed=done, loss=math.nan)
        for number in range(done, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            for group in optimiser.param_groups:
                group["lr"] = schedule.lr * (
                    1 if schedule.constant else cosine(number, schedule.steps, least=0.02)
                )
            loss = step(number, generator)
            loss.backward()
            processes.average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if schedule.ema:
                # A young average forgets faster, or it would carry the initial weights along.
                decay = min(schedule.ema, (1 + number) / (10 + number))
                for smooth, parameter in zip(average, parameters, strict=True):
                    smooth.lerp_(parameter.detach(), 1 - decay)
            recent += processes.mean([loss.item()])
            progress.update(task, advance=1, loss=sum(recent) / len(recent))
            stopping = interrupt.asked()
            due = time.monotonic() - saved > pause or number + 1 == last
            if writes and (due or stopping):
                began = time.monotonic()
                total = seconds + began - started
                made = {"done": str(number + 1), "seconds": str(total)}
                checkpoints.write(checkpoint, model, optimiser, made, average, of=of)
                with log.open("a") as lines:
                    mean = sum(recent) / len(recent)
                    lines.write(json.dumps({"step": number + 1, "loss": mean, "s": total}) + "\n")
                saved = time.monotonic()
                pause = max(pause, (saved - began) / SAVING)
            if stopping:
                interrupt.require_unasked(f"{number + 1:,} of {last:,} steps are in {checkpoint}.")
    if schedule.ema:
        with torch.no_grad():
            for parameter, value in zip(parameters, average, strict=True):
                parameter.copy_(value)
    return Fit(
        parameters=sum(p.numel() for p in model.parameters()),
        steps=last,
        minutes=round((seconds + time.monotonic() - started) / 60, 1),
        seed=seed,
    )


def cosine(step: int, steps: int, least: float = 0.0) -> float:
    """Factor of the learning rate at a step: a linear warm-up of 3 % of the steps, then a cosine.

    Args:
        step: From 0.
        steps: Of the whole schedule.
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
