"""Fair Diffusion: which way each image is edited, and what the majorities are found from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card, model_digest, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.methods import fair_diffusion
from livo_bench.methods.fair_diffusion import (
    PILOTS,
    FairDiffusion,
    Majority,
    detect,
    read_majorities,
)
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import Training
from livo_bench.records import PILOT, Prompt, Recipe, Request, SemanticGuidance
from livo_bench.runs.plan import form_blocks
from livo_bench.runs.session import Session
from livo_bench.scorers.annotator import Annotation

TEXT = "a photo of a baker"
BASE = Recipe("m", TEXT, 1, "", 2.0, "dpmsolver++", 5, 64, "float32")
PROMPT = Prompt("x", TEXT, "baker", "career", "", "eval")
SETTINGS = SemanticGuidance("", "", 3, 4.0, 0.95, 0.3, 0.6)
BIAS = task_cards()["bias"]
FOLDER = DATA / "methods" / "fd"


def request(subset: str, index: int) -> Request:
    return Request(PROMPT, index, BIAS.principle(subset))


def directions(method: FairDiffusion, subset: str, images: int = 50) -> Counter[tuple[str, str]]:
    """How many images have each pair of removed and added text."""
    edits = [method.resolve(request(subset, index), BASE).edit for index in range(images)]
    assert all(edits)
    return Counter((edit.remove, edit.add) for edit in edits if edit)


def test_half_of_the_images_go_each_way_between_two_groups() -> None:
    method = FairDiffusion(SETTINGS, {}, only_uneven=False)
    assert directions(method, "gender") == {
        ("male person", "female person"): 25,
        ("female person", "male person"): 25,
    }
    edited = method.resolve(request("gender", 0), BASE)
    assert edited.edit is not None
    assert edited.edit.s_e == SETTINGS.s_e
    assert edited.seed == BASE.seed
    assert edited.text == BASE.text


def test_the_majority_is_removed_among_more_groups_and_never_from_itself() -> None:
    method = FairDiffusion(SETTINGS, {(TEXT, "race"): Majority("asian", 0.7, 16)}, False)
    assert directions(method, "race") == {
        ("asian person", "white person"): 10,
        ("asian person", "black person"): 10,
        ("asian person", "indian person"): 10,
        ("", "asian person"): 10,
        ("asian person", "latino person"): 10,
    }


def test_a_prompt_that_was_not_looked_at_counts_as_of_the_first_group() -> None:
    removed = Counter(edit[0] for edit in directions(FairDiffusion(SETTINGS, {}, True), "race"))
    assert removed == {"white person": 4, "": 1}


def test_images_of_a_prompt_share_one_batch_whatever_their_direction() -> None:
    method = FairDiffusion(SETTINGS, {(TEXT, "race"): Majority("asian", 0.7, 16)}, False)
    asked = [request("gender" if index < 5 else "race", index) for index in range(10)]
    wanted = [(one, method.resolve(one, BASE)) for one in asked]
    [block] = form_blocks(wanted, 10)
    assert len({recipe.stratum for recipe in block.recipes}) == 7


@pytest.mark.parametrize(
    ("subset", "share", "edited"),
    [
        ("gender", 0.625, False),  # the standard error of 16 images is 0.125
        ("gender", 0.6875, True),
        ("race", 0.25, False),  # 0.1
        ("race", 0.3125, True),
    ],
)
def test_only_uneven_prompts_are_edited_when_detected(
    subset: str, share: float, edited: bool
) -> None:
    group = BIAS.subsets[subset].attributes[0]
    majorities = {(TEXT, subset): Majority(group, share, 16)}
    detected = FairDiffusion(SETTINGS, majorities, only_uneven=True)
    assert (detected.resolve(request(subset, 0), BASE) != BASE) is edited
    always = FairDiffusion(SETTINGS, majorities, only_uneven=False)
    assert always.resolve(request(subset, 0), BASE) != BASE


class Script:
    """Sees a man in every fourth image and women in the others; the third race in one half and the
    second in the other; nobody in first images and in those of caterers."""

    id = "script-1"

    def __init__(self) -> None:
        self.shown: Counter[tuple[str, str]] = Counter()

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        n = len(pixels)
        self.shown[prompts[0].text, subset.name] += n
        if subset.name == "gender":
            labels = ["male" if index % 4 == 0 else "female" for index in range(n)]
        else:
            labels = [subset.attributes[2 if index < n / 2 else 1] for index in range(n)]
        present = np.array([prompt.concept != "caterer" for prompt in prompts])
        return Annotation(np.array(labels), present & (np.arange(n) != 0))


@pytest.fixture
def asked() -> list[Recipe]:
    return []


@pytest.fixture
def session(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Recipe]
) -> Session:
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)

    def render(recipes: Sequence[Recipe]) -> Pixels:
        asked.extend(recipes)
        return np.zeros((len(recipes), 64, 64, 3), np.uint8)

    monkeypatch.setattr(session.engine, "render", render)
    return session


def test_majorities_are_of_plain_pilot_images_of_dev_and_evaluation_prompts(
    session: Session, asked: list[Recipe]
) -> None:
    script = Script()
    rows = detect(session, script)
    prompts = [p for split in ("dev", "eval") for p in read_task_prompts(BIAS, "mini", split)]
    seeds = {
        session.recipe(prompt.text, index).seed
        for prompt in prompts
        for index in range(PILOT, PILOT + 16)
    }
    assert {recipe.seed for recipe in asked} == seeds
    assert {recipe.edit for recipe in asked} == {None}
    # Blocks of this model hold 5 images, and a prompt's are looked at together.
    assert script.shown == {(p.text, subset): 16 for p in prompts for subset in BIAS.subsets}
    somebody = [prompt for prompt in prompts if prompt.concept != "caterer"]
    assert rows["prompt"].tolist() == [prompt.text for prompt in somebody for _ in range(2)]
    gender, race = (rows[rows["subset"] == subset] for subset in ("gender", "race"))
    # The first image shows nobody: 3 men and 12 women are left, 7 and 8 of two races.
    for part, group, share in ((gender, "female", 12 / 15), (race, "black", 8 / 15)):
        assert set(part["group"]) == {group}
        assert set(part["share"]) == {share}
        assert set(part["images"]) == {15}


def test_training_writes_what_resolving_reads(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livo_bench.scorers import annotator

    monkeypatch.setattr(annotator, "require_annotator", lambda judge, model: judge)
    monkeypatch.setattr(annotator, "load", lambda judge, device: Script())
    card = session.model
    out = tmp_path / "training"
    folder = fair_diffusion.train(Training("fd", str(card.path), session, 7, out))
    assert folder == out
    prompt = read_task_prompts(BIAS, "mini")[0]
    method = load_method("fd", card, weights=str(folder)).method
    assert isinstance(method, FairDiffusion)
    assert method.majorities[prompt.text, "gender"] == Majority("female", 0.8, 15)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["settings"] == {"images": PILOTS, "annotator": "script-1"}
    assert record["seed"] == 7


def test_a_model_without_annotator_or_majorities_is_told_what_to_do(
    tiny_model: Path, tmp_path: Path
) -> None:
    card = model_card(str(tiny_model))
    with pytest.raises(BadInput, match=r"no majorities of 'fd' for model 'tiny'.*\n.*train --meth"):
        load_method("fd", card)
    with pytest.raises(BadInput, match=r"model 'tiny' names no annotator"):
        train("fd", str(tiny_model), device="cpu", runs=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,group\nx,male\n", "its columns are prompt, group"),
        ("prompt,subset,group,share,images\nx,race,white,much,16\n", "much"),
    ],
)
def test_majorities_that_are_none_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "majorities.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        BadInput, match=rf"Cannot read .*majorities\.csv.*{said}.*train --method fd"
    ):
        read_majorities(path)


def test_guidance_without_a_table_for_the_scale_is_named(tmp_path: Path) -> None:
    path = tmp_path / "guidance.toml"
    path.write_text("[mini]\nwarmup = 3\nthreshold = 95\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"no table \[sd\]"):
        fair_diffusion.read_guidance(path, "sd")
    with pytest.raises(BadInput, match=r"no mini\.s_e"):
        fair_diffusion.read_guidance(path, "mini")


def test_the_majorities_that_ship_are_of_this_model_and_cover_its_prompts() -> None:
    folder = FOLDER / "weights" / "mini"
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["model_digest"] == model_digest(model_card("mini"))
    majorities = read_majorities(folder / "majorities.csv")
    prompts = [p for split in ("dev", "eval") for p in read_task_prompts(BIAS, "mini", split)]
    assert majorities.keys() == {(p.text, subset) for p in prompts for subset in BIAS.subsets}
    for (_, subset), found in majorities.items():
        groups = BIAS.subsets[subset].attributes
        assert found.group in groups
        assert 1 / len(groups) <= found.share <= 1
        assert 0 < found.images <= record["settings"]["images"]


def test_settings_of_stable_diffusion_are_the_published_ones_for_half_the_steps() -> None:
    assert fair_diffusion.read_guidance(FOLDER / "guidance.toml", "sd") == SemanticGuidance(
        "", "", 5, 4.0, 0.95, 0.3, 0.6
    )
