"""One rule for the tokenizers of all networks: one that cannot spell is refused.

Where the file of a vocabulary is gone, or is not the one that is read, libraries make an empty
vocabulary without a word. Every text is then the same unknown token over and over, and a network
that hears no text answers all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livo_bench.errors import BadInput

PROBE = "the quick brown fox jumps over a lazy dog"
"""A text that has every letter."""
NEAR = 0.1
"""How far the words of a tokenizer may be from those that its network has room for, as a share of
these: networks are rounded up to a multiple, and special tokens come on top."""


def refuse_mute(tokenizer: Any, folder: Path, size: int, probe: str = PROBE) -> None:
    """See that a tokenizer of transformers has its vocabulary and can spell.

    Args:
        tokenizer: Tokenizer as `from_pretrained` gives it.
        folder: Folder that it was read from.
        size: Words that its network has room for.
        probe: A text that it has to know every part of.

    Raises:
        BadInput: Its file is not there, it has far fewer or more words, or reads the probe as
            something unknown.
    """
    _require_files(tokenizer, folder)
    ids = tokenizer(probe, add_special_tokens=False).input_ids
    refuse_misspelt(folder, len(tokenizer), size, probe, ids, tokenizer.unk_token_id)


def refuse_misspelt(
    place: str | Path, words: int, size: int, probe: str, ids: Sequence[int], unknown: int | None
) -> None:
    """See that a vocabulary is as large as its network expects, and that a text comes out of it.

    Args:
        place: Where it was read, or what it is called.
        words: Number of words that it has.
        size: Words that its network has room for.
        probe: A text.
        ids: What the tokenizer makes of it.
        unknown: What it makes of that which it does not know.

    Raises:
        BadInput: They are not what was expected.
    """
    if abs(words - size) > NEAR * size:
        raise BadInput(
            f"The tokenizer of {place} has {words} words, and its network has room for {size}; "
            "expected about as many, as parts have that were saved together.",
            _copied(place),
        )
    lost = sum(number == unknown for number in ids)
    if lost or not ids or not 0 <= min(ids) <= max(ids) < size:
        made = f"{lost} unknown tokens of {len(ids)}" if lost else f"{list(ids)[:9]}"
        raise BadInput(
            f"The tokenizer of {place} reads {probe!r} as {made}; expected tokens that it knows, "
            f"with numbers below {size}.",
            _copied(place),
        )


def refuse_left(tokenizer: Any, folder: Path) -> None:
    """See that texts are filled up and cut at their end, as a text tower of CLIP's kind reads them.

    Filled up at the left, all of them begin with the token that ends a text, and where the first
    of these counts they are all the same.

    Raises:
        BadInput: They are filled up or cut at their beginning.
    """
    for name in ("padding_side", "truncation_side"):
        if (side := getattr(tokenizer, name)) != "right":
            raise BadInput(
                f"The tokenizer of {folder} has {name} = {side!r}; expected 'right', as the text "
                "tower reads a text from its beginning.",
                f'Set "{name}": "right" in {folder / "tokenizer_config.json"}',
            )


def _require_files(tokenizer: Any, folder: Path) -> None:
    """See that the files are there which hold a tokenizer's vocabulary, as its class names them."""
    names = dict(tokenizer.vocab_files_names)
    whole = names.pop("tokenizer_file", None)
    parts = list(names.values())
    if any(one and all((folder / name).is_file() for name in one) for one in ([whole], parts)):
        return
    there = [name for name in (whole, *parts) if name and (folder / name).is_file()]
    raise BadInput(
        f"{folder} has {' and '.join(there) or 'no file'} for the vocabulary of its tokenizer; "
        f"expected {whole}, or {' and '.join(parts)}.",
        _copied(folder),
    )


def _copied(place: str | Path) -> str:
    return (
        f"Copy the tokenizer of {place} again, from where its weights are from; save_pretrained "
        "writes one."
    )
