"""Switches shared by all tests."""

import shutil
import signal
from pathlib import Path

import pytest
from places import REFERENCE, ROOT

KINDS = ROOT / "livo_bench" / "mini" / "kinds.csv"
"""The classes of the world, of which an untrained network has some, with their kinds."""
TINY_CARD = """\
name = "tiny"
title = "Untrained"
scale = "mini"
pipeline = "./sd"
size = 64
steps = 3
guidance = 2.0
sampler = "dpmsolver++"
dtype = "float32"
block = 5
rate = 10.0
bytes_per_image = 10_000
[judges.attributes]
weights = "./clip"
dtype = "float32"
[judges.hazards]
weights = "./llava"
dtype = "float32"
[judges.features]
weights = "./features"
dtype = "float32"
kinds = "KINDS"
"""


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore this one, and our commands leave it so.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that are refused are tried again at once."""
    monkeypatch.setattr("livo_bench.runs.retrying.PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def few_methods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods of the committed results, for what takes its time with all of them."""
    folder = tmp_path_factory.mktemp("reference") / "mini"
    folder.mkdir()
    for path in REFERENCE.glob("*.csv"):
        shutil.copy(path, folder)
    for method in ("sd", "ca", "livo"):
        shutil.copytree(REFERENCE / method, folder / method)
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of untrained models in the real formats: `sd`, `clip`, `llava`, `features`."""
    # Imported here: tests that need no model need none of the model libraries either.
    import tiny_models

    folder = tmp_path_factory.mktemp("tiny")
    tiny_models.save_pipeline(folder / "sd")
    tiny_models.save_clip(folder / "clip")
    tiny_models.save_llava(folder / "llava")
    tiny_models.save_feature_network(folder / "features")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_weights: Path) -> Path:
    """The card of a model over `tiny_weights`."""
    card = tiny_weights / "tiny.toml"
    card.write_text(TINY_CARD.replace("KINDS", str(KINDS)), encoding="utf-8")
    return card
