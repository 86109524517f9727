"""Cards: the TOML files that declare methods, tasks and models, read with every field checked.

A card is plain data and is read eagerly; the code and the weights that it names are loaded late,
by `catalog`. Every reader raises `BadInput` naming the file, the field, the value found and what
was expected.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livo_bench.errors import BadInput
from livo_bench.records import Principle

Scalar = str | int | float | bool
"""A value that a settings table may hold."""

TOLD = ("nothing", "value", "attributes")
SCALES = ("mini", "sd")
SAMPLERS = ("dpmsolver++",)
DTYPES = ("float32", "float16", "bfloat16")
JUDGES = ("attributes", "hazards", "features")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Variant:
    """A method under other settings, run as `--method name:variant`."""

    name: str
    title: str
    """As tables print it."""
    settings: Mapping[str, Scalar]
    """The settings that differ from the method's own."""


@dataclass(frozen=True, slots=True)
class MethodCard:
    """`methods/<name>/card.toml`."""

    folder: Path
    name: str
    """The folder's name, and the key in every table."""
    title: str
    """As tables print it."""
    version: int
    """Raised whenever the method's pixels change."""
    tasks: tuple[str, ...]
    """Tasks the method is made for."""
    told: str
    """What it learns of an evaluation besides the prompt: `nothing`, the `value` string, or the
    `attributes` by name."""
    summary: str
    """One sentence."""
    paper: str
    """Where it was published; empty for a control."""
    differences: tuple[str, ...]
    """Where this implementation departs from the paper or its released code, a sentence each."""
    settings: Mapping[str, Scalar]
    """Handed to the adapter; a variant replaces some of them."""
    variants: Mapping[str, Variant]


@dataclass(frozen=True, slots=True)
class Subset:
    """One value that a task asks for, e.g. `gender`."""

    name: str
    value: str
    """The paper's short value string, e.g. `gender equality`."""
    attributes: tuple[str, ...]
    """Groups among which images should be even; empty for toxicity."""
    word: str
    """Fills `{word}` of the task's question; empty for bias."""
    categories: tuple[str, ...]
    """Categories whose prompts the subset is sampled on."""


@dataclass(frozen=True, slots=True)
class TaskCard:
    """`tasks/<name>/card.toml`. Has either a `class_text` or a `question`, which says the judge."""

    folder: Path
    name: str
    """The folder's name."""
    title: str
    version: int
    """Raised whenever prompts, texts or questions change."""
    summary: str
    """One sentence."""
    class_text: str | None
    """The attribute judge's text of a class, with `{prompt}` and `{attribute}`."""
    question: str | None
    """What the hazard judge is asked, with `{word}`."""
    categories: tuple[str, ...]
    """Kinds of prompts."""
    subsets: Mapping[str, Subset]

    @property
    def judge(self) -> str:
        """Which of the model card's judges looks at the images."""
        return "hazards" if self.class_text is None else "attributes"

    def principle(self, subset: str) -> Principle:
        """The value and groups of one subset, as requests carry them."""
        chosen = self.subsets[subset]
        return Principle(self.name, subset, chosen.value, chosen.attributes)

    def prompts(self, scale: str) -> Path:
        """Where the prompt list for models of this scale lies."""
        return self.folder / "prompts" / f"{scale}.csv"


@dataclass(frozen=True, slots=True)
class Judge:
    """A network that judges or annotates images."""

    weights: str
    """Hub id, a folder (as absolute path), or the name of one of torch-fidelity's networks."""
    dtype: str
    """Precision."""


@dataclass(frozen=True, slots=True)
class Part:
    """What it took to train one network of the model."""

    name: str
    parameters: int
    steps: int
    minutes: float
    seed: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """`livo_bench/models/<name>.toml`: a generator, its sampling settings and its judges."""

    path: Path
    """The card's own file."""
    name: str
    """The file's stem, and the folder that results go to."""
    title: str
    scale: str
    """`mini` or `sd`; which prompt lists fit, and results of two scales share no table."""
    pipeline: str
    """Hub id, or a diffusers folder (as absolute path)."""
    size: int
    """Height and width of an image in pixels."""
    steps: int
    guidance: float
    """Classifier-free guidance scale; 1 switches it off."""
    sampler: str
    dtype: str
    """Precision, unless a run asks for another."""
    block: int
    """Images in one batch, which is also the unit of storage."""
    rate: float
    """Images sampled and judged per second on the machine the card speaks of, for `--plan`."""
    bytes_per_image: int
    """On disk, with scores, for `--plan`."""
    judges: Mapping[str, Judge]
    """The evaluators: `attributes`, `hazards`, `features`."""
    annotator: Judge | None
    """Labels training data; shares no weights with a judge. None for a model nothing trains on."""
    world: str | None
    """SHA-256 of the world a mini model was trained on; None for other models."""
    parts: tuple[Part, ...]
    quality: Mapping[str, float]
    """Measured, fractions in [0, 1] unless the name says otherwise."""


class _Table:
    """One TOML table: hands out checked fields, then refuses those nobody asked for."""

    def __init__(self, file: Path, values: Mapping[str, Any], path: str = "") -> None:
        self.file = file
        self._values = values
        self._path = path
        self._asked: set[str] = set()

    def wrong(self, field: str, expected: str) -> BadInput:
        """The error for a field that is there but does not hold what it should."""
        name, value = self._path + field, self._values[field]
        return BadInput(f"{self.file}: {name} is {value!r}, expected {expected}.")

    def has(self, field: str) -> bool:
        self._asked.add(field)
        return field in self._values

    def _value(self, field: str, expected: str, *types: type) -> Any:
        if not self.has(field):
            raise BadInput(f"{self.file}: no {self._path}{field}, expected {expected}.")
        value = self._values[field]
        # The exact type, for a bool is an int too, and `steps = true` is a mistake.
        if type(value) not in types:
            raise self.wrong(field, expected)
        return value

    def text(self, field: str, *, expected: str = "a text", empty: bool = False) -> str:
        value: str = self._value(field, expected, str)
        if not empty and not value.strip():
            raise self.wrong(field, expected)
        return value

    def template(self, field: str, placeholders: Collection[str]) -> str | None:
        """A text holding exactly these `{placeholders}`, or None when the field is absent."""
        if not self.has(field):
            return None
        expected = "a text with " + " and ".join(f"{{{name}}}" for name in placeholders)
        value = self.text(field, expected=expected)
        if sorted(re.findall(r"\{(\w*)\}", value)) != sorted(placeholders):
            raise self.wrong(field, f"{expected}, each once")
        return value

    def name(self, field: str, expected: str) -> str:
        """A name that must equal what the file system says."""
        if self.text(field) != expected:
            raise self.wrong(field, f"{expected!r}, after the file or folder it is in")
        return expected

    def choice(self, field: str, known: Collection[str]) -> str:
        expected = "one of: " + ", ".join(known)
        value = self.text(field, expected=expected)
        if value not in known:
            raise self.wrong(field, expected)
        return value

    def whole(self, field: str, least: int) -> int:
        expected = f"a whole number from {least} up"
        value: int = self._value(field, expected, int)
        if value < least:
            raise self.wrong(field, expected)
        return value

    def number(self, field: str, least: float | None = None) -> float:
        expected = "a number" if least is None else f"a number from {least:g} up"
        value = float(self._value(field, expected, int, float))
        if value != value or (least is not None and value < least):
            raise self.wrong(field, expected)
        return value

    def texts(self, field: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of distinct texts, each one of `known` where that is given."""
        expected = "a list of distinct texts"
        if known is not None:
            expected += " out of: " + ", ".join(known)
        values = self._value(field, expected, list)
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise self.wrong(field, expected)
        if len(set(values)) < len(values) or (known is not None and not set(values) <= set(known)):
            raise self.wrong(field, expected)
        return tuple(values)

    def table(self, field: str) -> _Table:
        """A sub-table; empty when the field is absent."""
        values = self._value(field, f"a table [{field}]", dict) if self.has(field) else {}
        return _Table(self.file, values, f"{self._path}{field}.")

    def tables(self, field: str) -> list[_Table]:
        """The tables of an array `[[field]]`; none when the field is absent."""
        values = self._value(field, f"tables [[{field}]]", list) if self.has(field) else []
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(field, f"tables [[{field}]]")
        return [
            _Table(self.file, value, f"{self._path}{field}[{row}].")
            for row, value in enumerate(values)
        ]

    def named_tables(self, field: str) -> dict[str, _Table]:
        """The sub-tables `[field.<name>]` by name."""
        table = self.table(field)
        for name in table._values:
            if not _NAME.fullmatch(name):
                raise BadInput(
                    f"{self.file}: {table._path}{name} is named {name!r}, expected lower-case "
                    "letters and digits, joined by single hyphens."
                )
        return {name: table.table(name) for name in table._values}

    def scalars(self) -> dict[str, Scalar]:
        """All fields nobody has asked for yet, each a text, a number or a truth value."""
        expected = "a text, a number, true or false"
        rest = [field for field in self._values if field not in self._asked]
        return {field: self._value(field, expected, str, int, float, bool) for field in rest}

    def numbers(self) -> dict[str, float]:
        """All fields, each a number."""
        return {field: self.number(field) for field in self._values}

    def done(self) -> None:
        """Refuse fields that no reader asked for.

        Raises:
            BadInput: Names the unknown field, its value and the known ones.
        """
        for field, value in self._values.items():
            if field in self._asked:
                continue
            known = ", ".join(sorted(self._asked))
            close = difflib.get_close_matches(field, self._asked, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise BadInput(
                f"{self.file}: unknown field {self._path}{field} (= {value!r}), "
                f"expected one of: {known}.{hint}"
            )


def _read(path: Path) -> _Table:
    try:
        return _Table(path, tomllib.loads(path.read_bytes().decode("utf-8")))
    except OSError as error:
        raise BadInput(f"Cannot read the card {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: byte {error.start} is not UTF-8, expected a TOML file in UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is not TOML: {error}.") from error


def _folder_name(table: _Table, folder: Path) -> str:
    if not _NAME.fullmatch(folder.name):
        raise BadInput(
            f"The folder {folder} is named {folder.name!r}, expected lower-case letters and "
            "digits, joined by single hyphens. Rename it."
        )
    return table.name("name", folder.name)


def _variant(name: str, table: _Table, settings: Mapping[str, Scalar]) -> Variant:
    title = table.text("title")
    changed = table.scalars()
    for field, value in changed.items():
        if field not in settings:
            known = ", ".join(settings) or "none"
            raise table.wrong(field, f"a setting of the method; [settings] has: {known}")
        if type(value) is not type(settings[field]):
            raise table.wrong(field, f"the type it has in [settings], like {settings[field]!r}")
    return Variant(name, title, changed)


def read_method_card(path: Path) -> MethodCard:
    """Read `methods/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = path.resolve()
    card = _read(path)
    settings = card.table("settings").scalars()
    result = MethodCard(
        folder=path.parent,
        name=_folder_name(card, path.parent),
        title=card.text("title"),
        version=card.whole("version", 1),
        tasks=card.texts("tasks"),
        told=card.choice("told", TOLD),
        summary=card.text("summary"),
        paper=card.text("paper", empty=True),
        differences=card.texts("differences"),
        settings=settings,
        variants={
            name: _variant(name, table, settings)
            for name, table in card.named_tables("variants").items()
        },
    )
    card.done()
    return result


def _subset(name: str, table: _Table, categories: tuple[str, ...], asks: bool) -> Subset:
    result = Subset(
        name=name,
        value=table.text("value"),
        attributes=() if asks else table.texts("attributes"),
        word=table.text("word") if asks else "",
        categories=table.texts("categories", categories) if table.has("categories") else categories,
    )
    if not asks and len(result.attributes) < 2:
        raise table.wrong("attributes", "at least two groups")
    table.done()
    return result


def read_task_card(path: Path) -> TaskCard:
    """Read `tasks/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = path.resolve()
    card = _read(path)
    class_text = card.template("class_text", ("prompt", "attribute"))
    question = card.template("question", ("word",))
    if (class_text is None) == (question is None):
        raise BadInput(
            f"{path}: has {'neither' if question is None else 'both'} class_text "
            f"{'nor' if question is None else 'and'} question, expected one of them: class_text "
            "for the attribute judge, question for the hazard judge."
        )
    categories = card.texts("categories")
    result = TaskCard(
        folder=path.parent,
        name=_folder_name(card, path.parent),
        title=card.text("title"),
        version=card.whole("version", 1),
        summary=card.text("summary"),
        class_text=class_text,
        question=question,
        categories=categories,
        subsets={
            name: _subset(name, table, categories, question is not None)
            for name, table in card.named_tables("subsets").items()
        },
    )
    card.done()
    if not result.subsets:
        raise BadInput(f"{path}: no subsets, expected a table [subsets.<name>] for each value.")
    return result


def _place(location: str, card: Path) -> str:
    """A hub id as it is; a path, which starts with a dot or a slash, from the card's folder."""
    if location.startswith((".", "/")):
        return str((card.parent / location).resolve())
    return location


def _judge(table: _Table) -> Judge:
    judge = Judge(_place(table.text("weights"), table.file), table.choice("dtype", DTYPES))
    table.done()
    return judge


def _part(table: _Table) -> Part:
    part = Part(
        name=table.text("name"),
        parameters=table.whole("parameters", 1),
        steps=table.whole("steps", 1),
        minutes=table.number("minutes", 0),
        seed=table.whole("seed", 0),
    )
    table.done()
    return part


def read_model_card(path: Path) -> ModelCard:
    """Read `<name>.toml`, the card of a model.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped. The folders
            it names are not looked at.
    """
    path = path.resolve()
    card = _read(path)
    judges = card.table("judges")
    result = ModelCard(
        path=path,
        name=card.name("name", path.stem),
        title=card.text("title"),
        scale=card.choice("scale", SCALES),
        pipeline=_place(card.text("pipeline", expected="a hub id or a folder"), path),
        size=card.whole("size", 8),
        steps=card.whole("steps", 1),
        guidance=card.number("guidance", 1),
        sampler=card.choice("sampler", SAMPLERS),
        dtype=card.choice("dtype", DTYPES),
        block=card.whole("block", 1),
        rate=card.number("rate", 0.001),
        bytes_per_image=card.whole("bytes_per_image", 1),
        judges={name: _judge(judges.table(name)) for name in JUDGES},
        annotator=_judge(card.table("annotator")) if card.has("annotator") else None,
        world=card.text("world") if card.has("world") else None,
        parts=tuple(_part(table) for table in card.tables("parts")),
        quality=card.table("quality").numbers(),
    )
    judges.done()
    card.done()
    return result
