"""Projections and soft tokens of a file: what is none is refused in words of its own, before a
model loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from livo_bench.cards.catalog import model_card
from livo_bench.engines import projection, soft_tokens
from livo_bench.errors import BadInput

KINDS = {"projection": projection, "tokens": soft_tokens}
WIDTH = 32


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "is empty: no tensor. Expected one tensor, {name!r}"),
        ({"other": torch.ones(2)}, "and has 1 that it should not have, e.g. other. Expected one"),
        ({"x.lora_A.weight": torch.ones(2)}, "x.lora_A.weight. Expected one tensor, {name!r}"),
        ({"{name}": torch.ones(4, 768)}, "(4, 768); expected ("),
        ({"{name}": torch.full((WIDTH, WIDTH), float("nan"))}, "holds NaN or infinity"),
        ({"{name}": torch.ones(WIDTH, WIDTH, dtype=torch.int8)}, "of another kind of number"),
    ],
)
def test_what_is_none_is_refused_before_a_model_loads(
    name: str, tensors: dict[str, Tensor], says: str, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gender.safetensors"
    save_file({key.replace("{name}", name): tensor for key, tensor in tensors.items()}, path)
    with pytest.raises(BadInput, match=re.escape(says.replace("{name!r}", repr(name)))) as refused:
        KINDS[name].require_fit(path, model_card(str(tiny_model)))
    assert str(path) in str(refused.value)
