"""Loads a method with its code, and sees that the code keeps its promises.

Cards are read eagerly and code late: an adapter is imported when its method is loaded, a module of
`livo_bench.methods` that the card names, or `adapter.py` from its path. Built-in methods and a
user's folder take the same way.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from livo_bench.cards.catalog import PACKAGE, method_card, method_cards, unknown_name, variant_of
from livo_bench.cards.declared import MethodCard, ModelCard, ProtocolCard
from livo_bench.cards.weights import CARD, counted_files, digest_folder
from livo_bench.errors import AdapterFailed, BadInput, LivoBenchError, Unfit
from livo_bench.files import digest_file, sha256
from livo_bench.interfaces import (
    Called,
    Method,
    MethodContext,
    OwnGenerator,
    Pixels,
    WithFiles,
    WithSources,
)
from livo_bench.records import Recipe, Request, same_but_seed, values_but_seed, wrong_field

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter.py"
"""Name of a method's code in its folder."""


@dataclass(frozen=True, slots=True)
class LoadedMethod:
    """A method, or a variant of one, ready to resolve requests."""

    name: str
    """Name as in `--method`, a user's folder by its own: `livo`, `livo:wo-m`."""
    title: str
    card: MethodCard
    method: Method
    generator: str | None
    """When the method renders by itself: SHA-256 of its folder's digest, a line feed and its
    settings as JSON. None when the engine renders."""
    digest: str | None = None
    """Digest of the folder of a user's own method; None for one of this package."""
    asked: str | None = None
    """Options of a run that ask for it; None where its name says all."""

    @property
    def told(self) -> str:
        """What the method learns of an evaluation besides the prompt, see `MethodCard.told`."""
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
        """Ask the method for a recipe; raises as `resolve_all`."""
        [recipe] = self.resolve_all([(request, base)])
        return recipe

    def resolve_all(self, asked: Sequence[tuple[Request, Recipe]]) -> list[Recipe]:
        """Ask the method for recipes, and see that it keeps the promises of `Method.resolve`.

        Args:
            asked: Requests, each with the recipe of the unaligned model.

        Raises:
            BadInput: The method cannot do a request, changed a seed, or returned no recipe or one
                with a field that does not hold what it should.
            AdapterFailed: Its code raised something else.
        """
        recipes: list[Recipe] = []
        try:
            with _code_of(self.card, "resolve", _adapter_file(self.card)):
                for request, base in asked:
                    recipes.append(self.method.resolve(request, base))
        except BadInput as error:
            principle, prompt = request.principle, request.prompt
            raise BadInput(
                f"Method {self.name!r} has no recipe for prompt {prompt.id!r} of "
                f"{principle.task}/{principle.subset}: {error}"
            ) from error
        sound: list[tuple[object, ...]] = []
        for (_, base), recipe in zip(asked, recipes, strict=True):
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
            # A prompt has few recipes, and looking at each image's takes as long as all the rest.
            values = values_but_seed(recipe)
            if not any(same_but_seed(values, known) for known in sound):
                if (wrong := wrong_field(recipe)) is not None:
                    raise BadInput(
                        f"Method {self.name!r} resolved a request to a recipe with {wrong}.",
                        f"Mend `resolve` in {self.card.folder}.",
                    )
                sound.append(values)
        if self.generator is None:
            return recipes
        return [replace(recipe, generator=self.generator) for recipe in recipes]

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
        protocol: Protocol whose settings are laid over the method's; ours when None.

    Raises:
        UnknownName: No such method or variant.
        BadInput: The folder, its card or its adapter is not what it should be, or the method takes
            no weights.
    """
    own_name, _, variant = spec.partition(":")
    card = method_card(own_name)
    name, title, settings = card.name, card.title, dict(card.settings)
    if variant:
        chosen = variant_of(card, variant)
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
    if isinstance(method, Called):
        name = title = method.called
    own, paints = card.name not in method_cards(), isinstance(method, OwnGenerator)
    digest = digest_folder(card.folder) if own or paints else ""
    settings_text = json.dumps(settings, sort_keys=True)
    generator = sha256(f"{digest}\n{settings_text}") if paints else None
    asked = [] if weights is None else ["--weights", f"{spec}={weights}"]
    if asked or own:
        asked = ["--method", spec, *asked]
    return LoadedMethod(
        name, title, card, method, generator, digest if own else None, shlex.join(asked) or None
    )


def require_offered(spec: str, model: ModelCard) -> None:
    """See that a model offers what a method asks of one, before any code of it is loaded.

    Args:
        spec: Name of the method, as `load_method` takes it.
        model: Model that the method is to run or train on.

    Raises:
        Unfit: It does not.
        UnknownName: No such method.
    """
    own_name, _, variant = spec.partition(":")
    card = method_card(own_name)
    if lacking := [need for need in card.needs_of(variant) if need not in model.offers]:
        raise Unfit(
            f"Method {spec!r} needs of a model: {', '.join(lacking)}. {model.name!r}, a "
            f"{model.kind}, offers: {', '.join(model.offers)}.",
            "See what others need: livo-bench list methods",
        )


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
def known_adapters() -> Mapping[str, Path]:
    """The modules of `livo_bench.methods` that a card may name as its adapter, with their files.

    Found by their text: to import them takes torch, and what a card names is not imported before it
    is known.
    """
    room = PACKAGE / "methods"
    return {
        ".".join(path.relative_to(room).with_suffix("").parts): path
        for path in sorted(room.rglob("*.py"))
        if "\ndef load(context: MethodContext)" in path.read_text("utf-8")
    }


def _adapter_file(card: MethodCard) -> Path:
    if card.adapter is None:
        return card.folder / ADAPTER
    if card.adapter not in known_adapters():
        hint = f"Mend it in {card.folder / CARD}, or leave it out and write {ADAPTER} beside it."
        raise unknown_name("adapter", card.adapter, known_adapters(), hint)
    return known_adapters()[card.adapter]


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
            f"`adapter`: {', '.join(known_adapters())}."
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
