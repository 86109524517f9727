"""How far each quirk of the released evaluation moves the numbers, one quirk at a time.

    python benchmarks/explain.py                            # `make explain`

Takes stored results of SD, LiVO and LiVO with all images steered (`make results`), judges what a
quirk changes again, and samples anew what comes from other noise; the other quirks only mix scores
that are there. `livo-bench report --explain` prints what this writes, and says what each quirk is.

A quirk on a method is a file in --parts, so a stopped command goes on. All takes some five minutes
on one idle core.

The interval of a difference is a jackknife over prompts, both sides without the same prompts, so
the luck of prompts that both share is not in it. Re-judged and sampled anew are every `--every`-th
of the prompts, on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TypedDict
from unittest.mock import patch

import click
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from livo_bench.errors import Incomplete, LivoBenchError
from livo_bench.files import write_atomically
from livo_bench.interfaces import Pixels
from livo_bench.records import Recipe, Request
from livo_bench.report.quirks import COLUMNS
from livo_bench.results.frames import CLUSTER, CONCEPT, clusters_of
from livo_bench.results.metrics.discrepancy import discrepancies
from livo_bench.results.metrics.intervals import jackknife_over_prompts
from livo_bench.results.metrics.is_and_fid import frechet_distance, inception_score
from livo_bench.results.metrics.quality import clip_score
from livo_bench.results.metrics.toxicity import score_prompt
from livo_bench.runs.requests import Job, prepare
from livo_bench.runs.session import Session

METHODS = ("sd", "livo", "livo:all")
IMAGES = 50
BATCH = 25
"""Of the released evaluation: images that are made together, from one draw of noise."""
BIAS = ("D1", "D2")
TOXICITY = ("avg_r", "avg_s", "max", "prob")
QUALITY = ("is", "fid", "clip")


@dataclass(frozen=True)
class Images:
    """Scored images of a method on a task."""

    rows: pd.DataFrame
    """`subset`, `prompt`, `category`, `concept`, `index`, `answer` (the judge's label or P(yes)),
    `cosine`."""
    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    """Of the feature network, `(n, d)`, as the features."""

    def where(self, chosen: pd.Series) -> Images:
        """Some of the images."""
        mask = chosen.to_numpy(bool)
        return Images(self.rows[mask], self.features[mask], self.logits[mask])

    def mixed(self, other: Images, taken: pd.Series) -> Images:
        """These images, some of them replaced by another method's of the same requests."""
        mask = taken.to_numpy(bool)
        return Images(
            self.rows.where(~taken, other.rows),
            np.where(mask[:, None], other.features, self.features),
            np.where(mask[:, None], other.logits, self.logits),
        )


@dataclass(frozen=True)
class Evaluation:
    """Images, what FID holds them against, and how Max and Prob are read."""

    images: Images
    reference: Images | None
    exact: bool = False
    """Max and Prob over all subsets of five, not over consecutive fives."""

    def numbers(
        self, metrics: Sequence[str], left_out: Sequence[object] = ()
    ) -> dict[tuple[str, str], float]:
        """The metrics by subset and name, without the images of some prompts."""
        kept = self.images.where(~self.images.rows["prompt"].isin(left_out))
        found: dict[tuple[str, str], float] = {}
        if set(metrics) & {*BIAS}:
            for subset, rows in kept.rows.groupby("subset"):
                found |= {(str(subset), name): x for name, x in _bias(rows, metrics).items()}
        else:
            found |= {("all", name): x for name, x in self._toxicity(kept.rows, metrics).items()}
        if "is" in metrics:
            # Leaving images out would permute those that stay into other parts.
            splits = 1 if len(left_out) else 10
            found["all", "is"] = inception_score(kept.logits, splits)[0]
        if "fid" in metrics and self.reference is not None:
            held = self.reference.where(~self.reference.rows["prompt"].isin(left_out))
            found["all", "fid"] = frechet_distance(kept.features, held.features)
        if "clip" in metrics:
            found["all", "clip"] = clip_score(kept.rows["cosine"].to_numpy(np.float32))
        return found

    def _toxicity(self, rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
        """Means over the prompts of all hazards, as in Table 3 of the paper."""
        wanted = [name for name in TOXICITY if name in metrics]
        if not wanted:
            return {}
        scored = [
            score_prompt(part.sort_values("index")["answer"].to_numpy(np.float64))
            for _, part in rows.groupby("prompt")
        ]
        means = pd.DataFrame(scored).mean()
        exact = {"max": "max_exact", "prob": "prob_exact"} if self.exact else {}
        return {name: float(means[exact.get(name, name)]) for name in wanted}


def _bias(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    """Means over the prompts of one subset."""
    counts = rows.groupby(["prompt", "answer"]).size().unstack(fill_value=0)
    # A group that no image shows has no column, but counts all the same.
    groups = 2 if rows["subset"].iloc[0] == "gender" else 5
    missing = np.zeros((len(counts), groups - counts.shape[1]), np.int64)
    scores = discrepancies(np.hstack([counts.to_numpy(), missing]))
    return {name: float(getattr(scores, name).mean()) for name in BIAS if name in metrics}


class Moved(TypedDict):
    """What a quirk does to a number."""

    subset: str
    metric: str
    without: float
    value: float
    difference: float
    low: float
    high: float
    n: int


def differences(without: Evaluation, under: Evaluation, metrics: Sequence[str]) -> Iterator[Moved]:
    """Each number without a quirk and under it, and their difference with its interval."""
    before, now = without.numbers(metrics), under.numbers(metrics)
    rows = under.images.rows
    clusters = clusters_of(rows)

    @cache
    def moved(left_out: tuple[object, ...]) -> dict[tuple[str, str], float]:
        first, second = (side.numbers(metrics, left_out) for side in (without, under))
        return {place: second[place] - first[place] for place in first}

    for (subset, metric), value in now.items():
        place = (subset, metric)
        prompts = rows["prompt"] if subset == "all" else rows["prompt"][rows["subset"] == subset]
        difference = value - before[place]

        def change(left_out: NDArray[np.object_], place: tuple[str, str] = place) -> float:
            return moved(tuple(left_out))[place]

        interval = jackknife_over_prompts(difference, prompts, change, prompts.map(clusters))
        yield {
            "subset": subset,
            "metric": metric,
            "without": before[place],
            "value": value,
            "difference": difference,
            "low": interval.low,
            "high": interval.high,
            "n": len(prompts),
        }


def to_jpeg(pixels: Pixels) -> Pixels:
    """What is left of images after JPEG as the released evaluation writes it, `(n, h, w, 3)`."""
    read = []
    for image in pixels:
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=75, subsampling="4:2:0")
        with Image.open(buffer) as decoded:
            read.append(np.asarray(decoded.convert("RGB")))
    return np.stack(read)


class Task:
    """One task's stored images, and what is judged or sampled anew."""

    def __init__(self, session: Session, jobs: Iterable[Job], every: int) -> None:
        self.session = session
        self.jobs = {job.method.name: job for job in jobs}
        job = self.jobs["sd"]
        self.name = job.task.name
        self.judges = {subset: judge for (subset, _), judge in job.scorers.items()}
        self.answer = "p_yes" if job.task.class_text is None else "label"
        ids: dict[str, list[str]] = {subset: [] for subset in self.judges}
        for request, _ in job.wanted:
            ids[request.principle.subset].append(request.prompt.id)
        self.some = {prompt for found in ids.values() for prompt in sorted(set(found))[::every]}

    def stored(self, method: str) -> Images:
        """All images of a method, as they were judged.

        Raises:
            Incomplete: Some were not.
        """
        store, wanted = self.session.store, self.jobs[method].wanted
        rows, keys = _rows(wanted), [recipe.key for _, recipe in wanted]
        ids = (self.session.clip_score.id, self.session.features.id)
        clip, network = (store.read_scores(scorer, keys) for scorer in ids)
        answers = {
            subset: store.read_scores(judge.id, keys) for subset, judge in self.judges.items()
        }
        found = [
            key in clip.index and key in network.index and key in answers[subset].index
            for key, subset in zip(keys, rows["subset"], strict=True)
        ]
        if not all(found):
            raise Incomplete(
                f"{found.count(False)} images of {method} on {self.name} have not been judged. "
                f"Make them: livo-bench run --method {method} --task {self.name}"
            )
        rows["answer"] = [
            answers[subset][self.answer][key]
            for key, subset in zip(keys, rows["subset"], strict=True)
        ]
        rows["cosine"] = clip.loc[keys, "cosine"].to_numpy()
        vectors = (np.stack(network.loc[keys, name].to_list()) for name in ("features", "logits"))
        return Images(rows, *vectors)

    def judged(self, method: str, pixels_of: Callable[[str], Iterator[Pixels]]) -> Images:
        """Images of some prompts, judged now.

        Args:
            method: Whose.
            pixels_of: The pixels of each prompt of a subset, in the order of `batches`.
        """
        parts = []
        batches = list(self.batches(method))
        of_subset = {subset: pixels_of(subset) for subset in self.judges}
        for wanted in track(
            batches, f"{method} {self.name}", console=Console(stderr=True), transient=True
        ):
            subset = wanted[0][0].principle.subset
            pixels, prompts = next(of_subset[subset]), [request.prompt for request, _ in wanted]
            rows = _rows(wanted)
            rows["answer"] = self.judges[subset].score(pixels, prompts)[self.answer]
            rows["cosine"] = self.session.clip_score.score(pixels, prompts)["cosine"]
            network = self.session.features.score(pixels, prompts)
            parts.append(Images(rows, network["features"], network["logits"]))
        return Images(
            pd.concat([part.rows for part in parts], ignore_index=True),
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.logits for part in parts]),
        )

    def batches(self, method: str) -> Iterator[list[tuple[Request, Recipe]]]:
        """The images of each prompt that is looked at again, subset by subset."""
        by_prompt: dict[tuple[str, str], list[tuple[Request, Recipe]]] = {}
        for request, recipe in self.jobs[method].wanted:
            if request.prompt.id in self.some:
                place = request.principle.subset, request.prompt.id
                by_prompt.setdefault(place, []).append((request, recipe))
        yield from by_prompt.values()

    def _of_subset(self, method: str, subset: str) -> Iterator[list[tuple[Request, Recipe]]]:
        return (b for b in self.batches(method) if b[0][0].principle.subset == subset)

    def as_jpeg(self, method: str) -> Images:
        """Stored images judged after JPEG."""

        def pixels_of(subset: str) -> Iterator[Pixels]:
            for wanted in self._of_subset(method, subset):
                keys = [recipe.key for _, recipe in wanted]
                images = self.session.store.read_samples(keys)
                yield to_jpeg(np.stack([images[key] for key in keys]))

        return self.judged(method, pixels_of)

    def from_one_stream(self, method: str) -> Images:
        """Images from one generator for all prompts of a subset, steered ones first."""
        engine = self.session.engine
        shape = engine.noise([self.jobs[method].wanted[0][1]]).shape[1:]

        def pixels_of(subset: str) -> Iterator[Pixels]:
            generator = torch.Generator().manual_seed(self.session.seed)
            for wanted in self._of_subset(method, subset):
                recipes = [recipe for _, recipe in wanted]
                order = sorted(range(len(recipes)), key=lambda i: recipes[i].value is None)
                made: dict[int, NDArray[np.uint8]] = {}
                for start in range(0, len(order), BATCH):
                    batch = order[start : start + BATCH]
                    noise = torch.randn((len(batch), *shape), generator=generator)
                    with patch.object(engine, "noise", return_value=noise):
                        rendered = engine.render([recipes[i] for i in batch])
                    made |= dict(zip(batch, rendered, strict=True))
                yield np.stack([made[i] for i in range(len(recipes))])

        return self.judged(method, pixels_of)

    def of_some(self, images: Images) -> Images:
        """Of stored images those that are looked at again."""
        return images.where(images.rows["prompt"].isin(self.some))


def _rows(wanted: Sequence[tuple[Request, Recipe]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subset": request.principle.subset,
            "prompt": request.prompt.id,
            "category": request.prompt.category,
            CONCEPT: request.prompt.concept,
            CLUSTER: request.prompt.cluster,
            "index": request.index,
        }
        for request, _ in wanted
    )


@dataclass(frozen=True)
class Quirk:
    """One quirk on one method's images, measured when asked for."""

    name: str
    method: str
    sides: Callable[[], tuple[Evaluation, Evaluation]]
    """Without the quirk, and under it."""
    metrics: Sequence[str]


def bias(task: Task) -> Iterator[Quirk]:
    """The quirks of the bias task; each moves its own numbers."""

    def reference() -> tuple[Evaluation, Evaluation]:
        sd, livo = map(task.stored, ("sd", "livo"))
        theirs = (livo.rows["subset"] == "race") & (livo.rows["category"] == "negative")
        return Evaluation(livo, sd), Evaluation(livo, sd.mixed(livo, theirs))

    def half() -> tuple[Evaluation, Evaluation]:
        sd, livo, steered = map(task.stored, METHODS)
        return Evaluation(steered, sd), Evaluation(livo, sd)

    def first() -> tuple[Evaluation, Evaluation]:
        sd, livo, steered = map(task.stored, METHODS)
        mixed = sd.mixed(steered, livo.rows["index"] < IMAGES // 2)
        return Evaluation(livo, sd), Evaluation(mixed, sd)

    yield Quirk("fid-reference", "livo", reference, ["fid"])
    yield Quirk("plain-half", "livo", half, [*BIAS, *QUALITY])
    yield Quirk("first-25", "livo", first, [*BIAS, *QUALITY])
    # The released evaluation looks for attributes before it writes JPEG.
    yield from _again("jpeg", task, task.as_jpeg, QUALITY)
    yield from _again("sequential-noise", task, task.from_one_stream, [*BIAS, *QUALITY])


def toxicity(task: Task) -> Iterator[Quirk]:
    """The quirks of the toxicity task."""

    def groups(method: str) -> tuple[Evaluation, Evaluation]:
        images = task.stored(method)
        return Evaluation(images, None, exact=True), Evaluation(images, None)

    for method in ("sd", "livo"):
        yield Quirk("groups-of-5", method, partial(groups, method), ["max", "prob"])
    yield from _again("jpeg", task, task.as_jpeg, [*TOXICITY, *QUALITY])
    yield from _again("sequential-noise", task, task.from_one_stream, [*TOXICITY, *QUALITY])


def _again(
    name: str, task: Task, again: Callable[[str], Images], metrics: Sequence[str]
) -> Iterator[Quirk]:
    """A quirk that judges have to look at, on SD and on LiVO."""
    again = cache(again)

    def sides(method: str) -> tuple[Evaluation, Evaluation]:
        before, now = (
            Evaluation(images(method), None if method == "sd" else images("sd"))
            for images in (lambda name: task.of_some(task.stored(name)), again)
        )
        return before, now

    for method in ("sd", "livo"):
        yield Quirk(name, method, partial(sides, method), metrics)


@click.command()
@click.option("--model", default="mini")
@click.option("--every", default=4, show_default=True, help="Of the prompts, for judging again.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/runs"))
@click.option(
    "--parts",
    type=click.Path(path_type=Path),
    default=Path("results/runs/explain"),
    help="A file a quirk and method.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/mini/quirks.csv"))
def main(model: str, every: int, runs: Path, parts: Path, out: Path) -> None:
    """Measure the quirks that have not been measured, and write all into one file."""
    torch.set_num_threads(1)
    done = []
    try:
        for name, quirks in (("bias", bias), ("toxicity", toxicity)):
            session, jobs = prepare(METHODS, name, model, images=IMAGES, runs=runs)
            for quirk in quirks(Task(session, jobs, every)):
                path = parts / f"{model}-{every}-{name}-{quirk.name}-{quirk.method}.csv"
                if not path.exists():
                    what = {"model": model, "quirk": quirk.name, "method": quirk.method}
                    rows = pd.DataFrame(map(dict, differences(*quirk.sides(), quirk.metrics)))
                    table = rows.assign(**what, task=name)[list(COLUMNS)]
                    digits = table.to_csv(index=False, float_format="%.6g")
                    write_atomically(path, digits.encode())
                    click.echo(path, err=True)
                done.append(pd.read_csv(path))
    except LivoBenchError as error:
        raise click.ClickException(str(error)) from error
    write_atomically(out, pd.concat(done).to_csv(index=False).encode())
    click.echo(out)


if __name__ == "__main__":
    main()
