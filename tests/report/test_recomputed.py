"""IS and FID from what result folders hold, against the numbers that images gave."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from written_vectors import DIFFERENT, frame, write

from livo_bench.cards.catalog import SHIPPED
from livo_bench.cli import main
from livo_bench.errors import BadInput, Incomplete
from livo_bench.report.recomputed import METRICS, recomputed
from livo_bench.results import seal
from livo_bench.results.metrics import vectors
from livo_bench.results.metrics.is_and_fid import frechet_distance, inception_score


@pytest.fixture(scope="module", params=range(2))
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    random = np.random.default_rng(request.param)
    unaligned, other = frame(random, "sd"), frame(random, "noise")
    method = frame(random, "m", shift=0.5)
    write(folder, "sd", unaligned, unaligned, other)
    write(folder, "all", method, unaligned, other)
    left = random.random(len(method) // 2) < random.uniform(0.2, 0.8)
    some = method.mask(pd.Series(np.tile(left, 2)), unaligned)
    write(folder, "some", some, unaligned, other)
    return folder


@pytest.fixture
def written(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "results")


def test_every_number_and_interval_comes_out_again(written: Path) -> None:
    found = recomputed(written, "mini")
    assert {(one.method, one.metric) for one in found} == {
        ("sd", "is"), ("sd", "fid_independent"),
        *((method, metric) for method in ("all", "some") for metric in METRICS),
    }  # fmt: skip
    for one in found:
        again = (one.value_again, one.low_again, one.high_again)
        assert again == pytest.approx((one.value, one.low, one.high), rel=1e-5, abs=1e-5)
        assert one.high > one.low


def test_what_a_method_left_alone_is_asked_of_the_unaligned_model(written: Path) -> None:
    some, whole = (written / name / "bias" / "vectors.npz" for name in ("some", "all"))
    assert some.stat().st_size < whole.stat().st_size
    for path in sorted((written / "sd" / "bias").iterdir()):
        path.unlink()
    found = {(one.method, one.metric): one for one in recomputed(written, "mini")}
    assert np.isnan(found["some", "fid"].value_again)
    assert np.isnan(found["all", "fid"].value_again)
    of_all = found["all", "is"]
    assert of_all.value_again == pytest.approx(of_all.value, rel=1e-5)


def test_the_command_prints_both(written: Path) -> None:
    arguments = ["report", str(written), "--table", "recomputed", "--format", "markdown"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    head, _, *lines = result.stdout.splitlines()
    assert head == "| method | on | metric | n | stored | recomputed |"
    assert len(lines) == 10
    for line in lines:
        stored, again = line.strip("| ").split(" | ")[-2:]
        assert stored == again != "-"


def kept(features: np.ndarray, logits: np.ndarray) -> vectors.Vectors:
    network = pd.DataFrame({"key": range(len(features)), "unscored": None})
    network["features"] = list(features.astype(np.float32))
    network["logits"] = list(logits.astype(np.float32))
    return vectors.unpack(vectors.pack(network.index, network, network["key"] < 0), Path("x"))


@pytest.mark.parametrize("seed", range(3))
def test_rounding_moves_fid_and_is_little(seed: int) -> None:
    random = np.random.default_rng(seed)
    scale = 10 ** random.uniform(-3, 3)
    sides: list[np.ndarray] = [scale * random.normal(mean, 1, (800, 24)) for mean in (0.3, 0)]
    ours, theirs = sides
    logits: np.ndarray = random.normal(0, 4, (800, 30))
    exact = frechet_distance(ours, theirs)
    again = frechet_distance(kept(ours, logits).features, kept(theirs, logits).features)
    assert again == pytest.approx(exact, rel=3e-3)
    assert again != exact
    score = inception_score(kept(ours, logits).logits)[0]
    assert score == pytest.approx(inception_score(logits)[0], rel=1e-3)


def test_vectors_that_are_all_alike_or_missing_are_kept() -> None:
    assert (kept(np.full((5, 3), 2.0), np.zeros((5, 2))).features == 2).all()
    nothing = kept(np.zeros((0, 3)), np.zeros((0, 2)))
    assert len(nothing.requests) == len(nothing.features) == len(nothing.logits) == 0


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_is_named(seed: int) -> None:
    random = np.random.default_rng(seed)
    network = frame(random, "k")
    data = vectors.pack(network.index, network, network["key"] == "")
    for damaged in (data[: random.integers(len(data))], b"", b"PK", random.bytes(400)):
        with pytest.raises(BadInput, match=r"Cannot read here/vectors\.npz"):
            vectors.unpack(damaged, Path("here/vectors.npz"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"requests": np.array([0, 2 * DIFFERENT], np.int32)}, "not one vector for each image"),
        (
            {"requests": np.arange(1, DIFFERENT + 1, dtype=np.int32) * 3},
            "requests that the run has not",
        ),
        ({"places": np.array([-1], np.int32)}, "requests that the run has not"),
        ({"step": np.array([None])}, "allow_pickle=False"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(
    changed: dict[str, np.ndarray], said: str
) -> None:
    network = frame(np.random.default_rng(3), "k")
    data = vectors.pack(network.index, network, network["key"] == "")
    arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays | changed)
    with pytest.raises(BadInput, match=said):
        vectors.unpack(buffer.getvalue(), Path("vectors.npz"))


def test_a_file_of_other_images_is_refused(written: Path) -> None:
    path = written / "all" / "bias"
    opened = seal.open_folder(path)
    assert opened is not None
    images = pd.read_parquet(path / "images.parquet").iloc[:-1]
    files = {name: opened.files[name] for name in seal.NEIGHBOURS}
    seal.write(path, opened.record, files | {seal.IMAGES: seal.as_parquet(images)})
    with pytest.raises(
        BadInput,
        match=rf"is of {2 * DIFFERENT} images and images\.parquet beside it of {2 * DIFFERENT - 1}",
    ):
        recomputed(written, "mini")


def test_older_results_hold_none(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match="hold vectors of images; older ones do not"):
        recomputed(tmp_path, "mini")


@pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_the_reference_can_be_recomputed(whole: bool, few_methods: Path) -> None:
    found = recomputed(SHIPPED if whole else few_methods, "mini")
    assert {one.method for one in found} >= {"sd", "ca", "livo"}
    for one in found:
        slack = 0.01 + 0.002 * one.value  # as docs/metrics.md says
        assert abs(one.value_again - one.value) < slack
        assert abs(one.low_again - one.low) < 3 * slack
        assert abs(one.high_again - one.high) < 3 * slack
