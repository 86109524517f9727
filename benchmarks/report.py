"""Time and memory from stored scores to printed tables, at the size of the paper.

    python benchmarks/report.py

Builds a store as a run on Stable Diffusion would leave it: 588 bias and 817 toxicity prompts, 50
images each, so 70,250 images a method, in blocks of 25; scores in the judges' columns, Inception's
2,048 features and 1,008 logits in float32 (7 GB for 8 methods). Images are single grey pixels and
scores are drawn at random: nothing here reads the former or depends on the latter. Of the methods
half leave every second bias image to the unaligned model, as LiVO does. Then runs the commands one
after the other, each in a process of its own, and prints Markdown.

`--against DIR` runs those of another checkout too, in turn, on the same store.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
import numpy as np
from rich.progress import track

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import TaskCard
from livo_bench.interfaces import Columns, Scorer
from livo_bench.runs.requests import prepare
from livo_bench.runs.work import works_of
from livo_bench.scorers.features import INCEPTION, FeatureNetwork

HERE = Path(__file__).parent.parent
PROMPTS = {"bias": 588, "toxicity": 817}
"""Of the released evaluation."""

CARD = """\
name = "synthetic"
title = "Synthetic"
scale = "sd"
pipeline = "{mini.pipeline}"
size = 64
steps = 25
guidance = 7.5
sampler = "dpmsolver++"
dtype = "float16"
block = 25
rate = 2.0
bytes_per_image = 500_000

[judges.attributes]
weights = "{mini.judges[attributes].weights}"
dtype = "float32"

[judges.hazards]
weights = "{mini.judges[hazards].weights}"
dtype = "float32"

[judges.features]
weights = "{network}"
dtype = "float32"

[quality]
"""

METHOD_CARD = """\
name = "{name}"
title = "{name}"
version = 1
tasks = ["bias", "toxicity"]
told = "value"
summary = "Stands for a method; its images are not drawn."
paper = ""
differences = []
"""

ADAPTER = """\
from dataclasses import replace


class Synthetic:
    def resolve(self, request, base):
        if {half} and request.principle.attributes and request.index % 2:
            return base
        value = request.principle.value if {half} else ""
        return replace(base, value=value, value_encoder="{name}", layout="pad77")


def load(context):
    return Synthetic()
"""


@dataclass(frozen=True)
class Bench:
    """Where the synthetic files lie."""

    folder: Path
    methods: list[str]
    images: int

    @property
    def card(self) -> Path:
        return self.folder / "synthetic.toml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def prompts(self, task: str) -> Path:
        return self.folder / f"{task}.csv"

    def run(self, task: str, methods: list[str]) -> list[str]:
        """The words of `livo-bench run`."""
        return [
            "run",
            *(word for method in methods for word in ("--method", method)),
            *("--task", task, "--model", str(self.card), "--images", str(self.images)),
            *("--prompts", str(self.prompts(task)), "--device", "cpu", "--runs", str(self.runs)),
        ]

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """What is measured."""
        for task in PROMPTS:
            plan = [*self.run(task, ["sd"]), "--plan"]
            yield f"run --plan, {task}, one method", plan
        for task in PROMPTS:
            yield f"run, all stored, {task}", self.run(task, self.methods)
        for table in ("2", "3"):
            words = ["report", str(self.runs), "--model", "synthetic", "--table", table]
            yield f"report --table {table}", [*words, "--format", "markdown"]
        yield "list", ["list"]
        yield "--help", ["--help"]


def write_inputs(bench: Bench, share: float, network: str) -> None:
    """Model card, methods and prompt lists."""
    text = CARD.format(mini=model_card("mini"), network=network)
    bench.card.write_text(text, encoding="utf-8")
    for number, place in enumerate(bench.methods[1:]):
        folder = Path(place)
        folder.mkdir()
        half = number % 2 == 1
        (folder / "card.toml").write_text(METHOD_CARD.format(name=folder.name))
        (folder / "adapter.py").write_text(ADAPTER.format(name=folder.name, half=half))
    for task, count in PROMPTS.items():
        categories = task_cards()[task].categories
        lines = [
            f"a photo of person number {number},{categories[number % len(categories)]}"
            for number in range(max(round(count * share), 2 * len(categories)))
        ]
        bench.prompts(task).write_text("\n".join(["text,category", *lines]), encoding="utf-8")


def fill_store(bench: Bench) -> int:
    """Store made-up images and scores for all that the methods want; returns how many images."""
    rng = np.random.default_rng(0)
    stored = 0
    for task in PROMPTS:
        session, jobs = prepare(
            bench.methods,
            task,
            str(bench.card),
            images=bench.images,
            prompts=bench.prompts(task),
            device="cpu",
            runs=bench.runs,
        )
        works, card = works_of(session, jobs), task_cards()[task]
        for work in track(works, f"storing {task}"):
            grey = np.full((len(work.block), 1, 1, 3), 127, np.uint8)
            session.store.write_samples(work.block.recipes, grey)
            for scorer in work.scorers.values():
                columns = make_up(scorer, len(work.block), card, rng)
                session.store.write_scores(scorer.id, work.block.keys, columns)
            stored += len(work.block)
    return stored


def make_up(scorer: Scorer, n: int, task: TaskCard, rng: np.random.Generator) -> Columns:
    """Random scores in the columns that the scorer returns."""
    if isinstance(scorer, FeatureNetwork):
        widths = {"features": 2048, "logits": 1008}
        if scorer.classes is not None:
            widths = {"features": 256, "logits": len(scorer.classes)}
        drawn = {k: rng.standard_normal((n, width), np.float32) for k, width in widths.items()}
        return {"features": np.maximum(drawn["features"], 0), "logits": 2 * drawn["logits"]}
    if scorer.id.startswith("clip-score"):
        return {"cosine": rng.uniform(0.2, 0.3, n).astype(np.float32)}
    subset = next(s for name, s in task.subsets.items() if f"-{name}-" in scorer.id)
    classes = subset.attributes or ("yes", "no")
    shares = rng.dirichlet(np.ones(len(classes)), n).astype(np.float32)
    columns = {f"p_{name}": shares[:, i] for i, name in enumerate(classes)}
    return {"label": np.array(classes)[shares.argmax(axis=1)], **columns}


@dataclass(frozen=True)
class Cost:
    """Of one process."""

    wall: float
    cpu: float
    peak: float
    """Largest resident set, MB."""


LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([code, time.perf_counter() - start, cpu, used.ru_maxrss / 1e3]))
"""
"""A process too small to hide the peak of its child, which begins as large as its parent."""


def measure(words: list[str], checkout: Path) -> Cost:
    """Run a command of a checkout and wait for it."""
    ours = [sys.executable, "-m", "livo_bench.cli", *words]
    answer = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *ours],
        cwd=checkout,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    code, *cost = json.loads(answer)
    if code:
        raise SystemExit(f"livo-bench {' '.join(words)} ended with exit code {code}.")
    return Cost(*cost)


def machine() -> str:
    """The processor's name, and how much of it there is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} core(s)"


@click.command()
@click.option("--methods", "count", default=8, show_default=True, help="The unaligned one too.")
@click.option("--share", default=1.0, show_default=True, help="Part of the paper's prompts.")
@click.option("--images", default=50, show_default=True, help="Images a prompt.")
@click.option(
    "--network",
    type=click.Choice([INCEPTION, "mini"]),
    default=INCEPTION,
    show_default=True,
    help="Whose features: 2,048 and 1,008 numbers an image, or those of the miniature world.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout, whose commands are run in turn with these on the same store.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the store there.")
def main(
    count: int, share: float, images: int, network: str, against: Path | None, folder: Path | None
) -> None:
    """Build the store, run the commands and print a Markdown table."""
    place = (folder or Path(tempfile.mkdtemp())).resolve()
    methods = ["sd", *(str(place / f"method-{number}") for number in range(1, count))]
    bench = Bench(place, methods, images)
    weights = INCEPTION if network == INCEPTION else model_card("mini").judges["features"].weights
    try:
        if not bench.card.exists():
            place.mkdir(parents=True, exist_ok=True)
            write_inputs(bench, share, weights)
            # A store that is thrown away need not survive a power failure.
            with mock.patch("os.fsync"):
                stored = fill_store(bench)
            size = sum(path.stat().st_size for path in bench.runs.rglob("*.parquet"))
            print(f"{stored:,} images, {size / 1e9:.1f} GB\n")
        checkouts = {"before": against, "after": HERE} if against else {"": HERE}
        print(f"{machine()}\n\n| command | | seconds | processor seconds | MB |")
        print("| --- | --- | --- | --- | --- |")
        for title, words in bench.commands():
            for name, checkout in checkouts.items():
                cost = measure(words, checkout)
                cells = (title, name, f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{cost.peak:,.0f}")
                print(f"| {' | '.join(cells)} |", flush=True)
    finally:
        if folder is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
