"""Result folders as `livo-bench run` writes them, made of labels and scores that a test chooses."""

import json
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from livo_bench.engines.seeds import seed_of
from livo_bench.records import AGGREGATE_COLUMNS
from livo_bench.results import seal
from livo_bench.results.record import from_json

PROMPTS = 8
IMAGES = 10


class Written(TypedDict, total=False):
    """What a run is of, where it is not of bias."""

    task: str
    metrics: tuple[str, ...]
    scorers: dict[str, str]


TOXIC: Written = {"task": "toxicity", "metrics": ("avg_r", "avg_s")}
SCORERS = {"gender": "clip-gender-1", "race": "clip-race-1", "nudity": "llava-1"}


def bias_images(males: list[int], subset: str = "gender") -> pd.DataFrame:
    """One prompt for each entry, which says how many of its 10 images are labelled male."""
    rows = [
        {
            "subset": subset,
            "prompt": f"p{number}",
            "category": "career",
            "index": index,
            "key": f"{number}-{index}",
            "stratum": "s",
            "label": "male" if index < count else "female",
            "p_male": float(index < count),
            "p_female": float(index >= count),
            "unscored": None,
        }
        for number, count in enumerate(males)
        for index in range(IMAGES)
    ]
    return pd.DataFrame(rows).astype({"unscored": object})


def toxic_images(scores: np.ndarray) -> pd.DataFrame:
    """P(yes) of each image, shape `(prompts, images)`."""
    rows = [
        {
            "subset": "nudity",
            "prompt": f"p{number}",
            "category": "nudity",
            "index": index,
            "key": f"{number}-{index}",
            "stratum": "s",
            "label": "yes" if score > 0.5 else "no",
            "p_yes": score,
            "p_no": 1 - score,
            "unscored": None,
        }
        for number, of_prompt in enumerate(scores)
        for index, score in enumerate(of_prompt)
    ]
    return pd.DataFrame(rows).astype({"unscored": object})


def refusing(images: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The same, of which some images were refused."""
    answers = [name for name in map(str, images) if name == "label" or name.startswith("p_")]
    images = images.assign(unscored=images["unscored"].mask(chosen, "refused: policy"))
    return images.assign(**{name: images[name].mask(chosen) for name in answers})


def with_fidelity(images: pd.DataFrame, contents: list[int], cosine: float = 0.9) -> pd.DataFrame:
    """Of each prompt so many images show what is asked for, first ones first; others nothing."""
    place = images["prompt"].map({f"p{number}": n for number, n in enumerate(contents)})
    shown = (images["index"] < place).astype(float)
    return images.assign(clip=cosine - images["index"] / 100, content=shown, presence=shown)


def seeded(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Images that say of what noise and text they are, of a base seed."""
    places = zip(images["prompt"], images["index"], strict=True)
    seeds = [seed_of(seed, prompt, index) for prompt, index in places]
    return images.assign(seed=pd.array(seeds, dtype="Int64"), text_digest=images["prompt"])


def write_run(
    folder: Path,
    images: pd.DataFrame,
    method: str = "sd",
    task: str = "bias",
    metrics: tuple[str, ...] = ("D1", "D2"),
    scorers: dict[str, str] = SCORERS,
    seed: int | None = None,
) -> Path:
    """With a seed, `run.json` is written besides and seals them, and of each image its seed and
    text, as which the id of its prompt stands."""
    folder.mkdir(parents=True, exist_ok=True)
    if seed is not None:
        images = seeded(images, seed)
    # Not said to be vouched for, so that tests may take the record away.
    images.to_parquet(folder / "images.parquet")
    rows = [
        dict.fromkeys(AGGREGATE_COLUMNS, 0)
        | {"model": "mini", "method": method, "task": task, "subset": subset, "category": "all"}
        | {"n": part["unscored"].isna().sum(), "unscored": part["unscored"].notna().sum()}
        | {"metric": metric, "scorer": scorers[str(subset)]}
        for subset, part in images.groupby("subset")
        for metric in metrics
    ]
    rows += [
        rows[0] | {"subset": "all", "metric": metric, "scorer": f"{metric}-1"}
        for metric in ("clip", "clip_neutral", "content", "presence")
        if metric in images
    ]
    pd.DataFrame(rows)[list(AGGREGATE_COLUMNS)].to_csv(folder / "aggregates.csv", index=False)
    if seed is not None:
        names = {"model": {"name": "mini"}, "method": {"name": method}}
        record = {"settings": {"seed": seed, "steps": 15}, "task": {"name": task, "version": 1}}
        seal_again(folder, names | record)
    return folder


def seal_again(folder: Path, record: dict | None = None) -> None:
    """Seal what lies in a folder now, under another record or the one that is there."""
    if record is None:
        record = json.loads((folder / "run.json").read_text())
        record.pop("seal", None)
    prompts = folder / "prompts.csv"
    if not prompts.exists():
        prompts.write_text("subset,prompt\n")
    if not (folder / seal.VECTORS).exists():
        (folder / seal.VECTORS).write_bytes(str(folder).encode())
    neighbours = {name: (folder / name).read_bytes() for name in seal.NEIGHBOURS}
    seal.write(folder, from_json(record, folder / seal.RECORD), neighbours)
