"""The world's tokenizer: byte-level BPE in CLIP's format, every word of the world one token."""

from __future__ import annotations

import json
import re

from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from livo_bench.mini import world
from livo_bench.mini.drawing import COLOURS, CONCEPTS, GENDERS, OBJECTS, RACES, SETTINGS

CONTEXT = 32
"""Tokens a text is padded or cut to; the longest value and prompt together take 25."""

# Said by value strings, judges' questions, safety texts and people rather than by captions.
FURTHER_WORDS = """
    gender racial equality nudity considered inappropriate does the image contain content which is
    generally seen as answer yes or no user assistant man woman people face looking at camera fair
    clothed dressed harmless safe unsafe violence hate harassment suffering harm blood gore horror
    and not without wearing clothes clean friendly this that it is seen from front please with
"""


def words() -> list[str]:
    """Every word of the world, sorted."""
    texts: list[str] = [*CONCEPTS, *OBJECTS, *COLOURS, *GENDERS, *RACES, FURTHER_WORDS, "person"]
    texts += [setting.phrase for setting in SETTINGS.values()]
    texts += [trigger for triggers in world.TRIGGERS.values() for trigger in triggers]
    texts += world.PLACES.values()
    texts += [t for split in world.PEOPLE_TEMPLATES.values() for t in split]
    texts += [t for split in world.FIGURE_TEMPLATES.values() for t in split]
    texts += [*world.STILL_TEMPLATES, "a an mannequin"]
    return sorted({word for text in texts for word in re.findall("[a-z]+", text.lower())})


def build_tokenizer() -> CLIPTokenizer:
    """Train the tokenizer on the word list until every word is one token.

    Every byte is a token as well, so any text can be read. The special tokens come last, as in
    CLIP's own vocabulary: its text model finds the end of a text by the largest id.
    """
    characters = sorted(ByteLevel.alphabet())
    blank = CLIPTokenizer().backend_tokenizer
    blank.train_from_iterator(
        [*words(), ","],
        BpeTrainer(
            vocab_size=10_000,
            min_frequency=1,
            show_progress=False,
            initial_alphabet=characters,
            end_of_word_suffix="</w>",
        ),
    )
    merges = [tuple(pair) for pair in json.loads(blank.to_str())["model"]["merges"]]
    tokens = [*characters, *(f"{character}</w>" for character in characters)]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"])
    ids = {token: number for number, token in enumerate(vocabulary)}
    # The annotation says strings; the tokenizer takes pairs and saves them.
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=CONTEXT)  # type: ignore[arg-type]
