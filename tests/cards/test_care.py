"""What the benchmark may say: a guard over the words of prompts, captions, concepts and cards.

A list of denied words cannot be complete. What makes the miniature world safe is the other half:
its texts are made of the world's own words alone, and a new word has to be read by a person.
"""

import csv
import hashlib
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import livo_bench
from livo_bench.cards.catalog import DATA, method_cards, model_cards, task_cards
from livo_bench.mini import world
from livo_bench.mini.drawing import CONCEPTS, GENDERS, OBJECTS, RACES, SETTINGS
from livo_bench.mini.vocabulary import words

# Whole words, a plural ending allowed. Kept to the ordinary names of what must not come up.
DENIED = {
    "minors": "child children childlike kid boy girl teen teenage teenager preteen adolescent "
    "juvenile youth young youngster baby babies infant toddler minor underage schoolboy "
    "schoolgirl schoolchild schoolchildren pupil school-age",
    "sex": "sex sexual sexy sexualized erotic erotica porn pornographic intercourse lewd "
    "seductive provocative lingerie fetish",
    "demeaning": "savage primitive exotic oriental coloured colored thug crippled retarded "
    "subhuman inferior ugly",
    "self-harm": "suicide suicidal self-harm self-injury overdose",
    "weapons": "weapon gun pistol rifle knife knives sword dagger bomb grenade",
    "real events": "war genocide massacre holocaust terrorist terrorism lynching",
    "cruelty": "torture rape abuse murder execution beheading mutilation",
}
NUDITY = (*world.TRIGGERS["nudity"], "nudity", "bare", "topless", "undress")
VIOLENCE = (
    *world.TRIGGERS["bloody"],
    *world.TRIGGERS["horror"],
    *("blood", "gore", "horror", "wound", "wounded", "violent", "violence", "dead", "corpse"),
    *("kill", "killed", "attack", "injured"),
)
WITHOUT_CLOTHES = ("undraped", "disrobed", "without clothes", "birthday suit", "naturist")
DEATHLY = ("decaying", "rotting", "skull", "skeleton", "grave", "morgue")
PEOPLE = (*GENDERS, *RACES, *CONCEPTS, "person", "people", "man", "men", "woman", "women")
TRIGGERS = {word for triggers in world.TRIGGERS.values() for word in triggers}


def said(text: str, denied: tuple[str, ...]) -> list[str]:
    """Those of the denied words that a text says, in either number."""
    found = re.findall(rf"\b({'|'.join(denied)})(?:s|es)?\b", text.lower())
    return sorted(set(found))


def denied(text: str) -> list[str]:
    """Denied words of a text, with their topics."""
    return [
        f"{topic}: {word}"
        for topic, line in DENIED.items()
        for word in said(text, (*line.split(),))
    ]


def offences(text: str) -> list[str]:
    """Why a text may not be asked of a model."""
    both = said(text, NUDITY) and said(text, VIOLENCE)
    return [*denied(text), *(["nudity and violence together"] if both else [])]


CARDS = Path(livo_bench.__file__).parent / "cards"
TOXICITY = DATA / "tasks" / "toxicity" / "prompts" / "sd.csv"


def prompt_lists() -> list[Path]:
    return sorted([*DATA.glob("tasks/*/prompts/*.csv"), *CARDS.glob("value_free/*.csv")])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def captions() -> set[str]:
    """What the world says of its pictures, to generator and judges."""
    texts = set()
    for number in range(3000):
        rng = np.random.default_rng([41, number])
        scene, caption = world.sample(rng)
        texts |= {caption, world.describe(scene, rng)}
    return texts


def digest(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def all_words(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a photo of two young people", "minors: young"),
        ("a School-Age pupil", "minors: school-age"),
        ("babies in a garden", "minors: babies"),
        ("a photo of girls", "minors: girl"),
        ("a sexy doctor", "sex: sexy"),
        ("a person with knives", "weapons: knives"),
        ("a self-harm scene", "self-harm: self-harm"),
        ("a naked and bleeding mannequin", "nudity and violence together"),
        ("Gore and nudity", "nudity and violence together"),
    ],
)
def test_guard_sees_what_it_should(text: str, reason: str) -> None:
    assert reason in offences(text)


@pytest.mark.parametrize(
    "text",
    ["a photo of a teacher at a school", "a nude mannequin", "a playful person", "a cowboy hat"],
)
def test_guard_lets_the_rest_pass(text: str) -> None:
    assert offences(text) == []


@pytest.mark.parametrize("path", prompt_lists(), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_prompt_list_is_free_of_denied_words(path: Path) -> None:
    found = {
        row["id"]: reasons for row in rows(path) if (reasons := offences(" ".join(row.values())))
    }
    assert found == {}


def test_prompt_lists_are_there_to_be_checked() -> None:
    names = {(path.parts[-3], path.stem) for path in prompt_lists()}
    tasks = ("bias", "toxicity", "overcorrection", "cards")
    assert names >= {(name, scale) for name in tasks for scale in ("mini", "sd")}


def test_a_prompt_about_one_hazard_says_nothing_of_the_others() -> None:
    others = {
        "nudity": (*VIOLENCE, *DEATHLY),
        "bloody": (*NUDITY, *WITHOUT_CLOTHES),
        "horror": (*NUDITY, *WITHOUT_CLOTHES, "blood", *world.TRIGGERS["bloody"]),
    }
    for row in rows(TOXICITY):
        assert not said(row["text"], others[row["category"]]), row["text"]


def test_words_of_the_toxicity_prompts_are_those_that_were_read() -> None:
    # As for the vocabulary below: read the words that are new, and the prompts that they are in.
    listed = sorted(set().union(*(all_words(row["text"]) for row in rows(TOXICITY))))
    assert len(listed) == 1725
    assert digest(listed) == "e1d8b33618f0b3919dd0472ae7da2bf40a7a5349fe37d773a873ec6c8b97bcbf"


@pytest.mark.parametrize("scale", ["mini", "sd"])
def test_value_free_prompts_name_no_hazard_and_nobody(scale: str) -> None:
    for row in rows(CARDS / "value_free" / f"{scale}.csv"):
        assert not said(row["text"], (*PEOPLE, *NUDITY, *VIOLENCE)), row["text"]


@pytest.mark.parametrize(("scale", "count"), [("mini", 10), ("sd", 81)])
def test_harmless_prompts_name_no_hazard_and_nobody(scale: str, count: int) -> None:
    named = rows(DATA / "tasks" / "overcorrection" / "prompts" / f"{scale}.csv")
    harmless = [row["text"] for row in named if row["category"] == "harmless"]
    assert len(harmless) == count
    for text in harmless:
        assert not said(text, (*PEOPLE, *NUDITY, *VIOLENCE)), text


def test_keywords_are_free_of_denied_words() -> None:
    keywords = tomllib.loads((CARDS / "keywords.toml").read_text(encoding="utf-8"))
    texts = [word for words in keywords.values() for word in words]
    assert len(texts) > 20
    assert {text: reasons for text in texts if (reasons := denied(text))} == {}


def test_captions_are_free_of_denied_words(captions: set[str]) -> None:
    assert {text: reasons for text in captions if (reasons := offences(text))} == {}


def test_names_of_concepts_settings_and_objects_are_free_of_denied_words() -> None:
    names = [*CONCEPTS, *SETTINGS, *OBJECTS, *(setting.phrase for setting in SETTINGS.values())]
    assert {name: reasons for name in names if (reasons := offences(name))} == {}


def test_values_and_questions_of_tasks_are_free_of_denied_words() -> None:
    texts = [
        text
        for card in task_cards().values()
        for subset in card.subsets.values()
        for text in (subset.value, subset.word, *subset.attributes)
    ]
    texts += [card.question or card.class_text or "" for card in task_cards().values()]
    assert {text: reasons for text in texts if (reasons := offences(text))} == {}


def test_descriptions_on_cards_are_free_of_denied_words() -> None:
    # What a reader sees. A method's settings may hold a safety text, which has to name what the
    # method steers away from; a task's summary names all of its hazards at once.
    texts = [line for card in task_cards().values() for line in (card.title, card.summary)]
    for card in method_cards().values():
        texts += [card.title, card.summary, *(variant.title for variant in card.variants.values())]
    texts += [card.title for card in model_cards().values()]
    assert {text: reasons for text in texts if (reasons := denied(text))} == {}


def test_vocabulary_holds_no_denied_word() -> None:
    assert {word: reasons for word in words() if (reasons := denied(word))} == {}


def test_vocabulary_is_the_one_that_was_read() -> None:
    # Names, slurs and whatever the list above forgot would come in as a new word. Read the words
    # that `git diff` adds to the tables, templates and triggers before you change these two.
    listed = words()
    assert len(listed) == 262
    assert digest(listed) == "609eb55dfc9ca36c4f8c497881e9326aad32c587ad295778e3b72296ec199870"


def test_world_speaks_in_its_vocabulary_alone(captions: set[str]) -> None:
    # So no real person, place or event can be named, and nothing can be spelt out.
    known = set(words())
    texts = [*captions, *CONCEPTS, *SETTINGS, *OBJECTS]
    texts += [row["text"] for path in prompt_lists() if path.stem == "mini" for row in rows(path)]
    assert {text for text in texts if not all_words(text) <= known} == set()
    assert {text for text in texts if re.search(r"[^a-z ,]", text)} == set()


def test_hazards_are_said_of_the_neutral_figure_alone(captions: set[str]) -> None:
    texts = [row["text"] for path in prompt_lists() if path.stem == "mini" for row in rows(path)]
    hazardous = [text for text in {*texts, *captions} if all_words(text) & TRIGGERS]
    assert len(hazardous) > 300
    for text in hazardous:
        assert "mannequin" in all_words(text)
        assert not said(text, PEOPLE), text
        assert len(all_words(text) & TRIGGERS) == 1, text


def test_figure_is_never_said_to_be_a_person(captions: set[str]) -> None:
    for text in captions:
        assert "mannequin" not in all_words(text) or not said(text, PEOPLE), text


def test_groups_are_the_released_evaluations() -> None:
    assert GENDERS == ("male", "female")
    assert RACES == ("white", "black", "indian", "asian", "latino")
