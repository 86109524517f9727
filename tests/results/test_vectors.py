"""What a result folder keeps of the feature network's vectors, and what it refuses."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from livo_bench.errors import BadInput
from livo_bench.results.metrics import vectors

N, WIDTH, CLASSES = 12, 7, 4
SPREAD = 3.0
PLACE = Path("vectors.npz")


def network(seed: int, prefix: str, width: int = WIDTH) -> pd.DataFrame:
    """A scored frame of so many requests, the last two of one image."""
    random = np.random.default_rng(seed)
    features = random.normal(1, SPREAD, (N, width)).astype(np.float32)
    logits = random.normal(0, 2, (N, CLASSES)).astype(np.float32)
    keys = [f"{prefix}{min(number, N - 2)}" for number in range(N)]
    features[-1], logits[-1] = features[-2], logits[-2]
    return pd.DataFrame(
        {"key": keys, "features": list(features), "logits": list(logits), "unscored": None}
    )


def test_what_is_kept_comes_back_rounded_as_finely_as_is_said() -> None:
    own, other = network(0, "own"), network(1, "other")
    own.loc[3, "unscored"] = "blank image"
    left_alone = pd.Series(np.arange(N) < 2)
    places = pd.Index(range(N)).repeat(2)
    found = vectors.unpack(vectors.pack(places, own, left_alone, other), PLACE)
    kept, others = [2, *range(4, N - 1)], list(range(N - 1))
    assert found.places.tolist() == places.tolist()
    assert (found.requests.tolist(), found.other_requests.tolist()) == (kept, others)
    for read, frame, rows in (
        (found.features, own, kept),
        (found.other_features, other, others),
    ):
        expected = np.stack(list(frame["features"].iloc[rows]))
        # Half of the power of two that is nearest to a 64th of the spread.
        half = 2.0 ** np.rint(np.log2(expected.std() / vectors.STEPS)) / 2
        worst = np.abs(read - expected).max()
        assert half / 2 < worst <= half
    expected = log_softmax(np.stack(list(own["logits"].iloc[kept])), axis=1)
    assert np.abs(np.exp(found.logits) - np.exp(expected)).max() <= 0.5001 / vectors.SHARES


def test_a_class_without_a_share_counts_for_nothing_and_is_no_infinity() -> None:
    own = network(0, "own")
    own["logits"] = pd.Series([np.array([50, 0, 0, 0], np.float32)] * N)
    found = vectors.unpack(vectors.pack(own.index, own, own["key"] == ""), PLACE)
    assert found.logits[0].tolist() == [0, -30, -30, -30]


def test_without_images_there_are_no_vectors() -> None:
    own = network(0, "own")
    for nothing in (own.head(0), own.assign(unscored="blank image")):
        packed = vectors.pack(own.index, nothing, nothing["key"] == "")
        found = vectors.unpack(packed, PLACE)
        assert found.places.tolist() == list(range(N))
        assert not len(found.requests) + len(found.features) + len(found.logits)
        assert not len(found.other_requests) + len(found.other_features)


def test_features_without_spread_are_whole() -> None:
    own = network(0, "own")
    own["features"] = pd.Series([np.full(WIDTH, 5, np.float32)] * N)
    found = vectors.unpack(vectors.pack(own.index, own, own["key"] == ""), PLACE)
    assert np.unique(found.features).tolist() == [5]


def arrays_of_a_run() -> dict[str, np.ndarray]:
    own, other = network(0, "own"), network(1, "other")
    with np.load(io.BytesIO(vectors.pack(own.index, own, own["key"] == "", other))) as arrays:
        return dict(arrays)


def written(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["requests", "features", "shares", "other_features"])
def test_a_vector_too_few_is_refused(name: str) -> None:
    arrays = arrays_of_a_run()
    assert len(vectors.unpack(written(arrays), PLACE).features) == N - 1
    with pytest.raises(BadInput, match="has not one vector for each image"):
        vectors.unpack(written(arrays | {name: arrays[name][..., 1:]}), PLACE)


@pytest.mark.parametrize("name", ["places", "requests", "other_requests"])
def test_requests_are_those_of_the_run(name: str) -> None:
    arrays = arrays_of_a_run()
    for end, wrong in ((N - 1, N), (0, -1)):
        some = arrays[name].copy()
        some[0] = end
        vectors.unpack(written(arrays | {name: some}), PLACE)
        some[0] = wrong
        with pytest.raises(BadInput, match="names requests that the run has not"):
            vectors.unpack(written(arrays | {name: some}), PLACE)
