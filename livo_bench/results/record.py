"""What a run says of itself: the one schema of `run.json`, written and read here alone.

Sections and fields are those of the data classes below; what a run does not know is None, and is
left out of the file. Records of older versions know less: each field may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from livo_bench.cards.declared import OURS
from livo_bench.errors import BadInput

NOT_RECORDED = "not recorded"
"""Stands in `RunRecord.made_by` for what made images that do not say it."""
AGAIN = "Run it again with the same livo-bench run; its images are kept."


@dataclass(frozen=True, slots=True)
class Model:
    """The generator of the images, as far as a record knows it."""

    name: str | None = None
    digest: str | None = None
    """SHA-256 over its files, or of what a service is asked for; None for pictures that were made
    elsewhere."""
    service: str | None = None
    """What is asked where, of an image service: `gpt-image-1 at api.openai.com`."""


@dataclass(frozen=True, slots=True)
class Method:
    """The method that aligned the model."""

    name: str | None = None
    version: int | None = None
    title: str | None = None
    """How it is printed."""
    asked: str | None = None
    """Options of the run that ask for it, where its name does not: of weights of somebody's own,
    and of a user's folder."""
    told: str | None = None
    """What it is told at sampling time besides the prompt."""
    pictures: str | None = None
    """Name of the folder of pictures that were made elsewhere."""
    digest: str | None = None
    """SHA-256 of a method that paints by itself, or of pictures made elsewhere."""
    files: Mapping[str, str] | None = None
    """SHA-256 of each file behind it, by name."""


@dataclass(frozen=True, slots=True)
class Task:
    """The task that the method was asked for."""

    name: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts that were asked."""

    list: str | None = None
    """Name and digest of a list of one's own; empty for the task's."""
    count: int | None = None
    digest: str | None = None
    """SHA-256 of their ids, texts and categories."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Digest of those of each subset, by its name."""
    clusters: Mapping[str, str] = field(default_factory=dict)
    """Digest of which of them are alike, by subset and of all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How images were made; those of pictures made elsewhere are not known."""

    images: int | None = None
    """Number of images of each prompt and subset."""
    block: int | None = None
    """Images in a batch."""
    device: str | None = None
    seed: int | None = None
    """Base seed of all noise."""
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    size: int | None = None
    """Height and width in pixels."""
    dtype: str | None = None
    call: str | None = None
    """What a pipeline of diffusers was called with besides; None for nothing."""
    switches: tuple[str, ...] | None = None
    """Switches of the command: stored images may have been made under others, or under none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a command that move numbers, by name, where they were not at their defaults;
    what came of others stands in `Settings`."""

    images: Mapping[str, Any] = field(default_factory=dict)
    """Those that change images."""
    measures: Mapping[str, Any] = field(default_factory=dict)
    """Those that change how images are measured."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine that ran the command."""

    machine: str | None = None
    """Kind of processor."""
    cores: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that a reader of a run's numbers has to know besides them."""

    model: Model = Model()
    protocol: str | None = None
    method: Method = Method()
    task: Task = Task()
    prompts: Prompts = Prompts()
    settings: Settings = Settings()
    options: Asked = Asked()
    scorers: tuple[str, ...] | None = None
    """Ids of the judges."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the networks that judged, by role: ids of scorers hold the beginning of digests of
    these and of texts."""
    repositories: Mapping[str, Any] = field(default_factory=dict)
    """Commits of the hub's repositories that files came from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that decide numbers, and of Python."""
    hardware: Hardware = Hardware()
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """Number of distinct images by what made them, in words: device, software, precision; see
    `runs.provenance`."""

    @property
    def identity(self) -> dict[str, str]:
        """Model, method and task as numbers name them, as far as the record knows."""
        names = {"model": self.model.name, "method": self.method.name, "task": self.task.name}
        protocol = self.protocol or OURS
        if names["model"] is not None and protocol != OURS:
            names["model"] = f"{names['model']}@{protocol}"
        return {what: name for what, name in names.items() if name is not None}

    def as_json(self) -> dict[str, Any]:
        """The record as `run.json` holds it, without what is not known."""
        return _known(asdict(self))


def from_json(data: Mapping[str, Any], path: Path) -> RunRecord:
    """Read a record.

    Args:
        data: What `run.json` holds; fields of other names are left alone.
        path: Path of the file, for messages.

    Raises:
        BadInput: A field has a value of another kind.
    """
    return _read(RunRecord, data, path)


_Kind = TypeVar("_Kind")
_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    tuple: ((list,), "a list"),
    Mapping: ((dict,), "an object"),
}
"""What JSON has for a field, and what that is called, by the field's type."""


def _read(kind: type[_Kind], data: Mapping[str, Any], path: Path, section: str = "") -> _Kind:
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if (value := data.get(name)) is None:
            continue
        place = f"{section} {name}".lstrip()
        options = [one for one in get_args(hint) if one is not NoneType]
        plain: Any = options[0] if isinstance(hint, UnionType) else hint
        types, called = _KINDS.get(get_origin(plain) or plain, _KINDS[Mapping])
        if not isinstance(value, types) or isinstance(value, bool):
            raise BadInput(f"{path} has {value!r:.100} for {place}; expected {called}.", AGAIN)
        if is_dataclass(plain):
            value = _read(cast(Any, plain), cast(Any, value), path, place)
        found[name] = tuple(value) if isinstance(value, list) else value
    return kind(**found)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that say something, as JSON has them."""
    known = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = _known(value) or None
        if value is not None:
            known[name] = list(value) if isinstance(value, tuple) else value
    return known
