"""Preference data: which pictures are made, who prefers what, and that a stopped build goes on."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from livo_bench import interrupt
from livo_bench.cards.catalog import DATA, model_card, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.methods.livo import preference, preference_data
from livo_bench.methods.livo.preference import Builder, Settings, prefers, read_settings, units
from livo_bench.methods.training import training_record
from livo_bench.records import Prompt, Recipe, recipe_from_json
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation
from livo_bench.sealed_parquet import to_sealed_parquet

STRENGTHS = tuple(replace(strength, warmup=0) for strength in read_settings("mini").strengths[:2])
SETTINGS = Settings(6, 10, 4, read_settings("mini").safety, STRENGTHS)


@pytest.mark.parametrize("dropped", ["", "edit", "split"])
def test_the_data_of_the_weights_that_ship_is_named_as_it_was(
    dropped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model_card("mini")
    judge = annotator.require_annotator(card.annotator, card.name)
    records = [
        record
        for path in DATA.glob("methods/*/weights/mini/**/training.json")
        if "data" in (record := training_record.read(path.parent) or {})
    ]
    assert len(records) == 8
    kept = {
        kind: tuple(field for field in fields if field != dropped)
        for kind, fields in preference.IDENTITY.items()
    }
    monkeypatch.setattr(preference, "IDENTITY", kept)
    for record in records:
        session = Session(card, record["data_seed"], "cpu", card.dtype, tmp_path)
        looking = annotator.load(judge, session.device)
        folder = Builder(session, looking, read_settings(card.scale)).folder
        assert (folder.name == record["data"]) == (not dropped)


class Recorder:
    """An annotator that follows a script and remembers what it was shown."""

    id = "script-1"

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.calls = 0

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        assert pixels.dtype == np.uint8
        self.calls += 1
        self.shown += [(subset.name, prompt.text) for prompt in prompts]
        return Annotation(np.array(self.labels(subset, prompts)), np.full(len(prompts), True))

    def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
        raise NotImplementedError


class Skewed(Recorder):
    """Plain pictures show the first group but for one; written ones what was written."""

    def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
        n, groups = len(prompts), subset.attributes
        if n == 3 * SETTINGS.plain:
            return [groups[-1], *[groups[0]] * (n - 1)]
        written = [(index % 10) // 5 if len(groups) == 2 else index % 5 for index in range(n)]
        return [groups[place] for place in written]


class Hazardous(Recorder):
    """Every second picture shows the hazard; the first strength cleans one of them, the second
    all but one of the rest."""

    def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
        n, name = len(prompts), subset.name
        if n == 4 * SETTINGS.hazardous:
            return ["none", name] * (n // 2)
        return ["none"] + [name] * (n - 1) if n == 8 else ["none"] * (n - 1) + [name]


def builder(tiny_model: Path, runs: Path, annotator: Recorder) -> Builder:
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", runs)
    return Builder(session, annotator, SETTINGS)


def unit(task: str, concept: str) -> preference.Unit:
    found = units([task_cards()[task]], "mini")
    return next(one for one in found if one.prompts[0].concept == concept)


def test_units_hold_every_train_prompt_and_no_other() -> None:
    for task in task_cards().values():
        listed = [prompt for one in units([task], "mini") for prompt in one.prompts]
        assert sorted(p.id for p in listed) == sorted(
            p.id for p in read_task_prompts(task, "mini", "train")
        )
        others = [*read_task_prompts(task, "mini", "dev"), *read_task_prompts(task, "mini")]
        for field in ("id", "text", "concept", "template"):
            mine = {getattr(prompt, field) for prompt in listed}
            assert not mine & {getattr(prompt, field) for prompt in others}, field


@pytest.mark.parametrize(
    ("share", "groups", "images", "expected"),
    [
        (0.0, 2, 50, True),
        (0.42, 2, 50, True),  # 0.08 under a half, the error is 0.071
        (0.44, 2, 50, None),
        (0.5, 2, 50, None),
        (0.56, 2, 50, None),
        (0.6, 2, 50, False),
        (0.13, 5, 50, True),
        (0.2, 5, 50, None),
        (0.3, 5, 50, False),
        (float("nan"), 2, 50, None),
    ],
)
def test_a_group_is_preferred_when_its_gap_exceeds_its_error(
    share: float, groups: int, images: int, expected: bool | None
) -> None:
    assert prefers(share, groups, images) is expected


def test_rare_groups_are_preferred_and_the_frequent_one_is_not(
    tiny_model: Path, tmp_path: Path
) -> None:
    making = builder(tiny_model, tmp_path, Skewed())
    making.write(unit("bias", "surgeon"))
    rows = preference_data.read(making.folder)
    gender = rows[rows["subset"] == "gender"]
    assert set(gender.loc[gender["preferred"], "group"]) == {"female"}
    assert set(gender.loc[~gender["preferred"], "group"]) == {"male"}
    race = rows[rows["subset"] == "race"]
    # One of 18 plain pictures is latino, none is black, indian or asian: all are under 1/5.
    assert set(race.loc[race["preferred"], "group"]) == {"black", "indian", "asian", "latino"}
    assert set(race.loc[~race["preferred"], "group"]) == {"white"}
    assert race.groupby("group")["share"].first().round(3).to_dict() == {
        "asian": 0.0,
        "black": 0.0,
        "indian": 0.0,
        "latino": 0.056,
        "white": 0.944,
    }


def test_groups_are_written_equally_often_and_a_record_keeps_the_plain_prompt(
    tiny_model: Path, tmp_path: Path
) -> None:
    making = builder(tiny_model, tmp_path, Skewed())
    making.write(unit("bias", "surgeon"))
    rows = preference_data.read(making.folder)
    texts = [recipe_from_json(line).text for line in rows.drop_duplicates("key")["recipe"]]
    assert "a photo of a white male surgeon" in texts
    for words in ("male", "female"):
        assert sum(f" {words} " in text for text in texts) == 15
    for words in ("white", "black", "indian", "asian", "latino"):
        assert sum(f" {words} " in text for text in texts) == 6
    assert set(rows["prompt"]) == {
        f"a {kind} of a surgeon" for kind in ("photo", "portrait", "picture")
    }
    # All groups start from the noise of the plain prompt's image of that index.
    session = making.session
    seeds = {session.recipe("a photo of a surgeon", index).seed for index in range(10)}
    photos = rows[rows["prompt"] == "a photo of a surgeon"]
    assert {recipe_from_json(line).seed for line in photos["recipe"]} == seeds


def test_a_clean_twin_starts_from_the_noise_of_its_hazardous_picture(
    tiny_model: Path, tmp_path: Path
) -> None:
    making = builder(tiny_model, tmp_path, Hazardous())
    making.write(unit("toxicity", "beach"))
    rows = preference_data.read(making.folder).set_index("key")
    # 8 of 16 are hazardous; one is cleaned at the first strength, six at the second, one never.
    assert Counter(rows["preferred"]) == {True: 7, False: 7}
    strengths: Counter[float] = Counter()
    for _, row in rows[rows["preferred"]].iterrows():
        twin = recipe_from_json(row["recipe"])
        original = recipe_from_json(rows.loc[row["twin"], "recipe"])
        assert twin.safety is not None
        assert replace(twin, safety=None) == original
        assert not rows.loc[row["twin"], "preferred"]
        strengths[twin.safety.s_S] += 1
    assert strengths == {STRENGTHS[0].s_S: 1, STRENGTHS[1].s_S: 6}


def test_a_concept_without_a_minority_leaves_no_scene(tiny_model: Path, tmp_path: Path) -> None:
    class Even(Skewed):
        def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
            groups = subset.attributes
            return [groups[index % len(groups)] for index in range(len(prompts))]

    making = builder(tiny_model, tmp_path, Even())
    making.write(unit("bias", "surgeon"))
    rows = preference_data.read(making.folder)
    assert len(rows) == 0
    counts = preference_data.summarise(rows)
    assert counts.to_dict("records")[-1]["train_samples"] == 0


def test_a_second_build_makes_nothing_and_another_way_of_making_has_its_own_folder(
    tiny_model: Path, tmp_path: Path
) -> None:
    first = builder(tiny_model, tmp_path, Skewed())
    first.write(unit("bias", "surgeon"))
    written = {path: path.read_bytes() for path in first.folder.iterdir()}
    again = Skewed()
    second = builder(tiny_model, tmp_path, again)
    second.write(unit("bias", "surgeon"))
    assert again.calls == 0
    assert {path: path.read_bytes() for path in second.folder.iterdir()} == written
    # Without the file, the images are still there, and the same rows come out.
    second.path(unit("bias", "surgeon")).unlink()
    second.write(unit("bias", "surgeon"))
    assert {path: path.read_bytes() for path in second.folder.iterdir()} == written
    assert "_engine" not in vars(second.session)
    other = Builder(first.session, Skewed(), replace(SETTINGS, plain=7))
    assert other.folder != first.folder


class Somebody(Recorder):
    """Every picture shows the first group."""

    def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
        return [subset.attributes[0]] * len(prompts)


@pytest.fixture
def card(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a model with an annotator to whom all pictures are alike, and two concepts to build."""
    weights = tiny_model.parent / "features"
    path = tmp_path / "tiny.toml"
    text = tiny_model.read_text("utf-8").replace('"./', f'"{tiny_model.parent}/')
    path.write_text(f'{text}[annotator]\nweights = "{weights}"\ndtype = "float32"\n', "utf-8")
    two = units([task_cards()["bias"]], "mini")[:2]
    monkeypatch.setattr(preference, "units", lambda tasks, scale: two)
    monkeypatch.setattr(preference, "read_settings", lambda scale, path: SETTINGS)
    monkeypatch.setattr(annotator, "load", lambda judge, device: Somebody())
    return path


def test_parts_of_a_build_make_what_the_whole_makes(card: Path, tmp_path: Path) -> None:
    made = {}
    for name, shards in (("whole", [(1, 1)]), ("parts", [(2, 2), (1, 2)])):
        for shard in shards:
            folder, _ = preference.build(
                str(card), ["bias"], device="cpu", runs=tmp_path / name, shard=shard
            )
            made[name, shard] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(made["parts", (2, 2)]) == 1
    assert made["parts", (1, 2)] == made["whole", (1, 1)]


def test_a_disk_without_room_is_refused_before_a_model_loads(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(self: Store, size: int) -> None:
        asked.append(size)
        raise BadInput("no room")

    monkeypatch.setattr(Store, "require_room", refuse)
    with pytest.raises(BadInput, match="no room"):
        preference.build(str(card), ["bias"], device="cpu", runs=tmp_path / "runs")
    # Two concepts of three prompts, at the card's 10,000 bytes an image.
    assert asked == [2 * 3 * (SETTINGS.plain + SETTINGS.attributed) * 10_000]


def test_a_signal_ends_a_build_after_the_block_in_hand(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    calls: list[int] = []
    render = Diffusion.render

    def render_and_signal(self: Diffusion, recipes: Sequence[Recipe]) -> Pixels:
        calls.append(len(recipes))
        if sum(calls) == SETTINGS.attributed * 3 + SETTINGS.plain * 3 + 5:
            # The first concept is finished, and a block of the second one is in hand.
            os.kill(os.getpid(), signal.SIGTERM)
            while not interrupt.asked():  # the main thread handles it
                time.sleep(0.001)
        return render(self, recipes)

    monkeypatch.setattr(Diffusion, "render", render_and_signal)
    with pytest.raises(interrupt.Stopped) as caught, interrupt.listening():
        preference.build(str(card), ["bias"], device="cpu", runs=tmp_path / "runs")
    [note] = caught.value.__notes__
    assert note.startswith(f"1 of 2 concepts are in {tmp_path / 'runs' / 'preferences' / 'tiny'}")
    stored = len(Store(tmp_path / "runs", "tiny").sample_keys())
    assert stored == sum(calls)
    folder, _ = preference.build(str(card), ["bias"], device="cpu", runs=tmp_path / "runs")
    assert len(list(folder.glob("*.parquet"))) == 2


def test_the_summary_counts_as_table_1_does() -> None:
    def row(scene: str, key: str, preferred: bool, category: str) -> dict[str, object]:
        text = scene.split(".")[0]
        return dict.fromkeys(preference_data.COLUMNS, "") | {
            "share": 0.1,
            "scene": scene,
            "prompt": text,
            "category": category,
            "subset": scene.split(".")[1],
            "key": key,
            "preferred": preferred,
        }

    data = pd.DataFrame(
        [
            row("a.gender", "1", True, "career"),
            row("a.gender", "2", False, "career"),
            row("a.race", "1", True, "career"),
            row("a.race", "2", False, "career"),
            row("a.race", "3", True, "career"),
            row("b.gender", "4", True, "career"),  # one-sided: no pair, no sample
        ]
    )
    counts = preference_data.summarise(data).set_index(["category", "subset"])
    assert counts.loc[("career", "gender"), "train_samples"] == 1
    assert counts.loc[("career", "race"), "train_samples"] == 2
    assert list(counts.loc[("total", ""), :]) == [1, 2, 3, 3]


def test_the_papers_sizes_give_the_papers_pairs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 50 + 20 k a bias concept with k under-represented races, here three: the paper has one prompt
    # a concept, and so many pictures of it.
    class ThreeRareRaces(Recorder):
        def labels(self, subset: Subset, prompts: Sequence[Prompt]) -> list[str]:
            groups = subset.attributes
            if len(prompts) == sizes.plain:
                return [groups[0]] * 35 + [groups[1]] * 15
            return [
                groups[(i // 5) % 2 if len(groups) == 2 else i % 5] for i in range(len(prompts))
            ]

    sizes = read_settings("sd")
    session = Session(model_card(str(tiny_model)), 42, "cpu", "float32", tmp_path)
    blank = np.zeros((1, 64, 64, 3), np.uint8)
    monkeypatch.setattr(
        Builder, "_images", lambda self, wanted: np.repeat(blank, len(wanted), axis=0)
    )
    making = Builder(session, ThreeRareRaces(), sizes)
    surgeon = unit("bias", "surgeon")
    making.write(replace(surgeon, prompts=surgeon.prompts[:1]))
    counts = preference_data.summarise(preference_data.read(making.folder)).set_index("subset")
    assert counts.loc["gender", "train_samples"] == 50
    assert counts.loc["race", "train_samples"] == 20 * 3


def test_wrong_settings_and_data_are_named(tmp_path: Path) -> None:
    path = tmp_path / "preference.toml"
    path.write_text("[mini.sizes]\nplain = 1\n")
    with pytest.raises(BadInput, match=r"sizes\.plain is 1, expected a whole number from 2 to"):
        read_settings("mini", path)
    with pytest.raises(BadInput, match=r"no table \[sd\]"):
        read_settings("sd", path)
    with pytest.raises(BadInput, match=r"no preference data in .*livo-bench data build"):
        preference_data.read(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        BadInput, match=r"a\.parquet is damaged .*its seal does not hold\. Delete it"
    ):
        preference_data.read(tmp_path)
    pd.DataFrame({"key": ["x"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"a\.parquet is damaged .*an older version wrote it"):
        preference_data.read(tmp_path)
    for name, said in (
        (
            "elsewhere/a.parquet",
            "was written as 'elsewhere/a.parquet'; expected data that was made",
        ),
        (f"{tmp_path.name}/a.parquet", r"has the columns key; expected scene, prompt"),
    ):
        table = pa.table({"key": ["x"]}, metadata={"livo_bench.file": name})
        (tmp_path / "a.parquet").write_bytes(to_sealed_parquet(table, "zstd"))
        with pytest.raises(BadInput, match=said):
            preference_data.read(tmp_path)


def test_a_model_without_annotator_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model 'tiny' names no annotator.*\[annotator\]"):
        preference.build(str(tiny_model), runs=tmp_path)
