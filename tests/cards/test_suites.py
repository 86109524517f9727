"""The prompt lists for Stable Diffusion: counts, splits, lengths, and every rewriting of a text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import snowballstemmer
from open_clip.tokenizer import SimpleTokenizer
from places import ROOT

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import DATA, model_card, task_cards
from livo_bench.cards.prompts import (
    SPLITS,
    neutral,
    read_task_prompts,
    read_value_free_prompts,
    with_attributes,
)
from livo_bench.cards.wording import detoxified, hazard_words
from livo_bench.methods import fair_diffusion, uce
from livo_bench.methods.erasing import erasing
from livo_bench.methods.retrieval.retriever import Keywords
from livo_bench.methods.retrieval.values import PERSON, labelled_prompts, principle_of
from livo_bench.records import Prompt, Recipe, Request

TABLE_1 = {
    "train": {
        "career": 284, "positive": 148, "negative": 96,
        "nudity": 331, "bloody": 296, "horror": 277,
    },
    "eval": {
        "career": 340, "positive": 107, "negative": 141,
        "nudity": 231, "bloody": 266, "horror": 320,
    },
}  # fmt: skip
"""Of the paper."""

TASKS = ("bias", "toxicity", "overcorrection")
TOKENS = 77
"""Of CLIP's text encoder, with the two that mark start and end."""

CARD = replace(model_card("mini"), name="any", scale="sd")
"""A model of the lists' scale, of which nothing is loaded."""

NEGATING = re.compile(r"^(?:un|in|im|ir|dis|over)(?=\w{4})|(?<=\w{3})(?:less|ful)$")
"""What makes another word of the same concept: dishonest, unkind, careless."""

_stem = snowballstemmer.stemmer("english").stemWord


@cache
def prompts(task: str, split: str) -> tuple[Prompt, ...]:
    return tuple(read_task_prompts(task_cards()[task], "sd", split))


def everything() -> Iterator[Prompt]:
    for task, split in product(TASKS, SPLITS):
        yield from prompts(task, split)
    for split in SPLITS:
        yield from read_value_free_prompts("sd", split)


def stems(words: str) -> set[str]:
    """Of words from three letters on, with and without what negates them."""
    found = [word for word in re.findall("[a-z]+", words.lower()) if len(word) > 2]
    return set().union(*map(_stems_of, found))


@cache
def _stems_of(word: str) -> set[str]:
    return {_stem(word), _stem(NEGATING.sub("", word))}


def requests(place: str, split: str) -> Iterator[Request]:
    task, _, only = place.partition("/")
    card = task_cards()[task]
    for subset in card.subsets.values():
        if only not in ("", subset.name):
            continue
        principle = card.principle(subset.name)
        for prompt in prompts(task, split):
            if prompt.category in subset.categories:
                yield Request(prompt, 0, principle)


# What the lists hold ------------------------------------------------------------------------------


def test_counts_are_those_of_table_1() -> None:
    for split, expected in TABLE_1.items():
        listed = [*prompts("bias", split), *prompts("toxicity", split)]
        assert Counter(prompt.category for prompt in listed) == expected
    assert [sum(counts.values()) for counts in TABLE_1.values()] == [1432, 1405]


def test_the_documented_counts_are_those_of_the_lists() -> None:
    text = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    documented = {
        category: tuple(map(int, counts))
        for category, *counts in re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|", text, re.M)
    }
    counts = {
        split: Counter(p.category for task in TASKS[:2] for p in prompts(task, split))
        for split in SPLITS
    }
    expected = {name: tuple(counts[split][name] for split in SPLITS) for name in counts["eval"]}
    expected["total"] = tuple(counts[split].total() for split in SPLITS)
    assert documented == expected


def test_dev_is_small_and_serves_every_category() -> None:
    listed = [*prompts("bias", "dev"), *prompts("toxicity", "dev")]
    counts = Counter(prompt.category for prompt in listed)
    assert counts.keys() == TABLE_1["eval"].keys()
    assert len(listed) < 50


def test_every_text_and_id_is_there_once() -> None:
    for task in TASKS:
        listed = [prompt for split in SPLITS for prompt in prompts(task, split)]
        for field in ("id", "text"):
            values = [getattr(prompt, field).lower() for prompt in listed]
            assert [value for value, count in Counter(values).items() if count > 1] == []


@pytest.mark.parametrize("words", ["dishonest", "unkind", "careless", "careful", "carers"])
def test_stems_see_through_negation_and_endings(words: str) -> None:
    assert stems(words) & stems("honest kind care carer")


@pytest.mark.parametrize("task", ["bias", "toxicity"])
def test_splits_share_no_concept_by_stem_and_no_template(task: str) -> None:
    of_stem: dict[str, set[str]] = defaultdict(set)
    of_template: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        for prompt in prompts(task, split):
            of_template[prompt.template].add(split)
            for stem in stems(prompt.concept):
                of_stem[stem].add(split)
    for of_split in (of_stem, of_template):
        assert {name: splits for name, splits in of_split.items() if len(splits) > 1} == {}


def test_a_bias_concept_has_one_prompt() -> None:
    listed = [prompt for split in SPLITS for prompt in prompts("bias", split)]
    assert len({prompt.concept.lower() for prompt in listed}) == len(listed)


def test_no_job_of_one_head_word_fills_a_list() -> None:
    for split in ("train", "eval"):
        careers = [prompt for prompt in prompts("bias", split) if prompt.category == "career"]
        heads = Counter(prompt.concept.split()[-1] for prompt in careers)
        assert max(heads.values()) <= 0.05 * len(careers)
        assert len(heads) > 0.6 * len(careers)


def test_a_toxicity_concept_has_at_most_four_prompts_in_different_forms() -> None:
    of_concept = defaultdict(list)
    for split in SPLITS:
        for prompt in prompts("toxicity", split):
            of_concept[prompt.category, prompt.concept].append(prompt.template)
    for templates in of_concept.values():
        assert len(templates) == len(set(templates)) <= 4


def test_only_toxicity_asks_of_a_concept_more_than_once_in_the_evaluation() -> None:
    """Elsewhere prompts are independent, so that intervals are those over prompts."""
    for task, scale in product(TASKS, ("mini", "sd")):
        listed = read_task_prompts(task_cards()[task], scale)
        concepts = {(prompt.category, prompt.concept) for prompt in listed}
        if (task, scale) == ("toxicity", "sd"):
            assert (len(listed), len(concepts)) == (817, 273)
        else:
            assert len(listed) == len(concepts)


def test_texts_are_made_of_their_template_and_name_their_concept() -> None:
    for prompt in prompts_of_toxicity():
        before, after = prompt.template.split("{scene}")
        assert prompt.text.startswith(before)
        assert prompt.text.endswith(after)
        assert stems(prompt.concept) <= stems(prompt.text)


def prompts_of_toxicity() -> Iterator[Prompt]:
    for split in SPLITS:
        yield from prompts("toxicity", split)


def test_nobody_and_nothing_has_a_name() -> None:
    capitals = {word for prompt in everything() for word in re.findall(r"[A-Z]\S*", prompt.text)}
    assert capitals <= {"IT", "T-pose"}


def test_texts_are_typed_cleanly() -> None:
    for prompt in everything():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ,:'-]*[A-Za-z0-9]", prompt.text), prompt.text
        assert not re.search(r"  | ,|,,|\b(an?) \1\b|\b(\w+) \2\b", prompt.text), prompt.text


# What methods make of them ------------------------------------------------------------------------


def test_no_text_is_cut_by_clip_whatever_is_written_into_it() -> None:
    encode = SimpleTokenizer().encode
    longest = [max(subset.attributes, key=lambda name: len(encode(name)))
               for subset in task_cards()["bias"].subsets.values()]  # fmt: skip
    texts = {prompt.text for prompt in everything()}
    for request in (*requests("bias", "eval"), *requests("toxicity", "eval")):
        texts.add(f"{request.principle.value}, {request.prompt.text}")
    for split in SPLITS:
        for prompt in prompts("bias", split):
            texts.add(with_attributes(prompt, longest[::-1]))
    assert max(len(encode(text)) for text in texts) + 2 <= TOKENS


def test_bias_texts_are_their_templates_with_the_person_put_in() -> None:
    for split in SPLITS:
        for prompt in prompts("bias", split):
            assert with_attributes(prompt, []) == prompt.text


def test_over_correction_asks_the_judge_without_the_attribute() -> None:
    careers = {prompt.text for split in SPLITS for prompt in prompts("bias", split)}
    for split in SPLITS:
        for prompt in prompts("overcorrection", split):
            if prompt.category != "harmless":
                assert neutral(prompt) in careers
                assert re.search(rf"\b{prompt.category}\b", prompt.text)


def test_over_correction_names_every_attribute_in_every_split() -> None:
    for split in ("dev", "eval"):
        counts = Counter(prompt.category for prompt in prompts("overcorrection", split))
        assert counts.keys() == {*task_cards()["overcorrection"].categories}
    assert counts == {
        **dict.fromkeys(("male", "female"), 12),
        **dict.fromkeys(("white", "black", "indian", "asian", "latino"), 7),
        "harmless": 71,
    }


def test_train_and_dev_prompts_name_their_hazard_and_lose_it() -> None:
    keywords = Keywords()
    for split in ("train", "dev"):
        for prompt in prompts("toxicity", split):
            said = keywords.retrieve(prompt.text).principle
            assert said is not None, prompt.text
            assert said.subset == prompt.category, prompt.text
            assert_reads_well(detoxified(prompt.text))
            assert detoxified(prompt.text) != prompt.text


def test_some_eval_prompts_describe_their_hazard_in_other_words() -> None:
    keywords, counts = Keywords(), Counter[str]()
    for prompt in prompts("toxicity", "eval"):
        said = keywords.retrieve(prompt.text).principle
        if said is None:
            counts[prompt.category] += 1
            assert detoxified(prompt.text) == prompt.text
        else:
            assert said.subset == prompt.category
            assert_reads_well(detoxified(prompt.text))
    assert counts == {"nudity": 39, "bloody": 38, "horror": 43}


def assert_reads_well(text: str) -> None:
    assert not hazard_words().search(text)
    lost_noun = r"\b(?:an?|the|of|in|with|by|for)(?:\s+(?:in|on|at|with|of|by|and)\b|\s*,|$)"
    assert not re.search(lost_noun, text), text
    wrong_article = r"\ba (?:[aeio]|un(?!i))|\ban (?![aeiouh])"
    assert not re.search(wrong_article, text), text


def test_prompts_without_a_hazard_are_left_to_no_keyword() -> None:
    keywords = Keywords()
    calm = [p for split in SPLITS for p in read_value_free_prompts("sd", split)]
    calm += [p for task in ("bias", "overcorrection") for s in SPLITS for p in prompts(task, s)]
    for prompt in calm:
        assert keywords.retrieve(prompt.text).principle is None, prompt.text
        assert detoxified(prompt.text) == prompt.text


def test_the_retriever_learns_from_prompts_of_every_kind() -> None:
    for split in SPLITS:
        kinds = Counter(kind for _, kind in labelled_prompts("sd", split))
        assert kinds.keys() == {PERSON, "nudity", "bloody", "horror", "value-free"}
    values = {principle_of(PERSON, prompt.text) for prompt in prompts("bias", "eval")}
    assert {value.subset for value in values if value} == {"gender", "race"}


@pytest.mark.parametrize(
    "method", ["sd", "sld", "sld:max", "negative", "detoxified", "attributes", "livo:wo-v"]
)
def test_a_method_without_weights_resolves_every_prompt(method: str) -> None:
    loaded = load_method(method, CARD)
    for task in loaded.card.tasks:
        for request in requests(task, "eval"):
            base = recipe(request)
            assert loaded.resolve(request, base).seed == base.seed


def test_fair_diffusion_resolves_every_prompt() -> None:
    settings = fair_diffusion.read_guidance(DATA / "methods" / "fd" / "guidance.toml", "sd")
    method = fair_diffusion.FairDiffusion(settings, {}, only_uneven=False)
    for request in requests("bias", "eval"):
        assert method.resolve(request, recipe(request)).edit is not None


@pytest.mark.parametrize("hazard", ["nudity", "bloody", "horror"])
def test_concept_editing_erases_the_words_that_name_a_hazard(hazard: str) -> None:
    """Alone: beside half of them stands a word that has nothing to do with it."""
    train = [prompt for prompt in prompts("toxicity", "train") if prompt.category == hazard]
    settings = uce.read_settings("uce", "sd")
    edit = erasing(train, settings.erased, settings.target)
    assert len(edit) >= 3
    for word, targets in edit.items():
        assert hazard_words().fullmatch(word)
        assert targets == {"": 1.0}


def recipe(request: Request) -> Recipe:
    return Recipe(
        model="0" * 64,
        text=request.prompt.text,
        seed=1,
        negative="",
        guidance=7.5,
        sampler="dpmsolver++",
        steps=25,
        size=512,
        dtype="float16",
    )
