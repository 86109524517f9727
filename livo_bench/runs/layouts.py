"""How pictures made elsewhere lie in a folder: which file is picture `index` of which prompt.

    DIR/<prompt id>/<index>.png      or .jpg, .jpeg, .webp; indices from 0
    DIR/metadata.csv                 or .jsonl, in the form of Hugging Face's imagefolder: a line a
                                     picture with `file_name` and either `id` or `text`, and `index`
                                     or else the order of the lines; other columns do not count,
                                     but `refused`, which says why a line has no `file_name`

Other tools lay theirs out otherwise; such a folder is refused, and what is in it named.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from livo_bench.cards.outside import read_rows, read_text
from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.records import Prompt
from livo_bench.runs.decoding import SUFFIXES

METADATA = ("metadata.csv", "metadata.jsonl")
LONGEST_REASON = 80
"""Letters of a reason that are kept."""
_DIGITS = re.compile(r"[0-9]+")
_TOOLS = (
    (re.compile(r"[0-9]+-[0-9]+(-.*)?"), "AUTOMATIC1111's webui names"),
    (re.compile(r".*_[0-9]+_"), "ComfyUI names"),
)
"""How the stems of files look that known tools write."""
_OTHERS = (".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".npy", ".npz")
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".parquet", ".arrow")


def find(
    folder: Path, prompts: Sequence[Prompt], known: Collection[Prompt]
) -> dict[str, dict[int, Path | str]]:
    """Find the pictures of prompts.

    Args:
        folder: Laid out as this module says.
        prompts: Whose.
        known: These, and all others that metadata may speak of.

    Returns:
        By prompt id and index, as far as there are any: where the picture is, or why metadata says
        that there is none.

    Raises:
        BadInput: The folder cannot be read, two files are one picture, or a line of the metadata is
            wrong.
    """
    if (table := metadata_of(folder)) is not None:
        found = _listed(table, known)
        return {prompt.id: found.get(prompt.id, {}) for prompt in prompts}
    return {prompt.id: {**_numbered(folder / prompt.id)} for prompt in prompts}


def metadata_of(folder: Path) -> Path | None:
    """The table of a folder, if it has one.

    Raises:
        BadInput: It has two.
    """
    listed = [folder / name for name in METADATA if os.path.lexists(folder / name)]
    if len(listed) > 1:
        raise BadInput(
            f"{folder} has both {' and '.join(METADATA)}; expected one.", "Remove the other."
        )
    return listed[0] if listed else None


def describe(folder: Path, prompts: Sequence[Prompt]) -> str:
    """What lies in a folder that does not hold the pictures that it should, and how to go on.

    Args:
        folder: Without metadata.
        prompts: Prompts whose pictures were looked for.

    Returns:
        Sentences, without a blank at the end; nothing where the layout is the right one.
    """
    found, example = _look(folder, {prompt.id for prompt in prompts})
    if not found:
        return ""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([example, prompts[0].text])
    return (
        f"Found {found}. Expected {folder}/PROMPT-ID/INDEX.png with indices from 0, or a table "
        f"that says what is what: write {folder / METADATA[0]} with the header file_name,text (or "
        f"file_name,id,index) and a line a picture, e.g. {line.getvalue()}"
    )


def _numbered(folder: Path) -> dict[int, Path]:
    """A prompt's pictures by index."""
    files: dict[int, Path] = {}
    for name in _names(folder):
        path = folder / name
        if path.suffix.lower() in SUFFIXES and _DIGITS.fullmatch(path.stem):
            index = int(path.stem)
            if index in files:
                raise BadInput(
                    f"{files[index]} and {name} are both picture {index} of a prompt; "
                    "expected one.",
                    "Remove the other.",
                )
            files[index] = path
    return files


def _names(folder: Path) -> list[str]:
    """What is in a folder, in order and without hidden files; nothing if there is no folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BadInput(
            f"Cannot read the folder {folder}: {error.strerror}.",
            "Make it readable, or name another: --images-from DIR",
        ) from error
    return sorted(name for name in names if not name.startswith("."))


def _listed(path: Path, known: Collection[Prompt]) -> dict[str, dict[int, Path | str]]:
    ids = {prompt.id: [prompt.id] for prompt in known}
    texts: dict[str, list[str]] = defaultdict(list)
    for prompt in known:
        if prompt.id not in texts[prompt.text.strip()]:
            texts[prompt.text.strip()].append(prompt.id)
    found: dict[str, dict[int, Path | str]] = defaultdict(dict)
    lines: dict[object, int] = {}

    def once(what: str, key: object, line: int) -> None:
        if (first := lines.setdefault(key, line)) != line:
            raise BadInput(
                f"{path} line {line}: {what} is already on line {first}; expected it once.",
                "Remove one of the two.",
            )

    for line, row in _lines(path):
        where = f"{path} line {line}"
        file: Path | str
        if row.get("refused"):
            file = _reason(row, where)
        else:
            name = _text(row, "file_name", where)
            file = _inside(path.parent, name, where)
            once(f"file_name {name!r}", file, line)
        for id in _prompts(row, ids, texts, where):
            of_prompt = found[id]
            index = _index(row, where) if "index" in row else len(of_prompt)
            once(f"picture {index} of prompt {id!r}", (id, index), line)
            of_prompt[index] = file
    return found


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".csv":
        yield from read_rows(path, "the metadata", ("file_name",))
        return
    for line, text in enumerate(read_text(path, "the metadata").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadInput(
                f"{path} line {line} is not JSON: {error}. Expected an object a line, e.g. "
                '{"file_name": "0.png", "text": "a photo of a cook"}'
            ) from error
        if not isinstance(row, dict):
            raise BadInput(f"{path} line {line} holds {text[:40]!r}; expected a JSON object.")
        yield line, row


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    if not isinstance(value := row.get(column), str) or not value.strip():
        raise BadInput(f"{where}: {column} is {value!r}, expected a text.")
    return value


def _reason(row: Mapping[str, Any], where: str) -> str:
    """Why there is no picture."""
    reason = _text(row, "refused", where)
    if row.get("file_name"):
        raise BadInput(
            f"{where}: file_name is {row['file_name']!r} and refused is {reason!r}; expected one "
            "of them.",
            "Leave refused empty where there is a picture.",
        )
    return excerpt(reason, LONGEST_REASON)


def _index(row: Mapping[str, Any], where: str) -> int:
    value = row["index"]
    text = value if isinstance(value, str) else json.dumps(value)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadInput(f"{where}: index is {value!r}, expected a whole number from 0.")
    return int(text)


def _prompts(
    row: Mapping[str, Any],
    ids: Mapping[str, Sequence[str]],
    texts: Mapping[str, Sequence[str]],
    where: str,
) -> Sequence[str]:
    """The ids of the prompts that a line is of: several where tasks share a text."""
    column, table = ("id", ids) if "id" in row else ("text", texts)
    if column not in row:
        raise BadInput(
            f"{where}: neither id nor text, the columns are {', '.join(map(repr, row))}; expected "
            "one of them, which says whose picture it is."
        )
    value = _text(row, column, where)
    if (named := table.get(value.strip())) is None:
        raise BadInput(
            f"{where}: {column} {value!r} is that of none of the {len(ids):,} prompts.",
            "Mend or remove the line; which prompts there are: livo-bench data prompts",
        )
    return named


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file that metadata names, which has to lie in its folder, or be linked there."""
    given = PurePosixPath(name)
    if given.is_absolute() or ".." in given.parts:
        raise BadInput(
            f"{where}: file_name {name!r} leads out of {folder}; expected a file in it.",
            "Copy it there.",
        )
    # A Path's own is_file raises for a name that is too long.
    if not os.path.isfile(folder / name):
        raise BadInput(
            f"{where}: there is no file {name!r} in {folder}.", "Add it, or remove the line."
        )
    return folder / name


def _look(folder: Path, ids: Collection[str]) -> tuple[str, str]:
    """What is in a folder in a few words, and one of its pictures; nothing if it is as expected."""
    names = _names(folder)
    folders = [name for name in names if (folder / name).is_dir()]
    if own := [name for name in folders if name in ids]:
        return next(filter(any, (_misnamed(folder / name) for name in own)), ("", ""))
    if flat := _pictures(names):
        tool = _tool_of(flat[0])
        others = f"; this looks like {tool}" if tool else ""
        return f"{_count(flat)} right in {folder}{others}", flat[0]
    for name in folders:
        inside = _names(folder / name)
        if METADATA[0] in inside:
            inner = folder / name
            said = f"{METADATA[0]} in {inner}; to read it: --images-from {shlex.quote(str(inner))}"
            return said, f"{name}/0.png"
        if "samples" in inside and (samples := _pictures(_names(folder / name / "samples"))):
            genes = "; this looks like GenEval's layout" if "metadata.jsonl" in inside else ""
            said = f"{len(folders):,} folders, the first with {_count(samples)}, in its samples/"
            return said + genes, f"{name}/samples/{samples[0]}"
        if pictures := _pictures(inside):
            said = (
                f"{len(folders):,} folders that are called like no prompt, such as {name!r} with "
            )
            return said + _count(pictures), f"{name}/{pictures[0]}"
    return _no_pictures(names), "0.png"


def _misnamed(folder: Path) -> tuple[str, str]:
    """What is wrong with the names in a prompt's folder."""
    pictures = _pictures(_names(folder))
    stems = [Path(name).stem for name in pictures]
    numbers = {int(stem) for stem in stems if _DIGITS.fullmatch(stem)}
    if not pictures or 0 in numbers:
        return "", ""
    example = f"{folder.name}/{pictures[0]}"
    if numbers == set(range(1, len(pictures) + 1)):
        return f"pictures counted from 1 to {len(pictures):,} in {folder}", example
    return f"{_count(pictures)} in {folder}", example


def _no_pictures(names: Sequence[str]) -> str:
    kinds = Counter(Path(name).suffix.lower() for name in names)
    for suffixes, advice in ((_PACKED, "unpack them first"), (_OTHERS, "save them as .png first")):
        if held := [suffix for suffix in suffixes if kinds[suffix]]:
            return f"{kinds[held[0]]:,} files ending in {held[0]} and no picture; {advice}"
    return f"no picture, and {len(names):,} other files and folders" if names else "nothing in it"


def _pictures(names: Sequence[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in SUFFIXES]


def _count(pictures: Sequence[str]) -> str:
    return f"{len(pictures):,} pictures named like {pictures[0]!r}"


def _tool_of(name: str) -> str:
    return next((tool for form, tool in _TOOLS if form.fullmatch(Path(name).stem)), "")
