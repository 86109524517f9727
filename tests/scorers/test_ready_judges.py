"""The judge files that come with the package, each on an untrained model of its architecture."""

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from tiny_judges import LIGHT, save_llava_next, save_onnx_boxes, save_vit, save_yolos
from tiny_vlms import save_llava_onevision, save_qwen, save_shield_gemma
from transformers import ShieldGemma2ForImageClassification, ShieldGemma2Processor

from livo_bench.cards.catalog import task_cards
from livo_bench.records import Prompt
from livo_bench.scorers.substitute import READY, judge_file, read_judge, ready

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
NUDENET = tomllib.loads((READY / "nudenet.toml").read_text("utf-8"))
PROMPT = Prompt(
    id="a", text="a statue", concept="statue", category="nudity", template="a", split="dev"
)
NETWORKS: dict[str, Callable[[Path, Path], Path]] = {
    "fairface": lambda to, _: save_vit(to, ["Female", "Male"]),
    "falconsai-nsfw": lambda to, _: save_vit(to, ["normal", "nsfw"]),
    "llava-1.6": lambda to, tiny: save_llava_next(to, tiny / "llava"),
    "llavaguard": lambda to, _: save_llava_onevision(to),
    "nudenet": lambda to, _: save_onnx_boxes(to.with_suffix(".onnx"), NUDENET["classes"]),
    "q16": lambda to, tiny: Path(shutil.copytree(tiny / "clip", to)),
    "qwen2.5-vl": lambda to, _: save_qwen(to),
    "shieldgemma-2": lambda to, _: save_shield_gemma(to),
    "yolos-persons": lambda to, _: save_yolos(to, ["person", "cat"]),
}
"""What saves an untrained network for each, where it is told and given the tiny weights."""


def of_this_machine(name: str, folder: Path) -> tuple[str, Any]:
    """Role and declaration of a ready judge, whose network is an untrained one."""
    file = judge_file(name)
    assert file is not None
    role, declared = read_judge(file)
    assert declared.name == name
    assert declared.licence
    kind: Any = replace(declared, weights=str(folder), dtype="float32")  # type: ignore[call-arg]
    kind.check(role)
    return role, kind


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_each_ready_judge_answers_what_its_task_asks(
    name: str, tiny_weights: Path, tmp_path: Path
) -> None:
    role, kind = of_this_machine(name, NETWORKS[name](tmp_path / "network", tiny_weights))
    network = kind.network("cpu")
    if role == "people":
        counted = kind.people(network)
        counted.load()
        assert counted.score(PICTURES, [PROMPT] * 3)["persons"].tolist() == [0, 0, 0]
        return
    task = task_cards()["toxicity" if role == "hazards" else "bias"]
    asked, labels = (
        ("nudity", ("yes", "no")) if role == "hazards" else ("gender", ("male", "female"))
    )
    judge = kind.judge(network, task, task.subsets[asked])
    judge.load()
    answers = judge.score(PICTURES, [PROMPT] * 3)
    assert set(answers["label"]) <= {*labels}
    assert sum(answers[f"p_{label}"] for label in labels) == pytest.approx(np.ones(3))


def test_all_ready_judges_are_tried_here_and_named_in_the_docs() -> None:
    assert ready() == sorted(NETWORKS)
    text = (ROOT / "docs" / "judges.md").read_text("utf-8")
    assert [name for name in ready() if f"`{name}`" not in text] == []


def test_shield_gemma_says_what_it_says_by_its_own_processor(tmp_path: Path) -> None:
    folder = save_shield_gemma(tmp_path / "network")
    _, kind = of_this_machine("shieldgemma-2", folder)
    task = task_cards()["toxicity"]
    judge = kind.judge(kind.network("cpu"), task, task.subsets["nudity"])
    mine = judge.score(PICTURES, [PROMPT] * 3)["p_yes"]
    network: Any = ShieldGemma2ForImageClassification.from_pretrained(folder)
    processor: Any = ShieldGemma2Processor.from_pretrained(folder)
    yes, no = (
        processor.tokenizer(word, add_special_tokens=False).input_ids[0] for word in ("Y", "N")
    )
    network.yes_token_index, network.no_token_index = yes, no
    policy = kind.question.replace("{word}", "nudity")
    with torch.inference_mode():
        inputs = processor(
            images=[[image] for image in PICTURES],
            custom_policies={"asked": policy},
            policies=["asked"],
            return_tensors="pt",
        )
        theirs = network(**inputs).probabilities[:, 0].numpy()
    assert mine == pytest.approx(theirs, abs=1e-6)
    assert len({*np.round(mine, 6).tolist()}) == 3


def test_llavaguard_is_read_where_its_rating_stands(tmp_path: Path) -> None:
    _, kind = of_this_machine("llavaguard", save_llava_onevision(tmp_path / "network"))
    network = kind.network("cpu")
    text = network.loaded().conversation("Is it safe?")
    assert text.endswith('<|im_start|>assistant\n{\n    "rating": "')
    ids = network.loaded().first_tokens(text, ["Safe", "Unsafe"])
    assert network.loaded().processor.tokenizer.convert_ids_to_tokens(ids) == ["S", "U"]


def test_nudenet_finds_what_it_is_sure_enough_of(tmp_path: Path) -> None:
    file = save_onnx_boxes(tmp_path / "network.onnx", NUDENET["classes"])
    _, kind = of_this_machine("nudenet", file)
    task = task_cards()["toxicity"]
    judge = kind.judge(kind.network("cpu"), task, task.subsets["nudity"])
    levels = [round(255 * light / LIGHT) for light in (0.24, 0.26)]
    greys = np.stack([np.full((64, 64, 3), level, np.uint8) for level in levels])
    assert judge.score(greys, [PROMPT] * 2)["label"].tolist() == ["no", "yes"]
