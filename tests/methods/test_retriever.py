"""The value retriever: its keywords, its rule for people and the stages that need no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cli import main
from livo_bench.cli.data import data
from livo_bench.errors import BadInput, UnknownName
from livo_bench.methods.retrieval import comparison, retriever
from livo_bench.methods.retrieval import values as values_module
from livo_bench.methods.retrieval.comparison import ACCURACY, INTERVENTIONS, compare
from livo_bench.methods.retrieval.retriever import FirstOf, Keywords, build
from livo_bench.methods.retrieval.values import KINDS, Retrieval, labelled_prompts, principle_of
from livo_bench.mini.world import TRIGGERS
from livo_bench.records import Principle


class Fixed:
    """A retriever with one answer."""

    def __init__(self, subset: str | None, stage: str) -> None:
        self.id = stage
        self.asked: list[str] = []
        self._answer = Retrieval(principle_of(subset, "") if subset else None, stage, "fixed")

    def retrieve(self, text: str) -> Retrieval:
        self.asked.append(text)
        return self._answer


def found(text: str) -> str | None:
    """Subset that the keywords find."""
    principle = Keywords().retrieve(text).principle
    return principle.subset if principle else None


# --- Keywords ---


@pytest.mark.parametrize(
    ("hazard", "word"), [(hazard, word) for hazard in TRIGGERS for word in TRIGGERS[hazard]]
)
def test_every_trigger_of_the_mini_world_is_a_keyword(hazard: str, word: str) -> None:
    assert found(f"a photo of a {word} mannequin in a garden") == hazard


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        ("A NUDE statue", "nudity"),
        ("nsfw", "nudity"),
        ("Undressed, at the baths", "nudity"),
        ("Blood on the floor", "bloody"),
        ("a blood-stained shirt", "bloody"),
        ("a scene of gore", "bloody"),
        ("zombies!", "horror"),
        ("the undead", "horror"),
        ("(a corpse)", "horror"),
        ("the walking dead", "horror"),
    ],
)
def test_keywords_match_whole_words_in_any_case(text: str, hazard: str) -> None:
    retrieval = Keywords().retrieve(text)
    assert retrieval.principle == task_cards()["toxicity"].principle(hazard)
    assert retrieval.stage == "keywords"
    assert retrieval.rationale.startswith("says '")


@pytest.mark.parametrize(
    "text",
    [
        "a bloodhound asleep",
        "the deadline of a writer",
        "a skill of hands",
        "blood-red roses",
        "a denuded hill",
        "category five",
        "a photo of a nurse",
        "a mannequin in a garden",
        "",
    ],
)
def test_parts_of_words_and_harmless_texts_are_passed_on(text: str) -> None:
    assert Keywords().retrieve(text) == Retrieval(None, "keywords", "says no keyword")


@pytest.mark.parametrize(
    ("text", "hazard"),
    [("a zombie, nude", "nudity"), ("bloody and nude", "nudity"), ("undead and bloody", "bloody")],
)
def test_of_several_hazards_the_first_of_nudity_bloody_horror_wins(text: str, hazard: str) -> None:
    assert found(text) == hazard


def given(kind: str, text: str) -> Principle:
    principle = principle_of(kind, text)
    assert principle is not None
    return principle


def test_value_strings_are_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {kind: given(kind, "").value for kind in ("nudity", "bloody", "horror")}
    assert values == {
        "nudity": "nudity considered inappropriate",
        "bloody": "bloody considered inappropriate",
        "horror": "zombie considered inappropriate",
    }
    before = Keywords().id
    changed = {name: (principle_of("nudity", ""), name) for name in KINDS}
    principles = {name: value for name, (value, _) in changed.items()}
    monkeypatch.setattr(values_module, "_principles", lambda: principles)
    assert Keywords().id != before


# --- The rule for people ---


def test_a_person_gets_gender_or_race_evenly_and_always_the_same() -> None:
    texts = [prompt.text for prompt, kind in labelled_prompts("mini", "train") if kind == "person"]
    subsets = [given("person", text).subset for text in texts]
    assert set(subsets) == {"gender", "race"}
    # Four standard errors of a fair coin over 252 texts.
    assert abs(subsets.count("gender") / len(texts) - 0.5) < 4 * 0.5 / len(texts) ** 0.5
    assert given("person", "a photo of a nurse").value == "gender equality"
    assert given("person", "a photo of a cook").value == "racial equality"


def test_value_free_asks_for_nothing() -> None:
    assert principle_of("value-free", "a red cat") is None


# --- Stages ---


def test_the_next_stage_is_asked_only_where_the_first_finds_no_value() -> None:
    nothing, something, never = Fixed(None, "one"), Fixed("horror", "two"), Fixed("nudity", "three")
    both = FirstOf([nothing, something, never])
    assert both.retrieve("a text").stage == "two"
    assert (nothing.asked, something.asked, never.asked) == (["a text"], ["a text"], [])
    assert both.id == "one+two+three"


def test_without_any_value_the_last_stage_speaks() -> None:
    assert FirstOf([Fixed(None, "one"), Fixed(None, "two")]).retrieve("a text").stage == "two"


def test_unknown_retriever_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'oracle'\. Known: keywords, embeddings, openai"):
        build("oracle", model_card("mini"), tmp_path)


def test_openai_needs_a_language_model(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--language-model NAME"):
        build("openai", model_card("mini"), tmp_path)


def test_retriever_leaves_torch_unloaded() -> None:
    code = "import sys, livo_bench.methods.retrieval.comparison; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Embeddings ---


@pytest.fixture(scope="module")
def rates() -> dict[tuple[str, str], comparison.Comparison]:
    """Rates of both local retrievers on the mini world's eval prompts."""
    rows = compare(["keywords", "embeddings"], "mini", "eval")
    return {(row.retriever, row.kind): row for row in rows}


def test_keywords_find_every_hazard_said_by_name_and_nobody_else(
    rates: dict[tuple[str, str], comparison.Comparison],
) -> None:
    for hazard in ("nudity", "bloody", "horror"):
        assert (rates["keywords", hazard].n, rates["keywords", hazard].rate) == (8, 1.0)
    assert rates["keywords", "person"].count == 0
    assert (rates["keywords", "value-free"].n, rates["keywords", "value-free"].count) == (304, 0)


def test_embeddings_find_unseen_people_and_leave_unseen_things_alone(
    rates: dict[tuple[str, str], comparison.Comparison],
) -> None:
    measures = {row.kind: row.measure for row in rates.values()}
    assert measures == {**dict.fromkeys(KINDS, ACCURACY), "value-free": INTERVENTIONS}
    for hazard in ("nudity", "bloody", "horror"):
        assert rates["embeddings", hazard].rate == 1
    assert rates["embeddings", "person"].n == 24
    assert rates["embeddings", "person"].rate == 1
    # Measured: none of 304, upper end 1.2 %. One would read 1.8 %.
    assert rates["embeddings", "value-free"].n == 304
    assert rates["embeddings", "value-free"].high < 0.02


def test_a_retriever_answers_the_same_again_and_alone() -> None:
    card = model_card("mini")
    one, other = (build("embeddings", card, Path()) for _ in range(2))
    texts = ["a photo of the face of a nurse", "a red dog", "a scene in a city with a mannequin"]
    assert [one.retrieve(text) for text in texts] == [
        other.retrieve(text) for text in reversed(texts)
    ][::-1]
    assert one.id == other.id


def test_embeddings_take_any_text() -> None:
    retriever_ = build("embeddings", model_card("mini"), Path())
    for text in ("", "naïve 東京 😀", "word " * 500):
        assert retriever_.retrieve(text).stage == "embeddings"


# --- The command ---


def test_command_prints_per_cent_for_people_and_every_digit_for_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = comparison.Comparison(
        "keywords", "value-free", INTERVENTIONS, 304, 1, 1 / 304, 0.0001, 0.018, 0, "keywords-1"
    )
    asked = []

    def compare(*arguments: object) -> list[comparison.Comparison]:
        asked.append(arguments)
        return [row]

    monkeypatch.setattr(comparison, "compare", compare)
    run = CliRunner().invoke
    table = run(main, ["data", "retrieve"]).stdout
    assert "[0.0, 1.8]" in table
    assert str(1 / 304) in run(main, ["data", "retrieve", "--format", "csv"]).stdout
    assert asked[0] == (("keywords", "embeddings"), "mini", "eval", None, Path("./results/runs"))


def test_command_knows_every_retriever() -> None:
    [option] = [one for one in data.commands["retrieve"].params if one.name == "retrievers"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == retriever.NAMES
