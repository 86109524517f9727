"""Training steps per second on the miniature world, against a plain loop.

    python benchmarks/training.py --runs results/runs

Both sides take batches of one size in the same precision on all cores, in turn, after a warm-up.
The plain loop is the released code's: each step it encodes pictures and texts anew and runs four
passes of the UNet, those of the reference with gradients. Needs preference data, which it makes
where it is missing. Prints Markdown.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from livo_bench.cards.catalog import model_card
from livo_bench.interfaces import Pixels
from livo_bench.methods.livo import encoder_settings, pairs, preference, preference_data
from livo_bench.methods.livo.loss import Losses, batch_of, loss
from livo_bench.methods.livo.train import Trainer
from livo_bench.methods.training.loop import MAX_NORM, mixed
from livo_bench.runs.session import Session
from livo_bench.scorers import pixels_to_tensor


class PlainLoop:
    """One step of the released loop, on the trainer's networks."""

    def __init__(self, trainer: Trainer, pictures: Pixels) -> None:
        """
        Args:
            trainer: Whose networks and settings.
            pictures: Preferred ones, then dispreferred ones: two batches.
        """
        self.trainer = trainer
        self.engine = trainer.session.engine
        self.pictures = pictures

    def step(self, number: int) -> None:
        trainer, size = self.trainer, self.trainer.settings.batch
        rng = np.random.default_rng(number)
        subsets = rng.choice(list(trainer.pairs.scenes), size)
        rows = [int(rng.choice([s.prompt for s in trainer.pairs.scenes[name]])) for name in subsets]
        texts = [trainer.pairs.prompts[row] for row in rows]
        values = [trainer.pairs.values[name] for name in subsets]
        times = torch.randint(1000, (size,), device=trainer.network.device)
        with mixed(trainer.network.device.type, trainer.settings.precision):
            latents = []
            for side in (slice(0, size), slice(size, 2 * size)):
                images = pixels_to_tensor(self.pictures[side], trainer.network.device) / 127.5 - 1
                images = images.to(trainer.network.dtype)
                with torch.no_grad():
                    encoded = self.engine.vae.encode(images).latent_dist.sample().float()
                latents.append(trainer.denoiser.scaled(encoded))
            noise = torch.randn_like(latents[0])
            noisy = [trainer.noising.noised_at(clean, noise, times).latents for clean in latents]
            token = trainer.seam.tokens(trainer.encoder, values, texts)
            plain = self._states(texts, self.engine.tokenizer.model_max_length)
            beside = self._states(texts, self.engine.tokenizer.model_max_length - 1)
            context = torch.cat([token[:, None].to(beside.dtype), beside], dim=1)
            errors = [
                self._error(side, times, states, noise)
                for states in (context, plain)
                for side in noisy
            ]
        c = batch_of([trainer.settings.coefficients[str(name)] for name in subsets], token.device)
        loss(trainer.settings.objective, Losses(*errors), c).backward()
        torch.nn.utils.clip_grad_norm_(trainer.encoder.parameters(), MAX_NORM)
        trainer.learner.optimiser.step()
        trainer.learner.optimiser.zero_grad(set_to_none=True)

    def _states(self, texts: list[str], length: int) -> torch.Tensor:
        ids = self.engine.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        encoder = self.engine.text_encoder
        with torch.no_grad():
            states: torch.Tensor = encoder(ids.to(encoder.device)).last_hidden_state
        # The released loop does not tell the UNet that the reference needs no gradients.
        return states.requires_grad_(True)

    def _error(
        self, noisy: torch.Tensor, times: torch.Tensor, states: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        predicted = self.trainer.network(noisy.to(self.trainer.network.dtype), times, states).sample
        return (predicted.float() - noise).square().mean(dim=(1, 2, 3))


def timed(step: Callable[[int], object], numbers: range) -> float:
    start = time.perf_counter()
    for number in numbers:
        step(number)
    return (time.perf_counter() - start) / len(numbers)


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
@click.option("--steps", default=20, show_default=True, help="Steps a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each side, in turn.")
def main(runs: Path, steps: int, rounds: int) -> None:
    """Measure both sides in turn and print a Markdown table."""
    card = model_card("mini")
    folder, _ = preference.build("mini", runs=runs, device="cpu")
    rows = preference_data.read(folder)
    chosen = encoder_settings.read("livo", card.scale)
    session = Session(card, 42, "cpu", card.dtype, runs)
    formed = pairs.form(session, rows, chosen.coefficients, chosen.weight, folder)
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(session, chosen, formed, 0, Path(out))
        keys = sorted(set(rows["key"]))[: 2 * chosen.batch]
        pixels = np.stack(list(session.store.read_samples(keys).values()))
        plain = PlainLoop(trainer, pixels)
        sides: tuple[Callable[[int], object], ...] = (plain.step, trainer.step)
        for side in sides:
            timed(side, range(2))
        pairs_of = [[timed(side, range(steps)) for side in sides] for _ in range(rounds)]
    theirs, ours = (statistics.median(side) for side in zip(*pairs_of, strict=True))
    ratio = statistics.median(a / b for a, b in pairs_of)
    print(f"| batch {chosen.batch}, {chosen.precision} | steps/s | ratio |\n| --- | --- | --- |")
    print(f"| plain loop | {1 / theirs:.2f} | 1 |")
    print(f"| livo-bench train | {1 / ours:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
