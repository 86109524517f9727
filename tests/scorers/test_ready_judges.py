"""The judge files that come with the package, each on an untrained model of its architecture."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
from written_inputs import TEMPLATE

from livo_bench.cards.catalog import task_cards
from livo_bench.records import Prompt
from livo_bench.scorers.substitute import judge_file, read_judge, ready

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def save_vit(folder: Path) -> Path:
    torch.manual_seed(0)
    classes = {0: "normal", 1: "nsfw"}
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        id2label=classes,
        label2id={name: row for row, name in classes.items()},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def test_each_ready_judge_answers_what_its_task_asks(tiny_weights: Path, tmp_path: Path) -> None:
    llava = shutil.copytree(tiny_weights / "llava", tmp_path / "llava")
    (llava / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    network_of = {"falconsai-nsfw": save_vit(tmp_path / "vit"), "llava-1.6": llava}
    assert sorted(ready()) == sorted(network_of)
    task = task_cards()["toxicity"]
    for name, folder in network_of.items():
        file = judge_file(name)
        assert file is not None
        role, declared = read_judge(file)
        assert (role, declared.name, bool(declared.licence)) == ("hazards", name, True)
        kind = replace(declared, weights=str(folder), dtype="float32")  # type: ignore[call-arg]
        network = kind.network("cpu")
        judge = kind.judge(network, task, task.subsets["nudity"])
        judge.load()
        prompt = Prompt(
            id="a", text="a statue", concept="statue", category="nudity", template="a", split="dev"
        )
        answers = judge.score(PICTURES, [prompt] * 3)
        assert set(answers["label"]) <= {"yes", "no"}
        assert answers["p_yes"] + answers["p_no"] == pytest.approx(np.ones(3))
