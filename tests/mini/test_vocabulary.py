"""The tokenizer: every word of the world is one token, and any other text can be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from livo_bench.cards.catalog import task_cards
from livo_bench.mini import text, world
from livo_bench.mini.drawing import COLOURS, CONCEPTS, GENDERS, OBJECTS, RACES, SETTINGS
from livo_bench.mini.vocabulary import CONTEXT, build_tokenizer, words


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return build_tokenizer()


def ids(tokenizer: CLIPTokenizer, line: str) -> list[int]:
    """Token ids of a text, neither cut nor padded."""
    return tokenizer(line, truncation=False).input_ids


def longest_prompts() -> list[str]:
    """Each concept and setting said as fully as the grammar can."""
    people = [
        f"{world.person(name, 'female', 'latino')} {world.PLACES.get(concept.family, '')}".strip()
        for name, concept in CONCEPTS.items()
    ]
    portraits = [t.format(p) for ts in world.PEOPLE_TEMPLATES.values() for t in ts for p in people]
    figures = [
        world.figure_text(template, setting, trigger)
        for templates in world.FIGURE_TEMPLATES.values()
        for template in templates
        for setting in SETTINGS
        for triggers in world.TRIGGERS.values()
        for trigger in triggers
    ]
    return portraits + figures


def test_every_word_is_one_token(tokenizer: CLIPTokenizer) -> None:
    for word in [*words(), ","]:
        assert len(ids(tokenizer, word)) == 3, word  # start, word, end


def test_words_get_tokens_of_their_own(tokenizer: CLIPTokenizer) -> None:
    assert len({ids(tokenizer, word)[1] for word in words()}) == len(words())


def test_names_captions_prompts_and_values_hold_no_other_words(tokenizer: CLIPTokenizer) -> None:
    values = [s.value for card in task_cards().values() for s in card.subsets.values()]
    prompts = [p.text for p in [*world.bias_prompts(), *world.toxicity_prompts()]]
    captions = [world.sample(np.random.default_rng([21, number]))[1] for number in range(600)]
    for line in {*CONCEPTS, *OBJECTS, *COLOURS, *GENDERS, *RACES, *values, *prompts, *captions}:
        assert {*line.split()} <= {*words(), ","}, line
        assert len(ids(tokenizer, line)) == len(line.split()) + 2


def test_same_tokenizer_every_time_it_is_built(tokenizer: CLIPTokenizer) -> None:
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_saved_and_reloaded_it_reads_the_same(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.model_max_length == CONTEXT
    lines = ["", "A photo of a Doctor, female", "unseen wörds 12", *longest_prompts()]
    assert torch.equal(text.token_ids(again, lines), text.token_ids(tokenizer, lines))


def test_special_tokens_come_last(tokenizer: CLIPTokenizer) -> None:
    # CLIP's text models find the end of a text by the largest id.
    size = len(tokenizer)
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    assert tokenizer.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"]) == [
        size - 2,
        size - 1,
    ]
    assert tokenizer.bos_token_id == size - 2
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == size - 1


def test_padded_text_is_start_words_end_and_ends(tokenizer: CLIPTokenizer) -> None:
    [row] = text.token_ids(tokenizer, ["a doctor"]).tolist()
    end = tokenizer.eos_token_id
    assert len(row) == CONTEXT
    assert row[:4] == [tokenizer.bos_token_id, *ids(tokenizer, "a doctor")[1:3], end]
    assert set(row[4:]) == {end}


def test_pooled_state_is_that_of_the_first_end_whatever_the_padding(
    tokenizer: CLIPTokenizer,
) -> None:
    torch.manual_seed(0)
    model = text.build(tokenizer).eval()
    line = ids(tokenizer, "a photo of a nurse")
    with torch.inference_mode():
        bare = model(torch.tensor([line]))
        padded = model(text.token_ids(tokenizer, ["a photo of a nurse"]))
    # float32 rounding: the padded batch multiplies matrices of another shape.
    torch.testing.assert_close(padded.pooler_output, bare.pooler_output, atol=1e-5, rtol=0)
    pooled = bare.last_hidden_state[:, len(line) - 1]
    torch.testing.assert_close(bare.pooler_output, pooled, atol=0, rtol=0)


@pytest.mark.parametrize(
    "line", ["naïve zürich", "東京", "smile 😀", "x=1; drop", "abcdefgh" * 3, "\x07 bell"]
)
def test_any_text_is_spelt_out_and_can_be_read_back(tokenizer: CLIPTokenizer, line: str) -> None:
    tokens = ids(tokenizer, line)[1:-1]
    assert tokens
    assert tokenizer.eos_token_id not in tokens  # which is the unknown token as well
    assert "".join(str(tokenizer.decode(tokens)).split()) == "".join(line.split())


def test_capitals_and_spacing_do_not_matter(tokenizer: CLIPTokenizer) -> None:
    assert ids(tokenizer, "A Photo  of\na DOCTOR ,male") == ids(
        tokenizer, "a photo of a doctor, male"
    )


def test_longest_prompt_with_class_or_value_fits(tokenizer: CLIPTokenizer) -> None:
    tasks = task_cards()
    values = [subset.value for card in tasks.values() for subset in card.subsets.values()]
    value = max(len(ids(tokenizer, value)) - 2 for value in values)
    prompts = longest_prompts()
    longest = max(len(ids(tokenizer, prompt)) for prompt in prompts)
    assert longest + value <= CONTEXT
    form = tasks["bias"].class_text
    assert form is not None
    classes = [form.format(prompt=prompt, attribute="latino") for prompt in prompts]
    assert max(len(ids(tokenizer, line)) for line in classes) <= CONTEXT


def test_longer_text_is_cut_and_keeps_its_end(tokenizer: CLIPTokenizer) -> None:
    [row] = text.token_ids(tokenizer, ["a " * 100]).tolist()
    assert len(row) == CONTEXT
    assert row.index(tokenizer.eos_token_id) == CONTEXT - 1
