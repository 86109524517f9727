"""The world's tokenizer: byte-level BPE in CLIP's format, every word of the world one token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from livo_bench.mini import world
from livo_bench.mini.drawing import COLOURS, CONCEPTS, GENDERS, OBJECTS, RACES, SETTINGS

CONTEXT = 32
"""Tokens a text is padded or cut to; the longest value and prompt together take 18."""

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
    merges = _merges([*words(), ","])
    tokens = [*characters, *(f"{character}</w>" for character in characters)]
    tokens += [first + second for first, second in merges]
    vocabulary = dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"])
    ids = {token: number for number, token in enumerate(vocabulary)}
    # The annotation says strings; the tokenizer takes pairs and saves them.
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=CONTEXT)  # type: ignore[arg-type]


def _merges(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges until every text is one piece.

    The trainer of `tokenizers` breaks ties in the order of a hash map, anew each time; here the
    last pair in alphabetical order wins, so a build is the same build every time.
    """
    split = [[*text[:-1], f"{text[-1]}</w>"] for text in texts]
    merges = []
    while pairs := Counter(pair for pieces in split for pair in pairwise(pieces)):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for pieces in split:
            place = 0
            while place < len(pieces) - 1:
                if (pieces[place], pieces[place + 1]) == best:
                    pieces[place : place + 2] = ["".join(best)]
                place += 1
    return merges
