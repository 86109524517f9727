"""Every method on the modules of Stable Diffusion 1.5, few channels wide: training and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import tiny_models
from short_trainings import PREFERENCES, shorten_lists, shortened

from livo_bench.cards.catalog import method_cards, model_card
from livo_bench.engines import overlay
from livo_bench.methods.training.parameters import names_in
from livo_bench.methods.training.training import train
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize(
    "method",
    [
        *("fd", "ca", "esd", "uce", "rece", "debias-vl", "prompt-tuning"),
        *("dapt", "reward-weighted", "livo", "dpo", "diffusion-dpo"),
        *("forget-me-not", "selective-amnesia"),
    ],
)
def test_a_method_trains_and_draws(method: str, card: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    if method == "dpo":
        shortened("livo", tmp_path)
    place = shortened(method, tmp_path)
    settings = tmp_path / "preferences.toml"
    settings.write_text(PREFERENCES, encoding="utf-8")
    learns_preferences = method in ("dapt", "diffusion-dpo", "reward-weighted", "livo", "dpo")
    options = {"settings": settings} if learns_preferences else {}
    weights = train(str(place), str(card), device="cpu", runs=runs, **options)  # type: ignore[arg-type]
    for task in method_cards()[method].tasks:
        common = {"model": str(card), "images": 2, "device": "cpu", "runs": runs}
        run(["sd"], task, **common)  # type: ignore[arg-type]
        folders = run([str(place)], task, weights=str(weights), **common)  # type: ignore[arg-type]
        assert images_differ(folders, runs)


@pytest.mark.parametrize(
    "method", ["sld", "sld:max", "safree", "negative", "detoxified", "attributes"]
)
def test_a_method_without_training_draws(method: str, card: Path, tmp_path: Path) -> None:
    task = method_cards()[method.partition(":")[0]].tasks[0]
    folders = run(["sd", method], task, str(card), images=2, device="cpu", runs=tmp_path)
    assert images_differ(folders[1:], tmp_path)


def test_the_groups_of_parameters_are_those_of_stable_diffusion(card: Path, tmp_path: Path) -> None:
    engine = Session(model_card(str(card)), 0, "cpu", "float32", tmp_path).engine
    unet = engine.unet
    names = list(unet.state_dict())
    assert len(names_in("cross-attn", names)) == 32  # 16 modules of 6 + 1 + 9 blocks
    assert len(names_in("attn", names)) == 160
    path = tmp_path / "x.safetensors"
    chosen = names_in("cross-attn", names)
    overlay.save({name: unet.state_dict()[name] for name in chosen}, "x", path)
    assert overlay.lay_over({"unet": unet}, path)["unet"].config == unet.config
