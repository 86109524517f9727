"""How far a token could move the losses: what margins of the value encoder's loss can ask for.

    python benchmarks/margins.py --runs results/runs

For pairs of the preference data, the noise prediction's loss under a text that says the wish
itself ("a female surgeon", "a mannequin" without its trigger), minus the loss under the plain
prompt. A token that does as well as words moves preferred losses by d_w and dispreferred ones by
d_l; a margin beyond that can only be met by damage. Prints Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from diffusers import DDPMScheduler

from livo_bench.cards.catalog import model_card
from livo_bench.methods.livo import preference, preference_data
from livo_bench.mini import world
from livo_bench.mini.drawing import CONCEPTS
from livo_bench.runs.session import Session
from livo_bench.scorers import pixels_to_tensor

TIMES = (100, 300, 500, 700, 900)
SCENES = 12
"""Looked at of each subset, evenly spread."""


def explicit(row: pd.Series) -> str:
    """The plain prompt with the wish written into it."""
    text = str(row["prompt"])
    if row["subset"] in world.TRIGGERS:
        for trigger in world.TRIGGERS[row["subset"]]:
            for article in ("a", "an"):
                text = text.replace(f"{article} {trigger} mannequin", "a mannequin")
        return text
    plain = world.person(row["concept"])
    words = {str(row["subset"]): str(row["group"])}
    assert row["concept"] in CONCEPTS
    return text.replace(plain, world.person(row["concept"], **words))


@torch.inference_mode()
def moves(session: Session, part: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Loss under the explicit text minus loss under the plain prompt, by side and time."""
    engine = session.engine
    noising = DDPMScheduler.from_config(engine.scheduler_config)
    wish = explicit(part[part["preferred"]].iloc[0])
    for side, rows in part.groupby("preferred"):
        pixels = np.stack(list(session.store.read_samples(rows["key"]).values()))
        images = pixels_to_tensor(pixels, engine.vae.device) / 127.5 - 1
        latents = engine.vae.encode(images).latent_dist.mean * engine.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        for time in TIMES:
            times = torch.full((len(latents),), time)
            noisy = noising.add_noise(latents, noise, times)
            losses = [
                (engine.unet(noisy, times, engine.embed(text).expand(len(latents), -1, -1)).sample)
                .sub(noise)
                .square()
                .mean()
                .item()
                for text in (str(part["prompt"].iloc[0]), wish)
            ]
            yield {
                "subset": part["subset"].iloc[0],
                "moves": "d_w" if side else "d_l",
                "time": time,
                "by": losses[1] - losses[0],
            }


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
def main(runs: Path) -> None:
    """Print a Markdown table, one row a subset and side."""
    card = model_card("mini")
    folder, _ = preference.build("mini", runs=runs, device="cpu")
    data = preference_data.read(folder)
    data = data[data["scene"].isin(preference_data.paired_scenes(data))]
    session = Session(card, 42, "cpu", card.dtype, runs)
    rows: list[dict[str, object]] = []
    for _, of_subset in data.groupby("subset"):
        scenes = [part for _, part in of_subset.groupby("scene")]
        for part in scenes[:: max(1, len(scenes) // SCENES)][:SCENES]:
            group = part.loc[part["preferred"], "group"].iloc[0]
            rows += moves(session, part[~part["preferred"] | (part["group"] == group)])
    table = pd.DataFrame(rows).pivot_table(
        index=["subset", "moves"], columns="time", values="by", margins=True, margins_name="mean"
    )
    print("| value | moves | " + " | ".join(f"t = {time}" for time in TIMES) + " | mean |")
    print("| --- " * (len(TIMES) + 3) + "|")
    lines = table.drop(index="mean", level=0).reset_index()
    for subset, side, *line in lines.itertuples(index=False):
        print(f"| {subset} | {side} | " + " | ".join(f"{x:+.4f}" for x in line) + " |")


if __name__ == "__main__":
    main()
