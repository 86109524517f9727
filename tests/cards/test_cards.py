from pathlib import Path

import pytest

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.declared import read_method_card, read_model_card, read_task_card
from livo_bench.errors import BadInput
from livo_bench.records import Prompt
from livo_bench.scorers import llava

METHOD = """
name = "soft"
title = "Soft"
version = 2
tasks = ["bias"]
told = "value"
summary = "Asks softly."
paper = ""
differences = ["Says please."]
[settings]
beta = 500
share = 0.5
[variants.loud]
title = "Soft, loud"
share = 1.0
"""

TASK = """
name = "fruit"
title = "Fruit"
version = 1
summary = "Are fruits even?"
class_text = "{prompt}, {attribute}"
categories = ["fresh", "dried"]
[subsets.colour]
value = "colour equality"
attributes = ["red", "green"]
[subsets.size]
value = "size equality"
attributes = ["small", "large"]
categories = ["fresh"]
"""

MODEL = """
name = "tiny"
title = "Tiny"
scale = "mini"
pipeline = "../weights/sd"
size = 64
steps = 15
guidance = 2.0
sampler = "dpmsolver++"
dtype = "float32"
block = 50
rate = 15.0
bytes_per_image = 8_000
[judges.attributes]
weights = "../weights/clip"
dtype = "float32"
[judges.hazards]
weights = "someone/llava"
dtype = "float16"
[judges.features]
weights = "inception-v3-compat"
dtype = "float32"
[[parts]]
name = "vae"
parameters = 1000
steps = 10
minutes = 0.5
seed = 0
[quality]
gender_accuracy = 0.99
"""


def method(tmp_path: Path, text: str) -> Path:
    return write(tmp_path / "soft" / "card.toml", text)


def task(tmp_path: Path, text: str) -> Path:
    return write(tmp_path / "fruit" / "card.toml", text)


def model(tmp_path: Path, text: str) -> Path:
    return write(tmp_path / "models" / "tiny.toml", text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_method_card_holds_what_the_file_says(tmp_path: Path) -> None:
    card = read_method_card(method(tmp_path, METHOD))
    assert (card.name, card.title, card.version, card.told) == ("soft", "Soft", 2, "value")
    assert card.folder == tmp_path / "soft"
    assert card.settings == {"beta": 500, "share": 0.5}
    assert card.variants["loud"].title == "Soft, loud"
    assert card.variants["loud"].settings == {"share": 1.0}


def test_task_card_gives_principles_judge_and_prompt_file(tmp_path: Path) -> None:
    card = read_task_card(task(tmp_path, TASK))
    principle = card.principle("colour")
    assert (principle.task, principle.subset) == ("fruit", "colour")
    assert (principle.value, principle.attributes) == ("colour equality", ("red", "green"))
    assert card.judge == "attributes"
    assert card.prompts("mini") == tmp_path / "fruit" / "prompts" / "mini.csv"


def test_subset_has_all_categories_unless_it_names_some(tmp_path: Path) -> None:
    card = read_task_card(task(tmp_path, TASK))
    assert card.subsets["colour"].categories == ("fresh", "dried")
    assert card.subsets["size"].categories == ("fresh",)


def test_task_with_a_question_goes_to_the_hazard_judge(tmp_path: Path) -> None:
    card = read_task_card(task(tmp_path, QUESTION))
    assert card.judge == "hazards"
    assert card.subsets["colour"].word == "red"
    assert card.principle("colour").attributes == ()


QUESTION = (
    TASK.replace('class_text = "{prompt}, {attribute}"', 'question = "Is it {word}?"')
    .replace('attributes = ["red", "green"]', 'word = "red"')
    .replace('attributes = ["small", "large"]', 'word = "small"')
)
CONTROL = TASK.replace("{prompt}", "{neutral}").replace(
    'categories = ["fresh", "dried"]', 'control = true\ncategories = ["red", "green", "plain"]'
).replace(
    'attributes = ["small", "large"]\ncategories = ["fresh"]', 'categories = ["plain"]'
).replace("[subsets.colour]", '[subsets.colour]\nstands_for = "fresh"').replace(
    "[subsets.size]", '[subsets.size]\nstands_for = "dried"'
)  # fmt: skip


def test_method_is_made_for_tasks_and_for_subsets_of_others(tmp_path: Path) -> None:
    text = METHOD.replace('tasks = ["bias"]', 'tasks = ["bias/gender", "fruit/colour"]')
    card = read_method_card(method(tmp_path, text))
    fruit = read_task_card(task(tmp_path, TASK))
    bias = task_cards()["bias"]
    assert card.is_for(bias, "gender")
    assert not card.is_for(bias, "race")
    assert card.is_for(fruit, "colour")
    assert not card.is_for(fruit, "size")


@pytest.mark.parametrize(
    ("text", "like"), [(TASK, "bias"), (QUESTION, "toxicity"), (CONTROL, "overcorrection")]
)
def test_a_task_of_ones_own_is_for_the_methods_of_the_task_that_it_is_like(
    tmp_path: Path, text: str, like: str
) -> None:
    own = read_task_card(task(tmp_path, text))
    for name in ("bias", "toxicity", "overcorrection"):
        made = read_method_card(method(tmp_path, METHOD.replace('["bias"]', f'["{name}"]')))
        assert made.is_for(own, "colour") == (name == like)
    assert {card.kind for card in task_cards().values()} == set(task_cards())


def test_control_has_subsets_without_groups_and_prompts_that_name_their_category(
    tmp_path: Path,
) -> None:
    card = read_task_card(task(tmp_path, CONTROL))
    assert card.control
    assert card.subsets["size"].attributes == ()
    prompts = [
        Prompt(category, "a fruit", "fruit", category, "{}", "eval") for category in card.categories
    ]
    assert [card.names(prompt) for prompt in prompts] == [True, True, False]
    assert card.principle("size").category == "dried"
    assert not read_task_card(task(tmp_path, TASK)).control


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{neutral}", "{prompt}", ["class_text", "{neutral} and {attribute}"]),
        ('["red", "green"]', '["red", "blue"]', ["subsets.colour.attributes", "red, green, plain"]),
        ('["red", "green"]', '["red"]', ["subsets.colour.attributes", "at least two groups"]),
        ('class_text = "{neutral}, {attribute}"', 'question = "{word}?"', ["none in a control"]),
        ("control = true", "control = 1", ["control is 1", "true or false"]),
        ('stands_for = "dried"\n', "", ["subsets.size.stands_for"]),
    ],
)
def test_wrong_control_is_named_with_what_was_expected(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert old in CONTROL
    path = task(tmp_path, CONTROL.replace(old, new, 1))
    with pytest.raises(BadInput) as error:
        read_task_card(path)
    for part in [str(path), *said]:
        assert part in str(error.value)


def test_model_card_finds_folders_from_its_own_place_and_keeps_hub_ids(tmp_path: Path) -> None:
    card = read_model_card(model(tmp_path, MODEL))
    assert card.pipeline == str(tmp_path / "weights" / "sd")
    assert card.judges["attributes"].weights == str(tmp_path / "weights" / "clip")
    assert card.judges["hazards"] == llava.Kind(weights="someone/llava", dtype="float16")
    assert card.annotator is None
    assert card.parts[0].minutes == 0.5
    assert card.quality == {"gender_accuracy": 0.99}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Soft"\n', "", ["no title", "expected a text"]),
        ("version = 2", 'version = "2"', ["version is '2'", "expected a whole number from 1"]),
        ("version = 2", "version = true", ["version is True", "expected a whole number"]),
        ("version = 2", "version = 0", ["version is 0", "from 1 up"]),
        ("version = 2", "version = 2.0", ["version is 2.0", "expected a whole number"]),
        (
            'told = "value"',
            'told = "all"',
            ["told is 'all'", "nothing, category, value, attributes"],
        ),
        ('summary = "Asks softly."', 'summary = " "', ["summary is ' '", "expected a text"]),
        ('tasks = ["bias"]', 'tasks = "bias"', ["tasks is 'bias'", "a list of distinct texts"]),
        ('tasks = ["bias"]', 'tasks = ["a", "a"]', ["tasks is ['a', 'a']", "distinct"]),
        ('name = "soft"', 'name = "hard"', ["name is 'hard'", "expected 'soft'", "folder"]),
        ('title = "Soft"', 'titel = "Soft"\ntitle = "S"', ["titel (= 'Soft')", "mean 'title'"]),
        ("beta = 500", "beta = [500]", ["settings.beta is [500]", "a text, a number"]),
        ("share = 1.0", "shade = 1.0", ["variants.loud.shade is 1.0", "beta, share"]),
        ("share = 1.0", "share = 1", ["variants.loud.share is 1", "like 0.5"]),
        ("[variants.loud]", "[variants.Loud]", ["'Loud'", "lower-case"]),
        ("[settings]", "[settings", ["not TOML"]),
    ],
)
def test_wrong_method_field_is_named_with_its_value_and_what_was_expected(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert old in METHOD
    path = method(tmp_path, METHOD.replace(old, new, 1))
    with pytest.raises(BadInput) as error:
        read_method_card(path)
    for part in [str(path), *said]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{prompt}, {attribute}", "{prompt}", ["class_text is '{prompt}'", "{attribute}"]),
        ("{prompt}, {attribute}", "{prompt} {attribute} {x}", ["class_text", "each once"]),
        ('class_text = "{prompt}, {attribute}"', "", ["neither class_text nor question"]),
        ("class_text", 'question = "{word}?"\nclass_text', ["both class_text and question"]),
        ('["red", "green"]', '["red"]', ["subsets.colour.attributes", "at least two groups"]),
        ('categories = ["fresh"]', 'categories = ["wet"]', ["subsets.size.categories", "dried"]),
        ('value = "size equality"', "", ["no subsets.size.value"]),
        ("[subsets.size]", '[subsets.size]\nword = "x"', ["unknown field subsets.size.word"]),
    ],
)
def test_wrong_task_field_is_named_with_its_value_and_what_was_expected(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert old in TASK
    path = task(tmp_path, TASK.replace(old, new, 1))
    with pytest.raises(BadInput) as error:
        read_task_card(path)
    for part in [str(path), *said]:
        assert part in str(error.value)


def test_task_without_subsets_is_refused(tmp_path: Path) -> None:
    path = task(tmp_path, TASK[: TASK.index("[subsets")])
    with pytest.raises(BadInput, match=r"no subsets, expected a table \[subsets.<name>\]"):
        read_task_card(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('scale = "mini"', 'scale = "big"', ["scale is 'big'", "mini, sd"]),
        ("guidance = 2.0", "guidance = 0.5", ["guidance is 0.5", "a number from 1 up"]),
        ("guidance = 2.0", "guidance = nan", ["guidance is nan", "a number from 0 up"]),
        ('sampler = "dpmsolver++"', 'sampler = "ddim"', ["sampler is 'ddim'", "dpmsolver++"]),
        ('"someone/llava"', "3", ["judges.hazards.weights is 3", "a text"]),
        ("[judges.features]", "[judges.feature]", ["no judges.features.weights"]),
        ("minutes = 0.5", 'minutes = "a few"', ["parts[0].minutes is 'a few'", "a number"]),
        ("seed = 0", "seed = 0\nlr = 1", ["unknown field parts[0].lr"]),
        ("gender_accuracy = 0.99", 'gender_accuracy = "high"', ["quality.gender_accuracy"]),
        ("[quality]", "[qualities]", ["unknown field qualities", "Did you mean 'quality'?"]),
    ],
)
def test_wrong_model_field_is_named_with_its_value_and_what_was_expected(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert old in MODEL
    path = model(tmp_path, MODEL.replace(old, new, 1))
    with pytest.raises(BadInput) as error:
        read_model_card(path)
    for part in [str(path), *said]:
        assert part in str(error.value)


def test_missing_card_and_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Cannot read .*nowhere.*No such file"):
        read_method_card(tmp_path / "nowhere" / "card.toml")
    path = method(tmp_path, METHOD)
    path.write_bytes(b'name = "caf\xe9"')
    with pytest.raises(BadInput, match=r"card.toml: byte 11 is not UTF-8"):
        read_method_card(path)
