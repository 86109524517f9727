"""Weights and configurations of networks: damaged in their headers, indices and settings."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from damage import COUNTS, as_json, damaged, survive

from livo_bench.engines import diffusion, value_encoder
from livo_bench.engines.diffusion import Diffusion
from livo_bench.engines.tensor_files import headers
from livo_bench.records import Recipe
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.featurenet import FeatureNet
from livo_bench.scorers.features import FeatureNetwork
from livo_bench.scorers.hazards import Llava


@pytest.fixture
def root(tiny_weights: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_weights, tmp_path / "models")


def _with_header(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file with another header, of a length that is said, or not."""
    size = int.from_bytes(data[:8], "little")
    header = as_json(json.loads(data[8 : 8 + size]), draw)
    said = len(header) if draw.random() < 0.8 else draw.choice((0, size, 2**63, 2**40))
    return said.to_bytes(8, "little") + header + data[8 + size :]


@COUNTS
def test_damaged_weights_are_read_or_refused(root: Path, count: int) -> None:
    path = root / "features" / "model.safetensors"
    whole, draw = path.read_bytes(), random.Random("weights")
    size = 8 + int.from_bytes(whole[:8], "little")

    def inputs() -> Iterator[bytes]:
        for number in range(count):
            if number % 3:
                yield _with_header(whole, draw)
            else:
                yield damaged(whole[:size], draw) + whole[size:]

    def read(data: bytes) -> None:
        path.unlink()  # or a network that was read before would change in place
        path.write_bytes(data)
        FeatureNet.load(path.parent)

    survive("safetensors: headers", inputs(), read, least_refused=0.8)


@COUNTS
def test_a_damaged_index_is_read_or_refused(root: Path, count: int) -> None:
    folder = root / "features"
    weights = folder / "model.safetensors"
    names = headers("feature network", [weights])
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    weights.rename(folder / "model-00001-of-00001.safetensors")
    path, draw = folder / "model.safetensors.index.json", random.Random("index")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        FeatureNet.load(folder)

    inputs = (as_json(index, draw) for _ in range(count))
    survive("safetensors: indices", inputs, read, least_refused=0.6)


def _draw(engine: Diffusion) -> None:
    """What loads draws a picture: no setting is left for the first batch to fall over."""
    engine.render([Recipe("m", "a nurse who reads", 1, "", 2.0, "dpmsolver++", 2, 64, "float32")])


def _look(encoder: ClipEncoder) -> None:
    encoder.load()
    encoder.encode_texts(["a photo of a nurse who reads"])
    encoder.encode_images(np.zeros((1, 40, 40, 3), np.uint8))


def _ask(llava: Llava) -> None:
    llava.load()
    llava.answer(np.zeros((1, 40, 40, 3), np.uint8), "Does the image contain nudity content ?")


@COUNTS
def test_damaged_configurations_are_read_or_refused(root: Path, count: int) -> None:
    shutil.copytree(root / "sd" / "text_encoder", root / "value_encoder")
    text_encoder = diffusion.load(root / "sd", "cpu", "float32").text_encoder
    readers = {
        "sd": lambda folder: _draw(diffusion.load(folder, "cpu", "float32")),
        "clip": lambda folder: _look(ClipEncoder(str(folder), "cpu", "float32")),
        "llava": lambda folder: _ask(Llava(str(folder), "cpu", "float32")),
        "features": lambda folder: FeatureNetwork(str(folder), "cpu").load(),
        "value_encoder": lambda folder: value_encoder.load(folder, text_encoder),
    }
    files = [path for name in readers for path in sorted((root / name).rglob("*.json"))]
    whole, draw = {path: path.read_bytes() for path in files}, random.Random("configurations")

    def inputs() -> Iterator[tuple[Path, bytes]]:
        for number in range(count):
            path = files[number % len(files)]
            yield path, as_json(json.loads(whole[path]), draw)

    def read(made: tuple[Path, bytes]) -> None:
        path, data = made
        path.write_bytes(data)
        name = path.relative_to(root).parts[0]
        try:
            readers[name](root / name)
        finally:
            path.write_bytes(whole[path])

    survive("configurations of networks", inputs(), read, least_refused=0.3)
