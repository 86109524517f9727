"""What processes do that train together; in a module that they can import."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from livo_bench import interrupt
from livo_bench.cards.catalog import model_card
from livo_bench.methods import dapt
from livo_bench.methods.livo import encoder_settings
from livo_bench.methods.livo.pairs import Pairs, Scene
from livo_bench.methods.livo.train import Trainer
from livo_bench.methods.training import processes
from livo_bench.methods.training.finetuning import Finetuning, Settings
from livo_bench.methods.training.fitting import Schedule, fit
from livo_bench.methods.training.training_record import Training
from livo_bench.runs.session import Session

STEPS = 3
TEXTS = ["a doctor", "a nurse"]


def moments(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (n, 2, 4, 8, 8)).astype(np.float16)


def meet(rank: int, count: int, port: int) -> None:
    """Join the others, as `accelerate launch` has its processes do."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    processes.join("cpu")


def learn(rank: int, count: int, port: int, card: str, out: Path) -> None:
    """One of several processes: trains a value encoder, then fine-tunes a UNet."""
    meet(rank, count, port)
    session = Session(model_card(card), 42, "cpu", "float32", out)
    scene = Scene(0, np.arange(3), np.full(3, 1 / 3), np.arange(3, 6), None)
    formed = Pairs({"race": [scene]}, TEXTS, {"race": "racial equality"}, moments(6))
    chosen = encoder_settings.read("livo", "mini")
    kept = {"race": chosen.coefficients["race"]}
    chosen = replace(chosen, batch=4, precision="no", coefficients=kept, draws={"race": 1.0})
    trainer = Trainer(session, chosen, formed, 0, out / "encoder")
    rows = [trainer.step(number) for number in range(STEPS)]
    weights = torch.cat([p.detach().flatten() for p in trainer.encoder.parameters()])

    settings = Settings("cross-attn", STEPS, 4, 1e-3, 0.01, "no", gradient_checkpointing=False)
    training = Training("a test", card, session, 0, out / "unet")
    tuning = Finetuning(training, settings, TEXTS)

    def draw(rng: np.random.Generator) -> dict[str, int]:
        return {"picture": int(rng.integers(6)), "prompt": int(rng.integers(2))}

    tuning.fit("all", tuning.denoising(moments(6), draw, dapt.loss))
    tuned = torch.cat([p.detach().flatten() for p in tuning.unet.parameters()])
    sums = [weights.double().sum().item(), tuned.double().sum().item()]
    (out / f"{count}-{rank}.json").write_text(json.dumps({"rows": rows, "sums": sums}))
    processes.wait()


def stop(rank: int, count: int, port: int, out: Path) -> None:
    """One of several processes, of which only the last hears a signal, in its second step."""
    meet(rank, count, port)
    net = torch.nn.Linear(2, 1)

    def step(number: int, generator: torch.Generator) -> torch.Tensor:
        if (rank, number) == (count - 1, 1):
            signal.raise_signal(signal.SIGTERM)
        loss: torch.Tensor = net(torch.ones(1, 2)).square().mean()
        return loss

    with pytest.raises(interrupt.Stopped) as caught, interrupt.listening():
        fit("part", net, step, Schedule(steps=5, batch=count, lr=0.1), seed=0, folder=out)
    said = {"code": caught.value.exit_code, "notes": caught.value.__notes__}
    (out / f"{count}-{rank}.json").write_text(json.dumps(said))
