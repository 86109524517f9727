"""Cards: the TOML files that declare methods, tasks and models, read with every field checked.

The annotations of the data classes say what each field may hold; what is a rule between fields
stands in the readers below. A card is plain data and is read eagerly; the code and the weights that
it names are loaded late, by `adapters`. Every reader raises `BadInput` naming the file, the field,
the value found and what was expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from livo_bench.cards.fields import NAME, Table, place, read_table
from livo_bench.cards.kinds import DPM, KINDS, OWN, offers
from livo_bench.cards.readable import PIPELINE
from livo_bench.cards.scorer_kinds import (
    ATTRIBUTES,
    CLIP,
    FEATURES,
    HAZARDS,
    PEOPLE,
    Dtype,
    ScorerKind,
    read_scorers,
)
from livo_bench.cards.services import Service, read_service
from livo_bench.errors import BadInput
from livo_bench.records import (
    BIAS,
    NEEDS,
    OVERCORRECTION,
    SERVICE,
    TOXICITY,
    Principle,
    Prompt,
    Scalar,
)
from livo_bench.schema import Place, Text, at_least, one_of, template

TOLD = ("nothing", "category", "value", "attributes")
SCALES = ("mini", "sd")
Told = Annotated[str, one_of(TOLD)]
Needs = tuple[Annotated[str, one_of(NEEDS)], ...]
OURS = "ours"
"""The protocol unless a run asks for another."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A method under other settings, run as `--method name:variant`."""

    name: str
    title: Text
    """Title, as tables print it."""
    told: Told
    """What the variant is told besides the prompt; the method's own unless it says otherwise."""
    needs: Needs
    """What the variant asks of a model; the method's own unless it says otherwise."""
    settings: Mapping[str, Scalar]
    """The settings that differ from the method's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """A method's card, `methods/<name>/card.toml`: its tasks, its needs and its settings."""

    folder: Path
    name: str
    """The folder's name, and the key in every table."""
    title: Text
    """Title, as tables print it."""
    version: Annotated[int, at_least(1)]
    """Raised whenever the method's pixels change."""
    tasks: tuple[Text, ...]
    """Tasks the method is made for, `bias`, or subsets of one, `overcorrection/gender`; a whole
    task of the package stands for users' own ones like it, too."""
    told: Told
    """What it learns of an evaluation besides the prompt: `nothing`, the prompt's `category`, the
    `value` string, or the `attributes` by name."""
    needs: Needs = ()
    """What it asks of a model, out of `records.NEEDS`: a run leaves it out where the model does not
    offer that."""
    adapter: Text | None = None
    """Module of `livo_bench.methods` whose `load` makes the method, such as `overlaid`; None for
    `adapter.py` in the folder."""
    summary: Text
    """One sentence."""
    paper: str
    """Where it was published; empty for a control."""
    differences: tuple[Text, ...]
    """Where this implementation departs from the paper or its released code, a sentence each."""
    tried: tuple[Text, ...] = ()
    """Configurations looked at on dev prompts before this one was taken, a line each."""
    settings: Mapping[str, Scalar]
    """Handed to the adapter; a variant replaces some of them."""
    variants: Mapping[str, Variant]
    published: Mapping[str, Text]
    """Repositories of weights that the method's folder does not hold, by what their place in it
    would be: `sd15/livo` for `weights/sd15/livo`."""

    def needs_of(self, variant: str) -> tuple[str, ...]:
        """What it asks of a model, or a variant of it, be it one that only its training knows."""
        return self.variants[variant].needs if variant in self.variants else self.needs

    def published_for(self, model: str) -> list[str]:
        """Places of the published weights for one model."""
        return [place for name, place in self.published.items() if name.startswith(f"{model}/")]

    def is_for(self, task: TaskCard, subset: str) -> bool:
        """Whether the method is made for a subset of a task, or for the task that it is like."""
        return not {task.name, f"{task.name}/{subset}", task.kind}.isdisjoint(self.tasks)


@dataclass(frozen=True, slots=True)
class Subset:
    """One value that a task asks for, e.g. `gender`."""

    name: str
    value: Text
    """The paper's short value string, e.g. `gender equality`."""
    attributes: tuple[Text, ...]
    """Groups among which images should be even; empty for toxicity. In a control they are
    categories too: those of the prompts that name the attribute."""
    word: Text
    """Fills `{word}` of the task's question; empty for bias."""
    categories: tuple[str, ...]
    """Categories whose prompts the subset is sampled on."""
    stands_for: Text
    """What methods that are told a category hear in a control: the category of the task that the
    value is from. Empty elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCard:
    """A task's card, `tasks/<name>/card.toml`; a `class_text` or a `question` says the judge.

    A `control` asks what methods do under a value where they should do nothing: to prompts that
    name an attribute, which the attribute judge looks at, and to harmless ones, whose images the
    feature network compares with the unaligned model's.
    """

    folder: Path
    name: str
    """The folder's name."""
    title: Text
    version: Annotated[int, at_least(1)]
    """Raised whenever prompts, texts or questions change."""
    summary: Text
    """One sentence."""
    class_text: str | None
    """The attribute judge's text of a class, with `{prompt}` and `{attribute}`; in a control with
    `{neutral}`, the prompt without the attribute that it names, for it would give the answer."""
    question: str | None
    """What the hazard judge is asked, with `{word}`."""
    control: bool = False
    """Nothing trains for a control, and `all` leaves it out."""
    categories: tuple[Text, ...]
    """Kinds of prompts."""
    subsets: Mapping[str, Subset]
    shows: Annotated[str, template("concept")] = "{concept}"
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
        return HAZARDS if self.kind == TOXICITY else ATTRIBUTES

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
    """A protocol's card, `presets/<name>.toml`: conventions of an evaluation, as `--protocol`."""

    path: Path
    name: str
    title: Text
    summary: Text
    """One sentence."""
    images: Annotated[int, at_least(0)]
    """Number of images that a prompt must have; 0 for any number."""
    jpeg: Annotated[int, at_least(0)]
    """Quality of the JPEG files that all judges but the attribute judge see; 0 for none."""
    own_reference: tuple[Text, ...]
    """`task/subset/category` whose FID reference is the evaluated model's own images."""
    differences: tuple[Text, ...]
    """What differs from our own protocol, a sentence each."""
    settings: Mapping[str, Scalar]
    """Values laid over the settings of methods that have them."""

    def of(self, model: str) -> str:
        """The name that a model's results have under this protocol, so that no table mixes two."""
        return model if self.name == OURS else f"{model}@{self.name}"


@dataclass(frozen=True, slots=True)
class Labeller:
    """A network that labels training data, see `scorers.annotator`."""

    weights: Place
    """Hub id, a folder (as absolute path), or a pair that open_clip knows."""
    dtype: Dtype
    """Precision."""
    licence: Text = ""
    """Licence of the weights, as `fetch` tells it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A record of what it took to train one network of the model."""

    name: Text
    parameters: Annotated[int, at_least(1)]
    steps: Annotated[int, at_least(1)]
    minutes: Annotated[float, at_least(0)]
    seed: Annotated[int, at_least(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model's card, `models/<name>.toml`: a generator, its sampling settings and its judges."""

    path: Path
    """The card's own file."""
    name: str
    """The file's stem, and the folder that results go to."""
    spec: str
    """What names the model, as `--model` takes it."""
    title: Text
    scale: Annotated[str, one_of(SCALES)]
    """`mini` or `sd`; which prompt lists fit, and results of two scales share no table."""
    pipeline: Place
    """Hub id, or a diffusers folder (as absolute path); empty of a service, which has no steps,
    guidance and precision either, and `SERVICE` for its kind and sampler."""
    service: Service | None = None
    """The service that makes the images instead of a pipeline."""
    kind: Annotated[str, one_of(sorted(KINDS))] = PIPELINE
    """Class of the pipeline, as its `model_index.json` names it."""
    size: Annotated[int, at_least(8)]
    """Height and width of an image in pixels."""
    steps: Annotated[int, at_least(1)]
    guidance: Annotated[float, at_least(0)]
    """Guidance scale, mostly of classifier-free guidance, which 1 switches off."""
    sampler: Annotated[str, one_of((DPM, OWN))]
    """`pipeline` is the one that the pipeline was saved with."""
    call: Mapping[str, Scalar]
    """What the pipeline is called with besides text, negative text, steps, guidance and size."""
    offload: bool = False
    """Whether parts of the pipeline wait in the CPU's memory for their turn."""
    dtype: Dtype
    """Precision, unless a run asks for another."""
    block: Annotated[int, at_least(1)]
    """Images in one batch, which is also the unit of storage."""
    rate: Annotated[float, at_least(0.001)]
    """Images sampled and judged per second on the machine the card speaks of, for `--plan`."""
    bytes_per_image: Annotated[int, at_least(1)]
    """Bytes on disk of an image with its scores, for `--plan`."""
    slower: Annotated[float, at_least(1)] = 1.0
    """How many times longer an evaluation of the UNet takes in training than in sampling, as
    measured on that machine, for `train --plan`."""
    judges: Mapping[str, ScorerKind]
    """The evaluators by role: `attributes`, `hazards`, `features`, `clip` where the CLIP score is
    not that of the attribute judge's network, and `people` where somebody counts them."""
    confusion: Path | None = None
    """CSV of the judges' measured confusion matrices, see `metrics.judge_error`."""
    annotator: Labeller | None = None
    """Labels training data; shares no weights with a judge. None for a model nothing trains on."""
    world: Text | None = None
    """SHA-256 of the world a mini model was trained on; None for other models."""
    parts: tuple[Part, ...]
    quality: Mapping[str, float]
    """Measured, fractions in [0, 1] unless the name says otherwise."""
    licence: Text = ""
    """Licence of the pipeline's weights."""
    memory: Mapping[str, Annotated[int, at_least(1)]]
    """Parameters of the UNet or transformer as `denoiser`, of all encoders of `text` and of the
    `vae`; for `train --plan` groups of them and bytes of a picture's latents and activations, which
    `benchmarks/memory.py` counts."""

    @property
    def call_text(self) -> str | None:
        """`call` as recipes hold it."""
        return json.dumps(self.call, sort_keys=True, separators=(",", ":")) if self.call else None

    @property
    def clip_role(self) -> str:
        """The role of the judge whose network gives the CLIP score."""
        return CLIP if CLIP in self.judges else ATTRIBUTES

    def roles_for(self, tasks: Iterable[TaskCard]) -> list[str]:
        """The roles of the judges that look at images of tasks."""
        asked = list(tasks)
        roles = {self.clip_role, FEATURES, *(task.judge for task in asked)}
        if PEOPLE in self.judges and any(task.kind == BIAS for task in asked):
            roles.add(PEOPLE)
        return sorted(roles)

    @property
    def offers(self) -> tuple[str, ...]:
        """What methods may ask of it, out of `records.NEEDS`."""
        return offers(self.kind, self.guidance, self.call)


CALLED = {
    "prompt": "no field: it is a request's text",
    "negative_prompt": "no field: it is a method's",
    "num_inference_steps": "`steps`",
    "guidance_scale": "`guidance`",
    "height": "`size`",
    "width": "`size`",
    "generator": "no field: seeds are drawn from what is asked",
    "latents": "no field: they are drawn from the seeds",
    "num_images_per_prompt": "`block`",
    "output_type": "no field: images are stored without loss",
}
"""Arguments of a pipeline that `[call]` does not name, and where they are from."""


def _name(table: Table, folder: Path) -> str:
    """The name of a method or task, which is that of its folder."""
    if not NAME.fullmatch(folder.name):
        raise BadInput(
            f"The folder {folder} is named {folder.name!r}, expected lower-case letters and "
            "digits, joined by single hyphens.",
            "Rename it.",
        )
    return table.name("name", folder.name)


def read_method_card(path: Path) -> MethodCard:
    """Read `methods/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = place(path).resolve()
    card = read_table(path)
    settings: Mapping[str, Scalar] = card.get("settings", Mapping[str, Scalar])
    told: str = card.get("told", Told)
    needs: tuple[str, ...] = card.get("needs", Needs, ())
    variants = {
        name: _variant(name, table, told, needs, settings)
        for name, table in card.named_tables("variants").items()
    }
    folder = path.parent
    return card.read(MethodCard, folder=folder, name=_name(card, folder), variants=variants)


def _variant(
    name: str,
    table: Table,
    told: str,
    needs: tuple[str, ...],
    settings: Mapping[str, Scalar],
) -> Variant:
    title, told = table.get("title", Text), table.get("told", Told, told)
    needs = table.get("needs", Needs, needs)
    changed: Mapping[str, Scalar] = table.others(Scalar)
    for setting, value in changed.items():
        if setting not in settings:
            known = ", ".join(settings) or "none"
            raise table.wrong(setting, f"a setting of the method; [settings] has: {known}")
        if type(value) is not type(settings[setting]):
            raise table.wrong(setting, f"the type it has in [settings], like {settings[setting]!r}")
    return Variant(name, title, told, needs, changed)


def read_task_card(path: Path) -> TaskCard:
    """Read `tasks/<name>/card.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    path = place(path).resolve()
    card = read_table(path)
    control: bool = card.get("control", bool, False)
    names = ("neutral" if control else "prompt", "attribute")
    class_text: str | None = card.get("class_text", Annotated[str, template(*names)], None)
    question: str | None = card.get("question", Annotated[str, template("word")], None)
    if (class_text is None) == (question is None):
        raise BadInput(
            f"{path}: has {'neither' if question is None else 'both'} class_text "
            f"{'nor' if question is None else 'and'} question, expected one of them: "
            "class_text for the attribute judge, question for the hazard judge."
        )
    if control and question is not None:
        raise card.wrong("question", "none in a control, which has a class_text")
    categories: tuple[str, ...] = card.get("categories", tuple[Text, ...])
    subsets = {
        name: _subset(name, table, categories, question is not None, control)
        for name, table in card.named_tables("subsets").items()
    }
    if not subsets:
        raise BadInput(f"{path}: no subsets, expected a table [subsets.<name>] for each value.")
    return card.read(
        TaskCard,
        folder=path.parent,
        name=_name(card, path.parent),
        class_text=class_text,
        question=question,
        subsets=subsets,
    )


def _subset(
    name: str, table: Table, categories: tuple[str, ...], asks: bool, control: bool
) -> Subset:
    listed = tuple[Annotated[str, one_of(categories)], ...]
    given: dict[str, Any] = {"categories": table.get("categories", listed, categories)}
    if asks or (control and not table.has("attributes")):
        given["attributes"] = ()
    else:
        given["attributes"] = table.get("attributes", listed if control else tuple[Text, ...])
        if len(given["attributes"]) < 2:
            raise table.wrong("attributes", "at least two groups")
    if not asks:
        given["word"] = ""
    if not control:
        given["stands_for"] = ""
    return table.read(Subset, name=name, **given)


def read_protocol_card(path: Path) -> ProtocolCard:
    """Read `presets/<name>.toml`.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped.
    """
    card = read_table(path)
    return card.read(ProtocolCard, path=path, name=card.name("name", path.stem))


def read_model_card(path: Path) -> ModelCard:
    """Read `<name>.toml`, the card of a model.

    Raises:
        BadInput: Not readable, not TOML, or a field is missing, unknown or mistyped. The folders
            it names are not looked at.
    """
    path = place(path).resolve()
    card = read_table(path)
    judges = read_scorers(card.table("judges"))
    name = card.name("name", path.stem)
    if card.has("service"):
        service = read_service(card)
        return card.read(
            ModelCard, path=path, name=name, spec=name, judges=judges, service=service,
            kind=SERVICE, pipeline="", steps=0, guidance=0.0, sampler=SERVICE, dtype="",
        )  # fmt: skip
    model = card.read(ModelCard, path=path, name=name, spec=name, judges=judges)
    own = model.kind != PIPELINE
    if own != (model.sampler == OWN):
        raise card.wrong("sampler", f"{OWN if own else DPM!r}, as kind is {model.kind!r}")
    if not own and model.guidance < 1:
        raise card.wrong("guidance", "a number from 1 up")
    if not own and (model.call or model.offload):
        raise BadInput(
            f"{path}: {'call' if model.call else 'offload'}, expected none of a {PIPELINE}, whose "
            "parts are driven one by one."
        )
    for argument, place_of in CALLED.items():
        if argument in model.call:
            raise BadInput(f"{path}: call.{argument}, expected {place_of} of the card.")
    return model
