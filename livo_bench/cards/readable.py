"""Whether a model can be read as it lies in its folder, by names of files and by JSON alone.

Plans and runs ask this before anything loads, so that both say the same: what is there instead of
what is read, and the command that makes the one of the other.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from livo_bench.errors import BadInput

SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of files that may run code when they are read, and never are."""
INDEX = "model_index.json"
PIPELINE = "StableDiffusionPipeline"
PARTS = {
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
}
"""What is loaded of a pipeline, and of which class it is."""
LIBRARIES = ("diffusers", "transformers")
MODEL = ("model",)
DIFFUSERS = ("diffusion_pytorch_model",)
OPEN_CLIP = ("open_clip_model", "open_clip_pytorch_model", "model")
"""Names of a network's file without its ending; any of them will do."""
LEFT_OUT = ("safety_checker", "watermarker", "feature_extractor", "image_encoder")
"""Parts that are not loaded: they hide or mark pictures, or read some that are given besides."""
SCHEDULER, TOKENIZER, PROCESSOR, NETWORK = "scheduler", "tokenizer", "processor", "network"
"""Roles of a pipeline's parts."""
_ROLES = {
    r".+Scheduler": SCHEDULER,
    r".+Tokenizer(Fast)?": TOKENIZER,
    r".+(Processor|FeatureExtractor)": PROCESSOR,
}
"""Roles of parts by the names of their classes; all others are networks."""
_LORAS = ("adapter_config.json", "pytorch_lora_weights.safetensors")


def kind_of(pipeline: str, index: Mapping[str, Any], known: Collection[str]) -> str:
    """The kind of a pipeline, of the libraries' own classes, that can be driven.

    Args:
        pipeline: As it was asked for.
        index: What its `model_index.json` holds.
        known: Kinds that can be.

    Raises:
        BadInput: It is of another kind, or a part of it is code of its own.
    """
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in known:
        raise BadInput(
            f"{pipeline} is a {kind}; expected a {PIPELINE}, or another that diffusers' "
            "AutoPipelineForText2Image knows and that draws from a text alone.",
            _PICTURES,
        )
    require_kind(pipeline, index, kind)
    return kind


_PICTURES = (
    "Make its pictures with its own code, of the prompts that livo-bench data prompts lists, and "
    "have them judged: livo-bench run --model sd15 --method my-model --images-from DIR --task bias"
)


def require_kind(pipeline: str, index: Mapping[str, Any], kind: str = PIPELINE) -> None:
    """See that a pipeline is of a kind, and of the libraries' own classes.

    Args:
        pipeline: As it was asked for.
        index: What its `model_index.json` holds.
        kind: Its class.

    Raises:
        BadInput: It is of another kind, or a part of it is.
    """
    found = index.get("_class_name")
    if found != kind:
        raise BadInput(
            f"{pipeline} is a {found}; expected a {kind}.",
            f"Name another model, or its kind in the model's card: kind = {json.dumps(found)}",
        )
    if kind != PIPELINE:
        for name, (library, of) in parts_of(index).items():
            if library not in LIBRARIES:
                raise BadInput(
                    f"{pipeline} has {[library, of]} as its {name}; expected a class of "
                    f"{' or '.join(LIBRARIES)}, as code of its own is not run.",
                    "Take a model whose parts are of these.",
                )
        return
    for name, expected in PARTS.items():
        # Older pipelines name the fast kind of a tokenizer.
        spelt = [[library, expected + end] for library in LIBRARIES for end in ("", "Fast")]
        if (part := index.get(name)) not in spelt:
            raise BadInput(
                f"{pipeline} has {part} as its {name}; expected a {expected} of diffusers or "
                "transformers, as code of its own is not run.",
                "Pass a Stable Diffusion 1.x or 2.x model.",
            )


def parts_of(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Library and class of the parts of a pipeline that are loaded, by name."""
    return {
        name: (str(held[0]), str(held[1]))
        for name, held in index.items()
        if isinstance(held, list) and len(held) == 2 and held[1] and name not in LEFT_OUT
    }


def role_of(kind: str) -> str:
    """What a part is, by the name of its class."""
    return next((role for form, role in _ROLES.items() if re.fullmatch(form, kind)), NETWORK)


def files_of(name: str, library: str, kind: str) -> list[str]:
    """Files that a part of a pipeline is read from, `one|other` where either will do."""
    role = role_of(kind)
    if role == TOKENIZER:
        words = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
        return [f"{name}/tokenizer_config.json", "|".join(f"{name}/{file}" for file in words)]
    if role == NETWORK:
        return [f"{name}/config.json", f"{name}/{_stems(library)[0]}{SUFFIX}"]
    return [f"{name}/{'scheduler' if role == SCHEDULER else 'preprocessor'}_config.json"]


def _stems(library: str) -> Sequence[str]:
    return DIFFUSERS if library == "diffusers" else MODEL


def require_weights(pipeline: Path, index: Mapping[str, Any]) -> None:
    """See that the folder of a pipeline has the weights of all its parts in safetensors.

    Args:
        pipeline: The folder.
        index: What its `model_index.json` holds.

    Raises:
        BadInput: Says which it lacks, what is there, and what to do.
    """
    networks = {
        part: _stems(library)
        for part, (library, kind) in parts_of(index).items()
        if role_of(kind) == NETWORK
    }
    lacking = {part: stems for part, stems in networks.items() if not _has(pipeline / part, stems)}
    if not lacking:
        return
    names = [f"{part}/{stems[0]}{SUFFIX}" for part, stems in lacking.items()]
    said = f"{pipeline} has no {', '.join(names)}, which it is read from."
    others = {part: _precisions(pipeline / part, stems[0]) for part, stems in lacking.items()}
    if all(others.values()):
        renamed = [
            f"cp {shlex.quote(str(pipeline / part / files[0]))} {shlex.quote(str(pipeline / name))}"
            for (part, files), name in zip(others.items(), names, strict=True)
        ]
        first = next(iter(others.values()))[0]
        raise BadInput(f"{said} {_other_precision(first)}{' && '.join(renamed)}")
    if pickles := [f"{part}/{name}" for part in lacking for name in _pickles(pipeline / part)]:
        raise BadInput(f"{said} {_pickled(pickles[0])}{resaved(str(pipeline), pickles[0])}")
    raise BadInput(f"{said} Copy the model again, with all of its files.")


def require_network(what: str, folder: Path, stems: Sequence[str]) -> None:
    """See that the folder of one network has its weights in safetensors.

    Args:
        what: Names the network in messages.
        folder: Folder that is asked for.
        stems: Names of the file without its ending; any will do.

    Raises:
        BadInput: Says what is there instead, and what to do.
    """
    if not _has(folder, stems):
        raise BadInput(
            f"{folder} has no {stems[0]}{SUFFIX}, which its {what} is read from. "
            f"{instead(folder, stems[0])}"
        )


def instead(folder: Path, stem: str) -> str:
    """What a folder without the wanted file has instead, and what to do about it."""
    if precisions := _precisions(folder, stem):
        files = [shlex.quote(str(folder / name)) for name in (precisions[0], stem + SUFFIX)]
        return f"{_other_precision(precisions[0])}cp {' '.join(files)}"
    if pickles := _pickles(folder):
        return (
            f"{_pickled(pickles[0])}save_pretrained writes them, and so does "
            "safetensors.torch.save_file."
        )
    return f"Expected {stem}{SUFFIX} as the model was saved; copy the model again."


def instead_of_index(folder: Path, marker: str) -> str:
    """What to do about a folder that lacks the JSON file which says a model's kind."""
    names = _names(folder)
    inner = [folder / name for name in names if (folder / name / marker).is_file()]
    if inner:
        return f"Pass the folder that holds it: {shlex.quote(str(inner[0]))}"
    if loras := [name for name in _LORAS if name in names]:
        return (
            f"It is a LoRA ({loras[0]}), that is a change of another model. Merge it (fuse_lora in "
            "diffusers, merge_and_unload in peft), save what comes out with save_pretrained, and "
            "pass that folder."
        )
    files = [name for name in names if name.endswith((SUFFIX, *PICKLES))]
    if marker == INDEX and files:
        return f"It has {files[0]}. {_converted(folder / files[0])}"
    return f"Pass the folder that holds {marker}."


def single_file(path: Path, marker: str = INDEX) -> BadInput:
    """The error for a file where a model's folder was expected."""
    if marker == INDEX and path.suffix in (SUFFIX, *PICKLES):
        return BadInput(f"{path} is a file; expected a folder of diffusers. {_converted(path)}")
    return BadInput(
        f"{path} is a file; expected the folder of a model, with {marker}.",
        "Pass the folder that it was saved in.",
    )


def resaved(source: str, file: str, revision: str | None = None) -> str:
    """The command that saves a pipeline in safetensors.

    Args:
        source: Its folder, or a repository.
        file: One of its files of weights, which may name a precision.
        revision: Revision of the repository.
    """
    variant = re.search(r"\.(fp16|bf16|fp32)\.", file)
    options = {"variant": variant[1] if variant else None, "revision": revision}
    named = "".join(f", {name}={value!r}" for name, value in options.items() if value)
    code = f"P.from_pretrained({source!r}{named}).save_pretrained('converted')"
    return _python(code, "DiffusionPipeline")


def converting(path: Path) -> str:
    """The command that makes a folder of a checkpoint that is one file for all parts."""
    return _python(f"P.from_single_file({str(path)!r}).save_pretrained('converted')")


def _converted(path: Path) -> str:
    trust = ", where you trust it, as a pickle may run code" if path.suffix in PICKLES else ""
    return (
        f"If that is a checkpoint of one file for all parts, make it a folder{trust}, and pass "
        f"--model ./converted: {converting(path)}"
    )


def _python(code: str, kind: str = PIPELINE) -> str:
    code = f"from diffusers import {kind} as P; {code}"
    plain = not re.search(r'["$`\\!]', code)  # then it reads better
    return f'python -c "{code}"' if plain else f"python -c {shlex.quote(code)}"


def _other_precision(name: str) -> str:
    return (
        f"It has {name}, which is that file in another precision. Give it the name that is "
        "expected: "
    )


def _pickled(name: str) -> str:
    return (
        f"It has {name}, a pickle, which may run code and is never read. Get a copy in "
        "safetensors (livo-bench fetch --model MODEL), or save the model so where you trust it: "
    )


def _has(folder: Path, stems: Sequence[str]) -> bool:
    names = _names(folder)
    return any({stem + SUFFIX, f"{stem}{SUFFIX}.index.json"} & {*names} for stem in stems)


def _precisions(folder: Path, stem: str) -> list[str]:
    form = re.compile(rf"{re.escape(stem)}\.\w+{re.escape(SUFFIX)}")
    return [name for name in _names(folder) if form.fullmatch(name)]


def _pickles(folder: Path) -> list[str]:
    return [name for name in _names(folder) if name.endswith(PICKLES)]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
