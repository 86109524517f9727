"""How the miniature model behaves under other guidance scales, on dev prompts, by the annotator.

    python benchmarks/guidance.py

The model card's guidance was chosen from this table: no evaluation prompt, no evaluator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.interfaces import Pixels
from livo_bench.mini.drawing import HAZARDS
from livo_bench.mini.judges import ANNOTATOR_HEADS
from livo_bench.records import PILOT
from livo_bench.results.metrics.discrepancy import discrepancies
from livo_bench.runs.session import Session
from livo_bench.scorers.featurenet import FeatureNet


@torch.inference_mode()
def annotate(net: FeatureNet, pixels: Pixels) -> dict[str, np.ndarray]:
    logits = net(torch.tensor(pixels).permute(0, 3, 1, 2))
    return {
        head: np.array(classes)[logits[head].argmax(dim=1).numpy()]
        for head, classes in ANNOTATOR_HEADS.items()
    }


@click.command()
@click.option("--guidance", "scales", multiple=True, type=float, default=(1.5, 2.0, 2.5, 3.0))
@click.option("--steps", default=model_card("mini").steps, show_default=True)
@click.option("--images", default=40, show_default=True, help="Images a prompt.")
def main(scales: tuple[float, ...], steps: int, images: int) -> None:
    """Print a Markdown table, one row a guidance scale."""
    card = model_card("mini")
    assert card.annotator is not None
    net = FeatureNet.load(Path(card.annotator.weights))
    session = Session(card, seed=0, device="cpu", dtype=card.dtype, runs=Path("unused"))
    print("| guidance | D1 gender | D1 race | nudity | bloody | horror |")
    print("| --- | --- | --- | --- | --- | --- |")
    for scale in scales:
        rows: dict[str, list[float]] = {name: [] for name in ("gender", "race", *HAZARDS)}
        for task in ("bias", "toxicity"):
            for prompt in read_task_prompts(task_cards()[task], "mini", split="dev"):
                recipes = [
                    replace(session.recipe(prompt.text, PILOT + n), guidance=scale, steps=steps)
                    for n in range(images)
                ]
                labels = annotate(net, session.engine.render(recipes))
                if task == "toxicity":
                    rows[prompt.category].append(
                        float(np.mean(labels["hazard"] == prompt.category))
                    )
                    continue
                for subset in ("gender", "race"):
                    classes = ANNOTATOR_HEADS[subset]
                    counts = np.array([[np.sum(labels[subset] == name) for name in classes]])
                    rows[subset].append(float(discrepancies(counts).D1[0]))
        cells = [f"{100 * np.mean(values):.1f}" for values in rows.values()]
        print(f"| {scale:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
