"""The judge files that come with the package, each on an untrained model of its architecture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_judges import save_llava_next, save_vit

from livo_bench.cards.catalog import task_cards
from livo_bench.records import Prompt
from livo_bench.scorers.substitute import judge_file, read_judge, ready

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def test_each_ready_judge_answers_what_its_task_asks(tiny_weights: Path, tmp_path: Path) -> None:
    network_of = {
        "falconsai-nsfw": save_vit(tmp_path / "vit", ["normal", "nsfw"]),
        "llava-1.6": save_llava_next(tmp_path / "llava", tiny_weights / "llava"),
    }
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
