"""A job's stored scores to its numbers: the files of a result folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import pandas as pd

from livo_bench.errors import Incomplete
from livo_bench.jobs import Job
from livo_bench.metrics import bias, fidelity, overcorrection, quality, toxicity
from livo_bench.metrics.rows import ALL, Summary
from livo_bench.mini.world import content_of
from livo_bench.records import AGGREGATE_COLUMNS, Aggregate, Recipe, Request, Run
from livo_bench.session import Session
from livo_bench.store import Store, write_atomically

PACKAGES = ("livo-bench", "torch", "diffusers", "transformers", "open_clip_torch", "torch-fidelity")
"""Whose versions a result names."""


def summarise(session: Session, job: Job, images: int) -> Path:
    """Turn a job's stored scores into its numbers and write its result folder."""
    store, features, clip = session.store, session.features.id, session.clip_score.id
    model = session.protocol.of(session.model.name)
    identity = Run(model, job.method.name, job.task.name)
    rows, unaligned = _rows(job.wanted), _rows(job.reference)
    # The same requests in the same order.
    steered = rows["key"] != unaligned["key"]
    cosines, vectors = _scored(store, clip, rows), _scored(store, features, rows)
    plain = _scored(store, features, unaligned)
    judged, summary = _judge(session, job, identity, vectors, plain)
    reference = _reference(session, job, vectors, plain) if steered.any() else None
    scorers = {quality.IS: features, quality.FID: features, quality.CLIP: clip}
    intervals = session.model.scale == "mini"
    numbers = [
        *summary.aggregates,
        *_fidelity(session, job, vectors.assign(steered=steered), identity),
        *quality.summarise(cosines, vectors, identity, scorers, reference, intervals),
    ]
    if reference is not None:
        numbers += quality.summarise_steered(
            cosines[steered], vectors[steered], plain[steered], identity, scorers, intervals
        )
    folder = session.runs / model / job.method.name.replace(":", "-") / job.place
    if job.subset is not None:
        numbers = [replace(number, subset=job.subset) for number in numbers]
    elif len(job.subsets) < len(job.task.subsets):
        # Over some subsets is not over all of them, which is what other methods' rows say.
        numbers = [number for number in numbers if number.subset != ALL]
    table = pd.DataFrame([asdict(number) for number in numbers], columns=list(AGGREGATE_COLUMNS))
    write_atomically(folder / "images.parquet", _parquet(judged))
    write_atomically(folder / "prompts.csv", summary.prompts.to_csv(index=False).encode())
    write_atomically(
        folder / "run.json", json.dumps(_record(session, job, images), indent=2).encode()
    )
    write_atomically(folder / "aggregates.csv", table.to_csv(index=False).encode())
    return folder


def _judge(
    session: Session, job: Job, run: Run, vectors: pd.DataFrame, plain: pd.DataFrame
) -> tuple[pd.DataFrame, Summary]:
    """What the task's judges say of each image, and the task's own numbers.

    Args:
        session: Of the command.
        job: Whose images.
        run: Likewise.
        vectors: The feature network's scored frame of the wanted images, in their order.
        plain: Likewise, of the reference images.
    """
    network = session.features.id
    rows = _rows(job.wanted)
    ids = [job.judges[r.principle.subset, r.prompt.category].id for r, _ in job.wanted]
    judge = pd.Series(ids, name="judge")
    harmless = judge == network
    parts = [
        _scored(session.store, str(scorer), part)
        for (_, scorer), part in rows[~harmless].groupby(["subset", judge], sort=True)
    ]
    if harmless.any():
        parts.append(overcorrection.compare(vectors[harmless], plain[harmless]))
    judged = pd.concat(parts, ignore_index=True)
    attributes = {name: subset.attributes for name, subset in job.task.subsets.items()}
    judges = {
        subset: scorer.id for (subset, _), scorer in job.judges.items() if scorer.id != network
    }
    if job.task.control:
        return judged, overcorrection.summarise(judged, run, attributes, judges, network)
    if job.task.class_text is None:
        return judged, toxicity.summarise(judged, run, judges)
    return judged, bias.summarise(judged, run, attributes, judges)


def _reference(
    session: Session, job: Job, vectors: pd.DataFrame, plain: pd.DataFrame
) -> pd.DataFrame:
    """What FID compares with: the unaligned model's images, or where the protocol says so one's
    own."""
    places = [f"{job.task.name}/{r.principle.subset}/{r.prompt.category}" for r, _ in job.wanted]
    own = pd.Series(places).isin(session.protocol.own_reference)
    return pd.concat([plain[~own], vectors[own]]).sort_index()


def _fidelity(session: Session, job: Job, frame: pd.DataFrame, run: Run) -> list[Aggregate]:
    """Fidelity to those prompts that ask for a class of the feature network, if it has classes."""
    classes = session.feature_network.classes or ()
    contents = {request.prompt.id: content_of(request.prompt) for request, _ in job.wanted}
    asked = {prompt: content for prompt, content in contents.items() if content in classes}
    return fidelity.summarise(frame, run, asked, classes, session.features.id)


def _rows(wanted: Iterable[tuple[Request, Recipe]]) -> pd.DataFrame:
    """What a scored frame says of a request before a judge has spoken."""
    return pd.DataFrame(
        {
            "subset": request.principle.subset,
            "prompt": request.prompt.id,
            "category": request.prompt.category,
            "index": request.index,
            "key": recipe.key,
            "stratum": recipe.stratum,
        }
        for request, recipe in wanted
    )


def _scored(store: Store, scorer: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns of a scorer.

    Raises:
        Incomplete: A stored score is damaged or gone.
    """
    scores = store.read_scores(scorer, rows["key"])
    lost = set(rows["key"]) - set(scores.index)
    if lost:
        raise Incomplete(f"{len(lost)} scores of {scorer} are missing. Run the command again.")
    return rows.join(scores, on="key")


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _prompts_record(job: Job) -> dict[str, object]:
    """Which prompts these are: a list of one's own has another digest than the task's."""
    prompts = sorted({(r.prompt.id, r.prompt.text, r.prompt.category) for r, _ in job.wanted})
    return {"count": len(prompts), "digest": sha256(json.dumps(prompts).encode()).hexdigest()}


def _record(session: Session, job: Job, images: int) -> dict[str, object]:
    """What else a reader of the numbers has to know."""
    model = session.model
    return {
        "model": {"name": model.name, "digest": session.digest},
        "protocol": session.protocol.name,
        "method": {"name": job.method.name, "version": job.method.card.version},
        "task": {"name": job.task.name, "version": job.task.version},
        "prompts": _prompts_record(job),
        "settings": {
            "images": images,
            "seed": session.seed,
            "steps": model.steps,
            "guidance": model.guidance,
            "sampler": model.sampler,
            "block": model.block,
            "dtype": session.dtype,
            "device": session.device,
        },
        "scorers": sorted({judge.id for judge in job.judges.values()}),
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count()},
    }
