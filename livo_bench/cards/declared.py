"""Cards: the TOML files that declare methods, tasks and models, read with every field checked.

A card is plain data and is read eagerly; the code and the weights that it names are loaded late,
by `catalog`. Every reader raises `BadInput` naming the file, the field, the value found and what
was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from livo_bench.cards.fields import NAME, Table, place, read_table
from livo_bench.errors import BadInput
from livo_bench.records import BIAS, OVERCORRECTION, TOXICITY, Principle, Prompt, Scalar

TOLD = ("nothing", "category", "value", "attributes")
SCALES = ("mini", "sd")
SAMPLERS = ("dpmsolver++",)
DTYPES = ("float32", "float16", "bfloat16")
JUDGES = ("attributes", "hazards", "features")
OURS = "ours"
"""The protocol unless a run asks for another."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A method under other settings, run as `--method name:variant`."""

    name: str
    title: str
    """As tables print it."""
    told: str
    """As of the method, unless the variant says otherwise."""
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
    """Tasks the method is made for, `bias`, or subsets of one, `overcorrection/gender`; a whole
    task of the package stands for users' own ones like it, too."""
    told: str
    """What it learns of an evaluation besides the prompt: `nothing`, the prompt's `category`, the
    `value` string, or the `attributes` by name."""
    summary: str
    """One sentence."""
    paper: str
    """Where it was published; empty for a control."""
    differences: tuple[str, ...]
    """Where this implementation departs from the paper or its released code, a sentence each."""
    tried: tuple[str, ...]
    """Configurations looked at on dev prompts before this one was taken, a line each."""
    settings: Mapping[str, Scalar]
    """Handed to the adapter; a variant replaces some of them."""
    variants: Mapping[str, Variant]
    published: Mapping[str, str]
    """Repositories of weights that the method's folder does not hold, by what their place in it
    would be: `sd15/livo` for `weights/sd15/livo`."""

    def published_for(self, model: str) -> list[str]:
        """Those for one model."""
        return [place for name, place in self.published.items() if name.startswith(f"{model}/")]

    def is_for(self, task: TaskCard, subset: str) -> bool:
        """Whether the method is made for a subset of a task, or for the task that it is like."""
        return not {task.name, f"{task.name}/{subset}", task.kind}.isdisjoint(self.tasks)


@dataclass(frozen=True, slots=True)
class Subset:
    """One value that a task asks for, e.g. `gender`."""

    name: str
    value: str
    """The paper's short value string, e.g. `gender equality`."""
    attributes: tuple[str, ...]
    """Groups among which images should be even; empty for toxicity. In a control they are
    categories too: those of the prompts that name the attribute."""
    word: str
    """Fills `{word}` of the task's question; empty for bias."""
    categories: tuple[str, ...]
    """Categories whose prompts the subset is sampled on."""
    stands_for: str
    """In a control, the category of the task that the value is from, which methods that are told a
    category hear; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class TaskCard:
    """`tasks/<name>/card.toml`. Has either a `class_text` or a `question`, which says the judge.

    A `control` asks what methods do under a value where they should do nothing: to prompts that
    name an attribute, which the attribute judge looks at, and to harmless ones, whose images the
    feature network compares with the unaligned model's.
    """

    folder: Path
    name: str
    """The folder's name."""
    title: str
    version: int
    """Raised whenever prompts, texts or questions change."""
    summary: str
    """One sentence."""
    class_text: str | None
    """The attribute judge's text of a class, with `{prompt}` and `{attribute}`; in a control with
    `{neutral}`, the prompt without the attribute that it names, for it would give the answer."""
    question: str | None
    """What the hazard judge is asked, with `{word}`."""
    control: bool
    """Nothing trains for a control, and `all` leaves it out."""
    categories: tuple[str, ...]
    """Kinds of prompts."""
    subsets: Mapping[str, Subset]
    shows: str = "{concept}"
    """Which class of the feature network a prompt asks for, with the `concept` of its row."""

    @property
    def kind(self) -> str:
        """What the task asks for: the name of the package's task that asks for the same, so that
        what is made or measured for that one fits a task of a user's own, too."""
        if self.control:
            return OVERCORRECTION
        return TOXICITY if self.class_text is None else BIAS

    @property
    def judge(self) -> str:
        """Which of the model card's judges looks at the images."""
        return "hazards" if self.kind == TOXICITY else "attributes"

    def names(self, prompt: Prompt) -> bool:
        """Whether a prompt of a control names one of the attributes of its subsets."""
        return self.control and any(
            prompt.category in subset.attributes for subset in self.subsets.values()
        )

    def content_of(self, prompt: Prompt) -> str:
        """The class of the feature network that an image of a prompt is to show, if it has one."""
        return self.shows.replace("{concept}", prompt.concept)

    def principle(self, subset: str) -> Principle:
        """The value and groups of one subset, as requests carry them."""
        chosen = self.subsets[subset]
        return Principle(self.name, subset, chosen.value, chosen.attributes, chosen.stands_for)

    def prompts(self, scale: str) -> Path:
        """Where the prompt list for models of this scale lies."""
        return self.folder / "prompts" / f"{scale}.csv"


@dataclass(frozen=True, slots=True)
class ProtocolCard:
    """`presets/<name>.toml`: conventions of a whole evaluation, as `--protocol`."""

    path: Path
    name: str
    title: str
    summary: str
    """One sentence."""
    images: int
    """That a prompt must have; 0 for any number."""
    jpeg: int
    """Quality of the JPEG files that all judges but the attribute judge see; 0 for none."""
    own_reference: tuple[str, ...]
    """`task/subset/category` whose FID reference is the evaluated model's own images."""
    differences: tuple[str, ...]
    """To ours, a sentence each."""
    settings: Mapping[str, Scalar]
    """Laid over the settings of methods that have them."""

    def of(self, model: str) -> str:
        """The name that a model's results have under this protocol, so that no table mixes two."""
        return model if self.name == OURS else f"{model}@{self.name}"


@dataclass(frozen=True, slots=True)
class Judge:
    """A network that judges or annotates images."""

    weights: str
    """Hub id, a folder (as absolute path), or the name of one of torch-fidelity's networks."""
    dtype: str
    """Precision."""
    licence: str = ""
    """Of the weights, as `fetch` tells it."""
    kinds: Path | None = None
    """CSV of a feature network's classes with their kinds, `class,kind`: without it nobody can say
    whether an image shows at least something of the kind that was asked for."""


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
    """`models/<name>.toml`: a generator, its sampling settings and its judges."""

    path: Path
    """The card's own file."""
    name: str
    """The file's stem, and the folder that results go to."""
    spec: str
    """As `--model` takes it."""
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
    confusion: Path | None
    """CSV of the judges' measured confusion matrices, see `metrics.judge_error`."""
    annotator: Judge | None
    """Labels training data; shares no weights with a judge. None for a model nothing trains on."""
    world: str | None
    """SHA-256 of the world a mini model was trained on; None for other models."""
    parts: tuple[Part, ...]
    quality: Mapping[str, float]
    """Measured, fractions in [0, 1] unless the name says otherwise."""
    licence: str
    """Of the pipeline's weights."""
    memory: Mapping[str, int]
    """Parameters of `unet`, groups of them, `text` and `vae`, and bytes of a picture's latents and
    activations, for `train --plan`; `benchmarks/memory.py` counts them."""


def _folder_name(table: Table, folder: Path) -> str:
    if not NAME.fullmatch(folder.name):
        raise BadInput(
            f"The folder {folder} is named {folder.name!r}, expected lower-case letters and "
            "digits, joined by single hyphens.",
            "Rename it.",
        )
    return table.name("name", folder.name)


def _variant(name: str, table: Table, told: str, settings: Mapping[str, Scalar]) -> Variant:
    title = table.text("title")
    told = table.choice("told", TOLD) if table.has("told") else told
    changed = table.scalars()
    for field, value in changed.items():
        if field not in settings:
            known = ", ".join(settings) or "none"
            raise table.wrong(field, f"a setting of the method; [settings] has: {known}")
        if type(value) is not type(settings[field]):
            raise table.wrong(field, f"the type it has in [settings], like {settings[field]!r}")
    return Variant(name, title, told, changed)


def read_method_card(path: Path) -> MethodCard:
    """Read `methods/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = place(path).resolve()
    with read_table(path) as card:
        settings = card.table("settings").scalars()
        told = card.choice("told", TOLD)
        return MethodCard(
            folder=path.parent,
            name=_folder_name(card, path.parent),
            title=card.text("title"),
            version=card.whole("version", 1),
            tasks=card.texts("tasks"),
            told=told,
            summary=card.text("summary"),
            paper=card.text("paper", empty=True),
            differences=card.texts("differences"),
            tried=card.texts("tried") if card.has("tried") else (),
            settings=settings,
            variants={
                name: _variant(name, table, told, settings)
                for name, table in card.named_tables("variants").items()
            },
            published=_published(card.table("published")),
        )


def _published(table: Table) -> dict[str, str]:
    return {name: table.text(name) for name in table.names()}


def _subset(
    name: str, table: Table, categories: tuple[str, ...], asks: bool, control: bool
) -> Subset:
    with table:
        grouped = table.has("attributes") if control else not asks
        attributes = table.texts("attributes", categories if control else None) if grouped else ()
        if grouped and len(attributes) < 2:
            raise table.wrong("attributes", "at least two groups")
        listed = table.texts("categories", categories) if table.has("categories") else categories
        return Subset(
            name=name,
            value=table.text("value"),
            attributes=attributes,
            word=table.text("word") if asks else "",
            categories=listed,
            stands_for=table.text("stands_for") if control else "",
        )


def read_task_card(path: Path) -> TaskCard:
    """Read `tasks/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = place(path).resolve()
    with read_table(path) as card:
        control = card.flag("control") if card.has("control") else False
        class_text = card.template("class_text", ("neutral" if control else "prompt", "attribute"))
        question = card.template("question", ("word",))
        if (class_text is None) == (question is None):
            raise BadInput(
                f"{path}: has {'neither' if question is None else 'both'} class_text "
                f"{'nor' if question is None else 'and'} question, expected one of them: "
                "class_text for the attribute judge, question for the hazard judge."
            )
        if control and question is not None:
            raise card.wrong("question", "none in a control, which has a class_text")
        categories = card.texts("categories")
        result = TaskCard(
            folder=path.parent,
            name=_folder_name(card, path.parent),
            title=card.text("title"),
            version=card.whole("version", 1),
            summary=card.text("summary"),
            class_text=class_text,
            question=question,
            control=control,
            categories=categories,
            subsets={
                name: _subset(name, table, categories, question is not None, control)
                for name, table in card.named_tables("subsets").items()
            },
            shows=card.template("shows", ("concept",)) or "{concept}",
        )
    if not result.subsets:
        raise BadInput(f"{path}: no subsets, expected a table [subsets.<name>] for each value.")
    return result


def read_protocol_card(path: Path) -> ProtocolCard:
    """Read `presets/<name>.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    with read_table(path) as card:
        return ProtocolCard(
            path=path,
            name=card.name("name", path.stem),
            title=card.text("title"),
            summary=card.text("summary"),
            images=card.whole("images", 0),
            jpeg=card.whole("jpeg", 0),
            own_reference=card.texts("own_reference"),
            differences=card.texts("differences"),
            settings=card.table("settings").scalars(),
        )


def _place(location: str, card: Path) -> str:
    """A hub id as it is; a path, which starts with a dot or a slash, from the card's folder."""
    if location.startswith((".", "/")):
        return str((card.parent / location).resolve())
    return location


def _judge(table: Table) -> Judge:
    with table:
        return Judge(
            weights=_place(table.text("weights"), table.file),
            dtype=table.choice("dtype", DTYPES),
            licence=table.text("licence") if table.has("licence") else "",
            kinds=Path(_place(table.text("kinds"), table.file)) if table.has("kinds") else None,
        )


def _part(table: Table) -> Part:
    with table:
        return Part(
            name=table.text("name"),
            parameters=table.whole("parameters", 1),
            steps=table.whole("steps", 1),
            minutes=table.number("minutes", 0),
            seed=table.whole("seed", 0),
        )


def _memory(table: Table) -> dict[str, int]:
    return {name: table.whole(name, 1) for name in table.names()}


def read_model_card(path: Path) -> ModelCard:
    """Read `<name>.toml`, the card of a model.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped. The folders
            it names are not looked at.
    """
    path = place(path).resolve()
    with read_table(path) as card, card.table("judges") as judges:
        return ModelCard(
            path=path,
            name=card.name("name", path.stem),
            spec=path.stem,
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
            confusion=Path(_place(card.text("confusion"), path)) if card.has("confusion") else None,
            annotator=_judge(card.table("annotator")) if card.has("annotator") else None,
            world=card.text("world") if card.has("world") else None,
            parts=tuple(_part(table) for table in card.tables("parts")),
            quality=card.table("quality").numbers(),
            licence=card.text("licence") if card.has("licence") else "",
            memory=_memory(card.table("memory")),
        )
