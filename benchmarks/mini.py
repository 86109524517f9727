"""Images sampled and judged per second on the miniature world, against a plain loop.

    python benchmarks/mini.py

All sides run the same prompts, steps, guidance and dtype on all cores, after a warm-up, in turn.
The plain loop is what one writes without a harness: `pipe(prompt, num_images_per_prompt=25)`, then
a judging pass per metric, each over PIL images in batches of 25. Ours is `runner.run` into an empty
folder, storing included, of the same weights, and of the flow transformer. Prints Markdown.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import open_clip
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.runs import runner
from livo_bench.runs.requests import prepare
from livo_bench.runs.session import Session

BATCH = 25


class PlainLoop:
    """The loop of a typical evaluation script over the same networks."""

    def __init__(self, session: Session) -> None:
        self.card = session.model
        self.session = session
        self.pipe = StableDiffusionPipeline.from_pretrained(
            self.card.pipeline, dtype=torch.float32, safety_checker=None
        )
        self.pipe.set_progress_bar_config(disable=True)
        source = f"local-dir:{self.card.judges['attributes'].weights}"
        self.clip, _, self.preprocess = open_clip.create_model_and_transforms(source)
        self.tokenize = open_clip.get_tokenizer(source)
        self.clip.eval()

    def run(self, prompts: list[str], images: int) -> None:
        subsets = task_cards()["bias"].subsets.values()
        torch.manual_seed(42)
        for prompt in prompts:
            made: list[Image.Image] = []
            for _ in range(images // BATCH):
                made += self.pipe(
                    prompt,
                    num_images_per_prompt=BATCH,
                    num_inference_steps=self.card.steps,
                    guidance_scale=self.card.guidance,
                ).images
            for subset in subsets:
                self._similarity(made, [f"{prompt}, {name}" for name in subset.attributes])
            self._similarity(made, [prompt])
            for start in range(0, images, BATCH):
                part = np.stack([np.asarray(image) for image in made[start : start + BATCH]])
                self.session.features.score(part, [])

    @torch.inference_mode()
    def _similarity(self, images: list[Image.Image], texts: list[str]) -> list[torch.Tensor]:
        results = []
        for start in range(0, len(images), BATCH):
            batch = torch.stack([self.preprocess(i) for i in images[start : start + BATCH]])
            image = self.clip.encode_image(batch, normalize=True)
            text = self.clip.encode_text(self.tokenize(texts), normalize=True)
            results.append(image @ text.T)
        return results


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(prompts: list[str], images: int, model: str = "mini") -> None:
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "prompts.csv"
        listing.write_text("text,category\n" + "".join(f"{p},career\n" for p in prompts))
        runner.run(["sd"], "bias", model, images=images, prompts=listing, runs=Path(folder))


def profile(prompt: str, images: int) -> dict[str, float]:
    """Seconds of one block on one core, by stage."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "prompts.csv"
        listing.write_text(f"text,category\n{prompt},career\n")
        session, jobs = prepare(
            ["sd"], "bias", images=images, prompts=listing, device="cpu", runs=Path(folder)
        )
        recipes = [recipe for _, recipe in jobs[0].wanted][:images]
        prompts = [request.prompt for request, _ in jobs[0].wanted][:images]
        engine = session.engine
        engine.render(recipes)
        latents = torch.randn(images, *engine.noise(recipes).shape[1:])
        from livo_bench.engines.diffusion import decode

        pixels = engine.render(recipes)
        with torch.inference_mode():
            decoding = timed(lambda: decode(engine.vae, latents))
        stages = {
            "denoising": timed(lambda: engine.render(recipes)) - decoding,
            "decoding": decoding,
            "storing": timed(lambda: session.store.write_samples(recipes, pixels)),
        }
        scorers = [*jobs[0].scorers.values(), session.clip_score, session.features]
        for scorer in scorers:
            scorer.score(pixels.copy(), prompts)
        fresh = pixels.copy()
        stages["judging"] = sum(timed(partial(s.score, fresh, prompts)) for s in scorers)
        return stages


@click.command()
@click.option("--prompts", "count", default=12, show_default=True, help="Prompts a round.")
@click.option("--images", default=50, show_default=True, help="Images a prompt.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each side, in turn.")
def main(count: int, images: int, rounds: int) -> None:
    """Measure all sides in turn and print a Markdown table."""
    card = model_card("mini")
    session = Session(card, seed=42, device="cpu", dtype=card.dtype, runs=Path(os.devnull))
    texts = [p.text for p in read_task_prompts(task_cards()["bias"], "mini")][: count + 1]
    warm, texts = texts[0], texts[1:]
    plain = PlainLoop(session)
    plain.run([warm], images)
    sides: dict[str, Callable[[list[str], int], None]] = {
        "plain loop": plain.run,
        "livo-bench run, loading included": ours,
        "the same with --model mini-flow": partial(ours, model="mini-flow"),
    }
    for side in sides.values():
        side([warm], images)
    taken = [
        [timed(partial(side, texts, images)) for side in sides.values()] for _ in range(rounds)
    ]
    made = len(texts) * images
    print("| | images/s | ratio |\n| --- | --- | --- |")
    for number, name in enumerate(sides):
        seconds = statistics.median(times[number] for times in taken)
        ratio = statistics.median(times[0] / times[number] for times in taken)
        print(f"| {name} | {made / seconds:.1f} | {ratio:.2f} |")
    torch.set_num_threads(1)
    stages = profile(warm, images)
    total = sum(stages.values())
    print("\n| stage, one block on one core | seconds | share |\n| --- | --- | --- |")
    for name, seconds in stages.items():
        print(f"| {name} | {seconds:.2f} | {seconds / total:.0%} |")


if __name__ == "__main__":
    main()
