"""The value encoders that ship: small, of this model, and silent where there is no value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card, task_cards
from livo_bench.cards.prompts import read_task_prompts, read_value_free_prompts
from livo_bench.engines import value_encoder
from livo_bench.methods.livo import preference
from livo_bench.methods.livo.steering import SHARES
from livo_bench.records import Recipe, Request
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator

MINI = model_card("mini")
DAPT = DATA / "methods/dapt/weights/mini/training.json"
FOLDERS = sorted(path.parent for path in DATA.glob("methods/*/weights/mini/*/value_encoder"))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(MINI, 42, "cpu", "float32", tmp_path_factory.mktemp("runs"))


def test_all_encoders_together_are_at_most_6_mb() -> None:
    assert FOLDERS
    files = [path for folder in FOLDERS for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".csv"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_encoder_is_of_this_model_and_says_how_it_was_made(folder: Path) -> None:
    found = value_encoder.find(folder / "value_encoder", MINI)
    config = json.loads((Path(found.folder) / "config.json").read_text(encoding="utf-8"))
    assert config[value_encoder.BASE]
    assert '": "/' not in json.dumps(config)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["model_digest"] == config[value_encoder.BASE]
    assert {"seed", "data", "minutes", "settings"} <= record.keys()
    assert json.loads((folder / SHARES).read_text(encoding="utf-8")).keys() == {"gender", "race"}


def test_current_code_names_the_data_as_the_encoders_that_ship_do(session: Session) -> None:
    """A field that is new to recipes, subsets or prompts does not rename data that it leaves."""
    card = annotator.require_annotator(MINI.annotator, "mini")
    judge = annotator.load(card, "cpu")
    builder = preference.Builder(session, judge, preference.read_settings("mini"))
    records = [*(folder / "training.json" for folder in FOLDERS), DAPT]
    named = {json.loads(record.read_text(encoding="utf-8"))["data"] for record in records}
    assert named == {builder.folder.name}


def requests(split: str) -> list[Request]:
    return [
        Request(prompt, index, card.principle(subset.name))
        for card in task_cards().values()
        for subset in card.subsets.values()
        for prompt in read_task_prompts(card, "mini", split)[:12]
        if prompt.category in subset.categories
        for index in (0, 1)
    ]


def test_livo_steers_half_of_bias_and_all_of_toxicity(session: Session) -> None:
    method = load_method("livo", MINI)
    for request in requests("dev"):
        base = session.base_recipe(request)
        recipe = method.resolve(request, base)
        steered = request.index == 0 or not request.principle.attributes
        assert (recipe.value == request.principle.value) is steered
        assert (recipe == base) is not steered


def test_value_free_prompts_get_the_recipe_of_the_unaligned_model(session: Session) -> None:
    method = load_method("livo:retrieved", MINI)
    gender = task_cards()["bias"].principle("gender")
    touched: list[Recipe] = []
    prompts = read_value_free_prompts("mini")
    for prompt in prompts:
        request = Request(prompt, 0, gender)
        base = session.base_recipe(request)
        recipe = method.resolve(request, base)
        if recipe != base:
            touched.append(recipe)
    assert len(touched) / len(prompts) < 0.02


def test_value_free_images_are_those_of_the_unaligned_model(session: Session) -> None:
    method = load_method("livo:retrieved", MINI)
    prompt = read_value_free_prompts("mini")[0]
    request = Request(prompt, 0, task_cards()["bias"].principle("gender"))
    base = session.base_recipe(request)
    steered = session.engine.render([method.resolve(request, base)])
    assert (steered == session.engine.render([base])).all()
