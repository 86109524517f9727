"""Every method on the modules of Stable Diffusion 1.5, few channels wide: training and images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models

from livo_bench.cards.catalog import DATA, method_cards, model_card, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.engines import overlay
from livo_bench.interfaces import Pixels
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import train
from livo_bench.records import Prompt
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation

pytestmark = pytest.mark.slow

FEWER = {
    "steps": "2",
    "batch": "2",
    "precision": '"no"',
    "dev": "2",
    "dev_images": "4",
    "checkpoint": "2",
    "anchors": "1",
    "concepts": "2",
    "rounds": "2",
    "images": "2",
}
"""Settings of the recipes for Stable Diffusion, so that a training takes seconds."""
PREFERENCES = """\
[sd.sizes]
plain = 6
attributed = 40
hazardous = 8
[sd.safety]
nudity = "nudity"
bloody = "blood"
horror = "zombie"
[[sd.strengths]]
warmup = 0
s_S = 5000.0
threshold = 1.0
s_m = 0.5
beta_m = 0.7
"""


class ByPixels:
    """Sees groups and hazards that the pixels decide, as chance would."""

    id = "by-pixels-1"

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        labels = [*subset.attributes] or [subset.name, "none"]
        drawn = [labels[int(image.astype(np.int64).sum()) % len(labels)] for image in pixels]
        return Annotation(np.array(drawn), np.full(len(pixels), True))


@pytest.fixture(scope="module")
def card(tiny_model: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    tiny_models.save_pipeline(folder / "sd", tiny_models.SD_UNET)
    text = tiny_model.read_text(encoding="utf-8").replace('"./', f'"{tiny_weights}/')
    text = text.replace(f'"{tiny_weights}/sd"', '"./sd"').replace('scale = "mini"', 'scale = "sd"')
    path = folder / "tiny.toml"
    note = f'\n[annotator]\nweights = "{tiny_weights}/clip"\ndtype = "float32"\n'
    path.write_text(text + note, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    shorten_lists(monkeypatch, tmp_path_factory.mktemp("prompts"))


def shorten_lists(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Two concepts of each category and split stand in for the lists of Stable Diffusion."""
    for task in task_cards().values():
        rows = pd.read_csv(task.prompts("mini"), dtype=str, keep_default_na=False)
        one_each = rows.drop_duplicates(["split", "category", "concept"])
        few = one_each.groupby(["split", "category"]).head(2)
        few.to_csv(folder / f"{task.name}.csv", index=False)
    monkeypatch.setattr(TaskCard, "prompts", lambda self, scale: folder / f"{self.name}.csv")
    monkeypatch.setattr(annotator, "load", lambda judge, device: ByPixels())


def shortened(method: str, folder: Path) -> Path:
    """A copy of a method, under a name of its own, whose recipe takes seconds."""
    copy = folder / f"my-{method}"
    shutil.copytree(DATA / "methods" / method, copy, ignore=shutil.ignore_patterns("weights"))
    card = copy / "card.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f'name = "{method}"', f'name = "{copy.name}"'), encoding="utf-8")
    recipe = copy / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    for name, value in FEWER.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    recipe.write_text(text.replace('like = "livo"', f'like = "{folder / "my-livo"}"'), "utf-8")
    return copy


def images_differ(folders: Sequence[Path], runs: Path) -> bool:
    """Whether some image of a result is not one of the unaligned model's."""
    keys = {key for folder in folders for key in pd.read_parquet(folder / "images.parquet")["key"]}
    plain = {
        key
        for path in runs.rglob("images.parquet")
        if path.parent.parent.name == "sd"
        for key in pd.read_parquet(path)["key"]
    }
    return bool(keys - plain)


@pytest.mark.parametrize("method", ["fd", "ca", "uce", "dapt", "livo", "dpo"])
def test_a_method_trains_and_draws(method: str, card: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    if method == "dpo":
        shortened("livo", tmp_path)
    place = shortened(method, tmp_path)
    settings = tmp_path / "preferences.toml"
    settings.write_text(PREFERENCES, encoding="utf-8")
    learns_preferences = method in ("dapt", "livo", "dpo")
    options = {"settings": settings} if learns_preferences else {}
    weights = train(str(place), str(card), device="cpu", runs=runs, **options)  # type: ignore[arg-type]
    for task in method_cards()[method].tasks:
        common = {"model": str(card), "images": 2, "device": "cpu", "runs": runs}
        run(["sd"], task, **common)  # type: ignore[arg-type]
        folders = run([str(place)], task, weights=str(weights), **common)  # type: ignore[arg-type]
        assert images_differ(folders, runs)


@pytest.mark.parametrize("method", ["sld", "sld:max", "negative", "detoxified", "attributes"])
def test_a_method_without_training_draws(method: str, card: Path, tmp_path: Path) -> None:
    task = method_cards()[method.partition(":")[0]].tasks[0]
    folders = run(["sd", method], task, str(card), images=2, device="cpu", runs=tmp_path)
    assert images_differ(folders[1:], tmp_path)


def test_the_groups_of_parameters_are_those_of_stable_diffusion(card: Path, tmp_path: Path) -> None:
    unet = Session(model_card(str(card)), 0, "cpu", "float32", tmp_path).engine.unet
    names = list(unet.state_dict())
    assert len(names_in("cross-attn", names)) == 32  # 16 modules of 6 + 1 + 9 blocks
    assert len(names_in("attn", names)) == 160
    path = tmp_path / "x.safetensors"
    chosen = names_in("cross-attn", names)
    overlay.save({name: unet.state_dict()[name] for name in chosen}, "x", path)
    assert overlay.lay_over(unet, path).config == unet.config
