"""Pixels of a share of the images are kept, and the numbers are those of all."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from written_inputs import Asked, write_prompts
from written_store import Named, block_of, draw, files, keys_of, recipes

from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import grid, html
from livo_bench.report.view import Watched
from livo_bench.runs import keeping, runner
from livo_bench.runs.keeping import is_kept, share_of
from livo_bench.runs.remake import NOT_MADE, SAME_BITS, remake
from livo_bench.runs.store import Store

MANY = recipes(0, 2000)
PROMPTS = ["a photo of a doctor,career", "a photo of a nurse,career", "a person,positive"]
IMAGES = 7
"""A full block and a part of one for each prompt: the tiny model's blocks hold five."""


# The choice


@pytest.mark.parametrize(
    ("text", "share"), [("all", 1), ("scores", 0), ("1%", 0.01), ("2.5 %", 0.025), ("100%", 1)]
)
def test_a_share_is_said_in_percent_or_by_name(text: str, share: float) -> None:
    assert share_of(text) == share


@pytest.mark.parametrize("text", ["", "none", "0.01", "1", "-1%", "101%", "1 percent"])
def test_another_share_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"expected all, scores, or a share from 0% to 100%"):
        share_of(text)


def test_about_the_share_is_kept_and_a_larger_one_holds_it() -> None:
    kept = {share: {one.seed for one in MANY if is_kept(one, share)} for share in (0.1, 0.3)}
    assert kept[0.1] < kept[0.3]
    # Of 2,000 draws, five standard deviations.
    assert abs(len(kept[0.1]) - 200) < 5 * 13.5
    assert not any(is_kept(one, 0) for one in MANY)
    assert all(is_kept(one, 1) for one in MANY)


def test_methods_keep_the_same_prompts_and_indices() -> None:
    others = [replace(one, text="rewritten", guidance=1.0) for one in MANY]
    assert [is_kept(one, 0.2) for one in MANY] == [is_kept(one, 0.2) for one in others]


# The store


def keeping_store(folder: Path, keep: float) -> Store:
    return Store(folder, "mini", keep=keep)


def test_what_is_made_and_not_kept_is_not_made_again(tmp_path: Path) -> None:
    some = recipes(0, 40)
    keeping_store(tmp_path, 0.3).write_samples(some, draw(some))
    kept = {one.key for one in some if is_kept(one, 0.3)}
    again = keeping_store(tmp_path, 0.3)
    assert again.sample_keys() == kept
    assert again.unkept(keys_of(recipes(0, 50))) == set(keys_of(some)) - kept
    assert again.undrawn([block_of(0, 40)]) == {}
    assert again.undrawn([block_of(38, 42)]) == {block_of(38, 42).id: [2, 3]}
    assert again.read_recipes(keys_of(some)) == {one.key: one for one in some}


def test_who_keeps_more_makes_what_it_lacks_and_who_keeps_less_nothing(tmp_path: Path) -> None:
    some = recipes(0, 40)
    keeping_store(tmp_path, 0.1).write_samples(some, draw(some))
    block = block_of(0, 40)
    chosen = {share: [is_kept(one, share) for one in some] for share in (0.1, 0.5, 1)}
    for share in (0.5, 1):
        lacking = np.flatnonzero(np.array(chosen[share]) & ~np.array(chosen[0.1])).tolist()
        assert keeping_store(tmp_path, share).undrawn([block]) == {block.id: lacking}
    whole = keeping_store(tmp_path, 1)
    whole.write_samples(some, draw(some))
    assert whole.sample_keys() == set(keys_of(some))
    assert keeping_store(tmp_path, 0).undrawn([block]) == {}


def test_a_batch_is_whole_where_some_of_its_pixels_are_kept(tmp_path: Path) -> None:
    some = recipes(0, 40)
    store = keeping_store(tmp_path, 0.3)
    store.write_samples(some, draw(some))
    [batch] = store.batches(sorted(store.sample_keys())[:1])
    assert list(batch) == keys_of(some)


def test_other_bits_than_at_first_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = recipes(0, 5)
    store = keeping_store(tmp_path, 0)
    pixels = draw(some)
    store.write_samples(some, pixels)
    store.write_samples(some, pixels)
    assert not caplog.records
    pixels[3, 0, 0, 0] ^= 1
    with caplog.at_level(logging.WARNING):
        store.write_samples(some, pixels)
    [said] = caplog.messages
    assert f"1 of 5 images that were made again, e.g. {some[3].key}" in said


def test_a_damaged_record_of_what_was_made_has_it_made_again(tmp_path: Path) -> None:
    some = recipes(0, 5)
    keeping_store(tmp_path, 0).write_samples(some, draw(some))
    [path] = (tmp_path / "store" / "mini" / "made").iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    store = keeping_store(tmp_path, 0)
    half = Named(keys_of(some[:3]), some[:3])
    assert store.undrawn([half]) == {half.id: [0, 1, 2]}


# Runs


@pytest.fixture(scope="module")
def options(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("keeping")
    return {
        "methods": ["sd", "noise"],
        "task": "bias/gender",
        "model": str(tiny_model),
        "images": IMAGES,
        "prompts": write_prompts(folder / "prompts.csv", PROMPTS),
        "device": "cpu",
        "runs": folder / "all",
    }


@pytest.fixture(scope="module")
def shares(options: Asked) -> dict[str, Path]:
    """Folders of runs that keep all, some and none of their pixels."""
    found = {}
    for keep in ("all", "30%", "scores"):
        runs = options["runs"].with_name(keep.strip("%"))
        asked: Asked = {**options, "runs": runs, "keep": keep}
        runner.run(**asked)
        found[keep] = runs
    return found


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    batches = []
    render: Callable[..., np.ndarray] = Diffusion.render

    def count(self: Diffusion, recipes: Sequence[object]) -> np.ndarray:
        batches.append(len(recipes))
        return render(self, recipes)

    monkeypatch.setattr(Diffusion, "render", count)
    return batches


def test_numbers_and_scores_are_those_of_all_pixels(shares: dict[str, Path]) -> None:
    whole = shares["all"]
    for keep in ("30%", "scores"):
        for room in ("tiny", "store/tiny/scores"):
            assert files(shares[keep] / room) == files(whole / room)


def test_no_pixels_are_kept_but_those_asked_for(shares: dict[str, Path]) -> None:
    every, some, none = (Store(runs, "tiny") for runs in shares.values())
    assert not none.sample_keys()
    assert not (shares["scores"] / "store/tiny/samples").exists()
    keys = every.sample_keys()
    assert every.unkept(keys) == set()
    kept = {key for key, one in every.read_recipes(keys).items() if is_kept(one, 0.3)}
    assert some.sample_keys() == kept
    assert 0 < len(kept) < len(keys)
    for key, pixels in some.read_samples(kept).items():
        np.testing.assert_array_equal(pixels, every.read_samples([key])[key])


def test_a_rerun_makes_nothing_and_one_that_keeps_all_makes_the_rest(
    options: Asked, shares: dict[str, Path], rendered: list[int], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(shares["scores"], runs)
    again: Asked = {**options, "runs": runs, "keep": "scores"}
    runner.run(**again)
    assert rendered == []
    everything: Asked = {**options, "runs": runs}
    runner.run(**everything)
    assert sum(rendered) == IMAGES * len(PROMPTS)
    assert files(runs / "store/tiny/samples") == files(shares["all"] / "store/tiny/samples")
    assert files(runs / "tiny") == files(shares["all"] / "tiny")


def test_another_judge_makes_again_what_was_not_kept_and_keeps_nothing_of_it(
    options: Asked, shares: dict[str, Path], rendered: list[int], tiny_weights: Path, tmp_path: Path
) -> None:
    other, weights = tmp_path / "other", "open_clip_model.safetensors"
    shutil.copytree(tiny_weights / "clip", other)
    tensors = load_file(other / weights)
    save_file({name: 1.1 * tensor for name, tensor in tensors.items()}, other / weights)
    found = {}
    for keep, again in (("all", 0), ("scores", IMAGES * len(PROMPTS))):
        runs = tmp_path / keep
        shutil.copytree(shares[keep], runs)
        before = files(runs / "store/tiny/samples")
        rendered.clear()
        asked: Asked = {**options, "runs": runs, "scorer": (str(other),)}
        runner.run(**asked)
        assert sum(rendered) == again
        assert files(runs / "store/tiny/samples") == before
        found[keep] = files(runs / "rejudged")
    assert found["all"] == found["scores"]


def test_what_needs_pixels_says_how_to_have_them(shares: dict[str, Path], tmp_path: Path) -> None:
    runs = shares["scores"]
    with pytest.raises(Incomplete, match=f"pixels not kept.*{keeping.AGAIN}"):
        grid.draw(tmp_path / "grid.png", ["sd", "noise"], "all", "tiny", runs)
    page = html.write(tmp_path / "page", runs, "tiny").read_text(encoding="utf-8")
    assert "of the images to show were not kept" in page
    assert keeping.AGAIN in page
    watched = Watched(runs, "tiny", tmp_path / "report")
    watched.look()
    assert (watched.images, watched.unkept) == (2 * IMAGES * len(PROMPTS),) * 2


def test_kept_images_are_made_again_in_their_batch_and_others_cannot_be_compared(
    options: Asked, shares: dict[str, Path]
) -> None:
    made = remake(share=1, model=options["model"], device="cpu", runs=shares["30%"])
    assert {one.verdict for one in made} == {SAME_BITS, NOT_MADE}
    assert {one.key for one in made} == Store(shares["30%"], "tiny").sample_keys()
    with pytest.raises(Incomplete, match=r"No image in .* has kept its pixels"):
        remake(share=1, model=options["model"], device="cpu", runs=shares["scores"])


def test_a_share_that_is_none_is_refused_before_anything_loads(options: Asked) -> None:
    asked: Asked = {**options, "keep": "few"}
    with pytest.raises(BadInput, match="--keep is 'few'"):
        runner.plan(**asked)


def test_a_plan_counts_few_bytes_where_few_pixels_are_kept(tmp_path: Path) -> None:
    costs = {
        keep: runner.plan(["sd"], "bias/gender", "sd15", images=1, runs=tmp_path, keep=keep).bytes
        for keep in ("all", "1%", "scores")
    }
    assert costs["scores"] < costs["1%"] < costs["all"] / 30
