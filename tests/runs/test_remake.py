"""Stored images made again: what is the same, what is not, and what cannot be made."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from places import REFERENCE
from written_inputs import write_prompts

from livo_bench.cards.catalog import result_names
from livo_bench.cli import main
from livo_bench.errors import BadInput, Incomplete, NotComparable
from livo_bench.runs import runner
from livo_bench.runs.plan import id_of_keys
from livo_bench.runs.remake import ANOTHER, LAST_BITS, NOT_MADE, SAME_BITS, remake
from livo_bench.runs.requests import prepare
from livo_bench.runs.store import Store

IMAGES = 7
"""A full block and a part of one: the tiny model's blocks hold five."""


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    prompts = write_prompts(folder / "own.csv", ["a photo of a doctor,career"])
    runner.run(
        ["sd", "noise"],
        "bias/gender",
        str(tiny_model),
        images=IMAGES,
        prompts=prompts,
        device="cpu",
        runs=folder,
    )
    return folder


@pytest.fixture
def options(tiny_model: Path, runs: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "device": "cpu", "runs": runs}


@pytest.fixture
def of_sd(runs: Path) -> list[str]:
    """Keys of the images that the engine made."""
    store = Store(runs, "tiny")
    recipes = store.read_recipes(store.sample_keys())
    return sorted(key for key, recipe in recipes.items() if recipe.generator is None)


def test_all_images_of_this_machine_are_the_same_and_what_a_method_draws_is_not_made(
    options: dict[str, Any], of_sd: list[str]
) -> None:
    remade = remake(share=1.0, **options)
    assert [one.key for one in remade] == sorted(one.key for one in remade)
    verdicts = {one.key: one.verdict for one in remade}
    assert len(verdicts) == 2 * IMAGES
    assert {key for key, verdict in verdicts.items() if verdict == SAME_BITS} == set(of_sd)
    assert {verdicts[key] for key in verdicts.keys() - set(of_sd)} == {NOT_MADE}


def test_one_image_is_named_by_the_beginning_of_its_key(
    options: dict[str, Any], of_sd: list[str]
) -> None:
    [one] = remake([of_sd[0][:16]], **options)
    assert (one.key, one.text) == (of_sd[0], "a photo of a doctor")
    assert (one.verdict, one.mean, one.largest) == (SAME_BITS, 0, 0)


def test_a_share_names_the_same_images_each_time_and_at_least_one(options: dict[str, Any]) -> None:
    few = [remake(share=0.2, **options) for _ in range(2)]
    assert few[0] == few[1]
    assert len(few[0]) == 3
    assert len(remake(share=0.0001, **options)) == 1


@pytest.mark.parametrize(("levels", "verdict"), [(1, LAST_BITS), (40, ANOTHER)])
def test_images_that_differ_are_told_by_how_much(
    options: dict[str, Any], of_sd: list[str], runs: Path, tmp_path: Path, levels: int, verdict: str
) -> None:
    store, other = Store(runs, "tiny"), Store(tmp_path, "tiny")
    for batch in store.batches(of_sd):
        pixels = np.stack(list(store.read_samples(batch).values()))
        changed = np.where(pixels > 127, pixels - levels, pixels + levels).astype(np.uint8)
        other.write_samples(list(batch.values()), changed)
    [one] = remake([of_sd[0]], **options | {"runs": tmp_path})
    assert (one.verdict, one.mean, one.largest) == (verdict, levels, levels)
    words = ["remake", of_sd[0], "--model", options["model"], "--runs", str(tmp_path)]
    result = CliRunner().invoke(main, [*words, "--device", "cpu", "--format", "csv"])
    assert result.exit_code == (verdict == ANOTHER)
    assert f"{levels}.0,{levels}.0,{verdict}" in result.stdout


def test_what_cannot_be_made_again_is_said(
    options: dict[str, Any], of_sd: list[str], runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"0 of 14 images .* begins with 'zz'; expected one"):
        remake(["zz"], **options)
    with pytest.raises(BadInput, match=r"14 of 14 images .* begins with ''"):
        remake([""], **options)
    with pytest.raises(Incomplete, match=r"no images in .*livo-bench run"):
        remake(share=0.5, **options | {"runs": tmp_path})


def test_a_damaged_image_is_missed(
    options: dict[str, Any], of_sd: list[str], runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs / "store", tmp_path / "store")
    store = Store(tmp_path, "tiny")
    [batch] = store.batches([of_sd[0]])
    path = store.folder / "samples" / f"{id_of_keys(batch)}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Incomplete, match=r"1 of 1 images .* are damaged.*livo-bench run"):
        remake([of_sd[0]], **options | {"runs": tmp_path})


def test_images_of_other_files_of_the_model_are_refused(
    options: dict[str, Any], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livo_bench.runs.remake.model_digest", lambda card: "0" * 64)
    with pytest.raises(NotComparable, match=r"made with files of the model 'tiny' whose digest is"):
        remake(share=0.5, **options)


def test_weights_that_recipes_name_are_found_among_the_methods(tmp_path: Path) -> None:
    """An image of LiVO, whose value encoder a recipe knows by its digest alone."""
    prompts = write_prompts(tmp_path / "own.csv", ["a photo of a painter,career"])
    options: dict[str, Any] = {"device": "cpu", "runs": tmp_path}
    runner.run(["livo"], "bias/gender", images=2, prompts=prompts, **options)
    store = Store(tmp_path, "mini")
    recipes = store.read_recipes(store.sample_keys())
    [steered] = [key for key, recipe in recipes.items() if recipe.value_encoder is not None]
    assert [one.verdict for one in remake([steered], **options)] == [SAME_BITS]


@pytest.mark.parametrize("share", ["0", "0%", "1.01", "101%", "some", "nan"])
def test_what_is_no_share_is_refused(share: str) -> None:
    result = CliRunner().invoke(main, ["remake", "--sample", share])
    assert result.exit_code == 2
    assert "is no share; expected one above 0 and up to 1" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Which images?"),
        (["--sample", "1%", "--weights", "x"], "--weights are those of one method"),
    ],
)
def test_what_is_missing_is_said(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["remake", *words])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("task", ["bias", "toxicity", "overcorrection"])
def test_the_images_of_the_reference_are_those_that_are_asked_for_today(
    task: str, tmp_path: Path
) -> None:
    """Whatever has changed since, it is nothing that touches their pixels."""
    folders = {path.parent for path in REFERENCE.glob(f"*/{task}/images.parquet")}
    # A retriever embeds each prompt, which takes its time.
    folders -= {*REFERENCE.glob(f"livo-retrieved/{task}")}
    methods = [result_names()[folder.parent.name] for folder in sorted(folders)]
    _, jobs = prepare(methods, task=task, model="mini", images=2, runs=tmp_path)
    assert len(jobs) == len(folders) > 15
    for job in jobs:
        place = REFERENCE / job.method.name.replace(":", "-") / task / "images.parquet"
        images = pd.read_parquet(place, columns=["subset", "prompt", "index", "key"])
        asked = {(r.principle.subset, r.prompt.id, r.index, made.key) for r, made in job.wanted}
        assert asked == {*images[images["index"] < 2].itertuples(index=False, name=None)}
