"""Finds cards in the checkout or the wheel, and loads one method, task or model by name or folder.

Cards are read eagerly and code late: an adapter is imported when its method is loaded, a module of
`livo_bench.methods` that the card names, or `adapter.py` from its path. Built-in methods and a
user's folder take the same way.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from livo_bench.cards import readable
from livo_bench.cards.declared import (
    OURS,
    MethodCard,
    ModelCard,
    ProtocolCard,
    Subset,
    TaskCard,
    Variant,
    read_method_card,
    read_model_card,
    read_protocol_card,
    read_task_card,
)
from livo_bench.cards.fields import place
from livo_bench.cards.weights import (
    CARD,
    counted_files,
    digest_folder,
    find_weights,
    not_fetched,
    repository_of,
)
from livo_bench.errors import AdapterFailed, BadInput, LivoBenchError, UnknownName
from livo_bench.files import digest_file, sha256
from livo_bench.interfaces import (
    Method,
    MethodContext,
    OwnGenerator,
    Pixels,
    WithFiles,
    WithSources,
)
from livo_bench.records import Recipe, Request, wrong_field

if TYPE_CHECKING:
    from torch import Tensor

Card = TypeVar("Card")

ADAPTER = "adapter.py"
"""In a method's folder."""

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent
_BUNDLED = _PACKAGE / "_bundled"

DATA = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent
"""Holds `methods/`, `tasks/` and `results/`: the checkout, or `_bundled` in an installed wheel."""

SHIPPED = DATA / "results" / "mini"
"""The reference that comes with the package, and what has been measured once beside it."""

RUNS = Path("results/runs")
"""Where runs are written and read, unless another folder is named."""


def method_cards() -> dict[str, MethodCard]:
    """The built-in methods by name."""
    return {card.name: card for card in _cards(DATA / "methods", "*/card.toml", read_method_card)}


def method_labels() -> dict[str, tuple[str, str]]:
    """Title of each built-in method and variant, and what it is told, by its name as in
    `--method`."""
    labels = {}
    for card in method_cards().values():
        labels[card.name] = card.title, card.told
        for variant in card.variants.values():
            labels[f"{card.name}:{variant.name}"] = variant.title, variant.told
    return labels


def task_cards() -> dict[str, TaskCard]:
    """The built-in tasks by name."""
    return {card.name: card for card in _cards(DATA / "tasks", "*/card.toml", read_task_card)}


def value_tasks() -> dict[str, TaskCard]:
    """The built-in tasks that measure how well a value is kept: all but the controls, by name."""
    return {name: card for name, card in task_cards().items() if not card.control}


def model_cards() -> dict[str, ModelCard]:
    """The built-in models by name."""
    return {card.name: card for card in _cards(_HERE / "models", "*.toml", read_model_card)}


def protocol_cards() -> dict[str, ProtocolCard]:
    """The evaluation protocols by name."""
    return {card.name: card for card in _cards(_HERE / "presets", "*.toml", read_protocol_card)}


def protocol_card(name: str) -> ProtocolCard:
    """Find an evaluation protocol.

    Raises:
        UnknownName: No such protocol.
    """
    known = protocol_cards()
    if name not in known:
        raise unknown_name("protocol", name, known)
    return known[name]


def results_of(model: str) -> tuple[str, ProtocolCard]:
    """The model and the protocol behind the name of results, see `ProtocolCard.of`."""
    known = protocol_cards()
    name, _, protocol = model.rpartition("@")
    return (name, known[protocol]) if name and protocol in known else (model, known[OURS])


def run_options(model: str) -> str:
    """What `livo-bench run` has to be given for results of a name."""
    name, protocol = results_of(model)
    return f"--model {name}" + (f" --protocol {protocol.name}" if name != model else "")


def _cards(folder: Path, pattern: str, read: Callable[[Path], Card]) -> list[Card]:
    return [read(path) for path in sorted(folder.glob(pattern))]


@dataclass(frozen=True, slots=True)
class LoadedMethod:
    """A method, or a variant of one, ready to resolve requests."""

    name: str
    """As in `--method`, a user's folder by its name: `livo`, `livo:wo-m`."""
    title: str
    card: MethodCard
    method: Method
    generator: str | None
    """When the method renders by itself: SHA-256 of its folder's digest, a line feed and its
    settings as JSON. None when the engine renders."""
    digest: str | None = None
    """Of the folder of a user's own method; None for one of this package."""

    @property
    def told(self) -> str:
        """What it learns of an evaluation besides the prompt, see `MethodCard.told`."""
        _, _, variant = self.name.partition(":")
        return self.card.variants.get(variant, self.card).told

    @property
    def files(self) -> Mapping[str, str]:
        """Where the files are that its recipes name by digest."""
        return self.method.files if isinstance(self.method, WithFiles) else {}

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file that its images rest on, by relative name.

        These are card and `adapter.py` (of a user's own method all files of its folder) and what it
        names as `WithSources.sources`. A repository, whose commit says what is in it, counts as one
        file.

        Raises:
            BadInput: One cannot be read.
        """
        folder = self.card.folder
        names = [name for name in (ADAPTER, CARD) if (folder / name).is_file()]
        built_in = {name: folder / name for name in names}
        places: dict[str, str | Path] = dict(built_in if self.digest is None else {"": folder})
        if isinstance(self.method, WithSources):
            places |= self.method.sources
        # Of a file or a repository, what recipes hold of it; a folder is more than one file.
        known = {str(place): digest for digest, place in self.files.items()}
        found: dict[str, str] = {}
        for name, where in places.items():
            if str(where) in known and not Path(where).is_dir():
                found[name] = known[str(where)]
            else:
                files = _files_below(Path(where), name)
                found |= {file: _digest_readable(path) for file, path in files.items()}
        return dict(sorted(found.items()))

    def resolve(self, request: Request, base: Recipe) -> Recipe:
        """Ask the method for a recipe, and see that it keeps the promises of `Method.resolve`.

        Raises:
            BadInput: The method cannot do this request, changed the seed, or returned no recipe or
                one with a field that does not hold what it should.
            AdapterFailed: Its code raised something else.
        """
        try:
            with _code_of(self.card, "resolve", _adapter_file(self.card)):
                recipe = self.method.resolve(request, base)
        except BadInput as error:
            asked = request.principle
            raise BadInput(
                f"Method {self.name!r} has no recipe for prompt {request.prompt.id!r} of "
                f"{asked.task}/{asked.subset}: {error}"
            ) from error
        if not isinstance(recipe, Recipe):
            raise BadInput(
                f"Method {self.name!r} resolved a request to {recipe!r}, expected a Recipe.",
                f"Return `base` or `dataclasses.replace(base, ...)` in {self.card.folder}.",
            )
        if recipe.seed != base.seed:
            raise BadInput(
                f"Method {self.name!r} changed the seed from {base.seed} to {recipe.seed}, "
                "expected it kept: all methods start an image from the same noise.",
                f"Mend `resolve` in {self.card.folder}.",
            )
        if (wrong := wrong_field(recipe)) is not None:
            raise BadInput(
                f"Method {self.name!r} resolved a request to a recipe with {wrong}.",
                f"Mend `resolve` in {self.card.folder}.",
            )
        return recipe if self.generator is None else replace(recipe, generator=self.generator)

    def generate(self, requests: Sequence[Request], latents: Tensor) -> Pixels:
        """Have a method that renders by itself do so, and see that it keeps the promises of
        `OwnGenerator.generate`.

        Raises:
            BadInput: It returned something else than an RGB image for each request.
            AdapterFailed: Its code raised something.
        """
        import numpy as np

        assert isinstance(self.method, OwnGenerator)
        with _code_of(self.card, "generate", _adapter_file(self.card)):
            pixels = np.array(self.method.generate(requests, latents))
        height, width = (8 * side for side in latents.shape[-2:])
        expected = (len(requests), height, width, 3)
        if pixels.dtype != np.uint8 or pixels.shape != expected:
            raise BadInput(
                f"Method {self.name!r} generated {pixels.dtype} {pixels.shape}, expected uint8 "
                f"{expected}: an RGB image for each request.",
                f"Mend `generate` in {self.card.folder}.",
            )
        return pixels


@contextmanager
def _code_of(card: MethodCard, function: str, adapter: Path) -> Iterator[None]:
    """Say whose code it was that raised something, and which file it lies in.

    Raises:
        AdapterFailed: Caused by what was raised, its traceback without what lies before that code.
    """
    try:
        yield
    except LivoBenchError:
        raise
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and _leads_to_it(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        raise AdapterFailed(
            f"Adapter of {card.name!r} failed in {function}: {type(error).__name__}: {error} "
            f"({adapter})"
        ) from error.with_traceback(trace)


def _leads_to_it(file: str) -> bool:
    """Whether a frame of a traceback is of this module, or of what imports an adapter."""
    return file == __file__ or file.startswith("<frozen importlib")


def load_method(
    spec: str,
    model: ModelCard,
    weights: str | None = None,
    protocol: ProtocolCard | None = None,
) -> LoadedMethod:
    """Load one method with its code.

    Args:
        spec: `livo`, a variant `livo:wo-m`, or a folder `./my-method` (`./my-method:variant`),
            known by its leading dot or slash.
        model: What the method will run on.
        weights: Folder or repository of weights to use instead of the method's own.
        protocol: Whose settings are laid over the method's; ours when None.

    Raises:
        UnknownName: No such method or variant.
        BadInput: The folder, its card or its adapter is not what it should be, or the method takes
            no weights.
    """
    own_name, _, variant = spec.partition(":")
    card = method_card(own_name)
    name, title, settings = card.name, card.title, dict(card.settings)
    if variant:
        chosen = _variant_of(card, variant)
        name, title = f"{name}:{variant}", chosen.title
        settings |= chosen.settings
    if protocol is not None:
        settings |= {k: v for k, v in protocol.settings.items() if k in settings}
    if weights is not None:
        if "weights" not in settings:
            raise BadInput(
                f"Method {name!r} takes no weights, got {weights!r}; its card has no setting "
                "`weights`.",
                "Leave --weights out.",
            )
        settings["weights"] = weights
    method = _adapter(card, MethodContext(card.folder, settings, model, own_name, card.published))
    own, paints = card.name not in method_cards(), isinstance(method, OwnGenerator)
    digest = digest_folder(card.folder) if own or paints else ""
    settings_text = json.dumps(settings, sort_keys=True)
    generator = sha256(f"{digest}\n{settings_text}") if paints else None
    return LoadedMethod(name, title, card, method, generator, digest if own else None)


def select_methods(specs: Iterable[str]) -> list[str]:
    """Methods by name, each once; `all` stands for every built-in one, without variants."""
    named = [name for spec in specs for name in (method_cards() if spec == "all" else [spec])]
    return list(dict.fromkeys(named))


def result_names() -> dict[str, str]:
    """The built-in methods and variants, by what folders of results call them: `livo-wo-m`."""
    return {name.replace(":", "-"): name for name in method_labels()}


def method_card(place: str) -> MethodCard:
    """Find a method's card, by name or folder.

    Raises:
        UnknownName: No such method.
        BadInput: The folder or its card is not what it should be, or results of it would be taken
            for those of a built-in method.
    """
    known = method_cards()
    if _is_folder(place):
        card = read_method_card(_existing_folder(place, "--method") / CARD)
        taken = result_names()
        ours = known.get(card.name)
        if card.name in taken and (ours is None or card.folder != ours.folder):
            raise BadInput(
                f"The folder {card.folder} is called like the method {taken[card.name]!r} of this "
                "package, so their results could not be told apart.",
                "Rename the folder and `name` in its card.",
            )
        return card
    if place not in known:
        hint = "For a method of your own, pass its folder: --method ./my-method"
        raise unknown_name("method", place, known, hint)
    return known[place]


def _variant_of(card: MethodCard, name: str) -> Variant:
    if name not in card.variants:
        raise _lacking(f"Method {card.name!r}", "variant", name, card.variants)
    return card.variants[name]


def method_name(spec: str) -> str:
    """What results call a method; a user's folder goes by its name.

    Raises:
        BadInput: The folder or its card is not what it should be.
    """
    place, colon, variant = spec.partition(":")
    return (method_card(place).name if _is_folder(place) else place) + colon + variant


def adapter_function(card: MethodCard, name: str) -> Callable[..., Any] | None:
    """A function that the `adapter.py` in a method's folder defines; None where there is none.

    What it raises names the adapter, see `AdapterFailed`.

    Raises:
        AdapterFailed: The adapter could not be imported.
    """
    path = card.folder / ADAPTER
    if not path.is_file():
        return None
    with _code_of(card, "import", path):
        function = getattr(_import(path, f"livo_bench_method_{card.name}"), name, None)
    return _guarded(function, card, name, path) if callable(function) else None


@cache
def adapters() -> Mapping[str, Path]:
    """The modules of `livo_bench.methods` that a card may name as its adapter, with their files.

    Found by their text: to import them takes torch, and what a card names is not imported before it
    is known.
    """
    room = _PACKAGE / "methods"
    return {
        ".".join(path.relative_to(room).with_suffix("").parts): path
        for path in sorted(room.rglob("*.py"))
        if "\ndef load(context: MethodContext)" in path.read_text("utf-8")
    }


def _adapter_file(card: MethodCard) -> Path:
    if card.adapter is None:
        return card.folder / ADAPTER
    if card.adapter not in adapters():
        hint = f"Mend it in {card.folder / CARD}, or leave it out and write {ADAPTER} beside it."
        raise unknown_name("adapter", card.adapter, adapters(), hint)
    return adapters()[card.adapter]


def _adapter(card: MethodCard, context: MethodContext) -> Method:
    path = _adapter_file(card)
    if card.adapter is not None:
        with _code_of(card, "import", path):
            module = importlib.import_module(f"livo_bench.methods.{card.adapter}")
        load: Callable[..., Any] | None = _guarded(module.load, card, "load", path)
    elif path.is_file():
        load = adapter_function(card, "load")
    else:
        raise BadInput(
            f"Method {card.name!r} has no {path}, expected a module with "
            "`load(context: MethodContext) -> Method`; or a card that names one of this package as "
            f"`adapter`: {', '.join(adapters())}."
        )
    if load is None:
        raise BadInput(f"{path} defines no load(context), expected it to return the method.")
    method = load(context)
    if not isinstance(method, Method):
        raise BadInput(
            f"{path}: load(context) returned {method!r}, expected an object with "
            "resolve(request, base)."
        )
    return method


def _guarded(
    function: Callable[..., Any], card: MethodCard, name: str, path: Path
) -> Callable[..., Any]:
    """A function of an adapter that says whose code it is when it fails."""

    def guarded(*arguments: object) -> object:
        with _code_of(card, name, path):
            return function(*arguments)

    return guarded


def _import(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up by name while it is being executed.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def select_tasks(spec: str) -> list[tuple[TaskCard, tuple[Subset, ...]]]:
    """Find tasks and the subsets of each.

    Args:
        spec: `bias` (all its subsets), `bias/gender`, `all` (all `value_tasks`), or the folder of
            a task, `./my-task`.

    Raises:
        UnknownName: No such task or subset.
        BadInput: The folder or its card is not what it should be.
    """
    if spec == "all":
        return [(card, tuple(card.subsets.values())) for card in value_tasks().values()]
    if _is_folder(spec):
        card = read_task_card(_existing_folder(spec, "--task") / CARD)
        return [(card, tuple(card.subsets.values()))]
    name, _, subset = spec.partition("/")
    known = task_cards()
    if name not in known:
        hint = "For a task of your own, pass its folder: --task ./my-task"
        raise unknown_name("task", name, [*known, "all"], hint)
    card = known[name]
    if not subset:
        return [(card, tuple(card.subsets.values()))]
    if subset not in card.subsets:
        raise _lacking(f"Task {name!r}", "subset", subset, card.subsets)
    return [(card, (card.subsets[subset],))]


def model_card(spec: str) -> ModelCard:
    """Find a model.

    Args:
        spec: A built-in name, the path of a card `./my-model.toml`, or a Stable Diffusion in
            diffusers' format: a folder, or a Hugging Face repository `owner/name@revision`. The
            latter two have the settings and judges of `sd15`.

    Raises:
        UnknownName: No such model.
        BadInput: The card or folder is not what it should be, or the repository has not been
            fetched.
    """
    known = model_cards()
    if Path(spec).suffix in (readable.SUFFIX, *readable.PICKLES) and os.path.isfile(spec):
        raise readable.single_file(Path(spec))
    if spec.endswith(".toml"):
        card = read_model_card(Path(spec))
        if card.name in known and card.path != known[card.name].path.resolve():
            raise BadInput(
                f"The card {spec} is called like the model {card.name!r} of this package, so their "
                "results could not be told apart.",
                "Rename the file and `name` in it.",
            )
        return replace(card, spec=spec)
    if _is_folder(spec):
        folder = _existing_folder(spec, "--model")
        if folder.name in known:
            raise BadInput(
                f"The folder {folder} is called like the model {folder.name!r} of this package, so "
                "their results could not be told apart.",
                "Rename it, or write a card for it: --model ./my-model.toml",
            )
        return _like_sd15(known, folder.name, spec, str(folder))
    if repository := repository_of(spec):
        return _like_sd15(known, repository.id.replace("/", "--"), spec, spec)
    if spec not in known:
        hint = (
            "For a model of your own, pass its card, diffusers folder or Hugging Face repository: "
            "--model ./my-model"
        )
        raise unknown_name("model", spec, known, hint)
    return known[spec]


def _like_sd15(known: Mapping[str, ModelCard], name: str, spec: str, pipeline: str) -> ModelCard:
    """The card of Stable Diffusion 1.5 with another pipeline."""
    return replace(
        known["sd15"],
        path=Path(pipeline),
        name=name,
        spec=spec,
        title=name,
        pipeline=pipeline,
        size=_image_size(pipeline),
        licence="",
    )


def _image_size(pipeline: str) -> int:
    """Side of an image in pixels: the UNet's latent size times the VAE's factor."""
    found = find_weights(pipeline, readable.INDEX)
    if found.folder is None:
        raise not_fetched(pipeline, readable.INDEX, pipeline)
    readable.require_kind(pipeline, found.config)
    unet = find_weights(pipeline, "unet/config.json").config
    vae = find_weights(pipeline, "vae/config.json").config
    try:
        return int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{pipeline} is not a Stable Diffusion model: unet/config.json or vae/config.json says "
            f"no image size ({error!r}). Expected a folder written by save_pretrained."
        ) from error


def model_digest(card: ModelCard) -> str:
    """SHA-256 that names the model's files, for `Recipe.model`.

    Raises:
        BadInput: There is no such folder or hub id, or it cannot be read as it lies there.
    """
    found = find_weights(card.pipeline, readable.INDEX)
    if found.folder is not None:
        readable.require_kind(card.pipeline, found.config)
    if found.repository is None:
        readable.require_weights(Path(found.source))
    return found.digest()


def overview(kind: str | None = None) -> list[dict[str, str]]:
    """What can be run, a row each, variants and subsets included.

    Args:
        kind: `methods`, `tasks`, `models` or `protocols`; None for all of them.
    """
    rows = {
        "methods": _method_rows,
        "tasks": _task_rows,
        "models": _model_rows,
        "protocols": _protocol_rows,
    }
    return [row for name in ([kind] if kind else rows) for row in rows[name]()]


def _method_rows() -> Iterator[dict[str, str]]:
    for card in method_cards().values():
        yield _overview_row("method", card.name, card.title, card.summary)
        for variant in card.variants.values():
            changes = ", ".join(f"{name} = {value}" for name, value in variant.settings.items())
            yield _overview_row("method", f"{card.name}:{variant.name}", variant.title, changes)


def _task_rows() -> Iterator[dict[str, str]]:
    for card in task_cards().values():
        yield _overview_row("task", card.name, card.title, card.summary)
        for subset in card.subsets.values():
            groups = ", ".join(subset.attributes)
            yield _overview_row("task", f"{card.name}/{subset.name}", subset.value, groups)


def _model_rows() -> Iterator[dict[str, str]]:
    for card in model_cards().values():
        settings = f"{card.size} pixels, {card.steps} steps, guidance {card.guidance:g}"
        yield _overview_row("model", card.name, card.title, settings)


def _protocol_rows() -> Iterator[dict[str, str]]:
    for card in protocol_cards().values():
        yield _overview_row("protocol", card.name, card.title, card.summary)


def _overview_row(kind: str, name: str, title: str, summary: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "title": title, "summary": summary}


def card_text(name: str) -> str:
    """The text of one method's, task's, model's or protocol's card, or what it says of a part.

    Args:
        name: As `list` prints it, variants (`livo:retrieved`) and subsets (`bias/gender`) included;
            or, with a leading dot or slash, the folder of a method, of a variant of it or of a
            task; or the path of a model's card.

    Raises:
        UnknownName: No card has this name.
        BadInput: There is no such folder or file, or its card is not what it should be.
    """
    if name.endswith(".toml"):
        return _text_of(read_model_card(Path(name)).path)
    method, _, variant = name.partition(":")
    if variant:
        card = method_card(method)
        chosen = _variant_of(card, variant)
        head = {"name": name, "title": chosen.title, "told": chosen.told}
        return f"{_as_toml(head)}\n[settings]\n{_as_toml({**card.settings, **chosen.settings})}"
    if _is_folder(name):
        return _text_of(_existing_folder(name, "livo-bench show") / CARD)
    if "/" in name:
        [(task, [subset])] = select_tasks(name)
        asked = {"class_text": task.class_text, "question": task.question}
        return _as_toml({**asdict(subset), "name": name, **asked})
    places = {
        **{card.name: card.folder / CARD for card in method_cards().values()},
        **{card.name: card.folder / CARD for card in task_cards().values()},
        **{card.name: card.path for card in model_cards().values()},
        **{card.name: card.path for card in protocol_cards().values()},
    }
    if name not in places:
        raise unknown_name("card", name, places)
    return _text_of(places[name])


def _as_toml(values: Mapping[str, Any]) -> str:
    """Lines of TOML, without what is empty."""
    held = {name: value for name, value in values.items() if value not in (None, "", ())}
    lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in held.items())
    return "".join(f"{line}\n" for line in lines)


def _text_of(card: Path) -> str:
    try:
        return card.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"Cannot read {card}: {error.strerror}.") from error


def _files_below(place: Path, name: str) -> dict[str, Path]:
    """A file, or all of a folder that count, by relative name."""
    if place.is_file():
        return {name: place}
    return {
        (PurePosixPath(name) / path.relative_to(place).as_posix()).as_posix(): path
        for path in (counted_files(place) if place.is_dir() else ())
    }


def _digest_readable(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise BadInput(f"Cannot read {path}: {error.strerror}.", "Make it readable.") from error


def _is_folder(spec: str) -> bool:
    return spec.startswith(".") or Path(spec).is_absolute()


def _existing_folder(spec: str, option: str) -> Path:
    folder = place(spec)
    if not folder.is_dir():
        raise BadInput(f"There is no folder {spec!r}, expected one for {option}.")
    return folder.resolve()


def unknown_name(what: str, name: str, known: Iterable[str], hint: str = "") -> UnknownName:
    """Say that a name is none of those known, and which of them comes close."""
    message = f"Unknown {what} {name!r}. Known: {', '.join(sorted(known))}."
    return _with_advice(message, name, known, hint)


def _lacking(whole: str, what: str, name: str, known: Mapping[str, object]) -> UnknownName:
    names = f"It has: {', '.join(sorted(known))}." if known else "It has none."
    return _with_advice(f"{whole} has no {what} {name!r}. {names}", name, known)


def _with_advice(message: str, name: str, known: Iterable[str], hint: str = "") -> UnknownName:
    close = difflib.get_close_matches(name, known, n=1)
    advice = [f"Did you mean {close[0]!r}?"] if close else []
    advice += [hint] if hint else []
    return UnknownName(message + "\n" * bool(advice), " ".join(advice))
