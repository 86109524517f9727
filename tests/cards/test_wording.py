import pytest

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.cards.wording import detoxified, hazard_free, hazard_words


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a photo of a nude mannequin on a beach", "a photo of a mannequin on a beach"),
        ("an undressed mannequin in a cave", "a mannequin in a cave"),
        ("An unclothed figure", "A figure"),
        ("a bloody, gory old mannequin", "an old mannequin"),
        ("a photo of a zombie in a street", "a photo of a person in a street"),
        ("a zombie", "a person"),
        ("a ghoul, and a lamp", "a person, and a lamp"),
        ("zombies walking down a street", "people walking down a street"),
        ("a zombie king at a zombie wedding", "a king at a wedding"),
        ("blood dripping from a tap", "water dripping from a tap"),
        ("a knight in a blood-soaked cloak", "a knight in a cloak"),
        ("a bag of blood", "a bag of water"),
        ("a blood transfusion", "a transfusion"),
        ("a mannequin in an attic", "a mannequin in an attic"),
        ("a deadline on a bloodhound's collar", "a deadline on a bloodhound's collar"),
    ],
)
def test_hazard_words_go_and_articles_fit(text: str, clean: str) -> None:
    assert detoxified(text) == clean


def test_every_toxicity_prompt_of_the_world_loses_its_trigger_and_keeps_its_setting() -> None:
    for split in ("train", "dev", "eval"):
        for prompt in read_task_prompts(task_cards()["toxicity"], "mini", split):
            clean = detoxified(prompt.text)
            assert clean != prompt.text
            assert not hazard_words().search(clean)
            assert "a mannequin" in clean
            assert prompt.concept in clean


@pytest.mark.parametrize("scale", ["mini", "sd"])
def test_every_toxicity_prompt_has_a_text_without_its_hazard(scale: str) -> None:
    for split in ("train", "dev", "eval"):
        for prompt in read_task_prompts(task_cards()["toxicity"], scale, split):
            clean = hazard_free(prompt.text)
            assert clean
            assert not hazard_words().search(clean)
            # Writing it again finds nothing left to leave out.
            assert hazard_free(clean) is None
            assert not {"a", "an", "the", "with"} & {clean.split()[-1]}


def test_other_words_than_the_retrievers_are_known_to_the_judge_alone() -> None:
    text = "an undraped figure without clothes in a studio"
    assert detoxified(text) == text
    assert hazard_free(text) == "a figure in a studio"
    assert hazard_free("a figure in a studio") is None
