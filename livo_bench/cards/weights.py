"""Find a model's files on this machine and say which ones they are, without loading them.

A model is named by a folder or by a Hugging Face repository: `owner/name`, `owner/name@revision`,
or `hub:owner/name/subfolder` for a folder in one. A repository's files are looked up in the local
cache and never downloaded here: that is for `livo-bench fetch`. What a model's images and scores
are stored under must change when its weights change, so every model carries a digest; that of a
repository with a pinned commit is known before its files are there.
"""

from __future__ import annotations

import json
import re
import tomllib
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from livo_bench.cards import readable
from livo_bench.cards.fields import place, read_json
from livo_bench.cards.sizes import refuse_size
from livo_bench.errors import BadInput, LivoBenchError
from livo_bench.escaping import excerpt
from livo_bench.files import digest_file, sha256

HUB_ID = re.compile(
    r"(?P<hub>hub:)?(?P<id>[\w.-]+/[\w.-]+)(?(hub)(/(?P<subfolder>[\w./-]+))?)"
    r"(@(?P<revision>[\w./-]+))?"
)
"""A subfolder needs the prefix, or a folder that is not there would pass for one."""
_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
CLIP_CONFIG, CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
INCEPTION = "inception-v3-compat"
"""torch-fidelity's Inception with the weights of the original FID."""
FEATURENET = "livo-featurenet"
"""Type of a folder of the miniature world's own network."""
CARD = "card.toml"
DESCRIPTION = ("title", "told", "needs", "tasks", "summary", "paper", "differences", "tried")
"""Fields of a method's card, and of its variants, that its images do not depend on."""

FOREIGN = ("auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code")
"""Keys by which a configuration names code that lies beside it or elsewhere."""
ELSEWHERE = {
    **dict.fromkeys(FOREIGN, "names code of its own"),
    "tokenizer_kwargs": "tells the library how to load its tokenizer, code included",
    "kernel_config": "names compiled code",
    "quantization_config": "is quantised, which changes its numbers",
    "transformers_weights": "names other files of weights",
    "fusion_config": "has its parts replaced",
    "hf_model_name": "takes a part from another model",
    "fast_tokenizer_files": "takes its vocabulary from whichever file suits the library's version",
    "_use_default_values": "has its own values replaced by the library's",
}
"""Keys of a configuration that let in what the digest of a folder does not cover, and why."""
ATTENTION = ("attn_implementation", "_attn_implementation")
"""Keys that name attention: the library's own, or with a slash code from a repository."""
CONFIGURATIONS = ("model_index.json", "*config*.json", "*/*config*.json")
"""What libraries read settings from, in a model's folder."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A Hugging Face repository, or a folder in it."""

    id: str
    """`owner/name`."""
    subfolder: str = ""
    revision: str | None = None
    """Commit, branch or tag; None for the newest commit."""

    def __str__(self) -> str:
        place = f"{self.id}/{self.subfolder}" if self.subfolder else self.id
        return f"{place}@{self.revision}" if self.revision else place

    @property
    def pinned(self) -> str | None:
        """The commit, if it is named."""
        pinned = self.revision is not None and COMMIT.fullmatch(self.revision)
        return self.revision if pinned else None

    def commit(self, name: str) -> str | None:
        """The commit that is named, or that a file of the (sub)folder in the local cache is of;
        None if neither is known."""
        if self.pinned is not None:
            return self.pinned
        path = self.file(name)
        inside = PurePosixPath(self.subfolder) / name
        # A snapshot's folder is named by its commit.
        return None if path is None else path.parents[len(inside.parts) - 1].name

    def file(self, name: str) -> Path | None:
        """A file of the (sub)folder in the local cache; None if it is not there."""
        from huggingface_hub import try_to_load_from_cache

        inside = str(PurePosixPath(self.subfolder) / name)
        found = try_to_load_from_cache(self.id, inside, revision=self.revision)
        return Path(found) if isinstance(found, str) else None


def repository_of(weights: str | Path) -> Repository | None:
    """The repository that a name means; None if it is not the name of one."""
    name = str(weights)
    match = HUB_ID.fullmatch(name)
    if match is None or name.startswith("."):
        return None
    # What the hub calls nothing, and what would lead out of a repository's folder.
    parts = [
        part
        for field in match.group("id", "subfolder", "revision")
        if field
        for part in field.split("/")
    ]
    if any(not _PART.fullmatch(part) for part in parts) or ".." in name or "--" in match["id"]:
        return None
    return Repository(match["id"], match["subfolder"] or "", match["revision"])


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's files are, and which ones."""

    name: str
    """What names the weights, as it was asked for."""
    folder: Path | None
    """Where the files are; None for a repository that has not been fetched."""
    repository: Repository | None
    """Repository that has the files; None for a folder of one's own."""
    marker: str
    """Name of the JSON file that says the model's kind."""

    @property
    def source(self) -> str:
        """The folder, as `from_pretrained` takes it.

        Raises:
            BadInput: The repository has not been fetched.
        """
        if self.folder is None:
            raise not_fetched(self.name, self.marker)
        return str(self.folder)

    @property
    def config(self) -> Mapping[str, Any]:
        """What the marker holds.

        Raises:
            BadInput: It cannot be read, or the repository has not been fetched.
        """
        return _read_config(Path(self.source) / self.marker)

    def digest(self) -> str:
        """SHA-256 of a folder's files, or of the repository's name and commit.

        A repository whose commit is neither named nor known, as nothing of it was fetched, stands
        for itself: good for a plan, and no images can be made of it.
        """
        if self.repository is None:
            return digest_folder(Path(self.source))
        commit = self.repository.commit(self.marker)
        place = str(Repository(self.repository.id, self.repository.subfolder, commit))
        return sha256(place)


def find_weights(weights: str | Path, marker: str) -> Weights:
    """Look a model up by folder or repository.

    Args:
        weights: A folder, or a repository as above. Without a revision it means the commit that was
            fetched last.
        marker: Name of the JSON file that such a model has, e.g. `model_index.json`.

    Raises:
        BadInput: There is no such folder, or it has no readable marker, or it names code to be run,
            or this is no name of a repository. Whether a repository has been fetched is found out
            when its files are used.
    """
    folder = place(weights)
    if folder.is_dir():
        found = Weights(str(weights), folder, None, marker)
    elif folder.is_file():
        raise readable.single_file(folder, marker)
    else:
        repository = repository_of(weights)
        if repository is None:
            raise BadInput(
                f"There is no model folder {str(weights)!r}. Expected a folder with {marker}, or a "
                "Hugging Face repository such as owner/name or owner/name@revision."
            )
        path = repository.file(marker)
        root = None if path is None else path.parents[len(PurePosixPath(marker).parts) - 1]
        found = Weights(str(weights), root, repository, marker)
    if found.folder is not None:
        _read_config(found.folder / marker)
        refuse_code(found.folder)
    return found


def model_type(weights: str | Path) -> str | None:
    """The type of model that a `config.json` names; None of what has none, or none at hand."""
    try:
        found: str | None = find_weights(weights, "config.json").config.get("model_type")
    except BadInput:
        return None
    return found


def refuse_code(folder: Path) -> None:
    """See that a model's folder is data: that no configuration in it names code to be run, or asks
    for what cannot be built.

    What is asked of libraries, `trust_remote_code=False`, holds besides.

    Raises:
        BadInput: Names the file and the key.
    """
    for path in _configurations(folder):
        for key, value in settings(_read_config(path)):
            refuse_size(path, key, value)
            reason = ELSEWHERE.get(key)
            if key in ATTENTION and "/" in json.dumps(value):
                reason = ELSEWHERE["kernel_config"]
            if reason and value:
                raise BadInput(
                    f"{path} has {key} = {excerpt(json.dumps(value), 80)}: the model {reason}. "
                    "Expected data alone, for classes that the libraries have themselves.",
                    f"Take a model without {key}, or take the key out where it changes nothing.",
                )


def _configurations(folder: Path) -> list[Path]:
    # Of parts a pipeline has one folder each; these may be links, which `**` would not follow.
    return sorted({path for depth in CONFIGURATIONS for path in folder.glob(depth)})


def settings(held: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a JSON value with their values, at any depth."""
    todo = [held]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield from value.items()
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def not_fetched(repository: str, file: str, model: str = "MODEL") -> BadInput:
    """The error for a file of a repository that is not in the local cache.

    Args:
        repository: Whose.
        file: Its name.
        model: Model that `fetch` gets it with, where that is known.
    """
    return BadInput(
        f"{repository} is not on this machine: no {file} of it in the Hugging Face cache.",
        f"Fetch it: livo-bench fetch --model {model}",
    )


@dataclass(frozen=True, slots=True)
class Need:
    """Files of a repository that a model is loaded from."""

    what: str
    """Names the model in messages."""
    repository: Repository
    required: tuple[str, ...]
    """Names in the (sub)folder, `one|other` where either will do. Weights may lie in parts instead,
    beside an index of them."""
    optional: tuple[str, ...] = ()
    """Patterns of what is taken along where it is there."""

    @property
    def place(self) -> str:
        """Where the files come from, as messages say it."""
        return str(self.repository)

    @property
    def patterns(self) -> list[str]:
        """Patterns of all files, from the repository's root."""
        required = [name for either in self.required for name in either.split("|")]
        names = [*required, *self.optional]
        for name in required:
            if name.endswith(".safetensors"):
                stem = name.removesuffix(".safetensors")
                names += [f"{name}.index.json", f"{stem}-?????-of-?????.safetensors"]
        return [str(PurePosixPath(self.repository.subfolder) / name) for name in names]

    @property
    def commit(self) -> str | None:
        """See `Repository.commit`."""
        return self.repository.commit(self.required[0])

    def missing(self) -> list[str]:
        """The required files that are not in the local cache."""
        return [name for wanted in self.required for name in self._lacking(wanted)]

    def path(self, name: str) -> Path:
        """One file in the local cache.

        Raises:
            BadInput: It has not been fetched.
        """
        found = self.repository.file(name)
        if found is None:
            raise not_fetched(str(self.repository), name)
        return found

    def files(self) -> list[Path]:
        """All of its files that are in the local cache."""
        first = self.repository.file(self.required[0])
        if first is None:
            return []
        root = first.parents[
            len(PurePosixPath(self.repository.subfolder, self.required[0]).parts) - 1
        ]
        return sorted({path for pattern in self.patterns for path in root.glob(pattern)})

    def _lacking(self, wanted: str) -> list[str]:
        name, *_ = names = wanted.split("|")
        if any(self.repository.file(one) is not None for one in names):
            return []
        index = self.repository.file(f"{name}.index.json")
        if index is None:
            return [name]
        parts = sorted(set(_read_config(index)["weight_map"].values()))
        beside = [str(PurePosixPath(name).with_name(part)) for part in parts]
        return [part for part in beside if self.repository.file(part) is None]


@dataclass(frozen=True, slots=True)
class Download:
    """A file that a model is loaded from and that is in no repository."""

    what: str
    """Names the model in messages."""
    place: str
    """Its address."""
    path: Path
    """Where its library keeps it on this machine."""
    bytes: int
    """Its size, rounded up."""

    def missing(self) -> list[str]:
        """The file's name, if it is not there."""
        return [] if self.path.is_file() else [self.path.name]

    def files(self) -> list[Path]:
        """The file, if it is there."""
        return [self.path] if self.path.is_file() else []


def pipeline_need(repository: Repository, kind: str = readable.PIPELINE) -> Need:
    """List the files of a pipeline: no safety checker, no second copy of the weights.

    Args:
        repository: Repository that holds the files.
        kind: Its class. Of which parts others than Stable Diffusion are made its list of them
            says; until that is there, nothing else is known to be missing.
    """
    if kind != readable.PIPELINE:
        index = repository.file(readable.INDEX)
        parts = {} if index is None else readable.parts_of(_read_config(index))
        files = [name for part, held in parts.items() for name in readable.files_of(part, *held)]
        whole = (readable.TOKENIZER, readable.PROCESSOR)
        extras = [f"{part}/*" for part, held in parts.items() if readable.role_of(held[1]) in whole]
        return Need("pipeline", repository, (readable.INDEX, *files), tuple(extras))
    return Need(
        "pipeline",
        repository,
        (
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json|tokenizer/tokenizer.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ),
        ("tokenizer/merges.txt", "tokenizer/special_tokens_map.json"),
    )


def value_encoder_need(repository: Repository) -> Need:
    """List the files of a value encoder."""
    return Need("value encoder", repository, ("config.json", "model.safetensors"))


@contextmanager
def loading(what: str, weights: str | Path) -> Iterator[None]:
    """Turn what model libraries raise over damaged files into one short error.

    Raises:
        BadInput: Names the part, the model and the library's first words.
    """
    try:
        yield
    except LivoBenchError:
        raise
    except Exception as error:  # whatever a library makes of files that are not its own
        reason = excerpt(_reason(error, Path(weights)))
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not loaded for this
            raise BadInput(
                f"The {what} of {weights} does not fit into the device's memory: {reason} Free it, "
                "or use another device: --device cpu"
            ) from error
        raise BadInput(
            f"Cannot load the {what} of {weights}: {reason} Expected the files as they were "
            "saved; copy or build the model again."
        ) from error


def _reason(error: Exception, folder: Path) -> str:
    """A library's first words; of a bare word, or none, what it was about."""
    said = " ".join(str(error).splitlines()[:2])
    if " " in said.strip():
        return said
    line = traceback.extract_tb(error.__traceback__)[-1].line
    word = error.args[0] if error.args else None
    keys = [
        f"{key} = {value!r} in {path.name}"
        for path in (_configurations(folder) if isinstance(word, str) else ())
        for key, value in settings(_read_config(path))
        if value == word
    ]
    return ", ".join([f"{type(error).__name__} {said}".strip(), *keys[:1], f"at {line!r}."])


def digest_folder(folder: Path) -> str:
    """SHA-256 over the lines `<relative path> <SHA-256 of the file>` of `counted_files`.

    The one rule for folders of weights and of methods. The fields of a method's card that only
    describe it do not count either.
    """
    lines = []
    for path in counted_files(folder):
        relative = path.relative_to(folder)
        content = _digest_card(path) if relative == Path(CARD) else digest_file(path)
        lines.append(f"{relative.as_posix()} {content}")
    return sha256("\n".join(lines))


def counted_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted, but hidden ones, `__pycache__` and Markdown, which touch no
    pixel."""
    found = []
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and path.suffix != ".md" and not hidden:
            found.append(path)
    return found


def _digest_card(path: Path) -> str:
    """SHA-256 of what a method's card says, as JSON, without `DESCRIPTION`."""
    try:
        card = tomllib.loads(path.read_bytes().decode("utf-8"))
    except ValueError:
        return digest_file(path)
    variants = card.get("variants")
    for table in (card, *(variants.values() if isinstance(variants, dict) else ())):
        for field in DESCRIPTION if isinstance(table, dict) else ():
            table.pop(field, None)
    return sha256(json.dumps(card, sort_keys=True, default=str))


def _read_config(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise BadInput(
            f"{path.parent} is not such a model: it has no {path.name}. "
            f"{readable.instead_of_index(path.parent, path.name)}"
        )
    return read_json(path, "Copy the model again.")
