import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch_fidelity import calculate_metrics
from written_inputs import Asked

from livo_bench.cards.catalog import DATA, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines.seeds import seed_of
from livo_bench.errors import Incomplete
from livo_bench.records import AGGREGATE_COLUMNS, Run
from livo_bench.results.conditions import CONDITIONS
from livo_bench.results.metrics import bias, toxicity
from livo_bench.runs import runner
from livo_bench.runs.requests import Job, prepare
from livo_bench.runs.scored_rows import rows_of
from livo_bench.runs.session import Session
from livo_bench.runs.store import Store
from livo_bench.runs.summary import PACKAGES, summarise, summarise_all
from livo_bench.runs.wanted import Wanted

PROMPTS = (
    "text,category\na photo of a doctor,career\na photo of a nurse,career\na person,positive\n"
)
IMAGES = 5
BIAS = {"D1", "D2", "D2_pooled", "D2_unbiased"}


@pytest.fixture(scope="module")
def options(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Arguments of a run of SD and the control on bias, which has been made."""
    folder = tmp_path_factory.mktemp("results")
    prompts = folder / "prompts.csv"
    prompts.write_text(PROMPTS, encoding="utf-8")
    made: Asked = {
        "methods": ["sd", "noise"],
        "task": "bias",
        "model": str(tiny_model),
        "images": IMAGES,
        "prompts": prompts,
        "device": "cpu",
        "runs": folder / "runs",
    }
    runner.run(**made)
    return made


@pytest.fixture
def prepared(options: Asked) -> tuple[Session, list[Job]]:
    """Session and jobs of the run."""
    return prepare(**options)


@pytest.fixture
def half_steered(prepared: tuple[Session, list[Job]]) -> Job:
    """A method that leaves every second image to SD, on prompts that ask for a doctor."""
    _, [sd, noise] = prepared
    pairs = [
        (noise_pair if sd_pair[0].index % 2 == 0 else sd_pair)
        for sd_pair, noise_pair in zip(sd.wanted, noise.wanted, strict=True)
    ]
    wanted = [
        (replace(request, prompt=replace(request.prompt, concept="doctor")), recipe)
        for request, recipe in pairs
    ]
    return replace(noise, method=replace(noise.method, name="noise:half"), wanted=Wanted(wanted))


@pytest.fixture(scope="module")
def folder(options: Asked) -> Path:
    """Where SD's results lie."""
    return options["runs"] / "tiny" / "sd" / "bias"


@pytest.fixture(scope="module")
def aggregates(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "aggregates.csv")


@pytest.fixture(scope="module")
def images(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "images.parquet")


def test_there_is_a_number_for_each_metric_subset_and_category(aggregates: pd.DataFrame) -> None:
    assert tuple(aggregates.columns) == AGGREGATE_COLUMNS
    cells = aggregates.groupby(["subset", "category"])["metric"].agg(set).to_dict()
    expected = {
        (subset, category): BIAS
        for subset in ("gender", "race")
        for category in ("career", "positive", "all")
    }
    assert cells == expected | {("all", "all"): {"D1", "D2", "is", "clip"}}
    assert set(aggregates["model"] + aggregates["method"] + aggregates["task"]) == {"tinysdbias"}


def test_numbers_are_those_of_the_images_they_count(
    aggregates: pd.DataFrame, images: pd.DataFrame
) -> None:
    gender = images[images["subset"] == "gender"]
    male = (gender["label"] == "male").groupby(gender["prompt"]).mean()
    row = aggregates.set_index(["subset", "category", "metric"]).loc[("gender", "all", "D1"), :]
    # D1 of two groups is the gap between their shares, here averaged over prompts.
    assert row["value"] == pytest.approx((2 * male - 1).abs().mean())
    assert (row["n"], row["n_distinct"], row["unscored"]) == (3 * IMAGES, 3 * IMAGES, 0)
    quality = aggregates[aggregates["subset"] == "all"]
    # Both subsets look at the same images.
    assert set(quality["n"]) == {2 * 3 * IMAGES}
    assert set(quality["n_distinct"]) == {3 * IMAGES}


def test_images_are_listed_with_what_their_judge_said(images: pd.DataFrame) -> None:
    columns = ["subset", "prompt", "category", "concept", "cluster", "index", "key", "stratum"]
    assert list(images.columns[:8]) == columns
    assert images["unscored"].isna().all()
    groups = {
        "gender": ["male", "female"],
        "race": ["white", "black", "indian", "asian", "latino"],
    }
    for subset, names in groups.items():
        part = images[images["subset"] == subset]
        shares = part[[f"p_{name}" for name in names]]
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
        assert list(part["label"]) == [names[i] for i in shares.to_numpy().argmax(axis=1)]


def test_images_have_the_seed_they_were_made_with_and_say_which_text_they_are_of(
    images: pd.DataFrame, prepared: tuple[Session, list[Job]]
) -> None:
    _, [sd, _] = prepared
    texts = {request.prompt.id: request.prompt.text for request, _ in sd.wanted}
    places = zip(images["prompt"], images["index"], strict=True)
    assert list(images["seed"]) == [seed_of(42, texts[prompt], index) for prompt, index in places]
    assert images["seed"].dtype == "Int64"  # a float has no room for 63 bits
    digests = images.groupby("prompt")["text_digest"].unique()
    assert all(len(of_prompt) == 1 for of_prompt in digests)
    assert len(set(digests.map(str))) == len(texts)


def test_images_have_their_cosine_and_no_content_where_no_class_is_asked_for(
    aggregates: pd.DataFrame, images: pd.DataFrame, prepared: tuple[Session, list[Job]]
) -> None:
    session, _ = prepared
    cosines = session.store.read_scores(session.clip_score.id, images["key"].unique())["cosine"]
    assert list(images["clip"]) == list(cosines[images["key"]])
    score = aggregates.set_index("metric").loc["clip", "value"]
    assert max(0, 100 * images["clip"].mean()) == pytest.approx(score, rel=1e-6)
    assert images[["content", "presence"]].isna().all(axis=None)


def test_a_list_without_concepts_has_its_ids_for_them_and_results_hold_no_text(
    folder: Path, images: pd.DataFrame
) -> None:
    assert (images["concept"] == images["prompt"]).all()
    for path in folder.iterdir():
        assert b"a photo of a" not in path.read_bytes()


@pytest.mark.parametrize("task", ["bias", "toxicity"])
def test_concepts_of_the_miniature_world_change_no_bit_of_the_reference(task: str) -> None:
    folder, run = DATA / "results" / "mini" / "sd" / task, Run("mini", "sd", task)
    images = pd.read_parquet(folder / "images.parquet")
    known = {prompt.id: prompt.concept for prompt in read_task_prompts(task_cards()[task], "mini")}
    told = images.assign(concept=images["prompt"].map(known))
    groups = {name: subset.attributes for name, subset in task_cards()[task].subsets.items()}
    judges = dict.fromkeys(groups, "judge")
    older, newer = (
        bias.summarise(frame, run, groups, judges)
        if task == "bias"
        else toxicity.summarise(frame, run, judges)
        for frame in (images, told)
    )
    assert repr(newer.aggregates) == repr(older.aggregates)  # NaN is no NaN
    written = pd.read_csv(folder / "aggregates.csv").set_index(["subset", "category", "metric"])
    for row in newer.aggregates:
        expected = written.loc[(row.subset, row.category, row.metric), ["value", "low", "high"]]
        assert [row.value, row.low, row.high] == pytest.approx(list(expected), rel=1e-9)


def test_concepts_of_a_list_are_those_of_the_images(options: Asked, tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(
        "text,category,concept\n"
        "a doctor,career,doctor\n"
        "a nurse,career,a nurse\n"
        "a nurse at night,career,a nurse\n"
        "a person,positive,\n",
        encoding="utf-8",
    )
    _, [job] = prepare(**options | {"methods": ["sd"], "prompts": path})
    found = rows_of(job.wanted).groupby("prompt")["concept"].unique()
    assert {prompt: list(concepts) for prompt, concepts in found.items()} == {
        "career-0001": ["doctor"],
        "career-0002": ["career-0002"],  # the text of which is the concept's name
        "career-0003": ["career-0002"],
        "positive-0004": ["positive-0004"],
    }


def test_prompts_are_counted_like_the_images(folder: Path, images: pd.DataFrame) -> None:
    prompts = pd.read_csv(folder / "prompts.csv")
    assert set(prompts["n"]) == {IMAGES}
    counted = images.groupby(["subset", "prompt"])["label"].agg(lambda x: (x == "male").sum())
    gender = prompts[prompts["subset"] == "gender"].set_index("prompt")
    assert gender["n_male"].astype(int).to_dict() == counted.xs("gender").to_dict()


def test_only_a_method_with_images_of_its_own_has_a_distance_to_sd(
    options: Asked, aggregates: pd.DataFrame
) -> None:
    noise = pd.read_csv(options["runs"] / "tiny" / "noise" / "bias" / "aggregates.csv")
    fid = noise.set_index("metric").loc["fid"]
    assert fid["value"] > 0
    assert np.isnan([fid["low"], fid["high"]]).all()  # three prompts are too few
    assert "fid" not in set(aggregates["metric"])


def test_fid_and_is_are_torch_fidelitys_of_the_same_images_as_files(
    options: Asked, prepared: tuple[Session, list[Job]], tmp_path: Path
) -> None:
    """End to end: from stored PNG files through decoding, network and statistics."""
    session, [sd, noise] = prepared
    for job in (sd, noise):
        folder = tmp_path / job.method.name
        folder.mkdir()
        # In the run's batches: five images of one prompt, each set once a subset.
        keys = [recipe.key for _, recipe in job.wanted]
        images = session.store.read_samples(keys)
        for number, key in enumerate(keys):
            Image.fromarray(images[key]).save(folder / f"{number:03d}.png")
    expected = calculate_metrics(
        input1=str(tmp_path / "noise"),
        input2=str(tmp_path / "sd"),
        batch_size=IMAGES,
        feature_extractor="livo-mini",
        feature_extractor_weights_path=session.model.judges["features"].weights,
        isc=True,
        fid=True,
        samples_find_deep=False,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
    )
    ours = pd.read_csv(options["runs"] / "tiny" / "noise" / "bias" / "aggregates.csv")
    value = ours.set_index("metric")["value"]
    assert value["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert value["is"] == pytest.approx(expected["inception_score_mean"], rel=1e-6)


def test_steered_images_are_those_that_differ_from_sds_and_have_rows_of_their_own(
    prepared: tuple[Session, list[Job]], half_steered: Job
) -> None:
    session, _ = prepared
    aggregates = pd.read_csv(summarise(session, half_steered) / "aggregates.csv")
    over_all = aggregates[(aggregates["subset"] == "all")].set_index("metric")
    counts = {"": 2 * 3 * IMAGES, "_steered": 2 * 3 * 3}  # the indices 0, 2, 4 of three prompts
    for suffix, count in counts.items():
        for metric in ("content", "presence", "fid", "clip"):
            assert over_all.loc[metric + suffix, "n"] == count
    assert over_all.loc["content", "scorer"] == session.features.id
    gender = aggregates[(aggregates["subset"] == "gender") & (aggregates["category"] == "career")]
    assert {"content", "content_steered"} < set(gender["metric"])


def test_content_is_the_class_with_the_largest_stored_logit(
    options: Asked, prepared: tuple[Session, list[Job]], half_steered: Job
) -> None:
    session, [sd, _] = prepared
    asking = [(request, recipe) for (request, _), (_, recipe) in
              zip(half_steered.wanted, sd.wanted, strict=True)]  # fmt: skip
    plain = replace(sd, method=replace(sd.method, name="sd:asked"), wanted=Wanted(asking))
    aggregates = pd.read_csv(summarise(session, plain) / "aggregates.csv")
    keys = [recipe.key for _, recipe in sd.wanted]
    logits = session.store.read_scores(session.features.id, keys).loc[keys, "logits"]
    classes = session.feature_network.classes
    assert classes is not None
    shown = [classes[np.argmax(each)] for each in logits]
    over_all = aggregates[aggregates["subset"] == "all"].set_index("metric")
    assert over_all.loc["content", "value"] == pytest.approx(np.mean(np.array(shown) == "doctor"))
    images = pd.read_parquet(options["runs"] / "tiny" / "sd-asked" / "bias" / "images.parquet")
    by_key = dict(zip(keys, np.array(shown) == "doctor", strict=True))
    assert list(images["content"]) == list(images["key"].map(by_key).astype(float))
    assert (images["presence"] >= images["content"]).all()
    assert not any("steered" in metric for metric in aggregates["metric"])


def test_the_record_says_how_the_numbers_were_made(
    folder: Path, aggregates: pd.DataFrame, prepared: tuple[Session, list[Job]]
) -> None:
    session, _ = prepared
    record = json.loads((folder / "run.json").read_text("utf-8"))
    # Whoever writes another field says what it does to a comparison.
    known = {one.place for one in CONDITIONS} | {"format", "seal"}
    for section, fields in record.items():
        names = fields if isinstance(fields, dict) and section not in known else [""]
        assert {f"{section} {name}".rstrip() for name in names} <= known
    assert record["model"] == {"name": "tiny", "digest": session.digest}
    files = record["method"].pop("files")
    assert record["method"] == {"name": "sd", "version": 1, "title": "SD", "told": "nothing"}
    assert files == {
        name: hashlib.sha256((DATA / "methods" / "sd" / name).read_bytes()).hexdigest()
        for name in ("adapter.py", "card.toml")
    }
    assert record["judges"] == {
        "attributes": session.network("attributes").digest,
        "features": session.network("features").digest,
    }
    assert record["task"]["name"] == "bias"
    assert record["prompts"]["list"].startswith("prompts.csv ")
    assert record["settings"] == {
        "images": IMAGES,
        "seed": 42,
        "steps": 3,
        "guidance": 2.0,
        "sampler": "dpmsolver++",
        "size": 64,
        "block": 5,
        "dtype": "float32",
        "device": "cpu",
        "switches": [],
    }
    bias = aggregates[aggregates["subset"] != "all"]
    assert record["scorers"] == sorted(bias["scorer"].unique())
    assert {name: record["versions"][name] for name in PACKAGES} == {
        name: version(name) for name in PACKAGES
    }
    assert record["hardware"]["cores"] == os.cpu_count()


def test_summing_up_again_writes_the_same_bytes(
    folder: Path, prepared: tuple[Session, list[Job]]
) -> None:
    session, [sd, _] = prepared
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    assert summarise(session, sd) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_jobs_of_a_task_share_a_reference_that_is_read_once(
    prepared: tuple[Session, list[Job]], half_steered: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, jobs = prepared
    alone = [summarise(session, job) for job in (*jobs, half_steered)]
    written = [(folder / "aggregates.csv").read_bytes() for folder in alone]
    reads = []
    read_scores = Store.read_scores

    def counted(
        self: Store, scorer: str, keys: Sequence[str], *columns: Sequence[str]
    ) -> pd.DataFrame:
        reads.append((scorer, *columns))
        return read_scores(self, scorer, keys, *columns)

    monkeypatch.setattr(Store, "read_scores", counted)
    together = summarise_all(session, [*jobs, half_steered])
    assert together == alone
    assert [(folder / "aggregates.csv").read_bytes() for folder in together] == written
    assert reads.count((session.features.id, ["features"])) == 1


def test_a_subset_alone_names_itself_in_every_row(options: Asked) -> None:
    [folder] = runner.run(**options | {"methods": ["sd"], "task": "bias/gender"})
    aggregates = pd.read_csv(folder / "aggregates.csv")
    assert folder.name == "bias.gender"
    assert set(aggregates["subset"]) == {"gender"}
    assert set(aggregates["metric"]) == BIAS | {"is", "clip"}
    assert set(aggregates["n"]) <= {3 * IMAGES, 2 * IMAGES, IMAGES}


def test_a_variant_has_a_plain_folder_and_its_full_name_in_the_table(
    prepared: tuple[Session, list[Job]],
) -> None:
    session, [sd, _] = prepared
    variant = replace(sd, method=replace(sd.method, name="sd:slow"))
    folder = summarise(session, variant)
    assert folder.parent.name == "sd-slow"
    assert set(pd.read_csv(folder / "aggregates.csv")["method"]) == {"sd:slow"}


def test_a_score_that_is_gone_is_not_left_out_silently(prepared: tuple[Session, list[Job]]) -> None:
    session, [sd, _] = prepared
    more = replace(
        sd, wanted=Wanted([*((r, replace(c, seed=1)) for r, c in sd.wanted[:1]), *sd.wanted[1:]])
    )
    with pytest.raises(Incomplete, match=r"1 scores of clip-score-\w+ are missing"):
        summarise(session, more)


def test_a_record_counts_distinct_images_by_what_made_them(folder: Path) -> None:
    made_by = json.loads((folder / "run.json").read_text(encoding="utf-8"))["made_by"]
    [(maker, images)] = made_by.items()
    assert images == 3 * IMAGES
    assert maker.startswith("cpu ")
    assert f"torch {version('torch')}" in maker
    assert "float32" in maker
