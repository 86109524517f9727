"""Files that hold the tensors of networks: where they lie, and how they name what they hold.

Libraries have renamed tensors over the years, and files may carry what a network of today computes.
A `Spelling` says both for one kind of network. Nothing is read here but the headers of files.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from safetensors import safe_open

from livo_bench.cards import readable
from livo_bench.cards.weights import loading
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt

SHOWN = 3
"""Tensors that an error names; the others are counted."""
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Parts of attention as autoencoders of Stable Diffusion 1.x name them, and as diffusers does."""


class Spelling(NamedTuple):
    """How the files of one kind of network are named, and name its tensors."""

    stems: Sequence[str]
    """Names of a file without its ending; the first that is there counts."""
    plain: Callable[[str], str]
    """Brings the names of all versions, in files and in networks, to one."""
    aside: re.Pattern[str]
    """Names that files may have besides: what is computed nowadays, or belongs to another half."""


def _llava(name: str) -> str:
    name = re.sub(r"^language_model\.lm_head\.", "lm_head.", name)
    name = re.sub(r"^(model\.language_model\.|language_model\.model\.)", "language_model.", name)
    name = re.sub(r"^(model\.)?vision_tower\.(vision_model\.)?", "vision_tower.", name)
    return re.sub(r"^model\.(?=multi_modal_projector\.)", "", name)


def _diffusers(name: str) -> str:
    place, _, kind = name.rpartition(".")
    block, _, part = place.rpartition(".")
    return f"{block}.{OLD_ATTENTION[part]}.{kind}" if part in OLD_ATTENTION else name


NOTHING = re.compile(r"(?!)")
PLAIN = Spelling(readable.MODEL, lambda name: name, NOTHING)
CLIP_TEXT = Spelling(
    readable.MODEL,
    lambda name: name.removeprefix("text_model."),
    # Positions are counted, not stored; the rest is the other half of a whole CLIP.
    re.compile(
        r"(text_model\.)?embeddings\.position_ids|vision_model\..+|logit_scale"
        r"|(visual|text)_projection\.weight"
    ),
)
LLAVA = Spelling(
    readable.MODEL, _llava, re.compile(r".+\.(embeddings\.position_ids|rotary_emb\.inv_freq)")
)
DIFFUSERS = Spelling(readable.DIFFUSERS, _diffusers, NOTHING)
OPEN_CLIP = Spelling(
    readable.OPEN_CLIP,
    # The text tower stands alone or among the others, as the class of the network has it.
    lambda name: name.removeprefix("text."),
    re.compile(r"text\.transformer\.embeddings\.position_ids"),
)


WHOLE = (
    "Expected all tensors of the network and no others, by the names that its library saves. "
    "Copy the model again, or save it again with save_pretrained."
)


@dataclass(frozen=True, slots=True)
class Files:
    """The safetensors files of one network, or of what changes one."""

    what: str
    """Names the network in messages, e.g. `text encoder`."""
    place: Path
    """The folder or file that was asked for."""
    paths: Sequence[Path]
    spelling: Spelling = PLAIN
    expected: str = WHOLE
    """What such files hold and where they are from, for messages."""

    @property
    def change(self) -> bool:
        """Whether they hold what changes a network, and no whole one."""
        return self.expected != WHOLE


class Header(NamedTuple):
    """What a file says of a tensor before it is read."""

    path: Path
    shape: tuple[int, ...]
    floating: bool


def files_of(what: str, folder: Path, spelling: Spelling = PLAIN) -> Files:
    """Find the files that the network of a folder is read from.

    Args:
        what: Names the network in messages.
        folder: Holds one file, or several and an index of them.
        spelling: How they are named, and name tensors.

    Raises:
        BadInput: There are none, there is an index beside a whole file, or the index names parts
            that are not there.
    """
    if (folder / "adapter_config.json").exists():
        refuse_lora(what, folder, "adapter_config.json")
    for stem in spelling.stems:
        whole = folder / f"{stem}{readable.SUFFIX}"
        index = folder / f"{whole.name}.index.json"
        if whole.exists() and index.exists():
            raise BadInput(
                f"{folder} has its {what} twice, as {whole.name} and as the parts of {index.name}; "
                "expected one.",
                f"Remove what is not meant, e.g. rm {shlex.quote(str(index))}",
            )
        if whole.exists():
            return Files(what, folder, (whole,), spelling)
        if index.exists():
            return Files(what, folder, _parts(what, index), spelling)
    raise BadInput(
        f"{folder} has no {spelling.stems[0]}{readable.SUFFIX}, which its {what} is read from. "
        f"{readable.instead(folder, spelling.stems[0])}"
    )


def _parts(what: str, index: Path) -> Sequence[Path]:
    """Files that an index names, each with just the tensors that the index puts there."""
    with loading(f"index of the {what}", index):
        where: dict[str, str] = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        paths = [index.parent / name for name in sorted(set(where.values()))]
        gone = [path.name for path in paths if path.parent != index.parent or not path.is_file()]
    if gone or not paths:
        raise BadInput(
            f"{index} names {len(paths)} files with the {what}, of which {len(gone)} are not "
            f"beside it{first(gone)}. Expected all of them; copy the model again."
        )
    held = {name: header.path.name for name, header in headers(what, paths).items()}
    wrong = sorted(n for n in {*held, *where} if held.get(n) != where.get(n))
    if wrong:
        raise BadInput(
            f"{index} says of {len(wrong)} tensors of the {what} that they are in files which do "
            f"not hold them, or leaves them out{first(wrong)}. Expected the index that was saved "
            "with the files; copy the model again."
        )
    return paths


def headers(what: str, paths: Iterable[Path]) -> dict[str, Header]:
    """Names, shapes and kinds of all tensors in some files, of which none is read.

    Raises:
        BadInput: A file is no safetensors file, is cut or damaged, or a name is in two files.
    """
    found: dict[str, Header] = {}
    for path in paths:
        with loading(what, path):
            _refuse_pointer(path)
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118, it is no mapping
                    if name in found:
                        raise ValueError(f"{name} is in {found[name].path.name}, too.")
                    held = file.get_slice(name)
                    floating = held.get_dtype() in {"F64", "F32", "F16", "BF16"}
                    found[name] = Header(path, tuple(held.get_shape()), floating)
    return found


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            raise BadInput(
                f"{path} is a pointer of Git LFS; expected the weights that it points to.",
                f"Get them: git -C {shlex.quote(str(path.parent))} lfs pull",
            )


def refuse_lora(what: str, place: Path, seen: str) -> NoReturn:
    """Say that what lies there changes a model and is none.

    Raises:
        BadInput: Always.
    """
    raise BadInput(
        f"The {what} of {place} is a LoRA ({seen}), that is a change of another model; expected a "
        "whole model.",
        "Merge it (merge_and_unload in peft, fuse_lora in diffusers), save what comes "
        "out with save_pretrained, and pass that folder.",
    )


def first(names: Sequence[str]) -> str:
    """The first of some names, as they go into a message."""
    return f", e.g. {', '.join(excerpt(name, 120) for name in names[:SHOWN])}" if names else ""
