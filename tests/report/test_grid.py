"""The picture grid: which pictures stand where."""

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from written_results import TOXIC, Written, bias_images, toxic_images, write_run

from livo_bench.cards.catalog import model_cards, model_digest
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.records import Recipe
from livo_bench.report.grid import draw, picture_grid
from livo_bench.runs.store import Store

METHODS = ["sd", "livo"]


def recipe(method: str, prompt: str, index: int, seed: int, model: str) -> Recipe:
    text = f"a photo of <b>{prompt}</b>"
    value = None if method == "sd" else "equality"
    return Recipe(model, text, seed, "", 2.0, "dpmsolver++", 5, 64, "float32", value=value)


def shade(method: str, prompt: str, index: int) -> list[int]:
    return [int(prompt[1:]) * 40, index * 20, METHODS.index(method) * 200]


def write(
    root: Path,
    images: pd.DataFrame,
    model_seed: Callable[[str], int] = lambda method: 0,
    edge: bool = False,
    model: str = "m",
    **task: Unpack[Written],
) -> None:
    """The same results and pictures of one colour for both methods."""
    store = Store(root, "mini")
    for method in METHODS:
        rows = images.copy()
        recipes, pixels = [], []
        for prompt, index in zip(rows["prompt"], rows["index_"], strict=True):
            seed = int(prompt[1:]) * 100 + index + model_seed(method)
            recipes.append(recipe(method, prompt, index, seed, model))
            picture = np.full((64, 64, 3), shade(method, prompt, index), np.uint8)
            if edge:
                picture[:, 32:] = 255 - picture[:, 32:]
            pixels.append(picture)
        rows["key"] = [made.key for made in recipes]
        store.write_samples(recipes, np.stack(pixels))
        folder = root / "mini" / method / task.get("task", "bias")
        write_run(folder, rows.drop(columns="index_"), method=method, **task)


def few(images: pd.DataFrame) -> pd.DataFrame:
    images = images[images["index"] < 2]
    return images.assign(index_=images["index"])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write(tmp_path, few(bias_images([7] * 5)))
    return tmp_path


def pixels_at(path: Path, row: int, column: int) -> np.ndarray:
    """A picture of 192 pixels, 8 pixels from its neighbours, below one line of titles."""
    with Image.open(path) as image:
        sheet = np.asarray(image)
    top = len(sheet) - (3 - row) * 200
    left = 8 + (column + 1) * 200
    return sheet[top : top + 192, left : left + 192]


def test_pictures_go_to_a_png_file(runs: Path) -> None:
    with pytest.raises(BadInput, match=r"a PNG file, got .*grid.svg"):
        draw(runs / "grid.svg", METHODS, "bias", runs=runs)


def test_pictures_stand_in_the_row_of_their_prompt_and_the_column_of_their_method(
    runs: Path,
) -> None:
    draw(runs / "grid.png", METHODS, "bias", runs=runs, rows=3)
    with Image.open(runs / "grid.png") as image:
        assert image.width == 8 + 3 * 200
        assert 3 * 200 < image.height < 3 * 200 + 60
    # Evenly over five prompts, their images in turn.
    for row, (prompt, index) in enumerate([("p0", 0), ("p2", 1), ("p4", 0)]):
        for column, method in enumerate(METHODS):
            shown = pixels_at(runs / "grid.png", row, column)
            assert (shown == shade(method, prompt, index)).all()


def test_no_more_rows_than_prompts(runs: Path) -> None:
    draw(runs / "grid.png", METHODS, "bias", runs=runs, rows=99)
    with Image.open(runs / "grid.png") as image:
        assert 5 * 200 < image.height < 6 * 200


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not_touched() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    sheet = np.asarray(picture_grid(["SD"], ["a"], [list(noise)]))
    assert (sheet[-200:-8:3, 208:400:3] == noise[0]).all()
    large = np.random.default_rng(0).integers(0, 256, (1, 240, 240, 3), np.uint8)
    sheet = np.asarray(picture_grid(["SD"], ["a"], [list(large)]))
    assert (sheet[-250:-10, 260:500] == large[0]).all()


def test_labels_end_before_the_pictures_and_long_ones_make_their_row_higher() -> None:
    black = [np.zeros((64, 64, 3), np.uint8)]
    usual = picture_grid(["SD"], ["a photo"], [black])
    long = picture_grid(["SD"], ["a photo of a baker who looks tired " * 12], [black])
    assert long.height > usual.height
    label = np.asarray(long)[:, :200]
    dark = np.argwhere((label < 128).any(axis=2))
    assert dark[:, 1].min() >= 8
    assert dark[:, 1].max() < 200
    assert usual.height - 8 < dark[:, 0].max() < long.height - 8
    words = picture_grid(["SD"], ["x" * 100], [black])
    assert (np.asarray(words)[:, 200:208] == 255).all()


def test_hazards_are_blurred_unless_asked_for_or_the_miniature_world_drew_them(
    tmp_path: Path,
) -> None:
    digests = {"world": model_digest(model_cards()["mini"]), "real": "of a folder called mini"}
    for name, model in digests.items():
        images = few(toxic_images(np.full((3, 10), 0.5)))
        write(tmp_path / name, images, edge=True, model=model, **TOXIC)

    def sharp(name: str, show: bool = False) -> bool:
        file = tmp_path / "grid.png"
        draw(file, METHODS, "toxicity", runs=tmp_path / name, rows=3, show=show)
        return int((np.diff(pixels_at(file, 1, 0)[96, :, 0].astype(int)) != 0).sum()) == 1

    assert sharp("world")
    assert not sharp("real")
    assert sharp("real", show=True)


def test_images_that_are_not_here_are_counted_and_made_how(runs: Path) -> None:
    (runs / "store").rename(runs / "elsewhere")
    with pytest.raises(Incomplete) as error:
        draw(runs / "grid.png", METHODS, "bias", runs=runs, rows=3)
    assert "6 of the grid's 6 images are not in" in str(error.value)
    assert "livo-bench run --method sd --method livo --task bias --model mini" in str(error.value)
    assert not (runs / "grid.png").exists()


def test_results_under_another_protocol_have_the_images_of_their_model(runs: Path) -> None:
    for path in runs.rglob("aggregates.csv"):
        rows = pd.read_csv(path, keep_default_na=False)
        rows.assign(model="mini@released").to_csv(path, index=False)
    draw(runs / "grid.png", METHODS, "bias", "mini@released", runs, rows=3)
    assert (pixels_at(runs / "grid.png", 0, 1) == shade("livo", "p0", 0)).all()
    (runs / "store").rename(runs / "elsewhere")
    with pytest.raises(Incomplete, match="--task bias --model mini --protocol released --runs"):
        draw(runs / "grid.png", METHODS, "bias", "mini@released", runs)


def test_pictures_from_other_noise_are_refused(tmp_path: Path) -> None:
    write(tmp_path, few(bias_images([7] * 3)), model_seed=METHODS.index)
    with pytest.raises(NotComparable, match="Image 0 of prompt 'p0' has the seeds 0, 1 for sd, l"):
        draw(tmp_path / "grid.png", METHODS, "bias", runs=tmp_path)


def test_methods_without_a_task_in_common_have_no_grid(runs: Path) -> None:
    scores = toxic_images(np.full((3, 10), 0.5))
    write_run(runs / "mini" / "sd" / "toxicity", scores, **TOXIC)
    write_run(runs / "mini" / "fd" / "toxicity", scores, method="fd", **TOXIC)
    with pytest.raises(Incomplete, match="no image of task 'all' that all of sd, livo, fd"):
        draw(runs / "grid.png", ["sd", "livo", "fd"], runs=runs)
