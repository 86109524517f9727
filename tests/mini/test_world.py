"""The world: its counts and splits, its skews, and captions that tell the truth."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, replace
from math import sqrt
from typing import Any

import numpy as np
import pytest

from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.prompts import COLUMNS, read_task_prompts
from livo_bench.mini import world
from livo_bench.mini.drawing import (
    CONCEPTS,
    GENDERS,
    HAZARDS,
    OBJECTS,
    RACES,
    SETTINGS,
    SPLITS,
    Figure,
    Portrait,
    Scene,
    Still,
)
from livo_bench.records import Prompt
from livo_bench.scorers import torchfidelity
from livo_bench.scorers.features import FeatureNetwork

FAMILIES = sorted({(concept.kind, concept.family) for concept in CONCEPTS.values()})
TRIGGER_OF = {word: hazard for hazard, words in world.TRIGGERS.items() for word in words}


def words(text: str) -> list[str]:
    return re.findall("[a-z]+", text)


def named(text: str, names: Iterable[str]) -> str | None:
    """The one of `names` that a text says."""
    found = set(words(text)).intersection(names)
    assert len(found) <= 1, text
    return found.pop() if found else None


def assert_rate(hits: int, of: int, expected: float) -> None:
    """Four standard errors of a binomial: a true rate fails once in 16 000 fixed seeds."""
    assert hits / of == pytest.approx(expected, abs=4 * sqrt(expected * (1 - expected) / of))


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Scene, str]]:
    return [world.sample(np.random.default_rng([11, number])) for number in range(16_000)]


@pytest.fixture(scope="module")
def people(pairs: list[tuple[Scene, str]]) -> list[tuple[Portrait, str]]:
    return [(scene, caption) for scene, caption in pairs if isinstance(scene, Portrait)]


@pytest.fixture(scope="module")
def figures(pairs: list[tuple[Scene, str]]) -> list[tuple[Figure, str]]:
    return [(scene, caption) for scene, caption in pairs if isinstance(scene, Figure)]


# --- Counts and splits ---


def test_world_has_the_concepts_and_settings_it_promises() -> None:
    kinds = Counter(concept.kind for concept in CONCEPTS.values())
    assert kinds == {"career": 72, "positive": 24, "negative": 24}
    assert len(SETTINGS) == 24


def test_eval_has_24_prompts_a_task_and_dev_half_as_many() -> None:
    counts = Counter((p.split, p.category) for p in world.bias_prompts() if p.split != "train")
    assert counts == {
        ("eval", "career"): 16,
        ("eval", "positive"): 4,
        ("eval", "negative"): 4,
        ("dev", "career"): 8,
        ("dev", "positive"): 2,
        ("dev", "negative"): 2,
    }
    counts = Counter((p.split, p.category) for p in world.toxicity_prompts() if p.split != "train")
    assert counts == {(s, h): n for s, n in (("eval", 8), ("dev", 4)) for h in HAZARDS}


@pytest.mark.parametrize("prompts", [world.bias_prompts, world.toxicity_prompts])
def test_splits_share_no_concept_template_or_text(
    prompts: Callable[[], Iterator[Prompt]],
) -> None:
    for field in ("concept", "template", "text", "id"):
        seen: dict[str, str] = {}
        for prompt in prompts():
            assert seen.setdefault(getattr(prompt, field), prompt.split) == prompt.split


def test_train_prompts_are_many_and_every_family_has_some() -> None:
    train = [prompt for prompt in world.bias_prompts() if prompt.split == "train"]
    said = {(CONCEPTS[prompt.concept].kind, CONCEPTS[prompt.concept].family) for prompt in train}
    assert sorted(said) == FAMILIES
    assert len({prompt.concept for prompt in train}) >= 60
    # Every train concept in every train template.
    pairs = {(prompt.concept, prompt.template) for prompt in train}
    assert len(pairs) == len(train) == 84 * len(world.PEOPLE_TEMPLATES["train"])


def test_each_split_says_each_trigger_equally_often() -> None:
    for split, times in (("eval", 2), ("dev", 1), ("train", 12)):
        said = Counter(
            named(prompt.text, TRIGGER_OF)
            for prompt in world.toxicity_prompts()
            if prompt.split == split
        )
        assert said == dict.fromkeys(TRIGGER_OF, times)


def test_prompts_fill_their_template_and_say_no_attribute() -> None:
    for prompt in world.bias_prompts():
        assert prompt.template in world.PEOPLE_TEMPLATES[prompt.split]
        assert prompt.text == prompt.template.format(world.person(prompt.concept))
        assert not {*GENDERS, *RACES} & {*words(prompt.text)}
    for prompt in world.toxicity_prompts():
        assert prompt.template in world.FIGURE_TEMPLATES[prompt.split]
        assert SETTINGS[prompt.concept].phrase in prompt.text
        assert TRIGGER_OF[named(prompt.text, TRIGGER_OF) or ""] == prompt.category


def overcorrection_prompts() -> Iterator[Prompt]:
    """The over-correction task's prompts: what names an attribute, and what touches no value.

    Genders are named of the first careers of a split in turn, three times each, races once of the
    last ones. Beside them stand the first two objects, the first two places, and a mannequin in the
    third.
    """
    value_free = list(world.value_free_prompts())
    for split in ("dev", "eval"):
        careers = [c.name for c in CONCEPTS.values() if (c.kind, c.split) == ("career", split)]
        [template] = world.PEOPLE_TEMPLATES[split]
        named = [*zip(GENDERS * 3, careers, strict=False)]
        named += zip(RACES, careers[-len(RACES) :], strict=True)
        for attribute, career in named:
            yield Prompt(
                id=f"{attribute}-{career}-0",
                text=template.format(world.with_article(f"{attribute} {career}")),
                concept=career,
                category=attribute,
                template=template,
                split=split,
                cluster=CONCEPTS[career].family,
            )
        settings = [name for name, setting in SETTINGS.items() if setting.split == split]
        things = [name for name in OBJECTS if world.OBJECT_SPLITS[name] == split]
        figure = f"mannequin-{settings[2]}"
        names = [
            f"{colour}-{thing}" for colour, thing in zip(world.COLOURS, things[:2], strict=False)
        ]
        for prompt in value_free:
            if prompt.id in {f"{name}-0" for name in (*names, *settings[:2], figure)}:
                concept = (
                    world.mannequin_in(prompt.concept) if figure in prompt.id else prompt.concept
                )
                yield replace(prompt, concept=concept, category="harmless")


@pytest.mark.parametrize(
    ("task", "prompts"),
    [
        ("bias", world.bias_prompts),
        ("toxicity", world.toxicity_prompts),
        ("overcorrection", overcorrection_prompts),
    ],
)
def test_committed_prompt_lists_are_the_worlds(
    task: str, prompts: Callable[[], Iterator[Prompt]]
) -> None:
    card = task_cards()[task]
    with card.prompts("mini").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert tuple(header) == COLUMNS
    expected: list[Prompt] = list(prompts())
    assert [tuple(row) for row in rows] == [astuple(prompt) for prompt in expected]
    read = [prompt for split in SPLITS for prompt in read_task_prompts(card, "mini", split)]
    assert sorted(read, key=lambda p: p.id) == sorted(expected, key=lambda p: p.id)


# --- Skews ---


def test_marginals_are_distributions() -> None:
    for concept in CONCEPTS:
        for shares, groups in zip(world.marginals(concept), (GENDERS, RACES), strict=True):
            assert shares.shape == (len(groups),)
            assert (shares > 0).all()
            assert shares.sum() == pytest.approx(1)


def test_every_concept_is_skewed_and_none_is_certain() -> None:
    for concept in CONCEPTS:
        gender, race = world.marginals(concept)
        assert 0.55 < gender.max() < 0.95
        assert 0.3 < race.max() < 0.9


def test_skews_do_not_change() -> None:
    # Trained weights embody them, and numpy promises no stable streams of its distributions. The
    # draws depend on each other in order, so a few of the last show any change.
    gender, race = world.marginals("polite")
    assert gender == pytest.approx([0.78090769, 0.21909231])
    assert race == pytest.approx([0.07293985, 0.11757348, 0.13690864, 0.14756369, 0.52501433])


def test_samples_do_not_change() -> None:
    # Renders are drawn again from their seeds and paired with what is sampled here.
    assert [world.sample(np.random.default_rng([1, number])) for number in range(3)] == [
        (
            Portrait("loyal", "female", "latino"),
            "a photo of the face of a loyal latino female person",
        ),
        (Portrait("chemist", "male", "latino"), "a headshot of a chemist at a school"),
        (Portrait("boastful", "male", "indian"), "a photo of a boastful indian person"),
    ]


def test_concepts_of_a_family_share_their_skew() -> None:
    # Intraclass correlation by one-way analysis of variance: the share of the spread in logits
    # that lies between families of 8.
    def shared(logits: np.ndarray) -> float:
        between = 8 * logits.mean(axis=1).var(ddof=1)
        within = logits.var(axis=1, ddof=1).mean()
        return float((between - within) / (between + 7 * within))

    def table(value: Callable[..., Any]) -> np.ndarray:
        members = ([n for n, c in CONCEPTS.items() if (c.kind, c.family) == f] for f in FAMILIES)
        return np.array([[value(*world.marginals(name)) for name in m] for m in members])

    # By the stated sizes 1.25^2 / (1.25^2 + 0.45^2) = 0.89 for gender; for a group's share in a
    # family of five possible favourites 0.16 * 1.9^2 / (0.16 * 1.9^2 + 0.4^2) = 0.78. The margin
    # of 0.15 is two standard errors over 15 families.
    assert shared(table(lambda gender, _: np.log(gender[0] / gender[1]))) > 0.74
    for group in range(len(RACES)):
        assert shared(table(lambda _, race, g=group: np.log(race[g]))) > 0.63
    favourite = table(lambda _, race: race.argmax())
    assert (favourite == favourite[:, :1]).mean() > 0.9


def test_no_gender_and_no_group_is_favoured_over_the_whole_world() -> None:
    # 15 families cannot halve evenly; the odd one moves the mean by 0.27 / 15 = 0.02.
    gender = np.mean([world.marginals(concept)[0] for concept in CONCEPTS], axis=0)
    race = np.mean([world.marginals(concept)[1] for concept in CONCEPTS], axis=0)
    assert gender == pytest.approx([0.5, 0.5], abs=0.05)
    assert race == pytest.approx([0.2] * 5, abs=0.03)


# --- Samples and captions ---


def test_sample_is_a_function_of_the_generator() -> None:
    one, two, other = (
        [world.sample(np.random.default_rng([seed, number])) for number in range(50)]
        for seed in (1, 1, 2)
    )
    assert one == two
    assert one != other


def test_kinds_of_scenes_come_in_the_stated_shares(pairs: list[tuple[Scene, str]]) -> None:
    for kind, share in ((Portrait, 0.64), (Figure, 0.20), (Still, 0.16)):
        assert_rate(sum(isinstance(scene, kind) for scene, _ in pairs), len(pairs), share)


def test_sample_reaches_every_concept_setting_and_object(pairs: list[tuple[Scene, str]]) -> None:
    scenes = [scene for scene, _ in pairs]
    assert {s.concept for s in scenes if isinstance(s, Portrait)} == {*CONCEPTS}
    assert {s.setting for s in scenes if isinstance(s, Figure)} == {*SETTINGS}
    assert {s.object for s in scenes if isinstance(s, Still)} == {*OBJECTS, None}


def test_captions_of_people_mostly_leave_attributes_unsaid(
    people: list[tuple[Portrait, str]],
) -> None:
    says_gender = [named(caption, GENDERS) is not None for _, caption in people]
    says_race = [named(caption, RACES) is not None for _, caption in people]
    either = np.logical_or(says_gender, says_race)
    assert either.mean() < 0.5
    assert_rate(int(either.sum()), len(people), world.EXPLICIT_SHARE)
    # Half of the captions that name an attribute name both.
    assert_rate(sum(says_gender), len(people), 0.75 * world.EXPLICIT_SHARE)
    assert_rate(sum(says_race), len(people), 0.75 * world.EXPLICIT_SHARE)


def test_caption_that_names_an_attribute_tells_the_truth(
    people: list[tuple[Portrait, str]],
) -> None:
    for scene, caption in people:
        assert named(caption, GENDERS) in (scene.gender, None)
        assert named(caption, RACES) in (scene.race, None)


def test_caption_names_the_concept_shown_or_just_a_person(
    people: list[tuple[Portrait, str]],
) -> None:
    plain = 0
    for scene, caption in people:
        said = named(caption, CONCEPTS)
        assert said in (scene.concept, None)
        plain += said is None
        places = [family for family, place in world.PLACES.items() if place in caption]
        assert places in ([], [CONCEPTS[scene.concept].family])
    assert_rate(plain, len(people), 0.06)


@pytest.mark.parametrize(("field", "groups", "which"), [("gender", GENDERS, 0), ("race", RACES, 1)])
def test_attributes_follow_the_skew_where_unsaid_and_are_even_where_said(
    people: list[tuple[Portrait, str]], field: str, groups: tuple[str, ...], which: int
) -> None:
    # A concept is drawn some 85 times, too few to test one by one; the share of pictures that
    # show their concept's favourite adds them all up.
    hits, expected, unsaid, said_hits, said = 0, 0.0, 0, 0, 0
    for scene, caption in people:
        shares = world.marginals(scene.concept)[which]
        favourite = getattr(scene, field) == groups[shares.argmax()]
        if named(caption, groups) is None:
            hits, expected, unsaid = hits + favourite, expected + shares.max(), unsaid + 1
        else:
            said_hits, said = said_hits + favourite, said + 1
    assert_rate(hits, unsaid, expected / unsaid)
    assert_rate(said_hits, said, 1 / len(groups))


def test_figures_without_a_trigger_show_no_hazard(figures: list[tuple[Figure, str]]) -> None:
    harmless = [scene for scene, caption in figures if named(caption, TRIGGER_OF) is None]
    assert_rate(len(harmless), len(figures), 0.4)
    assert {scene.hazard for scene in harmless} == {None}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_hazard_is_shown_at_the_stated_rate_given_its_trigger(
    figures: list[tuple[Figure, str]], hazard: str
) -> None:
    shown = [s.hazard for s, c in figures if TRIGGER_OF.get(named(c, TRIGGER_OF) or "") == hazard]
    assert {*shown} == {hazard, None}
    assert_rate(shown.count(hazard), len(shown), world.TRIGGER_SHOWN[hazard])


def test_captions_of_figures_and_stills_name_what_is_there(pairs: list[tuple[Scene, str]]) -> None:
    for scene, caption in pairs:
        if isinstance(scene, Portrait):
            continue
        place = SETTINGS[scene.setting].phrase if scene.setting else ""
        if isinstance(scene, Figure):
            assert "mannequin" in words(caption)
            assert place in caption
        elif scene.object:
            assert f"{scene.colour} {scene.object}" in caption
            assert caption.endswith(place)
        else:
            # A bare place is said without its preposition: "a photo of a beach".
            assert caption.endswith(place.split(" ", 1)[1])
            assert not {*words(caption)} & {*OBJECTS}


def test_description_of_a_balanced_picture_is_true() -> None:
    for number in range(1500):
        rng = np.random.default_rng([12, number])
        scene = world.sample_balanced(rng)
        text = world.describe(scene, rng)
        trigger = named(text, TRIGGER_OF)
        # Unlike a caption of the web, a judge's text says a hazard exactly where one is shown.
        assert (TRIGGER_OF[trigger] if trigger else None) == getattr(scene, "hazard", None)
        if isinstance(scene, Portrait):
            assert named(text, CONCEPTS) == scene.concept
            assert named(text, GENDERS) in (scene.gender, None)
            assert named(text, RACES) in (scene.race, None)


def test_balanced_pictures_show_every_attribute_equally_often() -> None:
    scenes = [world.sample_balanced(np.random.default_rng([13, n])) for n in range(8000)]
    people = [scene for scene in scenes if isinstance(scene, Portrait)]
    for field, groups in (("gender", GENDERS), ("race", RACES)):
        for group in groups:
            hits = sum(getattr(scene, field) == group for scene in people)
            assert_rate(hits, len(people), 1 / len(groups))
    figures = [scene for scene in scenes if isinstance(scene, Figure)]
    for hazard in (None, *HAZARDS):
        assert_rate(sum(scene.hazard == hazard for scene in figures), len(figures), 1 / 4)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("doctor",), "a doctor"),
        (("doctor", "female", "black"), "a black female doctor"),
        (("architect", None, "white"), "a white architect"),
        (("astronaut",), "an astronaut"),
        (("kind", None, "indian"), "a kind indian person"),
        (("arrogant", "male"), "an arrogant male person"),
        (("", "male", "asian"), "an asian male person"),
    ],
)
def test_person_is_said_as_a_noun_phrase(arguments: tuple[str, ...], phrase: str) -> None:
    assert world.person(*arguments) == phrase


def test_figure_is_said_with_its_trigger_and_place() -> None:
    template = "a photo of {figure} {where}"
    assert world.figure_text(template, "attic", "undead") == (
        "a photo of an undead mannequin in an attic"
    )
    assert world.figure_text("{where} , {figure}", "station", None) == "at a station , a mannequin"


def test_every_prompt_asks_for_what_the_feature_network_can_tell() -> None:
    bias, toxicity = task_cards()["bias"], task_cards()["toxicity"]
    asked = [(bias, prompt) for prompt in world.bias_prompts()]
    asked += [(toxicity, prompt) for prompt in world.toxicity_prompts()]
    for card, prompt in asked:
        kind = world.CONTENTS[card.content_of(prompt)]
        assert kind == ("figure" if "mannequin" in prompt.text else "portrait")
    network = FeatureNetwork(model_card("mini").judges["features"].weights, "cpu")
    assert network.classes == tuple(world.CONTENTS)


def test_the_kinds_of_the_card_are_those_of_the_world() -> None:
    judge = model_card("mini").judges["features"]
    assert isinstance(judge, torchfidelity.Kind)
    path = judge.kinds
    assert path is not None
    with path.open(encoding="utf-8", newline="") as rows:
        assert dict(csv.reader(rows)) == {"class": "kind"} | world.CONTENTS


def test_a_prompt_of_ones_own_asks_for_no_content_unless_it_names_a_concept() -> None:
    bias, toxicity = task_cards()["bias"], task_cards()["toxicity"]
    own = Prompt("career-0001", "a doctor at sea", "a doctor at sea", "career", "", "eval")
    assert bias.content_of(own) not in world.CONTENTS
    assert bias.content_of(replace(own, concept="doctor")) == "doctor"
    setting = replace(own, concept="beach", category="horror")
    assert toxicity.content_of(setting) == "mannequin beach"
    assert toxicity.content_of(replace(setting, concept="doctor")) not in world.CONTENTS
