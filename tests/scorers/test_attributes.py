"""The attribute judge against open_clip's own transform and a plain forward pass."""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from livo_bench.cards.weights import Need
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.records import Prompt
from livo_bench.scorers.attributes import AttributeJudge
from livo_bench.scorers.clip_encoder import ClipEncoder

RACES = ("white", "black", "indian", "asian", "latino")
CLASS_TEXT = "{prompt}, {attribute}"
PROMPT = Prompt("p1", "a photo of a doctor", "doctor", "career", "photo", "eval")
NURSE = replace(PROMPT, id="p2", text="a photo of a nurse", concept="nurse")


@pytest.fixture(scope="module")
def folder(tiny_weights: Path) -> Path:
    return tiny_weights / "clip"


@pytest.fixture
def encoder(folder: Path) -> ClipEncoder:
    return ClipEncoder(str(folder), "cpu", "float32")


@pytest.fixture
def judge(encoder: ClipEncoder) -> AttributeJudge:
    return AttributeJudge(encoder, "race", RACES, CLASS_TEXT)


def pictures(n: int, size: int = 64) -> Pixels:
    """Noise of a colour of its own in each picture, so that an untrained judge tells them apart."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (n, 1, 1, 3))
    grain = random.integers(-60, 61, (n, size, size, 3))
    return np.clip(colours + grain, 0, 255).astype(np.uint8)


def plain_probabilities(folder: Path, pixels: Pixels, prompt: str) -> np.ndarray:
    """The judge written out with open_clip's loader and its PIL transform, an image at a time."""
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    texts = open_clip.get_tokenizer(name)([f"{prompt}, {race}" for race in RACES])
    rows = []
    with torch.no_grad():
        for image in pixels:
            batch = transform(Image.fromarray(image))[None]
            vectors, words, scale = model.eval()(batch, texts)
            rows.append((scale * vectors @ words.T).softmax(dim=1)[0].numpy())
    return np.stack(rows)


def probabilities(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack([columns[f"p_{race}"] for race in RACES], axis=1)


def test_probabilities_equal_open_clips_own_transform(judge: AttributeJudge, folder: Path) -> None:
    pixels = pictures(8, size=32)  # the network's own size: nothing is resized
    expected = plain_probabilities(folder, pixels, PROMPT.text)
    found = probabilities(judge.score(pixels, [PROMPT] * 8))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 rounding


def test_resizing_follows_pil(judge: AttributeJudge, folder: Path) -> None:
    pixels = pictures(8, size=64)
    expected = plain_probabilities(folder, pixels, PROMPT.text)
    found = probabilities(judge.score(pixels, [PROMPT] * 8))
    # PIL's bicubic works in fixed point: single levels of a picture may differ by one of 255.
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_label_is_the_likeliest_attribute(judge: AttributeJudge) -> None:
    columns = judge.score(pictures(50), [PROMPT] * 50)
    shares = probabilities(columns)
    assert list(columns) == ["label", *(f"p_{race}" for race in RACES)]
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert [RACES[i] for i in shares.argmax(axis=1)] == columns["label"].tolist()
    assert len(set(columns["label"])) > 1  # or the tests of sameness below would say nothing


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_labels_do_not_depend_on_the_batch(judge: AttributeJudge, batch: int) -> None:
    pixels = pictures(50)
    prompts = [PROMPT, NURSE] * 25
    whole = judge.score(pixels, prompts)
    parts = [
        judge.score(pixels[i : i + batch], prompts[i : i + batch]) for i in range(0, 50, batch)
    ]
    assert np.concatenate([part["label"] for part in parts]).tolist() == whole["label"].tolist()
    shares = np.concatenate([probabilities(part) for part in parts])
    np.testing.assert_allclose(shares, probabilities(whole), atol=1e-5)  # float32 rounding


def test_each_image_is_judged_by_its_own_prompt(judge: AttributeJudge) -> None:
    pixels = pictures(4)
    mixed = probabilities(judge.score(pixels, [PROMPT, NURSE, NURSE, PROMPT]))
    doctors = probabilities(judge.score(pixels, [PROMPT] * 4))
    nurses = probabilities(judge.score(pixels, [NURSE] * 4))
    np.testing.assert_array_equal(mixed[[0, 3]], doctors[[0, 3]])
    np.testing.assert_array_equal(mixed[[1, 2]], nurses[[1, 2]])
    assert np.abs(doctors - nurses).max() > 1e-3


def test_the_order_of_attributes_does_not_matter(encoder: ClipEncoder) -> None:
    pixels, prompts = pictures(20), [PROMPT] * 20
    ahead = AttributeJudge(encoder, "race", RACES, CLASS_TEXT).score(pixels, prompts)
    back = AttributeJudge(encoder, "race", RACES[::-1], CLASS_TEXT).score(pixels, prompts)
    assert ahead["label"].tolist() == back["label"].tolist()
    np.testing.assert_allclose(probabilities(ahead), probabilities(back), atol=1e-6)


def test_braces_in_a_prompt_are_plain_text(judge: AttributeJudge) -> None:
    columns = judge.score(pictures(1), [replace(PROMPT, text="a {doctor} of {0}")])
    assert columns["label"][0] in RACES


def test_pixels_are_neither_changed_nor_required_to_be_writable(judge: AttributeJudge) -> None:
    pixels = pictures(3)
    pixels.flags.writeable = False
    assert len(judge.score(pixels, [PROMPT] * 3)["label"]) == 3


def test_judges_of_one_encoder_encode_an_image_once(
    encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = encoder._encode_images

    def counted(pixels: Pixels) -> torch.Tensor:
        encoded.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(encoder, "_encode_images", counted)
    race = AttributeJudge(encoder, "race", RACES, CLASS_TEXT)
    gender = AttributeJudge(encoder, "gender", ("male", "female"), CLASS_TEXT)
    first, second = pictures(5), pictures(5, size=32)
    for pixels in (first, second):
        race.score(pixels, [PROMPT] * 5)
        gender.score(pixels, [PROMPT] * 5)
    assert encoded == [5, 5]


def test_equal_looking_arrays_are_not_mixed_up(judge: AttributeJudge) -> None:
    black, white = np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 64, 64, 3), 255, np.uint8)
    first = probabilities(judge.score(black, [PROMPT]))
    assert not np.allclose(first, probabilities(judge.score(white, [PROMPT])))
    np.testing.assert_array_equal(first, probabilities(judge.score(black, [PROMPT])))


def test_threads_do_not_disturb_each_other(judge: AttributeJudge) -> None:
    batches = [pictures(50)[i::10] for i in range(10)]
    expected = [judge.score(batch, [PROMPT] * 5)["label"].tolist() for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        columns = list(pool.map(lambda batch: judge.score(batch, [PROMPT] * 5), batches))
    assert [found["label"].tolist() for found in columns] == expected


def test_id_names_weights_precision_and_texts(folder: Path, tmp_path: Path) -> None:
    encoder = ClipEncoder(str(folder), "cpu", "float32")
    copy = ClipEncoder(str(shutil.copytree(folder, tmp_path / "copy")), "cpu", "float32")
    (tmp_path / "copy" / "README.md").write_text("Touches no score.")
    same = {
        AttributeJudge(encoder, "race", RACES, CLASS_TEXT).id,
        AttributeJudge(copy, "race", RACES, CLASS_TEXT).id,
    }
    assert len(same) == 1
    assert next(iter(same)).startswith("clip-race-")

    weights = tmp_path / "copy" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    others = {
        AttributeJudge(
            ClipEncoder(str(tmp_path / "copy"), "cpu", "float32"), "race", RACES, "x"
        ).id,
        AttributeJudge(ClipEncoder(str(folder), "cpu", "bfloat16"), "race", RACES, CLASS_TEXT).id,
        AttributeJudge(encoder, "race", RACES[:3], CLASS_TEXT).id,
        AttributeJudge(encoder, "race", RACES, "{attribute}, {prompt}").id,
        AttributeJudge(encoder, "other", RACES, CLASS_TEXT).id,
    }
    assert len(others | same) == 6


def test_nothing_is_loaded_before_the_first_image(folder: Path, tmp_path: Path) -> None:
    torn = shutil.copytree(folder, tmp_path / "torn")
    weights = torn / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    judge = AttributeJudge(ClipEncoder(str(torn), "cpu", "float32"), "race", RACES, CLASS_TEXT)
    with pytest.raises(BadInput, match=r"Cannot load the CLIP of .*torn"):
        judge.load()
    with pytest.raises(BadInput, match="Cannot load the CLIP"):
        judge.score(pictures(1), [PROMPT])


def test_half_precision_gives_nearly_the_same_probabilities(folder: Path) -> None:
    pixels, prompts = pictures(10), [PROMPT] * 10
    full, half = (
        AttributeJudge(ClipEncoder(str(folder), "cpu", dtype), "race", RACES, CLASS_TEXT)
        for dtype in ("float32", "bfloat16")
    )
    # bfloat16 keeps 8 bits: cosines to about 1 %, times a logit scale of 14.
    np.testing.assert_allclose(
        probabilities(half.score(pixels, prompts)),
        probabilities(full.score(pixels, prompts)),
        atol=0.05,
    )


def test_unknown_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no model folder .*nowhere.*open_clip_config\.json"):
        ClipEncoder(str(tmp_path / "nowhere"), "cpu", "float32")
    with pytest.raises(BadInput, match=r"ViT-L-14@opneai.*has: openai, .*ViT-L-14@openai"):
        ClipEncoder("ViT-L-14@opneai", "cpu", "float32")
    with pytest.raises(BadInput, match="ViT-L is no built-in architecture"):
        ClipEncoder("ViT-L@openai", "cpu", "float32")


def test_a_built_in_pair_is_known_by_its_commit_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    pinned = ClipEncoder(f"ViT-L-14@openai@{commit}", "cpu", "float32")
    assert pinned.digest != ClipEncoder("ViT-L-14@openai", "cpu", "float32").digest
    with pytest.raises(BadInput, match=rf"timm/.*@{commit} is not on this .* livo-bench fetch"):
        pinned.load()


def test_a_built_in_pair_brings_its_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The architecture ViT-L-14 has GELU; OpenAI's weights were trained with its quick form.
    asked: dict[str, Any] = {}

    def create_model(name: str, **wanted: object) -> None:
        asked.update(wanted, name=name)
        raise RuntimeError("not downloaded in a test")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    weights = tmp_path / "weights.safetensors"
    monkeypatch.setattr(Need, "path", lambda self, name: weights)
    with pytest.raises(BadInput, match="Cannot load the CLIP of ViT-L-14: not downloaded"):
        ClipEncoder("ViT-L-14@openai", "cpu", "float32").load()
    assert asked["load_weights"] is False  # `networks` puts them in
    assert asked["force_quick_gelu"] is True
    assert asked["force_preprocess_cfg"]["interpolation"] == "bicubic"
