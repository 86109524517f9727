"""Fisher information of what learns: how much each parameter matters to pictures that are known.

By its diagonal F, parameters theta are held near their own theta*, the more so the more each
matters: sum F (theta - theta*)^2.

Source: Kirkpatrick et al. 2017, Overcoming Catastrophic Forgetting in Neural Networks,
arXiv:1612.00796, as the released code of Heng and Soh 2023, arXiv:2305.10120, has it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from livo_bench.bars import counted
from livo_bench.errors import BadInput
from livo_bench.methods.training import checkpoints, loop, processes
from livo_bench.methods.training.finetuning import Finetuning
from livo_bench.methods.training.own_pictures import OwnPictures

log = logging.getLogger(__name__)


def moved(now: Iterable[Tensor], own: Iterable[Tensor], fisher: Iterable[Tensor]) -> Tensor:
    """How far parameters are from their own, sum F (theta - theta*)^2, a scalar."""
    each = [
        (f * (theta - start).square()).sum()
        for theta, start, f in zip(now, own, fisher, strict=True)
    ]
    return torch.stack(each).sum()


def information(parameters: Sequence[Tensor], pictures: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """Fisher information of parameters, by the diagonal.

    Args:
        parameters: Which require gradients and have none.
        pictures: The losses of each, whose sum is the picture's; each is used up before the next
            is asked for.

    Returns:
        The mean over pictures of the squared gradient of their sums, one tensor a parameter.
    """
    totals, count = [torch.zeros_like(parameter) for parameter in parameters], 0
    for losses in pictures:
        for part in losses:
            part.backward()
        for total, parameter in zip(totals, parameters, strict=True):
            if parameter.grad is not None:
                total += parameter.grad.square()
            parameter.grad = None
        count += 1
    return [total / count for total in totals]


def of(tuning: Finetuning, pictures: OwnPictures, times: int) -> list[Tensor]:
    """Estimate F of what learns: once a training, and keep it among its checkpoints.

    A picture's loss is the mean squared error of the prediction under its text, summed over the
    diffusion steps. A file that is damaged is made again.

    Args:
        tuning: Tuning that has not learnt yet; its first texts are those of the pictures.
        pictures: Pictures by text.
        times: Diffusion steps, evenly apart, that stand for all.

    Returns:
        One tensor a parameter, in the order of `tuning.learning`.
    """
    training, learning = tuning.training, tuning.learning
    path = training.out / "checkpoints" / "fisher.safetensors"
    with processes.first_goes_first():
        if not _holds(path, training.digest):
            found = information(list(learning.values()), _losses(tuning, pictures, times))
            checkpoints.keep(path, dict(zip(learning, found, strict=True)), {}, of=training.digest)
    tensors, _ = checkpoints.kept(path, of=training.digest)
    return [tensors[name].to(parameter.device) for name, parameter in learning.items()]


def _holds(path: Path, of: str) -> bool:
    """Whether F is there and whole."""
    if not path.exists():
        return False
    try:
        checkpoints.kept(path, of=of)
    except BadInput:
        log.warning("%s is damaged, or of another training; it is made again.", path)
        return False
    return True


def _losses(tuning: Finetuning, pictures: OwnPictures, times: int) -> Iterator[Iterator[Tensor]]:
    """The losses of each replayed picture at evenly spaced diffusion steps, a batch at a time, as
    large together as those of all steps."""
    steps, batch = tuning.diffusion_steps, tuning.settings.batch
    spaced = torch.arange(times) * steps // times

    def of_picture(text: int, row: int, generator: torch.Generator) -> Iterator[Tensor]:
        clean = tuning.clean(pictures.moments, [row], generator)
        for part in spaced.split(batch):
            several = clean.expand(len(part), -1, -1, -1)
            noise = torch.randn(several.shape, generator=generator)
            noised = tuning.noised_at(several, noise, part)
            with tuning.mixed():
                error = mse_loss(tuning.predict(noised, [text] * len(part)), noised.targets)
            yield error * len(part) * (steps / times)

    every = [(text, row) for text, rows in enumerate(pictures.rows) for row in rows]
    shown = counted(every, "Fisher information")
    for number, (text, row) in enumerate(shown):
        yield of_picture(text, row, loop.generator(tuning.training.seed, number))
