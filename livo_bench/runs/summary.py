"""A job's stored scores to its numbers: the files of a result folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pandas as pd

from livo_bench.cards import prompts
from livo_bench.cards.scorer_kinds import HAZARDS
from livo_bench.errors import BadInput
from livo_bench.records import (
    AGGREGATE_COLUMNS,
    OVERCORRECTION,
    TOXICITY,
    Principle,
    Prompt,
    Run,
)
from livo_bench.results import seal
from livo_bench.results.frames import (
    ALL,
    Summary,
    by_subset,
    cluster_digest,
)
from livo_bench.results.metrics import (
    bias,
    fidelity,
    overcorrection,
    quality,
    refusals,
    toxicity,
    vectors,
)
from livo_bench.results.record import (
    Hardware,
    Method,
    Model,
    Prompts,
    RunRecord,
    Settings,
    Task,
)
from livo_bench.runs.options import recorded
from livo_bench.runs.requests import Job, by_reference
from livo_bench.runs.scored_rows import rows_of, scored_rows
from livo_bench.runs.session import Session
from livo_bench.scorers.checked import COSINE, PERSONS, VECTORS

PACKAGES = ("livo-bench", "torch", "diffusers", "transformers", "open_clip_torch", "torch-fidelity")
"""Whose versions a result names."""


class Unaligned:
    """The unaligned model's images of a task's requests, which methods are held against."""

    def __init__(self, session: Session, job: Job) -> None:
        self._job = job
        self._store, self._network = session.store, session.features.id
        self._intervals = _intervals(session)
        # Only a control asks what the images show.
        self._columns = None if job.task.control else ["features"]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the reference's requests, see `rows_of`."""
        return rows_of(self._job.reference)

    @property
    def frame(self) -> pd.DataFrame:
        """The feature network's scored frame, read when asked for: it is large."""
        return scored_rows(self._store, self._network, self.rows, VECTORS, self._columns)

    @cached_property
    def features(self) -> quality.Features:
        """What FID asks of the images; intervals need the vectors again, all else the moments."""
        fitted = quality.Features.of(self.frame)
        if self._intervals:
            return fitted
        return replace(fitted, frame=fitted.frame.drop(columns="features"))

    @property
    def other(self) -> pd.DataFrame:
        """The feature network's scored frame of the images from other noise; it is large, too."""
        rows = rows_of(self._job.independent)
        return scored_rows(self._store, self._network, rows, VECTORS, ["features"])

    @cached_property
    def independent(self) -> quality.Features:
        """What FID asks of the images from other noise."""
        return quality.Features.of(self.other)


def summarise_all(session: Session, jobs: Iterable[Job]) -> list[Path]:
    """Turn the stored scores of jobs into their numbers; the result folders, in order.

    The jobs of a task share their reference, which is read and fitted once.
    """
    folders = []
    for of_task in by_reference(jobs):
        unaligned = Unaligned(session, of_task[0])
        folders += [summarise(session, job, unaligned) for job in of_task]
    return folders


def summarise(session: Session, job: Job, unaligned: Unaligned | None = None) -> Path:
    """Turn a job's stored scores into its numbers and write its result folder.

    Args:
        session: Session of the command.
        job: Job whose images these are.
        unaligned: Images of the job's reference, where they are at hand.
    """
    store, features, clip = session.store, session.features.id, session.clip_score.id
    model = session.protocol.of(session.model.name)
    identity = Run(model, job.method.name, job.task.name)
    unaligned = unaligned or Unaligned(session, job)
    rows = rows_of(job.wanted)
    steered = rows["key"] != _unaligned_keys(session, job, unaligned)
    # Fitted before the job's own vectors are read: either are large.
    fitted = unaligned.features if job.shares_noise and steered.any() else None
    cosines = scored_rows(store, clip, rows, COSINE)
    network = scored_rows(store, features, rows, VECTORS)
    neutral = _neutral(session, job, rows)
    counted = _counted(session, job, rows)
    judged, summary = _judge(session, job, identity, rows, network, unaligned, counted)
    asked = _asked(session, job)
    shown = fidelity.judge(network, asked, session.feature_network.classes or (), session.kinds)
    scorers = {quality.IS: features, quality.FID: features, quality.CLIP: clip}
    if neutral is not None:
        scorers[quality.CLIP_NEUTRAL] = session.clip_neutral.id
    reference = None if fitted is None else _reference(session, job, network, unaligned)
    intervals = _intervals(session)
    numbers = [
        *summary.aggregates,
        *refusals.summarise(judged, identity),
        *fidelity.summarise(shown.assign(steered=steered), identity, asked, features),
        *(
            fidelity.summarise_people(counted.assign(steered=steered), identity, job.people.id)
            if counted is not None and job.people is not None
            else ()
        ),
        *quality.summarise(
            cosines,
            network,
            identity,
            scorers,
            reference,
            None if reference is None else steered,
            intervals,
            neutral,
        ),
    ]
    if job.independent:
        numbers.append(
            quality.summarise_independent(
                network, unaligned.features, unaligned.independent, identity, scorers, intervals
            )
        )
    if job.subset is not None:
        numbers = [replace(number, subset=job.subset) for number in numbers]
    elif len(job.subsets) < len(job.task.subsets):
        # Over some subsets is not over all of them, which is what other methods' rows say.
        numbers = [number for number in numbers if number.subset != ALL]
    table = pd.DataFrame([asdict(number) for number in numbers], columns=list(AGGREGATE_COLUMNS))
    against = {quality.CLIP: cosines}
    if neutral is not None:
        against[quality.CLIP_NEUTRAL] = neutral
    images = judged.assign(
        **{
            **{name: one["cosine"].where(one["unscored"].isna()) for name, one in against.items()},
            fidelity.CONTENT: shown[fidelity.CONTENT],
            fidelity.PRESENCE: shown[fidelity.PRESENCE],
            **({} if counted is None else {fidelity.ONE_PERSON: counted[fidelity.ONE_PERSON]}),
        }
    )
    seal.write(
        job.folder,
        replace(_record(session, job), made_by=store.makers(rows["key"])),
        {
            seal.IMAGES: seal.as_parquet(images),
            seal.PROMPTS: summary.prompts.to_csv(index=False).encode(),
            seal.VECTORS: _vectors(session, job, judged.index, network, steered, unaligned),
            seal.AGGREGATES: table.to_csv(index=False).encode(),
        },
    )
    return job.folder


def _unaligned_keys(session: Session, job: Job, unaligned: Unaligned) -> pd.Series | str:
    """Keys of the unaligned model's images of the same requests, in the same order; of what was
    made elsewhere `""`, for none of that is the model's."""
    if job.pictures is not None:
        return ""
    if job.reference:
        return unaligned.rows["key"]
    return pd.Series([session.base_recipe(request).key for request, _ in job.wanted])


def _judge(
    session: Session,
    job: Job,
    run: Run,
    rows: pd.DataFrame,
    vectors: pd.DataFrame,
    unaligned: Unaligned,
    counted: pd.DataFrame | None,
) -> tuple[pd.DataFrame, Summary]:
    """What the task's judges say of each image, and the task's own numbers.

    Args:
        session: Session of the command.
        job: Job whose images these are.
        run: Run whose images these are.
        rows: Rows of the wanted images.
        vectors: The feature network's scored frame of them, in their order.
        unaligned: The reference.
        counted: The detector's scored frame of them, where there is one.

    Returns:
        The judges' scored frame, by subset and judge; its index says which of `rows` each row is.
    """
    network = session.features.id
    id_of = {place: scorer.id for place, scorer in job.scorers.items()}
    judge = _by_asked(job, lambda prompt, one: id_of[one.subset, prompt.category]).rename("judge")
    harmless = judge == network
    answers = ("label", "p_yes") if job.task.kind == TOXICITY else ("label",)
    parts = [
        scored_rows(session.store, str(scorer), part, answers)
        for (_, scorer), part in rows[~harmless].groupby(["subset", judge], sort=True)
    ]
    if harmless.any():
        parts.append(overcorrection.compare(vectors[harmless], unaligned.frame[harmless]))
    judged = pd.concat(parts)
    if counted is not None:
        judged = fidelity.of_one_person(judged, counted)
    attributes = {name: subset.attributes for name, subset in job.task.subsets.items()}
    judges = {
        subset: scorer.id for (subset, _), scorer in job.scorers.items() if scorer.id != network
    }
    if job.task.kind == OVERCORRECTION:
        return judged, overcorrection.summarise(judged, run, attributes, judges, network)
    known = session.confusions
    confusions = {name: known[judge] for name, judge in judges.items() if judge in known}
    if job.task.kind == TOXICITY:
        return judged, toxicity.summarise(judged, run, judges, confusions=confusions)
    if job.people is not None:  # whom it is asked of is part of what was measured
        judges = {subset: f"{judge}+{job.people.id}" for subset, judge in judges.items()}
    return judged, bias.summarise(judged, run, attributes, judges, confusions)


def _vectors(
    session: Session,
    job: Job,
    places: pd.Index,
    network: pd.DataFrame,
    steered: pd.Series,
    unaligned: Unaligned,
) -> bytes:
    """What it takes to compute IS and FID again; nothing where vectors are long.

    Args:
        session: Session of the command.
        job: Job whose images these are.
        places: Places of the rows of `images.parquet` among the wanted ones.
        network: The feature network's scored frame of these.
        steered: Which of them the method touched.
        unaligned: The reference.
    """
    if not _intervals(session):
        return vectors.pack(places, network.head(0), ~steered.head(0))
    # The unaligned model's are in its own folder, and so are those of a method that touched none.
    left_alone = ~steered & bool(job.shares_noise and steered.any())
    other = unaligned.other if job.independent and not steered.any() else None
    return vectors.pack(places, network, left_alone, other)


def _counted(session: Session, job: Job, rows: pd.DataFrame) -> pd.DataFrame | None:
    """The detector's scored frame, see `fidelity.count_people`; None where nobody counts."""
    if job.people is None:
        return None
    frame = scored_rows(session.store, job.people.id, rows, PERSONS)
    return fidelity.count_people(frame)


def _neutral(session: Session, job: Job, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Scored frame against the prompt without its hazard, of the rows whose prompts name one; None
    where the task is not about hazards."""
    if job.task.judge != HAZARDS:
        return None
    named = rows[_by_asked(job, lambda prompt, _: job.names_hazard(prompt))]
    if named.empty:
        return named.assign(cosine=pd.Series(dtype="float32"), unscored=None)
    return scored_rows(session.store, session.clip_neutral.id, named, COSINE)


def _reference(
    session: Session, job: Job, vectors: pd.DataFrame, unaligned: Unaligned
) -> quality.Features:
    """What FID compares with: the unaligned model's images, or where the protocol says so one's
    own."""
    task, listed = job.task.name, session.protocol.own_reference
    own = _by_asked(job, lambda prompt, one: f"{task}/{one.subset}/{prompt.category}" in listed)
    if not own.any():
        return unaligned.features
    return quality.Features.of(pd.concat([unaligned.frame[~own], vectors[own]]).sort_index())


def _by_asked(job: Job, of: Callable[[Prompt, Principle], object]) -> pd.Series:
    """What a prompt and a principle say of each wanted image."""
    values = pd.Series([of(*asked) for asked in job.wanted.asked])
    return values.iloc[job.wanted.asked_of].reset_index(drop=True)


def _intervals(session: Session) -> bool:
    """Whether IS, FID and CLIP score get intervals, which take long where vectors are long."""
    return session.model.scale == "mini"


def _asked(session: Session, job: Job) -> dict[str, str]:
    """Class of the feature network that each prompt asks for, by prompt, where there is one."""
    classes = session.feature_network.classes or ()
    contents = {prompt.id: job.task.content_of(prompt) for prompt, _ in job.wanted.asked}
    return {prompt: content for prompt, content in contents.items() if content in classes}


def replaced(session: Session, job: Job) -> str | None:
    """What a job's results will replace, and wherein they differ; None if it is nothing else."""
    try:
        found = seal.open_folder(job.folder) if job.folder.is_dir() else None
    except BadInput:
        return None
    if found is None or found.record.settings.images is None:
        return None
    settings = found.record.settings
    # What will have made the images is not known yet.
    now = replace(_record(session, job), made_by=found.record.made_by)
    before, after = _flat(found.record), _flat(now)
    other = [name for name in {**after, "options": None} if before.get(name) != after.get(name)]
    if not other:
        return None
    seed = "" if settings.seed is None else f", seed {settings.seed}"
    return (
        f"replaces results of {job.method.name} on {job.place}: {settings.images} images a "
        f"prompt{seed}; different now: {', '.join(other)}"
    )


def _flat(record: RunRecord) -> dict[str, object]:
    """Fields of a record by name, those of its settings among them."""
    said = record.as_json()
    settings = said.pop("settings", {})
    return said | settings


def _record(session: Session, job: Job) -> RunRecord:
    """What else a reader of the numbers has to know."""
    from livo_bench.runs import fetch  # which loads torch, and planning needs none

    card, pictures = session.model, job.pictures
    if pictures is None:
        asked = None if card.service is None else card.service.said
        model = Model(card.name, session.digest, asked)
        method = Method(
            job.method.name,
            job.method.card.version,
            job.method.title,
            job.method.asked,
            job.method.told,
            digest=job.method.digest,
            files=job.method.digests(),
        )
        settings = Settings(
            job.images,
            card.block,
            session.device,
            session.seed,
            card.steps if card.service is None else None,
            card.guidance if card.service is None else None,
            card.sampler,
            card.size,
            session.dtype or None,
            card.call_text,
            tuple(session.switches),
        )
    else:  # nobody here knows how they were made
        model = Model(card.name)
        method = Method(job.method.name, pictures=pictures.folder.name, digest=pictures.digest)
        settings = Settings(job.images, card.block, session.device)
    roles = card.roles_for([job.task])
    people = [] if job.people is None else [job.people]
    sources = fetch.wanted(card, roles, weights=session.files.values(), pipeline=pictures is None)
    return RunRecord(
        model=model,
        protocol=session.protocol.name,
        method=method,
        task=Task(job.task.name, job.task.version),
        prompts=_prompts_of(job),
        settings=settings,
        options=recorded(session.options),
        scorers=tuple(sorted({one.id for one in [*job.scorers.values(), *people]})),
        judges={role: session.network(role).digest for role in roles},
        repositories=fetch.repositories(sources),
        versions={name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        hardware=Hardware(platform.machine(), os.cpu_count()),
    )


def _prompts_of(job: Job) -> Prompts:
    """Which prompts a job asks for, all together and in each subset."""
    asked: dict[str, list[Prompt]] = {}
    for prompt, principle in job.wanted.asked:
        asked.setdefault(principle.subset, []).append(prompt)
    every = list(chain(*asked.values()))
    rows = rows_of(job.wanted)
    return Prompts(
        job.prompts,
        len({prompt.id for prompt in every}),
        prompts.digest_of(every),
        {subset: prompts.digest_of(of) for subset, of in sorted(asked.items())},
        {subset: cluster_digest(images) for subset, images in by_subset(rows)}
        | {ALL: cluster_digest(rows)},
    )
