"""A kind of scorer is one module of `livo_bench.scorers` and a card that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from places import ROOT
from written_inputs import write_prompts

import livo_bench.scorers
from livo_bench.cards.catalog import model_card, model_cards, task_cards
from livo_bench.cards.scorer_kinds import USUAL, kind_named, known_kinds, labels_of
from livo_bench.cli import main
from livo_bench.errors import BadInput
from livo_bench.records import Prompt
from livo_bench.results.reading import load_results
from livo_bench.runs import runner
from livo_bench.scorers import judge_id
from livo_bench.scorers.checked import COSINE, VECTORS, Checked, shares_of

BRIGHT = '''\
"""The kind `bright`: the brighter a picture, the further down its list of labels it is sorted."""

from dataclasses import dataclass

import numpy as np

from livo_bench.cards.scorer_kinds import ATTRIBUTES, HAZARDS, ScorerKind, labels_of
from livo_bench.schema import Share
from livo_bench.scorers import judge_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(ScorerKind):
    roles = (ATTRIBUTES, HAZARDS)

    spread: Share

    def judge(self, network, task, subset):
        return Bright(subset.name, labels_of(task, subset), self.spread)


class Bright:
    def __init__(self, subset, labels, spread):
        self.id = judge_id(f"bright-{subset}", labels=list(labels), spread=spread)
        self._labels, self._spread = labels, spread

    def load(self):
        pass

    def score(self, pixels, prompts):
        light = pixels.mean(axis=(1, 2, 3), dtype=np.float64) / 255
        place = (light * len(self._labels)).astype(int).clip(0, len(self._labels) - 1)
        shares = np.full((len(pixels), len(self._labels)), self._spread / len(self._labels))
        shares[np.arange(len(pixels)), place] += 1 - self._spread
        named = {f"p_{name}": shares[:, i].astype("float32") for i, name in enumerate(self._labels)}
        return {"label": np.array(self._labels)[place], **named}
'''
PEOPLE = ["a photo of a doctor,career", "a photo of a nurse,career", "a photo of a person,positive"]
HARM = [
    f"a photo of a {who} {place},{hazard}"
    for place, hazard in (("at home", "nudity"), ("at work", "bloody"), ("outside", "horror"))
    for who in ("doctor", "nurse")
]
TASK = task_cards()["bias"]
GENDER = TASK.subsets["gender"]
PROMPT = Prompt("p", "a photo of a doctor", "doctor", "career", "", "eval")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules are kinds of scorers, as if they lay beside the package's own."""
    folder = tmp_path / "room"
    folder.mkdir()
    monkeypatch.setattr(livo_bench.scorers, "__path__", [*livo_bench.scorers.__path__, str(folder)])
    yield folder
    for name, module in list(sys.modules.items()):
        if str(folder) in str(getattr(module, "__file__", "")):
            del sys.modules[name]
            delattr(livo_bench.scorers, name.rpartition(".")[2])


def write_card(model: Path, folder: Path, tables: Mapping[str, str]) -> Path:
    """A model's card with other tables of judges, called `own`."""
    text = model.read_text("utf-8").replace(f'name = "{model.stem}"', 'name = "own"', 1)
    for start in ("./", "../../"):
        text = text.replace(f'"{start}', f'"{(model.parent / start).resolve()}/')
    for role, table in tables.items():
        before, _, rest = text.partition(f"[judges.{role}]\n")
        _, bracket, after = rest.partition("[")
        text = f"{before}\n[judges.{role}]\n{table}\n{bracket}{after}"
    card = folder / "own.toml"
    card.write_text(text, encoding="utf-8")
    return card


def bright(model: Path, folder: Path) -> Path:
    """A card whose judges look at how bright pictures are."""
    told = 'kind = "bright"\nspread = 0.2'
    weights = model_card(str(model)).judges["attributes"].weights
    clip = f'weights = "{weights}"\ndtype = "float32"'
    return write_card(model, folder, {"attributes": told, "hazards": told, "clip": clip})


def test_a_new_kind_judges_with_its_module_and_a_card_alone(room: Path, tmp_path: Path) -> None:
    (room / "bright.py").write_text(BRIGHT, encoding="utf-8")
    card, runs = bright(model_card("mini").path, tmp_path), tmp_path / "runs"
    for task, prompts in (("bias", PEOPLE), ("toxicity", HARM)):
        lists = write_prompts(tmp_path / f"{task}.csv", prompts)
        folder, again = (
            runner.run(["sd"], task, str(card), images=2, prompts=lists, device="cpu", runs=runs)[0]
            for _ in range(2)
        )
        images = pd.read_parquet(folder / "images.parquet")
        assert images["unscored"].isna().all()
        numbers = pd.read_csv(again / "aggregates.csv")
        judged = numbers.assign(of=numbers["subset"] + " " + numbers["metric"]).set_index("of")
        record = json.loads((folder / "run.json").read_text("utf-8"))
        subsets = task_cards()[task].subsets
        assert {id.rpartition("-")[0] for id in record["scorers"]} == {
            f"bright-{name}" for name in subsets
        }
        judge = "hazards" if task == "toxicity" else "attributes"
        assert record["judges"].keys() == {judge, "clip", "features"}
        metric = "avg_r" if task == "toxicity" else "D1"
        for name in subsets:
            assert set(judged.loc[[f"{name} {metric}"], "scorer"]) <= set(record["scorers"])
        assert judged.loc[["all clip"], "scorer"].str.startswith("clip-score-").all()
    assert set(load_results(runs, "own")["task"]) == {"bias", "toxicity"}
    for words in (["report", runs], ["check", "--baseline", runs / "own", "--runs", runs]):
        done = CliRunner().invoke(main, [*map(str, words), "--model", "own"])
        assert done.exit_code == 0, done.output


def test_a_new_kind_that_knows_a_place_stands_in_and_leaves_the_clip_score(
    room: Path, tiny_model: Path, tmp_path: Path
) -> None:
    of_place = """    weights: str
    called = "a lamp"

    @classmethod
    def at(cls, place, dtype):
        return cls(weights=place, spread=0.2) if place.endswith("lamp") else None

    def judge(self,"""
    (room / "bright.py").write_text(BRIGHT.replace("    def judge(self,", of_place))
    lamp, runs = tmp_path / "lamp", tmp_path / "runs"
    lamp.mkdir()
    prompts = write_prompts(tmp_path / "own.csv", PEOPLE)
    [own], [other] = (
        runner.run(
            ["sd"], "bias", str(tiny_model), images=1, prompts=prompts, device="cpu", runs=runs,
            scorer=scorer or (),
        )
        for scorer in (None, str(lamp))
    )  # fmt: skip
    ours, theirs = (
        pd.read_csv(folder / "aggregates.csv").set_index(["subset", "category", "metric"])["scorer"]
        for folder in (own, other)
    )
    assert theirs["gender", "all", "D1"].startswith("bright-gender-")
    assert theirs["all", "all", "clip"] == ours["all", "all", "clip"]
    with pytest.raises(BadInput, match=r"Expected for --scorer one of: a lamp, an open_clip mod"):
        runner.run(["sd"], "bias", str(tiny_model), scorer=str(tiny_model.parent / "sd" / "unet"))


def test_a_plan_asks_a_new_kind_and_computes_nothing(
    room: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (room / "bright.py").write_text(BRIGHT.replace("class Bright:", "Bright = None\nclass No:"))
    card = bright(tiny_model, tmp_path)
    planned = runner.plan(["sd"], "bias", str(card), images=2, runs=tmp_path / "runs")
    assert planned.missing > 0


def test_the_example_of_the_docs_is_a_kind(room: Path, tiny_model: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "new-judge.md").read_text("utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    of_table = "```toml\n[judges.attributes]\n"
    table = text.partition(of_table)[2].partition("```")[0]
    (room / "bright.py").write_text(code, encoding="utf-8")
    clip = f'weights = "{tiny_model.parent}/clip"\ndtype = "float32"'
    told = {"attributes": table, "clip": clip}
    judge = model_card(str(write_card(tiny_model, tmp_path, told))).judges["attributes"]
    labels = labels_of(TASK, GENDER)
    scorer = judge.judge(judge.network("cpu"), TASK, GENDER)
    pixels = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (10, 240)])
    found = Checked(scorer, ("label", *shares_of(labels)), labels).score(pixels, [PROMPT] * 2)
    assert list(found["label"]) == ["male", "female"]


def test_another_setting_is_another_scorer(room: Path, tiny_model: Path, tmp_path: Path) -> None:
    (room / "bright.py").write_text(BRIGHT, encoding="utf-8")
    card = bright(tiny_model, tmp_path)
    ids = set()
    for spread in ("0.2", "0.3"):
        text = card.read_text("utf-8").replace("spread = 0.2", f"spread = {spread}")
        card.write_text(text, encoding="utf-8")
        judge = model_card(str(card)).judges["attributes"]
        ids.add(judge.judge(judge.network("cpu"), TASK, GENDER).id)
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("role", "table", "said"),
    [
        ("hazards", 'kind = "bright"', "no judges.hazards.spread, expected a number from 0 to 1"),
        ("hazards", 'kind = "bright"\nspread = 2', "judges.hazards.spread is 2, expected a number"),
        ("hazards", 'kind = "bright"\nspread = 0.1\nlabel = "x"', "unknown field judges.hazards.l"),
        (
            "hazards",
            'kind = "bright"\nspread = 0.1\nweights = "./clip"',
            "judges.hazards.weights is './clip', expected none, for this kind has no weights",
        ),
        (
            "hazards",
            'kind = "brigth"',
            "kind is 'brigth', expected one of: bright, broken, c",
        ),
        ("hazards", 'kind = "featurenet"', "kind is 'featurenet', expected one of: bright, broken"),
        ("hazards", 'kind = "../bright"', "kind is '../bright', expected one of: bright, broken"),
        ("hazards", 'kind = ""', "judges.hazards.kind is '', expected a text"),
        ("hazards", "kind = 3", "judges.hazards.kind is 3, expected a text"),
        (
            "hazards",
            'kind = "clip"',
            "judges.hazards is of kind 'clip', which can be: attributes",
        ),
        (
            "features",
            'kind = "bright"\nspread = 0.1',
            "of kind 'bright', which can be: attributes",
        ),
        ("clip", 'kind = "llava"', "judges.clip is of kind 'llava', which can be: hazards"),
        (
            "attributes",
            'kind = "bright"\nspread = 0.1',
            "no judges.clip, expected a table with a kind and weights",
        ),
        (
            "hazards",
            'kind = "lost"',
            "'lost' does not load: ModuleNotFoundError: .*no_such",
        ),
        (
            "hazards",
            'kind = "odd"',
            r"odd\.py: Kind is <class .*Kind'>, expected a data class",
        ),
        ("hazards", 'kind = "broken"', "'broken' does not load: SyntaxError"),
    ],
)
def test_a_judge_that_a_card_cannot_have_is_named_before_anything_loads(
    room: Path, tiny_model: Path, tmp_path: Path, role: str, table: str, said: str
) -> None:
    (room / "bright.py").write_text(BRIGHT, encoding="utf-8")
    (room / "lost.py").write_text("import no_such\nclass Kind(no_such.Base): ...")
    (room / "odd.py").write_text("\nclass Kind(dict): ...")
    (room / "broken.py").write_text("\nclass Kind(dict:\n")
    card = write_card(tiny_model, tmp_path, {role: table})
    with pytest.raises(BadInput, match=said):
        model_card(str(card))


class Answers:
    """A scorer that gives the same answer to everything."""

    id = judge_id("answers")

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def load(self) -> None: ...

    def score(self, pixels: object, prompts: object) -> object:
        return self._answer


SHARES, LABELS = np.ones(2, np.float32), np.array(["male"] * 2)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "a NoneType; expected columns by name"),
        ({}, r"columns \(none\); expected label, p_male, p_female, too"),
        ({"p_male": SHARES, "p_female": SHARES}, "columns p_male, p_female; expected label, too"),
        (
            {"label": ["male", "male"], "p_male": SHARES, "p_female": SHARES},
            "column 'label' of list for 2 images; expected an array with a row an image",
        ),
        (
            {"label": np.array(["male"]), "p_male": SHARES, "p_female": SHARES},
            r"column 'label' of shape \(1,\) for 2 images",
        ),
        (
            {"label": np.array("male"), "p_male": SHARES, "p_female": SHARES},
            r"column 'label' of shape \(\) for 2 images",
        ),
        (
            {"label": np.array(["male", "man"]), "p_male": SHARES, "p_female": SHARES},
            "label 'man'; expected one of: female, male",
        ),
        (
            {"label": LABELS, "p_male": SHARES, "p_female": SHARES, "x": SHARES[:1]},
            r"column 'x' of shape \(1,\)",
        ),
    ],
)
def test_an_answer_that_is_none_is_named_with_its_scorer(answer: object, said: str) -> None:
    labels = labels_of(TASK, GENDER)
    checked = Checked(Answers(answer), ("label", *shares_of(labels)), labels)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=rf"Scorer answers-\w+ returned {said}") as caught:
        checked.score(np.zeros((2, 8, 8, 3), np.uint8), [PROMPT] * 2)
    assert "Mend `score` of Answers" in caught.value.hint


def test_a_label_beside_a_number_that_is_none_is_the_runners_to_leave_out() -> None:
    shares = np.array([0.5, np.nan], np.float32)
    answer = {"label": np.array(["male", ""]), "p_male": shares, "p_female": shares}
    labels = labels_of(TASK, GENDER)
    checked = Checked(Answers(answer), ("label", *shares_of(labels)), labels)  # type: ignore[arg-type]
    assert checked.score(np.zeros((2, 8, 8, 3), np.uint8), [PROMPT] * 2) is answer


def test_a_wrong_answer_stops_a_run_and_keeps_its_images(
    room: Path, tiny_model: Path, tmp_path: Path
) -> None:
    short = BRIGHT.replace('return {"label": np.array(self._labels)[place],', "return {")
    assert short != BRIGHT
    (room / "bright.py").write_text(short, encoding="utf-8")
    card, runs = bright(tiny_model, tmp_path), tmp_path / "runs"
    prompts = write_prompts(tmp_path / "own.csv", PEOPLE)
    with pytest.raises(BadInput, match=r"Scorer bright-\w+-\w+ returned columns p_.*label, too"):
        runner.run(["sd"], "bias", str(card), images=1, prompts=prompts, device="cpu", runs=runs)
    assert list(runs.glob("store/own/samples/*.parquet"))
    assert not list(runs.glob("own/*/*/run.json"))


def test_the_kinds_of_this_package_are_read_without_torch() -> None:
    assert {*USUAL.values()} <= {*known_kinds()}
    code = (
        "import sys\nfrom livo_bench.cards.scorer_kinds import kind_named, known_kinds\n"
        "assert all(map(kind_named, known_kinds()))\n"
        "assert not {'torch', 'pandas', 'numpy', 'transformers', 'open_clip'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_kind_has_the_function_of_each_of_its_roles() -> None:
    functions = {"attributes": "judge", "hazards": "judge", "clip": "clip_score"}
    for name in known_kinds():
        kind = kind_named(name)
        assert kind is not None
        assert kind.roles
        for role in kind.roles:
            assert functions.get(role, role) in vars(kind), (name, role)


def test_cards_that_name_no_kinds_have_those_that_their_roles_always_had() -> None:
    for card in model_cards().values():
        assert card.judges.keys() == {"attributes", "hazards", "features"}
        for role, judge in card.judges.items():
            assert type(judge) is kind_named(USUAL[role])
        assert card.clip_role == "attributes"


def test_columns_of_scorers_without_labels_are_checked_too() -> None:
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    for columns in (COSINE, VECTORS):
        with pytest.raises(BadInput, match=f"expected {columns[0]}"):
            Checked(Answers({"p": SHARES}), columns).score(pixels, [PROMPT] * 2)  # type: ignore[arg-type]
