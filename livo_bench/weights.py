"""Find a model's files and say which ones they are, without loading them.

A model is named by a folder or by a Hugging Face repository, `owner/name` or
`owner/name@revision`. What its images and scores are stored under must change when its weights
change, so every model carries a digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from livo_bench.errors import BadInput

HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's files are, and which ones."""

    source: str
    """Folder or repository, as `from_pretrained` takes it."""
    revision: str | None
    """Commit of the repository; None for a folder."""
    config: Mapping[str, Any]
    """The JSON file that names the model's kind."""

    def digest(self) -> str:
        """SHA-256 of a folder's files, or of the repository's name and commit."""
        if self.revision is None:
            return digest_folder(Path(self.source))
        return hashlib.sha256(f"{self.source}@{self.revision}".encode()).hexdigest()


def find_weights(weights: str | Path, marker: str) -> Weights:
    """Look a model up by folder or repository.

    Args:
        weights: A folder, `owner/name` or `owner/name@revision`. A repository without revision
            means its newest commit.
        marker: Name of the JSON file that such a model has, e.g. `model_index.json`.

    Raises:
        BadInput: There is no such folder or repository, or it has no readable marker.
    """
    folder = Path(weights)
    if folder.is_dir():
        return Weights(str(folder), None, _read_config(folder / marker))
    match = HUB_ID.fullmatch(str(weights))
    if match is None:
        raise BadInput(
            f"There is no model folder {str(weights)!r}. Expected a folder with {marker}, or a "
            "Hugging Face repository such as owner/name or owner/name@revision."
        )
    config = _fetch(match["repository"], match["revision"], marker)
    return Weights(match["repository"], config.parent.name, _read_config(config))


@contextmanager
def loading(what: str, weights: str | Path) -> Iterator[None]:
    """Turn what model libraries raise over damaged files into one short error.

    Raises:
        BadInput: Names the part, the model and the library's first words.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise BadInput(
            f"Cannot load the {what} of {weights}: {reason[:300]} Expected the files as they were "
            "saved; copy or build the model again."
        ) from error


def digest_folder(folder: Path) -> str:
    """SHA-256 over the lines `<relative path> <SHA-256 of the file>`, sorted by path.

    Hidden files, `__pycache__` and Markdown do not count: they touch no pixel.
    """
    lines = []
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if path.is_file() and path.suffix != ".md" and not hidden:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{relative.as_posix()} {content}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path.parent} is not such a model: it has no {path.name}. Pass the folder that "
            f"holds {path.name}."
        ) from None
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON: {error}. Copy the model again.") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path} holds a {type(config).__name__}; expected a JSON object.")
    return config


def _fetch(repository: str, revision: str | None, marker: str) -> Path:
    """Path of one file of a repository in the local cache, `.../snapshots/<commit>/<marker>`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, marker, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(
            f"There is no folder {repository!r}, and no {marker} could be had from a Hugging Face "
            f"repository of that name: {reason} Check the spelling and the network, or pass a "
            "folder."
        ) from error
