"""LiVO's value encoder: a text tower that reads "value, prompt" and adds one token to the context.

On disk it is a transformers folder of a `CLIPTextModel`. Tensors that the folder leaves out are
those of the model's own text encoder, which the value encoder started from; such a folder names
that model by digest. A copy of a published encoder, which leaves nothing out, loads alike.

Token layouts, for a text encoder of 77 tokens:

| layout    | context                                    | tokens |
| `pad77`   | value, prompt padded or cut to 76          | 77     |
| `train78` | value, prompt padded or cut to 77          | 78     |
| `paper`   | value, prompt as long as it is, at most 76 | 2..77  |

`train78` is what the released code trains with and `paper` what it evaluates with. `pad77` serves
for both, and is the one that stock pipelines take as `prompt_embeds` without more.

Source: Wang et al. 2024, arXiv:2410.12700, section 3.3, and the released code.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from livo_bench.cards.catalog import model_digest
from livo_bench.cards.declared import ModelCard
from livo_bench.cards.kinds import TOWERS
from livo_bench.cards.weights import Weights, find_weights, loading
from livo_bench.errors import BadInput

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor
    from torch.nn import Module
    from transformers import CLIPTextModel, CLIPTokenizer

FOLDER = "value_encoder"
"""What `save` calls the folder that it writes."""
BASE = "livo_base"
"""Field of the folder's `config.json`: digest of the model whose tensors complete it."""
FROZEN = "livo_frozen"
"""Field of the folder's `config.json`: beginnings of the tensors' names that are left out."""
LARGEST = 2
"""The `eos_token_id` of old configurations, which means that a text ends at its largest token."""
FROZEN_UNSAID = ("embeddings.",)
"""What is left out by folders of ours that were written before the field was."""


Network = TypeVar("Network", bound="Module")


@dataclass(frozen=True, slots=True)
class Found:
    """A value encoder that fits a model, not loaded yet."""

    folder: str
    """Folder or repository that has it."""
    digest: str


def find(weights: str | Path, model: ModelCard) -> Found:
    """Look a value encoder up and see that it fits a model; loads nothing.

    Args:
        weights: A folder, or `hub:` and a Hugging Face repository as `weights.find_weights` takes
            it; one that has not been fetched is not looked into.
        model: What it is to steer.

    Raises:
        BadInput: There is no such encoder, or it belongs to another model.
    """
    if not Path(weights).is_dir() and not str(weights).startswith("hub:"):
        raise BadInput(
            f"There is no folder {str(weights)!r}, expected one with a value encoder. A Hugging "
            "Face repository is named hub:OWNER/NAME or hub:OWNER/NAME/FOLDER."
        )
    towers = TOWERS.get(model.kind)
    for part in towers or ("text_encoder",):
        found = find_weights(weights, f"{part}/config.json" if towers else "config.json")
        pipeline = find_weights(model.pipeline, f"{part}/config.json")
        if found.folder is not None and pipeline.folder is not None:
            _require_fit(weights, found.config, pipeline.config, model)
    return Found(str(weights), found.digest())


def _require_fit(
    weights: str | Path, config: Mapping[str, Any], text: Mapping[str, Any], model: ModelCard
) -> None:
    """See that a value encoder fits a text encoder of a model, by their configurations."""
    for name in ("hidden_size", "vocab_size", "max_position_embeddings"):
        if config.get(name) != text.get(name):
            raise BadInput(
                f"The value encoder {weights} has {name} {config.get(name)}, the text "
                f"encoder of model {model.name!r} has {text.get(name)}; expected them equal.",
                f"Train one for this model: livo-bench train --method livo --model {model.spec}",
            )
    base = config.get(BASE)
    if base is not None and base != model_digest(model):
        raise BadInput(
            f"The value encoder {weights} was trained on a model with digest {str(base)[:12]}, and "
            f"{model.name!r} has {model_digest(model)[:12]}.",
            f"Train one for this model: livo-bench train --method livo --model {model.spec}",
        )


def load(folder: str | Path, text_encoder: CLIPTextModel) -> CLIPTextModel:
    """Load a value encoder in float32, on the text encoder's device.

    Args:
        folder: Folder or repository, as `find` takes it.
        text_encoder: The model's own, for the tensors that the folder leaves out.

    Raises:
        BadInput: It does not load, or leaves out tensors without naming the model they come from.
    """
    from transformers import CLIPTextModel

    found = find_weights(folder, "config.json")
    encoder = loaded(found, Path(found.source), CLIPTextModel, text_encoder)
    said = text_encoder.config.eos_token_id
    end = said if type(said) is int and said != LARGEST else encoder.config.vocab_size - 1
    refuse_deaf(encoder, found, end, lambda texts: encoder(texts).pooler_output)
    return encoder


def loaded(found: Weights, folder: Path, kind: type[Network], text_encoder: Any) -> Network:
    """Load one value encoder in float32, on the device of the text encoder that it started from.

    Args:
        found: Where it is from; its marker is the encoder's configuration.
        folder: With its configuration and weights.
        kind: Its class.
        text_encoder: The model's own, for the tensors that the folder leaves out.

    Raises:
        BadInput: As `load` does.
    """
    import torch

    from livo_bench.engines import networks
    from livo_bench.engines.tensor_files import CLIP_TEXT, files_of

    files = files_of("value encoder", folder, CLIP_TEXT)
    frozen = _left_out(found)
    inside = "text_model." if "Projection" in kind.__name__ else ""
    given = {
        inside + plain(name): tensor
        for name, tensor in text_encoder.state_dict().items()
        if plain(name).startswith(frozen)
    }
    return networks.transformer(kind, files, torch.float32, text_encoder.device, given)


def refuse_deaf(encoder: Any, found: Weights, end: int, say: Callable[[Tensor], Tensor]) -> None:
    """See that an encoder speaks from the end of a text, where it has heard all of it.

    Args:
        encoder: The value encoder.
        found: Where it is from.
        end: Which token ends a text.
        say: What the encoder says of texts `(n, length)`, a row each.

    Raises:
        BadInput: It says the same of two texts, or no numbers.
    """
    import torch

    from livo_bench.engines import networks

    texts = torch.tensor([[0, 1, end], [0, 2, end]], device=encoder.device)
    with torch.no_grad(), loading("value encoder", found.source):
        one, other = say(texts)
    networks.refuse_not_finite("answer of the value encoder", found.source, {"state": one})
    if torch.equal(one, other):
        raise BadInput(
            f"The value encoder {found.name} has eos_token_id = {encoder.config.eos_token_id!r} "
            f"and says the same of all texts; expected {end}, the token that ends one.",
            "Copy the value encoder again.",
        )


def _left_out(found: Weights) -> tuple[str, ...]:
    """Beginnings of the names of the tensors that a folder leaves to the model's text encoder."""
    frozen = found.config.get(FROZEN, FROZEN_UNSAID) if BASE in found.config else ()
    if not isinstance(frozen, list | tuple) or not all(isinstance(name, str) for name in frozen):
        raise BadInput(
            f"{found.name} has {FROZEN} = {frozen!r} in its config.json; expected a list of "
            "beginnings of names.",
            "Copy the value encoder again.",
        )
    return tuple(frozen)


def save(encoder: Module, frozen: Sequence[str], base: str, folder: Path) -> None:
    """Write what a value encoder has learnt, in half precision, as `folder/value_encoder`.

    Args:
        encoder: A `CLIPTextModel`; or several encoders by name, each for a folder of its own.
        frozen: Prefixes of the tensors that are the model's own, and left out; as `plain` has them.
        base: Digest of that model.
        folder: To write to.
    """
    import torch

    unfinished, finished = folder / f".{FOLDER}", folder / FOLDER
    for left in (unfinished, finished):
        shutil.rmtree(left, ignore_errors=True)
    several = isinstance(encoder, torch.nn.ModuleDict)
    parts: dict[str, Any] = dict(encoder.named_children()) if several else {"": encoder}
    for name, part in parts.items():
        setattr(part.config, BASE, base)
        setattr(part.config, FROZEN, list(frozen))
        # Or the configuration would carry the path it was loaded from.
        part.config._name_or_path = ""
        learnt = {
            name: tensor.to(torch.float16)
            for name, tensor in part.state_dict().items()
            if not plain(name).startswith(tuple(frozen))
        }
        part.save_pretrained(unfinished / name, state_dict=learnt)
    unfinished.rename(finished)


def plain(name: str) -> str:
    """The name of a tensor as a `CLIPTextModel` of today has it."""
    return re.sub(r"^(text_encoder(_\d+)?\.)?(text_model\.)?", "", name)


def tokens_of_prompt(
    layout: str | None, tokenizer: CLIPTokenizer, text: str, longest: int | None = None
) -> int:
    """How many text tokens stand beside the value token, of at most so many, which are the
    tokenizer's own number when None."""
    longest = longest or int(tokenizer.model_max_length)
    if layout == "train78":
        return longest
    if layout == "pad77":
        return longest - 1
    return min(len(tokenizer(text).input_ids), longest - 1)


def prompt_embeds(
    pipeline: StableDiffusionPipeline, encoder: CLIPTextModel, value: str, text: str
) -> Tensor:
    """What one's own diffusers pipeline takes as `prompt_embeds`, in the layout `pad77`.

    Args:
        pipeline: Stable Diffusion 1.x or 2.x.
        encoder: A value encoder as `load` gives it, for this pipeline's text encoder.
        value: The short value string, e.g. `gender equality`.
        text: The prompt.

    Returns:
        Shape `(1, 77, d)`, of the pipeline's dtype and on its device.
    """
    import torch

    tokenizer, text_encoder = pipeline.tokenizer, pipeline.text_encoder
    ids = tokenizer(
        text,
        padding="max_length",
        max_length=tokens_of_prompt("pad77", tokenizer, text),
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        states: Tensor = text_encoder(ids.to(text_encoder.device)).last_hidden_state
        token = value_tokens(encoder, tokenizer, [value], [text]).to(states)
    return torch.cat([token[:, None], states], dim=1)


def value_tokens(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, values: Sequence[str], texts: Sequence[str]
) -> Tensor:
    """The value encoder's pooled states of "value, text" pairs, `(n, d)`.

    The value comes first, so it survives the cut at the end of a long text. Padding changes
    nothing: attention is causal and the pooled state stands at the end of the text.
    """
    tokens = tokenizer(
        [f"{value}, {text}" for value, text in zip(values, texts, strict=True)],
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    pooled: Tensor = encoder(tokens.to(encoder.device)).pooler_output
    return pooled
