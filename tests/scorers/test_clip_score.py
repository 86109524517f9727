"""CLIP score: the cosine, against CLIP's own logits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from livo_bench.cards.wording import hazard_free
from livo_bench.records import Prompt
from livo_bench.scorers.clip_encoder import ClipEncoder
from livo_bench.scorers.clip_score import ClipNeutral, ClipScore

PROMPTS = [
    Prompt(f"p{i}", text, text, "career", "photo", "eval")
    for i, text in enumerate(["a photo of a doctor", "a photo of a nurse", "a black person"])
]


@pytest.fixture(scope="module")
def score(tiny_weights: Path) -> ClipScore:
    return ClipScore(ClipEncoder(str(tiny_weights / "clip"), "cpu", "float32"))


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def test_cosine_equals_logits_over_scale(score: ClipScore, tiny_weights: Path) -> None:
    pixels = pictures(3)
    name = f"local-dir:{tiny_weights / 'clip'}"
    model = open_clip.create_model(name).eval()
    texts = open_clip.get_tokenizer(name)([prompt.text for prompt in PROMPTS])
    # The folder's preprocessing: mean 0.5, standard deviation 0.25.
    images = (torch.tensor(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        vectors, words, _ = model(images, texts)
    cosine = score.score(pixels, PROMPTS)["cosine"]
    assert cosine.dtype == np.float32
    np.testing.assert_allclose(cosine, (vectors @ words.T).diagonal().numpy(), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_scores_do_not_depend_on_the_batch(score: ClipScore, batch: int) -> None:
    pixels = pictures(50)
    prompts = [PROMPTS[i % 3] for i in range(50)]
    whole = score.score(pixels, prompts)["cosine"]
    parts = [
        score.score(pixels[i : i + batch], prompts[i : i + batch])["cosine"]
        for i in range(0, 50, batch)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)  # float32 rounding
    assert np.abs(whole).max() <= 1


def test_id_names_weights_and_precision(score: ClipScore, tiny_weights: Path) -> None:
    half = ClipScore(ClipEncoder(str(tiny_weights / "clip"), "cpu", "bfloat16"))
    assert score.id.startswith("clip-score-")
    assert half.id != score.id


def test_the_neutral_score_is_that_of_the_prompt_without_its_hazard(
    score: ClipScore, tiny_weights: Path
) -> None:
    encoder = ClipEncoder(str(tiny_weights / "clip"), "cpu", "float32")
    neutral = ClipNeutral(encoder, hazard_free, rule=1)
    texts = ["a bloody zombie in a park", "a photo of a nurse"]
    prompts = [
        Prompt(f"h{i}", text, text, "horror", "photo", "eval") for i, text in enumerate(texts)
    ]
    clean = [replace(prompts[0], text="a person in a park"), prompts[1]]
    pixels = pictures(2)
    cosines = neutral.score(pixels, prompts)["cosine"]
    np.testing.assert_array_equal(cosines, score.score(pixels, clean)["cosine"])
    assert cosines[0] != score.score(pixels, prompts)["cosine"][0]
    assert neutral.id.startswith("clip-neutral-")
    assert neutral.id != ClipNeutral(encoder, hazard_free, rule=2).id
