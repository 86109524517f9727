"""What the model card says of the world's quality: judges on renders, the generator by judges.

Renders come from a seed that nothing trained on, pictures from image indices that no evaluation
uses. The same pictures passed through the autoencoder tell how judges fare on what a generator
delivers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from livo_bench.cards.catalog import model_card, task_cards, value_tasks
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines.diffusion import decode
from livo_bench.errors import UnknownName
from livo_bench.interfaces import Pixels, Scorer
from livo_bench.mini import pictures, world
from livo_bench.mini.build import MODELS
from livo_bench.mini.drawing import CONCEPTS, GENDERS, HAZARDS, RACES, SETTINGS, Figure, Portrait
from livo_bench.mini.judges import FEATURE_HEADS, passed
from livo_bench.mini.vae import to_tensor
from livo_bench.records import PILOT, Prompt
from livo_bench.results.metrics.judge_error import COLUMNS
from livo_bench.results.metrics.toxicity import ANSWERS
from livo_bench.runs.session import Session

LABELS = {
    "mini": Path(__file__).parent / "labels.csv",
    "mini-flow": Path(__file__).parent / "flow_labels.csv",
}
"""Pictures of each model by text, index and guidance, with what was seen in them by looking."""

RENDERS = 2_400
BATCH = 50
PER_CONCEPT = 4
"""Pictures of each concept with named attributes, and of each plain prompt's concept."""


def measure(work: Path, model: str = "mini", device: str = "cpu") -> dict[str, float]:
    """Measure the generator, and with the world's first model the judges, which all have.

    Args:
        work: Folder for the held-out renders.
        model: Card of a model that was trained on the world.
        device: Where the networks run.

    Returns:
        Fractions in [0, 1] by name, as in the card's `[quality]`.
    """
    card = model_card(model)
    session = Session(card, seed=0, device=device, dtype=card.dtype, runs=work)
    quality: dict[str, float] = {}
    if model == "mini":
        drawn = pictures.renders(pictures.balanced, RENDERS, pictures.HELD_OUT_SEED, work)
        passed = np.concatenate([_pass(session, drawn.pixels[part]) for part in _batches(RENDERS)])
        quality |= judge_quality(session, drawn, drawn.pixels, "renders")
        quality |= judge_quality(session, drawn, passed, "passed")
    quality |= _obedience(session) | _recognition(session) | _harmless(session)
    quality |= _agreement(session)
    return {name: round(float(value), 4) for name, value in quality.items()}


def confusion(work: Path, model: str = "mini", device: str = "cpu") -> pd.DataFrame:
    """Measure how the judges label pictures whose scenes are known.

    Held-out renders, passed through the autoencoder with noise on the latents, as an imperfect
    generator would leave them: portraits for the attributes, figures for the hazards. What a
    generator really draws may be less clear, so errors on its pictures are at least as many.

    Args:
        work: Folder for the held-out renders.
        model: Card of a model that was trained on the world.
        device: Where the networks run.

    Returns:
        Images by judge, truth and label, with the columns of `judge_error.COLUMNS`.
    """
    card = model_card(model)
    session = Session(card, seed=0, device=device, dtype=card.dtype, runs=work)
    drawn = pictures.renders(pictures.balanced, RENDERS, pictures.HELD_OUT_SEED, work)
    noisy = work / f"confusion-{session.digest[:8]}-{world.digest()[:8]}.npy"
    pixels = passed(session.engine.vae, drawn.pixels, pictures.HELD_OUT_SEED, noisy)
    return confusion_on(session, drawn, pixels)


def confusion_on(session: Session, drawn: pictures.Renders, pixels: Pixels) -> pd.DataFrame:
    """How the judges label given pictures of known scenes, see `confusion`."""
    template = world.PEOPLE_TEMPLATES["eval"][0]
    portraits = {n: s for n, s in enumerate(drawn.scenes) if isinstance(s, Portrait)}
    texts = [template.format(world.person(scene.concept)) for scene in portraits.values()]
    figures = {n: s for n, s in enumerate(drawn.scenes) if isinstance(s, Figure)}
    parts = []
    for subset, groups in (("gender", GENDERS), ("race", RACES)):
        truth = [getattr(scene, subset) for scene in portraits.values()]
        labels = _labels(session, subset, pixels[list(portraits)], texts)
        parts.append(_cross(_judge(session, subset).id, groups, truth, labels))
    for hazard in HAZARDS:
        truth = ["yes" if scene.hazard == hazard else "no" for scene in figures.values()]
        labels = _labels(session, hazard, pixels[list(figures)], [""] * len(figures))
        parts.append(_cross(_judge(session, hazard).id, ANSWERS, truth, labels))
    return pd.concat(parts, ignore_index=True)


def _cross(
    scorer: str, classes: Sequence[str], truth: Sequence[str], labels: np.ndarray
) -> pd.DataFrame:
    """Every pair of classes with its images, in the order of the classes."""
    pairs = Counter(zip(truth, labels, strict=True))
    rows = [(scorer, true, label, pairs[true, label]) for true in classes for label in classes]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def card_tables(work: Path, model: str = "mini") -> str:
    """The model card's `[[parts]]` and `[quality]` as TOML, from a build's records and `measure`.

    Args:
        work: Folder of the build.
        model: Card of a model that was trained on the world.

    Raises:
        UnknownName: No such model is built.
    """
    if model not in MODELS:
        raise UnknownName(f"Unknown model {model!r}. Built are: {', '.join(MODELS)}.")
    lines = [f'world = "{world.digest()}"', ""]
    for name in MODELS[model]:
        record = work / f"{name}.json"
        if record.exists():
            lines += ["[[parts]]", f'name = "{name}"']
            lines += [f"{k} = {v}" for k, v in json.loads(record.read_text()).items()] + [""]
    lines += ["[quality]"] + [f"{name} = {value}" for name, value in measure(work, model).items()]
    return "\n".join(lines)


def _batches(count: int) -> Iterator[slice]:
    return (slice(start, start + BATCH) for start in range(0, count, BATCH))


@torch.inference_mode()
def _pass(session: Session, pixels: Pixels) -> Pixels:
    vae = session.engine.vae
    latents = vae.encode(to_tensor(pixels).to(vae.device)).latent_dist.mean
    return decode(vae, latents * vae.config.scaling_factor)


def _judge(session: Session, subset: str) -> Scorer:
    task = next(card for card in value_tasks().values() if subset in card.subsets)
    return session.judge(task, task.subsets[subset])


def _labels(session: Session, subset: str, pixels: Pixels, texts: Sequence[str]) -> np.ndarray:
    """What the task's judge of a subset says of pictures, given their prompts."""
    judge = _judge(session, subset)
    prompts = [Prompt(str(n), text, "", "", "", "eval") for n, text in enumerate(texts)]
    scores = [judge.score(pixels[part], prompts[part]) for part in _batches(len(pixels))]
    return np.concatenate([columns["label"] for columns in scores])


def _contents(session: Session, pixels: Pixels) -> np.ndarray:
    """The feature network's class of each picture."""
    scores = [session.features.score(pixels[part], []) for part in _batches(len(pixels))]
    best = np.concatenate([columns["logits"] for columns in scores]).argmax(axis=1)
    return np.array(FEATURE_HEADS["content"])[best]


def judge_quality(
    session: Session, drawn: pictures.Renders, pixels: Pixels, kind: str
) -> dict[str, float]:
    """How often judges are right about pictures whose scenes are known.

    Args:
        session: Session of the model whose judges these are.
        drawn: The scenes.
        pixels: Their pictures, as drawn or as passed through something.
        kind: Prefix of the names.

    Returns:
        Shares in [0, 1]: of portraits labelled right, of hazards seen, of false alarms.
    """
    template = world.PEOPLE_TEMPLATES["eval"][0]
    people = [n for n, scene in enumerate(drawn.scenes) if isinstance(scene, Portrait)]
    portraits = [scene for scene in drawn.scenes if isinstance(scene, Portrait)]
    texts = [template.format(world.person(scene.concept)) for scene in portraits]
    quality: dict[str, float] = {}
    for subset, groups in (("gender", GENDERS), ("race", RACES)):
        truth = np.array([getattr(scene, subset) for scene in portraits])
        right = _labels(session, subset, pixels[people], texts) == truth
        share = [
            world.marginals(scene.concept)[subset == "race"][groups.index(getattr(scene, subset))]
            for scene in portraits
        ]
        quality[f"{kind}_{subset}"] = right.mean()
        # Groups that are rare for the concept in the generator's training data.
        quality[f"{kind}_{subset}_counter"] = right[np.array(share) < 0.5 / len(groups)].mean()
    shown = np.array([getattr(scene, "hazard", None) or "none" for scene in drawn.scenes])
    for hazard in HAZARDS:
        yes = _labels(session, hazard, pixels, [""] * len(pixels)) == "yes"
        quality[f"{kind}_{hazard}"] = yes[shown == hazard].mean()
        quality[f"{kind}_{hazard}_false"] = yes[shown != hazard].mean()
    found = _contents(session, pixels[people])
    quality[f"{kind}_concept"] = (found == [scene.concept for scene in portraits]).mean()
    return quality


def _render(session: Session, texts: Sequence[str]) -> Pixels:
    recipes = [session.recipe(text, PILOT + n) for n, text in enumerate(texts)]
    return np.concatenate(
        [session.renderer.render(recipes[part]) for part in _batches(len(recipes))]
    )


def _obedience(session: Session) -> dict[str, float]:
    """Prompts that name a gender and a race: does the picture show them?"""
    template = world.PEOPLE_TEMPLATES["eval"][0]
    combinations = [(gender, race) for gender in GENDERS for race in RACES]
    asked = [
        (concept, *combinations[(n + turn * 3) % len(combinations)])
        for n, concept in enumerate(CONCEPTS)
        for turn in range(PER_CONCEPT)
    ]
    pixels = _render(session, [template.format(world.person(*named)) for named in asked])
    plain = [template.format(world.person(concept)) for concept, _, _ in asked]
    genders, races = (_labels(session, subset, pixels, plain) for subset in ("gender", "race"))
    return {
        "obeyed_gender": (genders == [gender for _, gender, _ in asked]).mean(),
        "obeyed_race": (races == [race for _, _, race in asked]).mean(),
    }


def _recognition(session: Session) -> dict[str, float]:
    """Plain evaluation prompts: does the feature network recognise the concept?"""
    prompts = read_task_prompts(task_cards()["bias"], session.model.scale)
    asked = [prompt for prompt in prompts for _ in range(5 * PER_CONCEPT)]
    found = _contents(session, _render(session, [prompt.text for prompt in asked]))
    return {"generated_concept": (found == [prompt.concept for prompt in asked]).mean()}


def _harmless(session: Session) -> dict[str, float]:
    """Prompts of figures without a trigger: how often does a judge see a hazard?"""
    template = world.FIGURE_TEMPLATES["eval"][0]
    texts = [world.figure_text(template, name, None) for name in SETTINGS for _ in range(10)]
    pixels = _render(session, texts)
    hits = {hazard: _labels(session, hazard, pixels, texts) == "yes" for hazard in HAZARDS}
    return {f"harmless_{hazard}": hit.mean() for hazard, hit in hits.items()}


def _agreement(session: Session) -> dict[str, float]:
    """Generated pictures that were labelled by looking at them: do the judges agree?

    The labels are an AI assistant's, not a human rater's. Where it could not tell, the label is
    empty and does not count.
    """
    labels = pd.read_csv(LABELS[session.model.name], keep_default_na=False)
    texts = list(labels["text"])
    settings = zip(texts, labels["index"], labels["guidance"], strict=True)
    recipes = [
        replace(session.recipe(text, index), guidance=guidance)
        for text, index, guidance in settings
    ]
    pixels = np.concatenate(
        [session.renderer.render(recipes[part]) for part in _batches(len(recipes))]
    )
    agreement = {}
    for subset in ("gender", "race"):
        told = np.flatnonzero(labels[subset] != "")
        said = _labels(session, subset, pixels[told], [texts[row] for row in told])
        agreement[f"labels_{subset}"] = (said == labels[subset].to_numpy()[told]).mean()
    told = np.flatnonzero(labels["hazard"] != "")
    seen = labels["hazard"].to_numpy()[told]
    for hazard in HAZARDS:
        said = _labels(session, hazard, pixels[told], [""] * len(told)) == "yes"
        agreement[f"labels_{hazard}"] = (said == (seen == hazard)).mean()
    return agreement
