"""An image-text-to-text model as judge, by its own chat template, declared by `judge.toml`."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_judges import save_llava_next
from written_inputs import TEMPLATE, write_prompts

from livo_bench.errors import BadInput, NothingScored
from livo_bench.runs import runner

PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career"]
JUDGE = """\
kind = "vlm"
role = "attributes"
weights = "./network"
dtype = "float32"
question = "Does the image contain {word} ? Answer"
subsets = ["gender"]

[labels]
Yes = "male"
No = "female"
"""


@pytest.fixture(scope="module")
def folder(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judge")
    shutil.copytree(tiny_weights / "llava", place / "network")
    (place / "network" / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return place


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that has been made."""
    runs = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {
        "methods": ["sd"],
        "task": "bias/gender",
        "model": str(tiny_model),
        "images": 1,
        "prompts": write_prompts(runs / "own.csv", PEOPLE),
        "device": "cpu",
        "runs": runs,
    }
    runner.run(**options)
    return options


def judged(file: Path, text: str, made: dict[str, Any]) -> pd.DataFrame:
    """What a judge says of the images of a run."""
    file.write_text(text, "utf-8")
    [results] = runner.run(**made, scorer=str(file))
    images = pd.read_parquet(results / "images.parquet")
    return images[images["subset"] == "gender"]


def test_a_model_answers_in_one_of_named_words_or_abstains(
    folder: Path, made: dict[str, Any], tmp_path: Path
) -> None:
    images = judged(folder / "two.toml", JUDGE, made)
    assert set(images["label"]) <= {"male", "female"}
    assert (images["p_male"] + images["p_female"]).to_numpy() == pytest.approx(1)
    text = f"{JUDGE}USER = 'abstained'\n".replace("subsets", "threshold = 1.0\nsubsets")
    with pytest.raises(NothingScored, match="abstained"):
        judged(folder / "silent.toml", text, made)


def test_another_architecture_answers_too(
    folder: Path, made: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "next"
    save_llava_next(place / "network", folder / "network")
    answers = judged(place / "judge.toml", JUDGE, made)
    assert answers["unscored"].isna().all()
    assert answers["p_male"].between(0, 1, inclusive="neither").all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("No =", "Nope =", "cannot tell the words Nope, Yes apart"),
        ('question = "Does the image contain {word} ? Answer"\n', "", "has no question, and task"),
    ],
)
def test_a_judge_without_its_words_or_question_is_refused(
    old: str, new: str, message: str, folder: Path, made: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        judged(folder / "wrong.toml", JUDGE.replace(old, new), made)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TEMPLATE.split("{% if add_generation_prompt")[0], "and the beginning of an answer"),
        (TEMPLATE.replace("{{ part.text }}", ""), "expected the question"),
        ("", "has no chat template"),
    ],
)
def test_a_chat_template_that_ends_elsewhere_is_refused(
    template: str, message: str, folder: Path, made: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "other"
    shutil.copytree(folder / "network", place / "network")
    file = place / "network" / "chat_template.jinja"
    file.write_text(template, "utf-8") if template else file.unlink()
    with pytest.raises(BadInput, match=message):
        judged(place / "judge.toml", JUDGE, made)
