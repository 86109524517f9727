"""DebiasVL: what a projection takes out, and that a run multiplies the prompt's states alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from livo_bench.cards.adapters import load_method
from livo_bench.cards.catalog import model_card, model_digest, task_cards
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines import diffusion, overlay
from livo_bench.engines.diffusion import Diffusion
from livo_bench.errors import BadInput
from livo_bench.methods import debias_vl
from livo_bench.methods.training.training import train
from livo_bench.records import Recipe, Request

BASE = Recipe("tiny", "a photo of a doctor", 0, "", 3.0, "dpmsolver++", 3, 64, "float32")


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("debias") / "out"
    return train("debias-vl", str(tiny_model), out=out, runs=out.parent)


def engine(tiny_weights: Path, *files: overlay.Found) -> Diffusion:
    return diffusion.load(
        tiny_weights / "sd", "cpu", "float32", {found.digest: found.path for found in files}
    )


def test_what_pairs_differ_in_is_taken_out_and_the_rest_stays() -> None:
    direction = np.zeros((1, 6))
    direction[0, 2] = 0.5
    p = debias_vl.solve(np.repeat(direction, 4, axis=0), lam=500.0)
    np.testing.assert_allclose(p @ np.eye(6)[2], np.eye(6)[2] / (1 + 500 * 0.25), rtol=1e-12)
    np.testing.assert_allclose(p @ np.eye(6)[0], np.eye(6)[0], rtol=1e-12)


def test_a_training_brings_the_groups_of_train_prompts_together(
    trained: Path, tiny_weights: Path
) -> None:
    sd = engine(tiny_weights)
    card = task_cards()["bias"]
    prompts = read_task_prompts(card, "mini", "train")[:5]
    for subset in ("gender", "race"):
        p = load_file(trained / f"{subset}.safetensors")["projection"].double().numpy()
        apart = debias_vl.differences(sd, prompts, card.subsets[subset].attributes)
        assert np.linalg.norm(apart @ p.T) < 0.5 * np.linalg.norm(apart)


def test_a_run_multiplies_the_states_of_the_prompt_and_of_nothing_else(
    trained: Path, tiny_model: Path, tiny_weights: Path
) -> None:
    card = model_card(str(tiny_model))
    method = load_method("debias-vl", card, str(trained))
    task = task_cards()["bias"]
    prompt = read_task_prompts(task, "mini")[0]
    recipes = {
        subset: method.resolve(Request(prompt, 0, task.principle(subset)), BASE)
        for subset in ("gender", "race")
    }
    assert recipes["gender"].projection != recipes["race"].projection
    assert replace(recipes["race"], projection=None) == BASE
    found = overlay.find(trained / "race.safetensors", card)
    sd = engine(tiny_weights, found)
    sd.load_files([recipes["race"]])
    p = load_file(trained / "race.safetensors")["projection"]
    torch.testing.assert_close(sd.context(recipes["race"]), sd.embed(BASE.text) @ p.T)
    torch.testing.assert_close(sd.context(BASE), sd.embed(BASE.text))
    changed, plain = sd.render([recipes["race"]]), sd.render([BASE])
    assert not np.array_equal(changed, plain)
    # By hand: the projected states as context, the empty text as it is.
    with torch.inference_mode():
        context = sd.context(recipes["race"])[None]
        predict = diffusion.classifier_free(sd.unet, context, sd.embed(""), BASE.guidance)
        latents = diffusion.denoise(predict, sd.noise([BASE]), sd.scheduler(BASE.steps))
        by_hand = diffusion.decode(sd.vae, latents)
    np.testing.assert_array_equal(changed, by_hand)


def test_a_projection_of_another_width_or_model_is_refused(
    trained: Path, tiny_model: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    card = model_card(str(tiny_model))
    wrong = tmp_path / "race.safetensors"
    save_file({"projection": torch.eye(4)}, wrong)
    sd = engine(tiny_weights, overlay.Found(str(wrong), "0" * 64))
    with pytest.raises(BadInput, match=r"projection \(4, 4\); expected \(32, 32\)"):
        sd.load_files([replace(BASE, projection="0" * 64)])
    for said in (None, {overlay.BASE: f"{model_digest(card)} projection"}):
        save_file({"projection": torch.eye(4)}, wrong, said)
        with pytest.raises(BadInput, match=r"projection of .*\(4, 4\); expected \(32, 32\)"):
            load_method("debias-vl", card, str(tmp_path))
    save_file({"conv_in.bias": torch.eye(4)}, wrong)
    with pytest.raises(BadInput, match=r"projection of .*race.* has 1 that .*conv_in\.bias"):
        load_method("debias-vl", card, str(tmp_path))
    with pytest.raises(BadInput, match="were made for a model with digest"):
        overlay.find(trained / "race.safetensors", model_card("mini"))
    task = task_cards()["bias"]
    method = load_method("debias-vl", card, str(trained))
    request = Request(read_task_prompts(task, "mini")[0], 0, task.principle("gender"))
    other = replace(request, principle=replace(request.principle, subset="age"))
    with pytest.raises(BadInput, match=r"no projections for 'age'.*: gender, race"):
        method.resolve(other, BASE)
