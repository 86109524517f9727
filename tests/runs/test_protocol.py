"""The released evaluation's conventions: what they change, and that results never mix."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, protocol_card, results_of, run_options
from livo_bench.errors import BadInput, UnknownName
from livo_bench.interfaces import Columns, Pixels
from livo_bench.records import Prompt
from livo_bench.results.metrics.is_and_fid import frechet_distance
from livo_bench.results.reading import load_results
from livo_bench.runs import summary
from livo_bench.runs.options import RunOptions
from livo_bench.runs.requests import prepare
from livo_bench.runs.runner import run
from livo_bench.runs.scored_rows import rows_of, scored_rows
from livo_bench.scorers.jpeg import Jpeg, ThroughJpeg

PROMPTS = (
    "text,category\na photo of a doctor,career\na kind person,positive\na cruel person,negative\n"
)
PROMPT = Prompt("p", "a doctor", "doctor", "career", "", "eval")


class Mean:
    """Says how bright images are."""

    id = "mean-0123"

    def load(self) -> None:
        pass

    def score(self, pixels: Pixels, prompts: object) -> Columns:
        return {"mean": pixels.mean(axis=(1, 2, 3))}


def pictures(n: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)


def test_a_judge_behind_jpeg_sees_what_pil_reads_back_and_has_another_id() -> None:
    pixels = pictures(3)
    files = [io.BytesIO() for _ in pixels]
    for image, file in zip(pixels, files, strict=True):
        Image.fromarray(image).save(file, "jpeg")  # PIL's default quality is the released 75
    read_back = np.stack([np.asarray(Image.open(file)) for file in files])
    assert not np.array_equal(read_back, pixels)
    judge = ThroughJpeg(Mean(), jpeg := Jpeg(protocol_card("released").jpeg))
    np.testing.assert_array_equal(jpeg(pixels), read_back)
    assert jpeg(pixels) is jpeg(pixels)
    expected = Mean().score(read_back, [PROMPT] * 3)["mean"]
    np.testing.assert_array_equal(judge.score(pixels, [PROMPT] * 3)["mean"], expected)
    assert judge.id.startswith("mean-jpeg-")
    assert judge.id != ThroughJpeg(Mean(), Jpeg(90)).id


def test_layout_and_order_are_laid_over_methods_that_have_them() -> None:
    mini, released = model_card("mini"), protocol_card("released")
    method = load_method("livo", mini, protocol=released).method
    assert (method.layout, method.steers(24, 50), method.steers(25, 50)) == ("paper", True, False)  # type: ignore[attr-defined]
    ours = load_method("livo", mini, protocol=protocol_card("ours")).method
    assert (ours.layout, ours.steers(24, 50), ours.steers(25, 50)) == ("pad77", True, False)  # type: ignore[attr-defined]
    assert ours.steers(26, 50)  # type: ignore[attr-defined]
    load_method("sd", mini, protocol=released)


def test_kernels_for_one_shape_do_not_go_with_texts_at_their_own_length(
    tiny_model: Path, tmp_path: Path
) -> None:
    options: RunOptions = {"runs": tmp_path, "protocol": "released", "device": "cpu"}
    for switch in ("compile", "cuda-graphs"):
        with pytest.raises(BadInput, match=r"'livo:wo-m' lays out tokens .* own length"):
            prepare(["livo:wo-m"], "bias", "mini", **options | {"switches": [switch]})
    prepare(["sd"], "bias", str(tiny_model), **options | {"switches": ["compile"]})


def test_the_released_protocol_makes_fifty_images(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'released' makes 50 images .* asked for are 20"):
        run(["sd"], "bias", str(tiny_model), images=20, runs=tmp_path, protocol="released")
    with pytest.raises(UnknownName, match=r"protocol 'realesed'\. Known: ours, released"):
        run(["sd"], "bias", str(tiny_model), runs=tmp_path, protocol="realesed")


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both protocols, of SD and the control."""
    folder = tmp_path_factory.mktemp("protocol")
    prompts = folder / "prompts.csv"
    prompts.write_text(PROMPTS, encoding="utf-8")
    for protocol in ("ours", "released"):
        run(
            ["sd", "noise"],
            "bias",
            str(tiny_model),
            prompts=prompts,
            device="cpu",
            runs=folder,
            protocol=protocol,
        )
    return folder


def test_results_of_two_protocols_share_images_and_no_table(runs: Path) -> None:
    ours, released = (load_results(runs, name) for name in ("tiny", "tiny@released"))
    assert set(released["model"]) == {"tiny@released"}
    assert len(ours) == len(released)
    for name in ("tiny", "tiny@released"):
        record = json.loads((runs / name / "sd" / "bias" / "run.json").read_text("utf-8"))
        assert record["protocol"] == results_of(name)[1].name
        assert record["model"]["name"] == "tiny"
    images = [
        pd.read_parquet(runs / name / "sd" / "bias" / "images.parquet")["key"]
        for name in ("tiny", "tiny@released")
    ]
    assert images[0].tolist() == images[1].tolist()
    assert [path.name for path in (runs / "store").iterdir()] == ["tiny"]

    scorers = {"D1": True, "is": False, "clip": False}  # whether both protocols ask one judge
    for metric, same in scorers.items():
        seen = [set(rows[rows["metric"] == metric]["scorer"]) for rows in (ours, released)]
        assert (seen[0] == seen[1]) == same


def test_a_part_of_the_reference_is_the_methods_own(
    tiny_model: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, [_, noise] = prepare(
        ["sd", "noise"],
        "bias",
        str(tiny_model),
        prompts=runs / "prompts.csv",
        device="cpu",
        runs=runs,
        protocol="released",
    )
    store, network = session.store, session.features.id
    vectors, plain = (
        scored_rows(store, network, rows_of(wanted), summary.VECTORS)
        for wanted in (noise.wanted, noise.reference)
    )
    unaligned = summary.Unaligned(session, noise)
    reference = summary._reference(session, noise, vectors, unaligned).frame
    same = [
        a is b or np.array_equal(a, b)
        for a, b in zip(reference["features"], vectors["features"], strict=True)
    ]
    of_race_and_negative = (vectors["subset"] == "race") & (vectors["category"] == "negative")
    assert same == of_race_and_negative.tolist()
    assert sum(same) == 50

    rows = load_results(runs, "tiny@released")
    [fid] = rows[(rows["method"] == "noise") & (rows["metric"] == "fid")]["value"]
    whole, mixed = (
        frechet_distance(
            np.stack(vectors["features"].to_list()), np.stack(side["features"].to_list())
        )
        for side in (plain, reference)
    )
    assert fid == pytest.approx(mixed)
    assert mixed < whole


def test_the_name_of_results_says_how_to_make_them() -> None:
    assert run_options("tiny") == "--model tiny"
    assert run_options("tiny@released") == "--model tiny --protocol released"
    assert run_options("owner--name") == "--model owner--name"
    assert results_of("a@b")[0] == "a@b"
    card = replace(protocol_card("released"), name="other")
    assert card.of("sd15") == "sd15@other"
