"""Training a value encoder on preference data: `livo-bench train`.

Only the value encoder learns; UNet, VAE and text encoder are frozen, so what they say of the data
is computed once: latents of all pictures, text states of all prompts. A step asks the UNet twice,
for preferred and dispreferred pictures together: with the value token, and without it and without
gradients. Noise and time step are shared within a pair.

Source: Wang et al. 2024, arXiv:2410.12700, section 3.3, and the released code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn import Module

from livo_bench.engines import noising, value_encoder
from livo_bench.engines.denoiser import Conditions
from livo_bench.engines.noising import LOGIT_NORMAL, Noised
from livo_bench.engines.towers import Towers
from livo_bench.errors import BadInput
from livo_bench.files import write_atomically
from livo_bench.methods.livo import encoder_settings, pairs, preference, preference_data
from livo_bench.methods.livo.calibration import calibrate
from livo_bench.methods.livo.dev import Dev
from livo_bench.methods.livo.encoder_settings import EncoderSettings
from livo_bench.methods.livo.logs import CURVE, Logs
from livo_bench.methods.livo.loss import Losses, active, batch_of, loss, squared_errors
from livo_bench.methods.livo.pairs import Pairs
from livo_bench.methods.livo.steering import SHARES
from livo_bench.methods.training import latents, loop, processes
from livo_bench.methods.training.fitting import cosine
from livo_bench.methods.training.loop import Hooks, Learner, mixed
from livo_bench.methods.training.training_record import Overrides, Training
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator

ROUNDING = 0.25
"""Part of the smallest margin that rounding may take up before half precision is refused."""


def train(training: Training) -> Path:
    """Train a method's value encoder, or go on where an earlier run stopped.

    Returns:
        `value_encoder/` in the training's folder; beside it are `shares.json`, `training.json`,
        `log.csv`, `dev.csv` and, where it is installed, TensorBoard's files.

    Raises:
        LivoBenchError: Something to fix first; nothing done is lost.
    """
    session, out = training.session, training.out
    card = session.model
    judge = annotator.require_annotator(card.annotator, card.name)
    fraction = training.overrides.fraction
    chosen = encoder_settings.read(training.method, card.scale, card.kind)
    chosen = _with_overrides(chosen, training.overrides)
    said = {name: value for name, value in asdict(chosen).items() if value is not None}
    # Before the data is made; which data it is shows when it is there.
    training.require_same(fraction=fraction, settings=said)
    folder = training.preferences(preference.tasks_of(chosen.coefficients))
    rows = preference_data.read(folder)
    rows = rows[rows["subset"].isin(chosen.coefficients)]
    of = {
        "fraction": fraction,
        "settings": said,
        "data": folder.name,
        "rows": preference_data.digest_of(rows),
    }
    training.require_same(**of)
    rows = pairs.fraction_of(rows, fraction, training.seed)
    with processes.first_goes_first():
        formed = pairs.form(session, rows, chosen.coefficients, chosen.weight, folder)
    dev = Dev(session, annotator.load(judge, session.device), chosen.layout, chosen.dev_images)
    trainer = Trainer(session, chosen, formed, training.seed, out)
    # Settings that cannot be learnt with do not bind the folder.
    trainer.require_precision()
    training.begin(**of)
    trainer.run(training, dev)
    processes.wait()
    return out / value_encoder.FOLDER


def _with_overrides(chosen: EncoderSettings, asked: Overrides) -> EncoderSettings:
    margins = {
        name: value
        for name, value in (("gamma_1", asked.gamma_1), ("gamma_2", asked.gamma_2))
        if value is not None
    }
    if margins and chosen.objective != "livo":
        raise BadInput(
            f"The objective {chosen.objective!r} has no margins, got {margins}. Leave --gamma-1 "
            "and --gamma-2 out, or train --method livo"
        )
    coefficients = {name: replace(c, **margins) for name, c in chosen.coefficients.items()}
    return replace(chosen, coefficients=coefficients, steps=asked.steps or chosen.steps)


@dataclass(frozen=True)
class Batch:
    """One step's pairs."""

    subsets: Sequence[str]
    prompts: Sequence[int]
    """Rows of `Pairs.prompts`."""
    noised: Noised
    """Preferred pictures, then dispreferred ones at the same noise and times."""


Encoder = TypeVar("Encoder", bound=Module)


def new_encoder(copied: Encoder, frozen: Sequence[str]) -> Encoder:
    """Make a copy of a model's own text encoder a value encoder before its first step, float32.

    Args:
        copied: One text encoder, or several as `towers.new` copies them.
        frozen: Prefixes of the parameters that do not learn, as `value_encoder.plain` has them.
    """
    encoder = copied.float().train()
    for part in encoder.children() if isinstance(encoder, Towers) else [encoder]:
        # The backward pass of fused bf16 attention is several times slower on a CPU.
        cast(Any, part).set_attn_implementation("eager")
    names = [value_encoder.plain(name) for name, _ in encoder.named_parameters()]
    for prefix in frozen:
        if not any(name.startswith(prefix) for name in names):
            raise BadInput(
                f"No parameter of the text encoder is named {prefix!r}..., so it cannot stay "
                f"frozen; expected a beginning of a name such as {names[0]!r}. Mend the "
                "training settings."
            )
    said = encoder.learning() if isinstance(encoder, Towers) else None
    for name, parameter in encoder.named_parameters():
        learns = said is None or name in said
        still = value_encoder.plain(name).startswith(tuple(frozen))
        parameter.requires_grad_(learns and not still)
    return encoder


class Trainer:
    """One training run: its networks, its pairs and its steps."""

    def __init__(
        self, session: Session, chosen: EncoderSettings, formed: Pairs, seed: int, out: Path
    ) -> None:
        self.session = session
        self.settings = chosen
        self.pairs = formed
        self.seed = seed
        self.out = out
        self.part = processes.part(chosen.batch)
        self.denoiser = session.denoiser
        self.seam = session.value_seam
        self.network = self.denoiser.network
        if session.device == "cpu" and isinstance(self.network, UNet2DConditionModel):
            self.network.set_attn_processor(AttnProcessor())
        if chosen.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()
        self.noising = self.denoiser.noising(chosen.density or LOGIT_NORMAL)
        self.encoder = new_encoder(self.seam.new(), chosen.frozen)
        self.learner = Learner(
            self.encoder,
            lambda step: chosen.lr * rate(chosen.schedule, step, chosen.steps),
            weight_decay=chosen.weight_decay,
            adam_beta_2=chosen.adam_beta_2,
            precision=chosen.precision,
        )
        self.plain = self.denoiser.conditions(formed.prompts)
        with torch.no_grad():
            self.beside = self.seam.beside(formed.prompts, self.plain, chosen.layout)

    def run(self, training: Training, dev: Dev) -> None:
        """Train from the last checkpoint to the last step, and write the results.

        Args:
            training: What the run is of; it has begun.
            dev: Looks at dev prompts on the way.

        Raises:
            BadInput: The checkpoint or a log is damaged, or of another training.
        """
        chosen, out = self.settings, self.out
        checkpoint = out / "checkpoint.safetensors"
        hooks = _Watched(self, dev, training)
        seconds = loop.run(
            "training", self.learner, hooks, chosen.steps, checkpoint, training.digest
        )
        if not processes.first():
            return
        hooks.logs.close()
        value_encoder.save(self.encoder, chosen.frozen, self.session.digest, out)
        shares = calibrate(self.session, dev, self.encoder, list(chosen.coefficients))
        write_atomically(out / SHARES, json.dumps(shares).encode())
        minutes = round(seconds / 60, 1)
        training.record(value_encoder.FOLDER, minutes, value_encoder.FOLDER, SHARES, CURVE)

    def step(self, number: int) -> dict[str, float]:
        """Learn from one batch; returns the loss, its parts and the active share of each hinge."""
        batch = self.batch(number)
        c = batch_of(
            [self.settings.coefficients[name] for name in batch.subsets], self.network.device
        )
        losses = self.losses(batch, half=True)
        value = loss(self.settings.objective, losses, c)
        self.learner.gather(value)
        self.learner.learn(number)
        pushes = active(losses, c)
        row = {
            "loss": value.item(),
            **{name: part.mean().item() for name, part in losses._asdict().items()},
            "active_w": pushes.w.float().mean().item(),
            "active_l": pushes.l.float().mean().item(),
        }
        return dict(zip(row, processes.mean(list(row.values())), strict=True))

    def batch(self, step: int) -> Batch:
        """The pairs of a step, or this process's part of them.

        All processes draw the whole batch, so how many there are changes no draw.
        """
        mine = self.part
        device, size = self.network.device, self.settings.batch
        rng = np.random.default_rng([self.seed, step])
        generator = loop.generator(self.seed, step)
        drawn = self.pairs.draw(size, self.settings.draws, rng)
        sides = ([pair.preferred for pair in drawn], [pair.dispreferred for pair in drawn])
        clean = [latents.draw(self.pairs.latents, rows, generator) for rows in sides]
        whole = noising.noised(
            self.noising, self.denoiser.scaled(torch.cat(clean)), generator, alike=2
        )
        return Batch(
            subsets=[pair.subset for pair in drawn[mine]],
            prompts=[pair.prompt for pair in drawn[mine]],
            noised=Noised(
                *(torch.cat([h[mine] for h in each.chunk(2)]).to(device) for each in whole)
            ),
        )

    def losses(self, batch: Batch, half: bool) -> Losses:
        """The four losses of each pair, float32; those of the reference without gradients.

        Args:
            batch: The pairs.
            half: Compute in the settings' mixed precision; else in float32.
        """
        texts = [self.pairs.prompts[row] for row in batch.prompts]
        values = [self.pairs.values[name] for name in batch.subsets]
        with mixed(self.network.device.type, self.settings.precision if half else "no"):
            with torch.no_grad():
                w_ref, l_ref = self._errors(batch.noised, self.plain[batch.prompts])
            token = self.seam.tokens(self.encoder, values, texts)
            told = self.seam.lay(token, self.beside[batch.prompts], self.settings.layout)
            w, l = self._errors(batch.noised, told)  # noqa: E741
        return Losses(w, l, w_ref, l_ref)

    def _errors(self, noised: Noised, conditions: Conditions) -> tuple[Tensor, Tensor]:
        predicted = self.denoiser.predict(noised, conditions.repeat(2))
        w, l = squared_errors(predicted, noised.targets).chunk(2)  # noqa: E741
        return w, l

    @torch.no_grad()
    def require_precision(self) -> None:
        """Measure what half precision does to the differences that are to reach the margins.

        Raises:
            BadInput: It moves them by a large part of the smallest margin.
        """
        margins = [
            margin
            for c in self.settings.coefficients.values()
            for margin in (c.gamma_1 / c.beta, c.gamma_2 / c.alpha)
            if margin > 0
        ]
        half_anyway = self.network.dtype != torch.float32
        if self.settings.precision == "no" or half_anyway or self.settings.objective != "livo":
            return
        batch = self.batch(0)
        half, full = self.losses(batch, half=True), self.losses(batch, half=False)
        moved = torch.stack(
            [
                (half.w - half.w_ref) - (full.w - full.w_ref),
                (half.l - half.l_ref) - (full.l - full.l_ref),
            ]
        )
        error = moved.abs().mean().item()
        if margins and error > ROUNDING * min(margins):
            raise BadInput(
                f"Mixed precision {self.settings.precision} moves the difference of two losses by "
                f"{error:.2g} on average; expected at most {ROUNDING:.0%} of the smallest margin, "
                f'{min(margins):.2g}. Set precision = "no" in the training settings.'
            )


class _Watched(Hooks):
    """A training whose every step is logged, and which looks at dev prompts on the way."""

    def __init__(self, trainer: Trainer, dev: Dev, training: Training) -> None:
        self.trainer, self.dev, self.training = trainer, dev, training
        self.row: dict[str, float] = {}

    @cached_property
    def logs(self) -> Logs:
        """The logs of the first process, which alone asks for them."""
        about = self.training.identity
        name = f"train/{about['model']}/{about['method']}"
        return Logs(self.trainer.out, self.training.log_to, name, about)

    def resume(self, kept: Mapping[str, str]) -> None:
        if processes.first():
            self.logs.cut(kept.get("logs", "{}"))

    def step(self, number: int) -> str:
        self.row = self.trainer.step(number)
        return _shown(self.row)

    def taken(self, done: int) -> None:
        self.logs.step(done, self.row)
        if self.trainer.settings.looks(done):
            subsets = list(self.trainer.settings.coefficients)
            self.logs.dev(done, self.dev.evaluate(self.trainer.encoder, subsets))

    def due(self, done: int) -> bool:
        return done % self.trainer.settings.checkpoint == 0

    def keep(self) -> dict[str, str]:
        return {"logs": self.logs.seals()}


def rate(schedule: str, step: int, steps: int) -> float:
    """Factor of the learning rate at a step, in [0, 1]."""
    return 1.0 if schedule == "constant" else cosine(step, steps)


def _shown(row: Mapping[str, float]) -> str:
    pairs_of = (("w", "w_ref"), ("l", "l_ref"))
    shown = [f"{name} {row[name]:.4f} ({row[name] - row[ref]:+.4f})" for name, ref in pairs_of]
    active_shares = f"active {row['active_w']:.0%} {row['active_l']:.0%}"
    return "  ".join([f"loss {row['loss']:.3f}", *shown, active_shares])
