"""The one door through which tensors enter a network.

What files hold is held against what a network has, by name, shape and kind of number, before any of
it is let in. Every tensor comes from a file, or from another network that is named for it; none
stays as it was initialised. What files may carry besides is named in their `Spelling`.

Only safetensors are read, and nothing is fetched. Code that lies beside them is never run, see
`weights.refuse_code`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import Module

from livo_bench.cards import readable
from livo_bench.cards.weights import loading
from livo_bench.engines.tensor_files import Files, Header, first, headers, refuse_lora
from livo_bench.errors import BadInput

Network = TypeVar("Network", bound=Module)


PREFIXES = {
    "module.": "as data-parallel training leaves it",
    "_orig_mod.": "as torch.compile leaves it",
    "base_model.model.": "as peft leaves it",
    "ema.": "as an average of weights has it",
}
"""What is often put before names, and by whom."""
LORA = re.compile(r".*(lora_|[._]lora\.|hada_w|lokr_w|dora_scale).*")
SINGLE_FILE = re.compile(r"(model\.diffusion_model|cond_stage_model|first_stage_model)\..+")
"""Names in a checkpoint of Stable Diffusion that is one file for all parts."""


def read(
    files: Files,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor] | None = None,
    tied: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Read all tensors of a network.

    Args:
        files: Where they are.
        own: The network's `state_dict`: names, shapes and kinds of number; its values do not count.
        given: Tensors that the files may leave out together, by their name in the network.
        tied: Tensors that are one with another: by name, that other's.

    Returns:
        By name in the network, in the precision of the files; without those that are tied.

    Raises:
        BadInput: One is missing, unknown, there twice, of another shape or another kind of number.
    """
    given = given or {}
    found = _matched(files, own)
    missing = own.keys() - found.targets.keys()
    for one, other in (tied or {}).items():
        if len(missing & {one, other}) == 1:
            missing -= {one, other}
    if found.targets and missing == given.keys():
        missing = set()
    _refuse_misfits(files, own, found, missing)
    tensors = {name: given[name] for name in given if name not in found.targets}
    _refuse_shapes(files, own, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return {**_values(own, found), **tensors}


def changes(files: Files, own: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Read tensors that take the place of some of a network's, finite ones.

    Args:
        files: Where they are.
        own: The network's `state_dict`; its values do not count.
        names: Those that the files must hold.

    Raises:
        BadInput: As in `read`; or there are none, or one is no finite number.
    """
    found = _matched(files, own)
    if not found.held:
        raise BadInput(f"The {files.what} of {files.place} is empty: no tensor. {files.expected}")
    missing = set(names) - found.targets.keys() - set(found.unknown)
    if not found.targets and not found.unknown:
        missing = set(own)
    _refuse_misfits(files, own, found, missing)
    tensors = _values(own, found)
    refuse_not_finite(files.what, files.place, tensors)
    return tensors


class _Match(NamedTuple):
    """What of some files belongs to a network."""

    held: Mapping[str, Header]
    targets: dict[str, str]
    """Name in the files of each tensor, by its name in the network."""
    unknown: list[str]
    """Names in the files that the network does not have, or has from another name already."""


def _matched(files: Files, own: Iterable[str]) -> _Match:
    held = headers(files.what, files.paths)
    _, plain, aside = files.spelling
    mine = {plain(name): name for name in own}
    targets: dict[str, str] = {}
    unknown = []
    for name in sorted(held):
        target = mine.get(plain(name))
        if target is not None and target not in targets:
            targets[target] = name
        elif target is not None or not aside.fullmatch(name):
            unknown.append(name)
    return _Match(held, targets, unknown)


def _refuse_misfits(
    files: Files, own: Mapping[str, Tensor], found: _Match, missing: Iterable[str]
) -> None:
    lacks, unknown = sorted(missing), found.unknown
    if lacks or unknown:
        count = f"{len(lacks)} of {len(own)}"
        said = [f"lacks {count} tensors{first(lacks)}"] if lacks else []
        said += [f"has {len(unknown)} that it should not have{first(unknown)}"] if unknown else []
        if not files.change and any(LORA.fullmatch(name) for name in unknown):
            refuse_lora(files.what, files.place, next(filter(LORA.fullmatch, unknown)))
        raise BadInput(
            f"The {files.what} of {files.place} {' and '.join(said)}. "
            f"{_cause(files, own, lacks, unknown)}"
        )
    shapes = {target: found.held[name].shape for target, name in found.targets.items()}
    _refuse_shapes(files, own, shapes)
    others = [
        target
        for target, name in found.targets.items()
        if found.held[name].floating != own[target].is_floating_point()
    ]
    if others:
        wanted = "real numbers" if own[others[0]].is_floating_point() else "whole numbers"
        raise BadInput(
            f"The {files.what} of {files.place} has {len(others)} tensors of another kind of "
            f"number{first(sorted(others))}; expected {wanted} of 16 to 64 bits. Weights that "
            "were quantised are not read; copy the model again."
        )


def _refuse_shapes(
    files: Files, own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    others = sorted(name for name, shape in shapes.items() if not _alike(shape, own[name].shape))
    if others:
        name = others[0]
        wanted, mend = (
            ("for this model", "They were made for another: name that with --model.")
            if files.change
            else (
                "by its configuration",
                "The weights belong to another model, or the configuration does; copy both again.",
            )
        )
        raise BadInput(
            f"The {files.what} of {files.place} has {len(others)} tensors of another shape, e.g. "
            f"{name} {shapes[name]}; expected {tuple(own[name].shape)} {wanted}. {mend}"
        )


def _alike(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes are the same; one number may stand alone or in a row of one."""
    return tuple(shape) == tuple(other) or {tuple(shape), tuple(other)} == {(), (1,)}


def _cause(files: Files, own: Iterable[str], lacks: list[str], unknown: list[str]) -> str:
    """Why tensors may be missing or unknown, and what to do about it."""
    if single := next(filter(SINGLE_FILE.fullmatch, unknown), None):
        return (
            f"{single} is named as in a checkpoint of one file for all parts. Make it a folder: "
            f"{readable.converting(files.paths[0])}"
        )
    # Some of a network's tensors, as a change of it has, lack none.
    if prefix := _prefix(own if files.change else lacks, unknown, files.spelling.plain):
        path = str(files.paths[0])
        code = (
            "from pathlib import Path; from safetensors.torch import load, save_file; "
            f"old = load(Path({path!r}).read_bytes()); "
            f"save_file({{n.removeprefix({prefix!r}): t for n, t in old.items()}}, {path!r}, "
            "metadata={'format': 'pt'})"
        )
        why = PREFIXES.get(prefix, "which the network does not have")
        return (
            f"Names begin with {prefix!r}, {why}. Take it off, which writes the file anew: "
            f"python -c {shlex.quote(code)}"
        )
    if prefix := _prefix(unknown, lacks, files.spelling.plain):
        return f"Names lack {prefix!r} at their beginning. Save the model again as it was loaded."
    return files.expected


def _prefix(names: Iterable[str], longer: Sequence[str], plain: Callable[[str], str]) -> str:
    """What stands before some names in most of the others, or nothing."""
    ends = set(map(plain, names))
    found = [
        name[:cut]
        for name in longer
        for cut in (match.end() for match in re.finditer(r"\.", name))
        if plain(name[cut:]) in ends
    ]
    common = max(sorted(set(found), key=len), key=found.count, default="")
    return common if 2 * found.count(common) > min(len(ends), len(longer)) else ""


def _values(own: Mapping[str, Tensor], found: _Match) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in {header.path for header in found.held.values()}:
        with loading("tensors", path), safe_open(path, framework="pt") as file:
            for target, name in found.targets.items():
                if found.held[name].path == path:
                    tensors[target] = file.get_tensor(name).reshape(own[target].shape)
    return tensors


def transformer(
    kind: type[Network],
    files: Files,
    dtype: torch.dtype,
    device: torch.device | str,
    given: Mapping[str, Tensor] | None = None,
) -> Network:
    """Load a network of transformers, ready for inference.

    Args:
        kind: Its class.
        files: In a folder with its `config.json`.
        dtype: Dtype of its real numbers.
        device: Where it goes.
        given: As `read` takes it.

    Raises:
        BadInput: It does not load, or a tensor does not fit or is no finite number.
    """
    from accelerate import init_empty_weights

    library: Any = kind
    with loading(files.what, files.place):
        config = library.config_class.from_pretrained(
            files.place, trust_remote_code=False, local_files_only=True
        )
        with init_empty_weights():
            empty = library(config)
    tied = getattr(empty, "all_tied_weights_keys", {})
    tensors = read(files, empty.state_dict(), given, tied)
    with loading(files.what, files.place):
        network, report = library.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
        )
    left = sorted(report["missing_keys"])
    assert not left, left
    return finished(network, files, device)


def of_any_kind(library: Any, files: Files, dtype: torch.dtype, device: torch.device | str) -> Any:
    """Load a network of transformers whose files may have names of older versions.

    Args:
        library: Its class, or one of the `Auto` classes.
        files: In a folder with its `config.json`.
        dtype: Dtype of its real numbers.
        device: Where it goes.

    Raises:
        BadInput: It does not load, or a tensor is missing, unknown, of another shape or no finite
            number.
    """
    with loading(files.what, files.place):
        network, report = library.from_pretrained(
            files.place,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(one) for one in report[fault]):
            raise BadInput(
                f"The {files.what} of {files.place} has {len(names)} {fault.replace('_keys', '')} "
                f"tensors{first(names)}. {files.expected}"
            )
    return finished(network, files, device)


def diffuser(
    kind: type[Network], files: Files, dtype: torch.dtype, device: torch.device | str
) -> Network:
    """Load a network of diffusers, ready for inference.

    Args:
        kind: Its class.
        files: In a folder with its `config.json`.
        dtype: Dtype of its real numbers, but of those that its class keeps in float32.
        device: Where it goes.

    Raises:
        BadInput: It does not load, it is another class's, or a tensor does not fit or is no
            finite number.
    """
    from accelerate import init_empty_weights

    library: Any = kind
    with loading(files.what, files.place):
        config = library.load_config(files.place, local_files_only=True)
        if config.get("_class_name", kind.__name__) != kind.__name__:
            raise BadInput(
                f"The {files.what} of {files.place} is a {config['_class_name']}; expected a "
                f"{kind.__name__}.",
                "Pass a model whose parts were saved together.",
            )
        with init_empty_weights():
            network: Network = library.from_config(config)
    tensors = read(files, network.state_dict())
    exact = {*(library._keep_in_fp32_modules or ())}

    def kept(name: str, tensor: Tensor) -> Tensor:
        number = dtype if exact.isdisjoint(name.split(".")) else torch.float32
        # A copy: what was read lies in the file, and would change or go with it.
        return tensor.to(number if tensor.is_floating_point() else None, copy=True)

    with loading(files.what, files.place):
        network.load_state_dict({n: kept(n, tensor) for n, tensor in tensors.items()}, assign=True)
    return finished(network, files, device)


def empty(kind: type[Network], folder: Path) -> Network:
    """A network of diffusers or transformers by the configuration in its folder, with no tensor.

    Raises:
        BadInput: There is no configuration, or no such network can be built.
    """
    from accelerate import init_empty_weights

    library: Any = kind
    with loading("configuration", folder), init_empty_weights():
        if hasattr(library, "config_class"):
            settings = library.config_class.from_pretrained(folder, local_files_only=True)
            return cast(Network, library(settings))
        return cast(
            Network, library.from_config(library.load_config(folder, local_files_only=True))
        )


def fill(network: Network, files: Files, device: torch.device | str) -> Network:
    """Put tensors into a network that was built, in its own precision, ready for inference.

    Raises:
        BadInput: A tensor does not fit or is no finite number.
    """
    tensors = read(files, network.state_dict())
    with loading(files.what, files.place):
        network.load_state_dict(tensors)
    return finished(network, files, device)


def finished(network: Network, files: Files, device: torch.device | str) -> Network:
    """The network in evaluation mode, frozen and on its device, with finite numbers alone."""
    network.eval().requires_grad_(False).to(device)
    refuse_not_finite(files.what, files.place, network.state_dict())
    return network


def refuse_not_finite(what: str, place: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """See that all real numbers are finite.

    Raises:
        BadInput: Names those that are not.
    """
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if bad:
        kind = str(tensors[bad[0]].dtype).removeprefix("torch.")
        past = " Numbers past 65504 are none in float16: try --dtype float32." * (kind == "float16")
        raise BadInput(
            f"The {what} of {place} holds NaN or infinity as {kind}, in {len(bad)} tensors"
            f"{first(sorted(bad))}; expected finite numbers.{past} Copy the model again."
        )
