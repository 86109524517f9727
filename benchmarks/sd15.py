"""Stable Diffusion 1.5 and its judges at full size: images and training steps a second.

    python benchmarks/sd15.py --work DIR              # on a GPU; writes some 20 GB to DIR
    python benchmarks/sd15.py --work DIR --reduced    # anywhere, to see that it runs

The networks have random weights: what they say means nothing, how long they take is that of real
ones. One run measures, side by side on one machine: the loop of the released scripts (a prompt a
call, 25 images, JPEG files out and in, LLaVA in batches of ten through `generate`, three passes for
IS, FID and CLIP score); `livo-bench run` with each switch added in turn, then with other block
sizes; and steps of LiVO's training against a plain loop. Prints Markdown.

The rate of `livo-bench run` is that between the ends of its first and its last block: loading the
models and making kernels for them is not in it, nor is it in the other loop's.
"""

from __future__ import annotations

import csv
import gc
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import open_clip
import pandas as pd
import stand_ins
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from stand_ins import ANSWERS, FULL, REDUCED, Sizes
from throughput import flops_of, matrix_rate
from training import PlainLoop, timed
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines.acceleration import SWITCHES
from livo_bench.methods.livo import encoder_settings
from livo_bench.methods.livo.pairs import Pairs, Scene
from livo_bench.methods.livo.train import Trainer
from livo_bench.runs.requests import prepare
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session, find_device
from livo_bench.scorers import features
from livo_bench.scorers.features import FeatureNetwork
from livo_bench.scorers.hazards import CONVERSATION

TASK, SUBSET = "toxicity", "nudity"
"""What is sampled: LLaVA is the slowest judge, so other tasks are faster."""
CALL, JUDGED = 25, 10
"""Images of a call of the released scripts, and of a call of their judge."""
PICTURES = 64
"""That the training draws from; how many changes no speed."""

CARD = """\
name = "{name}"
title = "Stable Diffusion 1.5's networks with random weights"
scale = "sd"
pipeline = "{work}/sd"
licence = "none, it has learnt nothing"
size = {size}
steps = 25
guidance = 7.5
sampler = "dpmsolver++"
dtype = "{dtype}"
block = {block}
rate = 2.0
bytes_per_image = 500_000
[judges.attributes]
weights = "{work}/clip"
dtype = "float32"
[judges.hazards]
weights = "{work}/llava"
dtype = "{dtype}"
[judges.features]
weights = "inception-v3-compat"
dtype = "float32"
"""


# What is measured --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """Where the networks lie, and how they are run."""

    work: Path
    sizes: Sizes
    device: str
    dtype: str

    def build(self) -> None:
        """Write the networks that are not there yet."""
        number = getattr(torch, self.dtype)
        words = sorted({*ANSWERS, *_question().split()})
        parts = {
            "sd": lambda at: stand_ins.save_pipeline(at, self.sizes, self.device, number),
            "clip": lambda at: stand_ins.save_clip(at, 1, self.sizes, self.device),
            "llava": lambda at: stand_ins.save_llava(
                at, self.sizes, words, self.device, number, "5GB"
            ),
        }
        for name, save in parts.items():
            unfinished = self.work / f"{name}.unfinished"
            if not (self.work / name).exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                save(unfinished).rename(self.work / name)
        checkpoints = self.work / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        if not any(checkpoints.glob("weights-inception-*.pth")):
            stand_ins.save_inception(checkpoints)

    def inception_url(self) -> str:
        """An address that ends in the name of the Inception at hand."""
        [path] = (self.work / "checkpoints").glob("weights-inception-*.pth")
        return f"https://example.org/{path.name}"

    def card(self, block: int) -> Path:
        """A model card of the networks."""
        path = self.work / f"sd15-random-{block}.toml"
        size = 8 * self.sizes.unet["sample_size"]
        text = CARD.format(
            name=path.stem, work=self.work.resolve(), size=size, dtype=self.dtype, block=block
        )
        path.write_text(text, encoding="utf-8")
        return path

    def prompts(self, count: int) -> Path:
        """A list of a subset's first prompts."""
        card = task_cards()[TASK]
        categories = card.subsets[SUBSET].categories
        listed = [p for p in read_task_prompts(card, "sd") if p.category in categories]
        path = self.work / "prompts.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "category"))
            writer.writerows((prompt.text, prompt.category) for prompt in listed[:count])
        return path


def _question() -> str:
    card = task_cards()[TASK]
    assert card.question is not None
    return CONVERSATION.format(question=card.question.format(word=card.subsets[SUBSET].word))


@dataclass(frozen=True)
class Speed:
    """Of one way to make and judge images."""

    name: str
    rate: float
    """Images a second."""
    peak: int | None
    """Bytes of the device's memory at most; None on a CPU."""


class ReleasedLoop:
    """Sampling and judging as the released scripts do."""

    def __init__(self, card: ModelCard, device: str) -> None:
        dtype = getattr(torch, card.dtype)
        self.card, self.device = card, device
        self.pipe = StableDiffusionPipeline.from_pretrained(
            card.pipeline, dtype=dtype, safety_checker=None
        ).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.scheduler = DPMSolverMultistepScheduler.from_config(self.pipe.scheduler.config)
        hazards, attributes = (card.judges[role].weights for role in ("hazards", "attributes"))
        self.processor = LlavaProcessor.from_pretrained(hazards)
        llava: Any = LlavaForConditionalGeneration.from_pretrained(hazards, dtype=dtype)
        self.llava = llava.to(device)
        source = f"local-dir:{attributes}"
        clip, _, self.preprocess = open_clip.create_model_and_transforms(source)
        self.clip = clip.to(device).eval()
        self.tokenize = open_clip.get_tokenizer(source)
        self.inception = FeatureNetwork(card.judges["features"].weights, device)

    def run(self, texts: Sequence[str], images: int, folder: Path) -> None:
        """Make images of each text, then judge the files."""
        for number, text in enumerate(texts):
            for start in range(0, images, CALL):
                made = self.pipe(
                    text,
                    num_images_per_prompt=min(CALL, images - start),
                    num_inference_steps=self.card.steps,
                    guidance_scale=self.card.guidance,
                ).images
                for place, image in enumerate(made, start):
                    image.save(folder / f"{number:03}-{place:03}.jpg")
        files = sorted(folder.glob("*.jpg"))
        for start in range(0, len(files), JUDGED):
            self._ask(files[start : start + JUDGED])
        for _ in ("inception score", "fid"):
            for start in range(0, len(files), CALL):
                part = [np.asarray(Image.open(path)) for path in files[start : start + CALL]]
                self.inception.score(np.stack(part), [])
        for number, text in enumerate(texts):
            own = files[number * images : (number + 1) * images]
            for start in range(0, images, CALL):
                self._similarity(own[start : start + CALL], text)

    @torch.inference_mode()
    def _ask(self, files: Sequence[Path]) -> None:
        inputs = self.processor(
            images=[Image.open(path) for path in files],
            text=[_question()] * len(files),
            return_tensors="pt",
        ).to(self.device, self.llava.dtype)
        self.llava.generate(
            **inputs,
            max_new_tokens=1,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )

    @torch.inference_mode()
    def _similarity(self, files: Sequence[Path], text: str) -> None:
        batch = torch.stack([self.preprocess(Image.open(path)) for path in files])
        self.clip.encode_image(batch.to(self.device), normalize=True).cpu()
        self.clip.encode_text(self.tokenize([text]).to(self.device), normalize=True).cpu()


def released(bench: Bench, prompts: Path, images: int) -> Speed:
    """The released scripts' loop, after a warm-up."""
    texts = pd.read_csv(prompts)["text"].tolist()
    loop = ReleasedLoop(model_card(str(bench.card(CALL))), bench.device)
    folder = bench.work / "jpeg"
    with _Memory(bench.device) as memory:
        for some, count in ((texts[:1], CALL), (texts, images)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            started = time.perf_counter()
            loop.run(some, count, folder)
            seconds = time.perf_counter() - started
    return Speed("released scripts' loop", len(texts) * images / seconds, memory.peak)


def ours(
    bench: Bench, prompts: Path, images: int, block: int, switches: Sequence[str], name: str
) -> Speed:
    """`livo-bench run` into an empty folder, from the end of its first block."""
    runs = bench.work / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    with _Memory(bench.device) as memory:
        [folder] = run(
            ["sd"],
            f"{TASK}/{SUBSET}",
            model=str(bench.card(block)),
            images=images,
            prompts=prompts,
            device=bench.device,
            runs=runs,
            switches=switches,
        )
    unscored = pd.read_parquet(folder / "images.parquet")["unscored"].dropna()
    if len(unscored):
        raise click.ClickException(
            f"{len(unscored)} images were not judged ({unscored.iloc[0]}), so the time is not that "
            "of judging. Take another --dtype."
        )
    scores = runs.glob("store/*/scores/inception*/*.parquet")
    ends = sorted(path.stat().st_mtime for path in scores)
    return Speed(name, (len(ends) - 1) * block / (ends[-1] - ends[0]), memory.peak)


class _Memory:
    """The most memory of a device that was in use meanwhile."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak: int | None = None

    def __enter__(self) -> _Memory:
        gc.collect()  # pipelines hold themselves in circles
        if self.device != "cpu":
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device != "cpu":
            self.peak = torch.accelerator.max_memory_allocated()


def limit_of(bench: Bench, prompts: Path) -> float:
    """Images a second if the sampler's arithmetic ran at the device's matrix rate."""
    session, jobs = prepare(
        ["sd"],
        f"{TASK}/{SUBSET}",
        str(bench.card(CALL)),
        images=1,
        prompts=prompts,
        device=bench.device,
        runs=bench.work / "runs",
    )
    flops = flops_of(session.engine, jobs[0].wanted[0][1])
    rate = matrix_rate(bench.device, bench.dtype, 1024 if bench.device == "cpu" else 8192)
    click.echo(
        f"An image is {flops / 1e12:.3g} TFLOP; {rate / 1e12:.3g} TFLOP/s are {rate / flops:.3g}/s."
    )
    return rate / flops


def training_steps(bench: Bench, steps: int) -> tuple[float, float]:
    """Steps a second of the plain loop and of ours, on random pictures."""
    card = model_card(str(bench.card(CALL)))
    precision = "no" if bench.device == "cpu" else "bf16"
    chosen = replace(encoder_settings.read("livo", card.scale), precision=precision)
    rng = np.random.default_rng(0)
    side = card.size // 8
    moments = rng.uniform(0.1, 1, (PICTURES, 2, 4, side, side)).astype(np.float16)
    half = PICTURES // 2
    scene = Scene(0, np.arange(half), np.full(half, 1 / half), np.arange(half, PICTURES), None)
    names = list(chosen.coefficients)
    text = "a photo of the face of a doctor"
    formed = Pairs({name: [scene] for name in names}, [text], dict.fromkeys(names, text), moments)
    session = Session(card, 42, bench.device, card.dtype, bench.work / "runs")
    trainer = Trainer(session, chosen, formed, 0, bench.work / "training")
    shape = (2 * chosen.batch, card.size, card.size, 3)
    plain = PlainLoop(trainer, rng.integers(0, 256, shape, np.uint8))
    sides = (plain.step, trainer.step)
    for side_ in sides:
        timed(side_, range(2))
    theirs, mine = (timed(side_, range(steps)) for side_ in sides)
    return 1 / theirs, 1 / mine


def sharing() -> float:
    """Images that the released scripts make for SD and LiVO over those that ours makes."""
    _, jobs = prepare(["sd", "livo"], "all", "sd15", device="cpu", runs=Path("none"))
    distinct = {recipe.key for job in jobs for _, recipe in job.wanted}
    return sum(len(job.wanted) for job in jobs) / len(distinct)


# What is printed ---------------------------------------------------------------------------------


def _print_speeds(speeds: Sequence[Speed], limit: float) -> None:
    first = speeds[0].rate
    print("| | images/s | ratio | of the matrix rate | peak memory, GB |")
    print("| --- | --- | --- | --- | --- |")
    for one in speeds:
        peak = "" if one.peak is None else f"{one.peak / 1e9:.1f}"
        cells = (f"{one.rate:.3g}", f"{one.rate / first:.2f}", f"{one.rate / limit:.0%}", peak)
        print(f"| {one.name} | {' | '.join(cells)} |")


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--reduced", is_flag=True, help="Few channels: only to see that it runs.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", help="[default: bfloat16, on a CPU float32]")
@click.option("--prompts", "count", default=4, show_default=True)
@click.option("--images", default=100, show_default=True, help="Of a prompt.")
@click.option("--block", "blocks", multiple=True, type=int, default=[10, 50], show_default=True)
@click.option("--switch", "names", multiple=True, default=list(SWITCHES), show_default=True)
@click.option("--steps", default=10, show_default=True, help="Of training.")
def main(
    work: Path,
    reduced: bool,
    device: str,
    dtype: str | None,
    count: int,
    images: int,
    blocks: tuple[int, ...],
    names: tuple[str, ...],
    steps: int,
) -> None:
    """Measure everything in turn and print Markdown tables."""
    device = find_device(device)
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    bench = Bench(work, REDUCED if reduced else FULL, device, dtype)
    work.mkdir(parents=True, exist_ok=True)
    torch.hub.set_dir(str(work))
    with patch.object(features, "inception_url", bench.inception_url):
        bench.build()
        prompts = bench.prompts(count)
        click.echo(f"{_machine(device)}, {dtype}, {count} prompts of {images} images.")
        limit = limit_of(bench, prompts)
        speeds = [
            released(bench, prompts, images),
            ours(bench, prompts, images, CALL, (), f"livo-bench run, blocks of {CALL}"),
        ]
        thrown: tuple[str, ...] = ()
        for name in names:
            # It compiles too, so it takes the other's place.
            thrown = (*(one for one in thrown if one != "compile" or name != "cuda-graphs"), name)
            title = f"with {', '.join(thrown)}"
            speeds.append(ours(bench, prompts, images, CALL, thrown, title))
        for block in blocks:
            title = f"the same, blocks of {block}"
            speeds.append(ours(bench, prompts, images, block, thrown, title))
        _print_speeds(speeds, limit)
        best = max(speed.rate for speed in speeds) / speeds[0].rate
        print(f"\nSD and LiVO on all tasks: {best:.2f} a picture x {sharing():.2f} by sharing.\n")
        theirs, mine = training_steps(bench, steps)
        print("| LiVO's training | steps/s | ratio |\n| --- | --- | --- |")
        print(f"| plain loop | {theirs:.3g} | 1 |")
        print(f"| livo-bench train | {mine:.3g} | {mine / theirs:.2f} |")


def _machine(device: str) -> str:
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
