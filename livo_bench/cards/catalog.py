"""Finds cards of methods, tasks, models and protocols: in the checkout, in the wheel, or a user's.

The code of a method is loaded in `adapters`; what `list` and `show` print is made in `listing`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

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
from livo_bench.cards.kinds import KINDS
from livo_bench.cards.weights import (
    CARD,
    find_weights,
    not_fetched,
    repository_of,
)
from livo_bench.errors import BadInput, UnknownName

Card = TypeVar("Card")


_HERE = Path(__file__).parent
PACKAGE = _HERE.parent
_BUNDLED = PACKAGE / "_bundled"

DATA = _BUNDLED if _BUNDLED.is_dir() else PACKAGE.parent
"""Holds `methods/`, `tasks/` and `results/`: the checkout, or `_bundled` in an installed wheel."""

SHIPPED = DATA / "results" / "mini"
"""The reference that comes with the package, and what has been measured once beside it."""

RUNS = Path("results/runs")
"""Where runs are written and read, unless another folder is named."""

AUDIT = RUNS / "audit"
"""Where an audit lies unless another folder is named."""

ALL = "all"
"""Stands for all methods of the package, and for all its tasks but controls."""
HANDED = "weights"
"""The method of weights that a run is given, see `methods.handed`."""


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
    return [_read(read, path, path.stat().st_mtime_ns) for path in sorted(folder.glob(pattern))]


@cache
def _read(read: Callable[[Path], Card], path: Path, _changed: int) -> Card:
    """Read a card once for as long as it is not changed: tables ask for each of their rows."""
    return read(path)


def select_methods(specs: Iterable[str]) -> list[str]:
    """Methods by name, each once; `all` stands for every built-in one, without variants and
    without `HANDED`."""
    ours = [name for name in method_cards() if name != HANDED]
    named = [name for spec in specs for name in (ours if spec == ALL else [spec])]
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
    if is_folder(place):
        card = read_method_card(existing_folder(place, "--method") / CARD)
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


def variant_of(card: MethodCard, name: str) -> Variant:
    if name not in card.variants:
        raise _lacking(f"Method {card.name!r}", "variant", name, card.variants)
    return card.variants[name]


def method_name(spec: str) -> str:
    """What results call a method; a user's folder goes by its name.

    Raises:
        BadInput: The folder or its card is not what it should be.
    """
    place, colon, variant = spec.partition(":")
    return (method_card(place).name if is_folder(place) else place) + colon + variant


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
    if is_folder(spec):
        card = read_task_card(existing_folder(spec, "--task") / CARD)
        return [(card, tuple(card.subsets.values()))]
    name, slash, subset = spec.partition("/")
    known = task_cards()
    if name not in known:
        hint = "For a task of your own, pass its folder: --task ./my-task"
        raise unknown_name("task", name, [*known, "all"], hint)
    card = known[name]
    if not slash:
        return [(card, tuple(card.subsets.values()))]
    if subset not in card.subsets:
        raise _lacking(f"Task {name!r}", "subset", subset, card.subsets)
    return [(card, (card.subsets[subset],))]


def model_card(spec: str) -> ModelCard:
    """Find a model.

    Args:
        spec: A built-in name, the path of a card `./my-model.toml`, or a pipeline in diffusers'
            format: a folder, or a Hugging Face repository `owner/name@revision`. The latter two
            have the settings and judges of the first built-in model of their kind, `sd15` for a
            Stable Diffusion 1.x or 2.x.

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
    if is_folder(spec):
        folder = existing_folder(spec, "--model")
        if folder.name in known:
            raise BadInput(
                f"The folder {folder} is called like the model {folder.name!r} of this package, so "
                "their results could not be told apart.",
                "Rename it, or write a card for it: --model ./my-model.toml",
            )
        return _like_known(known, folder.name, spec, str(folder))
    if repository := repository_of(spec):
        return _like_known(known, repository.id.replace("/", "--"), spec, spec)
    if spec not in known:
        hint = (
            "For a model of your own, pass its card, diffusers folder or Hugging Face repository: "
            "--model ./my-model"
        )
        raise unknown_name("model", spec, known, hint)
    return known[spec]


def _like_known(known: Mapping[str, ModelCard], name: str, spec: str, pipeline: str) -> ModelCard:
    """The card of the first model of its kind with another pipeline."""
    found = find_weights(pipeline, readable.INDEX)
    if found.folder is None:
        raise not_fetched(pipeline, readable.INDEX, pipeline)
    kind = readable.kind_of(pipeline, found.config, KINDS)
    alike = [card for card in known.values() if card.kind == kind and card.scale == "sd"]
    if not alike:
        raise BadInput(
            f"{pipeline} is a {kind}, and no model of this package is, so nobody said how many "
            "steps it takes and so on. Expected a card that does.",
            "Write one from the nearest, see docs/models.md: livo-bench show sdxl > my-model.toml",
        )
    return replace(
        alike[0],
        path=Path(pipeline),
        name=name,
        spec=spec,
        title=name,
        pipeline=pipeline,
        size=_image_size(pipeline, "unet" if "unet" in found.config else "transformer", alike[0]),
        licence="",
    )


def _image_size(pipeline: str, network: str, alike: ModelCard) -> int:
    """Side of an image in pixels: the latent size of the network times the VAE's factor."""
    config = find_weights(pipeline, f"{network}/config.json").config
    vae = find_weights(pipeline, "vae/config.json").config
    if "sample_size" not in config and alike.kind != readable.PIPELINE:
        return alike.size
    try:
        widths = vae.get("encoder_block_out_channels") or vae["block_out_channels"]
        return int(config["sample_size"]) * 2 ** (len(widths) - 1)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{pipeline} is not a {alike.kind}: {network}/config.json or vae/config.json says no "
            f"image size ({error!r}). Expected a folder written by save_pretrained."
        ) from error


def model_digest(card: ModelCard) -> str:
    """SHA-256 that names the model's files, or the service that is asked, for `Recipe.model`.

    Raises:
        BadInput: There is no such folder or hub id, or it cannot be read as it lies there.
    """
    if card.service is not None:
        return card.service.digest
    found = find_weights(card.pipeline, readable.INDEX)
    if found.folder is not None:
        readable.require_kind(card.pipeline, found.config, card.kind)
    if found.repository is None:
        readable.require_weights(Path(found.source), found.config)
    return found.digest()


def is_folder(spec: str) -> bool:
    return spec.startswith(".") or Path(spec).is_absolute()


def existing_folder(spec: str, option: str) -> Path:
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
