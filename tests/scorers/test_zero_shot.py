"""Images held against texts, by a CLIP of open_clip or a CLIP or SigLIP of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_judges import save_vit
from tiny_vlms import save_towers
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from livo_bench.cards.catalog import task_cards
from livo_bench.errors import BadInput
from livo_bench.scorers.substitute import read_judge

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8)
JUDGE = """\
kind = "zero_shot"
role = "hazards"
weights = "./network"
library = "transformers"
dtype = "float32"
subsets = ["nudity"]

[labels]
"a bad picture" = "yes"
"a good picture" = "no"
"""


def judge_of(file: Path, text: str, task: str = "toxicity/nudity") -> Any:
    """The judge of a file, with its network."""
    file.write_text(text, "utf-8")
    role, declared = read_judge(file)
    declared.check(role)
    name, subset = task.split("/")
    card = task_cards()[name]
    return declared.judge(declared.network("cpu"), card, card.subsets[subset])


def logits(folder: Path, texts: list[str]) -> torch.Tensor:
    """Logits of pictures and texts by the library alone."""
    network: Any = AutoModel.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(
        texts, padding="max_length", max_length=64, return_tensors="pt"
    )
    shown = AutoImageProcessor.from_pretrained(folder)(images=list(PICTURES), return_tensors="pt")
    given = {"input_ids": tokens["input_ids"], "pixel_values": shown["pixel_values"]}
    if network.config.model_type == "clip":
        given["attention_mask"] = tokens["attention_mask"]
    with torch.inference_mode():
        found: torch.Tensor = network(**given).logits_per_image
    return found


@pytest.mark.parametrize("siglip", [False, True])
def test_shares_are_those_of_the_library(siglip: bool, tmp_path: Path) -> None:
    folder = save_towers(tmp_path / "network", siglip)
    expected = logits(folder, ["a bad picture", "a good picture"])
    found = judge_of(tmp_path / "judge.toml", JUDGE)
    found.load()
    answers = found.score(PICTURES, [])
    assert answers["p_yes"] == pytest.approx(expected.softmax(dim=1)[:, 0].numpy(), abs=1e-5)
    text = JUDGE.replace("role", 'shares = "sigmoid"\nrole')
    by_sigmoid = judge_of(tmp_path / "sigmoid.toml", text)
    if not siglip:
        with pytest.raises(BadInput, match="has no logit_bias") as refused:
            by_sigmoid.load()
        assert "softmax" in refused.value.hint
        return
    by_sigmoid.load()
    fits = expected.sigmoid()
    shares = (fits / fits.sum(dim=1, keepdim=True))[:, 0].numpy()
    assert by_sigmoid.score(PICTURES, [])["p_yes"] == pytest.approx(shares, abs=1e-5)
    most = float(fits.max(dim=1).values.median())
    picky = judge_of(tmp_path / "picky.toml", text.replace("role", f"threshold = {most}\nrole"))
    silent = picky.score(PICTURES, [])["label"] == "abstained"
    assert 0 < silent.sum() < len(PICTURES)


def test_learnt_vectors_take_the_place_of_texts(tiny_weights: Path, tmp_path: Path) -> None:
    vectors = {"bad": torch.ones(32), "good": -torch.ones(32)}
    save_file(vectors, tmp_path / "learnt.safetensors")
    text = JUDGE.replace('library = "transformers"', 'vectors = "./learnt.safetensors"')
    text = text.replace("a bad picture", "bad").replace("a good picture", "good")
    text = text.replace("./network", str(tiny_weights / "clip"))
    judge = judge_of(tmp_path / "judge.toml", text)
    judge.load()
    assert set(judge.score(PICTURES, [])["label"]) <= {"yes", "no"}
    for held, message in (
        ({"bad": torch.ones(32)}, "holds bad; .labels. names bad, good"),
        ({"bad": torch.ones(8), "good": torch.ones(8)}, "have 8 numbers each, and .* images 32"),
    ):
        save_file(held, tmp_path / "learnt.safetensors")
        with pytest.raises(BadInput, match=message):
            judge_of(tmp_path / "judge.toml", text).load()
    with pytest.raises(BadInput, match="There is no file"):
        judge_of(tmp_path / "judge.toml", text.replace("learnt", "lost"))


def test_a_siglip_of_transformers_judges_groups_and_gives_the_clip_score(tmp_path: Path) -> None:
    folder = save_towers(tmp_path / "network", siglip=True)
    text = JUDGE.split("subsets")[0].replace("zero_shot", "clip").replace("hazards", "attributes")
    judge = judge_of(tmp_path / "judge.toml", text, "bias/gender")
    judge.load()
    prompts: Any = [type("P", (), {"text": "a nurse"})()] * 4
    expected = logits(folder, ["a nurse, male", "a nurse, female"]).softmax(dim=1)
    answers = judge.score(PICTURES, prompts)
    assert answers["p_male"] == pytest.approx(expected[:, 0].numpy(), abs=1e-5)
    save_vit(tmp_path / "vit", ["a", "b"])
    with pytest.raises(BadInput, match="type 'vit'; expected one of: clip, siglip"):
        judge_of(tmp_path / "judge.toml", text.replace("./network", "./vit"), "bias/gender")
