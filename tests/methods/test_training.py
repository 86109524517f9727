"""Training: its batches, its gradients, its checkpoints, and the refusals before a model loads."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import sweep
import torch
from diffusers import DDPMScheduler
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextModel

from livo_bench import interrupt
from livo_bench.cards import adapters, catalog
from livo_bench.cards.catalog import model_card, task_cards
from livo_bench.cards.declared import Subset, TaskCard
from livo_bench.cards.prompts import read_task_prompts
from livo_bench.engines import value_encoder
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.methods.livo import (
    calibration,
    encoder_settings,
    pairs,
    preference,
    preference_data,
)
from livo_bench.methods.livo.preference import Settings, read_settings
from livo_bench.methods.livo.steering import SHARES
from livo_bench.methods.livo.train import Trainer, new_encoder, rate
from livo_bench.methods.training import processes
from livo_bench.methods.training.training import train
from livo_bench.methods.training.training_record import alone
from livo_bench.records import Prompt, recipe_from_json
from livo_bench.report.curves import SWEEP_COLUMNS
from livo_bench.runs.runner import run
from livo_bench.runs.session import Session
from livo_bench.scorers import annotator
from livo_bench.scorers.annotator import Annotation

TRAINING = """\
objective = "livo"
[variants.wo-m]
objective = "wo-m"
[mini]
layout = "pad77"
steps = 4
batch = 4
lr = 1e-3
schedule = "cosine"
weight_decay = 0.01
adam_beta_2 = 0.999
frozen = ["embeddings."]
weight = "deficit"
precision = "no"
gradient_checkpointing = false
checkpoint = 2
dev = 2
dev_images = 4
[mini.race]
draw = 1
beta = 1000
alpha = 500
gamma_1 = 1.0
gamma_2 = 0.5
"""


class FirstGroup:
    """Sees the group that was written, and the first group in plain pictures."""

    id = "first-group-1"

    def annotate(
        self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
    ) -> Annotation:
        n, groups = len(pixels), subset.attributes
        written = n == 10  # each gender with each race, gender after gender
        place = [(index // 5, index % 5)[len(groups) == 5] * written for index in range(n)]
        labels = [groups[which] for which in place]
        return Annotation(np.array(labels), np.full(n, True))


@pytest.fixture(scope="module")
def model(tiny_model: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose card names an annotator."""
    folder = tmp_path_factory.mktemp("trained")
    text = tiny_model.read_text(encoding="utf-8").replace('"./', f'"{tiny_weights}/')
    annotated = f'{text}\n[annotator]\nweights = "{tiny_weights}/features"\ndtype = "float32"\n'
    (folder / "tiny.toml").write_text(annotated, encoding="utf-8")
    return folder / "tiny.toml"


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Three concepts, one prompt each, a scripted annotator, and a method that trains on them."""
    monkeypatch.setattr(annotator, "load", lambda judge, device: FirstGroup())
    everything = preference.units

    def few(tasks: Sequence[TaskCard], scale: str) -> list[preference.Unit]:
        return [preference.Unit(u.task, u.prompts[:1]) for u in everything(tasks, scale)[:3]]

    monkeypatch.setattr(preference, "units", few)
    small = Settings(6, 10, 2, read_settings("mini").safety, read_settings("mini").strengths)
    monkeypatch.setattr(preference, "read_settings", lambda scale, path: small)
    dev = read_task_prompts(task_cards()["bias"], "mini", "dev")[:2]
    monkeypatch.setattr(
        "livo_bench.methods.livo.dev.read_task_prompts", lambda task, scale, split: dev
    )
    folder = tmp_path / "learner"
    shutil.copytree(catalog.DATA / "methods" / "dpo", folder)
    card = (folder / "card.toml").read_text().replace('name = "dpo"', 'name = "learner"')
    (folder / "card.toml").write_text(card.replace("[variants.d]", "[variants.wo-m]"))
    (folder / "training.toml").write_text(TRAINING)
    return folder


def trained(method: Path, model: Path, runs: Path, **options: object) -> Path:
    return train(str(method), str(model), device="cpu", runs=runs, **options).parent  # type: ignore[arg-type]


def test_a_training_writes_an_encoder_that_a_run_takes(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = trained(small_world, model, tmp_path)
    log, curve = pd.read_csv(out / "log.csv"), pd.read_csv(out / "dev.csv")
    assert list(log["step"]) == [1, 2, 3, 4]
    assert {"loss", "w", "l", "w_ref", "l_ref", "active_w", "active_l"} <= set(log)
    assert set(curve["step"]) == {2, 4}
    assert set(curve["metric"]) == {
        "D1",
        "D1_plain",
        "D1_steered",
        "majority_plain",
        "majority_steered",
        "presence_steered",
    }
    record = json.loads((out / "training.json").read_text())
    assert record["minutes"]["value_encoder"] >= 0
    assert record["settings"]["coefficients"]["race"]["beta"] == 1000
    found = value_encoder.find(out / "value_encoder", model_card(str(model)))
    method = adapters.load_method(str(small_world), model_card(str(model)), found.folder)
    assert method.files == {found.digest: found.folder}
    shares = json.loads((out / SHARES).read_text())
    assert shares.keys() == {"race"}
    assert shares["race"] in calibration.SHARES


def test_a_run_steers_with_trained_weights_and_shares_the_rest(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = trained(small_world, model, tmp_path)
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("text,category\na photo of a doctor,career\na photo of a nurse,career\n")
    options: dict[str, Any] = {"task": "bias/race", "model": str(model), "images": 12}
    options |= {"prompts": prompts, "device": "cpu", "runs": tmp_path / "runs"}
    [plain] = run(["sd"], **options)
    [steered] = run([str(small_world)], weights=str(out / "value_encoder"), **options)
    keys = [
        pd.read_parquet(folder / "images.parquet").set_index(["prompt", "index"])["key"]
        for folder in (plain, steered)
    ]
    same = (keys[0] == keys[1]).groupby(level="index").all()
    assert same.tolist() == [False, True] * 6
    recipes = {
        recipe.key: recipe
        for path in (tmp_path / "runs" / "store").rglob("samples/*.parquet")
        for recipe in map(recipe_from_json, pd.read_parquet(path)["recipe"])
    }
    encoder = value_encoder.find(out / "value_encoder", model_card(str(model))).digest
    assert {recipes[key].value_encoder for key in keys[1]} == {None, encoder}
    # Of several methods, weights are those of the one that takes some.
    both = run(["sd", str(small_world)], weights=str(out / "value_encoder"), **options)
    assert both == [plain, steered]


def test_only_the_encoders_own_parameters_learn(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = trained(small_world, model, tmp_path)
    learnt = load_file(out / "value_encoder" / "model.safetensors")
    engine = Session(model_card(str(model)), 0, "cpu", "float32", tmp_path).engine
    own = engine.text_encoder.state_dict()
    assert learnt.keys() == {name for name in own if not name.startswith("embeddings.")}
    assert any((learnt[name] != own[name].half()).any() for name in learnt)


def test_a_stopped_training_goes_on_to_the_same_encoder(
    small_world: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(small_world, model, tmp_path, out=tmp_path / "whole")
    step = Trainer.step

    def stopped(self: Trainer, number: int) -> dict[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(small_world, model, tmp_path, out=tmp_path / "parts")
    monkeypatch.setattr(Trainer, "step", step)
    with (tmp_path / "parts" / "log.csv").open("a") as log:
        log.write("2,0.")
    parts = trained(small_world, model, tmp_path, out=tmp_path / "parts")
    first, second = (load_file(f / "value_encoder" / "model.safetensors") for f in (whole, parts))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=0)
    # The row of a step that was lost, and a torn one, are gone.
    for file in ("log.csv", "dev.csv"):
        assert (whole / file).read_text() == (parts / file).read_text()


def test_a_signal_ends_a_training_after_the_step_in_hand_which_is_kept(
    small_world: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(small_world, model, tmp_path, out=tmp_path / "whole")
    step = Trainer.step

    def signalled(self: Trainer, number: int) -> dict[str, float]:
        if number == 2:  # checkpoints are due after steps 2 and 4
            signal.raise_signal(signal.SIGTERM)
        return step(self, number)

    out = tmp_path / "parts"
    with monkeypatch.context() as patch, interrupt.listening():
        patch.setattr(Trainer, "step", signalled)
        with pytest.raises(interrupt.Stopped) as caught:
            trained(small_world, model, tmp_path, out=out)
    assert caught.value.__notes__ == [f"3 of 4 steps are in {out / 'checkpoint.safetensors'}."]
    with safe_open(out / "checkpoint.safetensors", framework="pt") as file:
        assert file.metadata()["done"] == "3"
    trained(small_world, model, tmp_path, out=out)
    for file in ("log.csv", "dev.csv", "value_encoder/model.safetensors"):
        assert (whole / file).read_bytes() == (out / file).read_bytes()


def test_a_process_that_writes_nothing_stops_after_the_step_in_hand_too(
    small_world: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = Trainer.step, []

    def signalled(self: Trainer, number: int) -> dict[str, float]:
        steps.append(number)
        if number == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", signalled)
    monkeypatch.setattr(processes, "first", lambda: False)
    with pytest.raises(interrupt.Stopped) as caught, interrupt.listening():
        trained(small_world, model, tmp_path, out=tmp_path / "out")
    assert steps == [0, 1]
    [note] = caught.value.__notes__
    assert note.startswith("2 of 4 steps are in ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("installed", [True, False])
def test_tensorboard_gets_the_numbers_where_it_is_installed(
    installed: bool,
    small_world: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = trained(small_world, model, tmp_path)
    assert any((out / "tensorboard").glob("events*")) == installed
    assert "ensor" not in "".join(capfd.readouterr()).replace("tensors", "")
    assert len(pd.read_csv(out / "log.csv")) == 4


def test_a_second_training_in_one_folder_is_refused_and_writes_nothing(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with alone(out), pytest.raises(BadInput, match=rf"A training is writing into {out} already"):
        trained(small_world, model, tmp_path, out=out)
    assert [path.name for path in out.iterdir()] == [".training.lock"]


def test_what_is_damaged_is_made_again_or_named_and_the_encoder_is_the_same(
    small_world: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = trained(small_world, model, tmp_path)
    encoder, log = out / "value_encoder" / "model.safetensors", out / "log.csv"
    written = {path: path.read_bytes() for path in (encoder, log, out / "dev.csv")}
    data, *_ = (tmp_path / "preferences").rglob("bias-*.parquet")
    rows = data.read_bytes()
    pd.read_parquet(data).assign(preferred=lambda frame: ~frame["preferred"]).to_parquet(data)
    encoder.write_bytes(b"no tensors")
    place = str(encoder.parent)
    with pytest.raises(BadInput, match="value_encoder is not what its training wrote"):
        adapters.load_method(str(small_world), model_card(str(model)), place)
    log.write_text(log.read_text().replace("\n1,", "\n9,"))
    with pytest.raises(BadInput, match=r"log\.csv is damaged or was changed since"):
        trained(small_world, model, tmp_path)
    assert data.read_bytes() == rows
    assert "is damaged or not of this data; it is made again" in caplog.text
    log.unlink()
    trained(small_world, model, tmp_path)  # from the last checkpoint
    assert encoder.read_bytes() == written[encoder]
    checkpoint = out / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"checkpoint\.safetensors is damaged: .*starts from step 0"):
        trained(small_world, model, tmp_path)
    checkpoint.unlink()
    trained(small_world, model, tmp_path)
    assert {path: path.read_bytes() for path in written} == written
    adapters.load_method(str(small_world), model_card(str(model)), place)


def test_a_sweep_trains_as_livo_bench_train_does(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = trained(small_world, model, tmp_path, fraction=0.5, steps=2)
    data, _ = preference.build(str(model), device="cpu", runs=tmp_path)
    session = Session(model_card(str(model)), 42, "cpu", "float32", tmp_path)
    made = sweep.Sweep(session, data, tmp_path / "parts")
    training = sweep.Training(str(small_world), 0.5, 1.0, 1.0, 2, 0)
    made.train(training)
    part = pd.read_csv(made.path(training))
    assert list(part.columns) == list(SWEEP_COLUMNS)
    columns = ["subset", "metric", "value", "n"]
    pd.testing.assert_frame_equal(part[columns], pd.read_csv(out / "dev.csv")[columns])


@pytest.fixture
def trainer(small_world: Path, model: Path, tmp_path: Path) -> Trainer:
    return make_trainer(small_world, model, tmp_path)


def make_trainer(method: Path, model: Path, runs: Path) -> Trainer:
    card = model_card(str(model))
    folder, _ = preference.build(str(model), ["bias"], device="cpu", runs=runs)
    rows = preference_data.read(folder)
    session = Session(card, 42, "cpu", "float32", runs)
    chosen = encoder_settings.read(str(method), "mini")
    formed = pairs.form(session, rows[rows["subset"] == "race"], ["race"], "deficit", folder)
    return Trainer(session, chosen, formed, 0, runs / "out")


def test_the_pair_shares_noise_and_time_and_both_sides_share_them_too(trainer: Trainer) -> None:
    batch = trainer.batch(0)
    noisy, times, targets = batch.noised
    torch.testing.assert_close(noisy, trainer.batch(0).noised.latents, rtol=0, atol=0)
    assert not torch.equal(targets, trainer.batch(1).noised.targets)
    first, second = targets.chunk(2)
    assert torch.equal(*times.chunk(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    # Taking the shared noise off again leaves a draw from a picture's posterior, on both sides.
    schedule = DDPMScheduler.from_config(trainer.session.engine.scheduler_config)
    alphas = schedule.alphas_cumprod[times.chunk(2)[0]][:, None, None, None]
    scaling = trainer.denoiser.vae.config.scaling_factor
    moments = torch.from_numpy(np.array(trainer.pairs.latents)).float()
    mean, std = moments.unbind(1)
    for side in noisy.chunk(2):
        clean = (side - (1 - alphas) ** 0.5 * first) / alphas**0.5 / scaling
        off = ((clean[:, None] - mean) / std).abs().amax(dim=(2, 3, 4))
        assert (off.amin(dim=1) < 7).all()


def test_the_reference_is_the_model_without_the_token(trainer: Trainer) -> None:
    batch = trainer.batch(0)
    losses = trainer.losses(batch, half=False)
    with torch.no_grad():
        context = torch.stack(
            [trainer.session.engine.embed(trainer.pairs.prompts[row]) for row in batch.prompts]
        )
        noisy, times, targets = (each.chunk(2)[0] for each in batch.noised)
        predicted = trainer.network(noisy, times, context).sample
    expected = (predicted - targets).square().mean(dim=(1, 2, 3))
    # A batch of four instead of eight: last bits.
    torch.testing.assert_close(losses.w_ref, expected, rtol=1e-4, atol=1e-6)
    assert not losses.w_ref.requires_grad
    assert losses.w.requires_grad
    assert not torch.equal(losses.w, losses.w_ref)


def test_losses_are_to_the_bit_those_of_a_step_written_out(trainer: Trainer) -> None:
    engine, encoder = trainer.session.engine, cast(CLIPTextModel, trainer.encoder)
    drawn = trainer.pairs.draw(4, trainer.settings.draws, np.random.default_rng([0, 3]))
    generator = torch.Generator().manual_seed(3)
    schedule = DDPMScheduler.from_config(engine.scheduler_config)
    sides = []
    for rows in ([pair.preferred for pair in drawn], [pair.dispreferred for pair in drawn]):
        mean, std = torch.from_numpy(trainer.pairs.latents[rows]).float().unbind(1)
        draw = mean + std * torch.randn(mean.shape, generator=generator)
        sides.append(engine.vae.config.scaling_factor * draw)
    noise = torch.randn(sides[0].shape, generator=generator)
    times = torch.randint(1000, (4,), generator=generator)
    noisy = torch.cat([schedule.add_noise(side, noise, times) for side in sides])
    prompts = [trainer.pairs.prompts[pair.prompt] for pair in drawn]
    values = ["racial equality"] * 4
    with torch.no_grad():
        plain = torch.stack([engine.embed(text) for text in prompts])
        token = value_encoder.value_tokens(encoder, engine.tokenizer, values, prompts)
        beside = torch.stack(
            [engine.embed(text, engine.tokenizer.model_max_length - 1) for text in prompts]
        )
        errors = [
            (
                engine.unet(noisy, times.repeat(2), context.repeat(2, 1, 1)).sample
                - noise.repeat(2, 1, 1, 1)
            )
            .square()
            .mean(dim=(1, 2, 3))
            for context in (torch.cat([token[:, None], beside], dim=1), plain)
        ]
    found = trainer.losses(trainer.batch(3), half=False)
    assert torch.equal(torch.cat([found.w, found.l]), errors[0])
    assert torch.equal(torch.cat([found.w_ref, found.l_ref]), errors[1])


def test_only_the_value_encoder_has_gradients(trainer: Trainer) -> None:
    losses = trainer.losses(trainer.batch(0), half=False)
    (losses.w.mean() - losses.l.mean()).backward()
    touched = {n for n, p in trainer.encoder.named_parameters() if p.grad is not None}
    assert touched == {
        n for n, _ in trainer.encoder.named_parameters() if not n.startswith("embeddings.")
    }
    assert all(p.grad is None for p in trainer.network.parameters())
    assert all(p.grad is None for p in trainer.session.engine.text_encoder.parameters())


def test_half_precision_is_refused_where_rounding_swallows_the_margin(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    text = TRAINING.replace('precision = "no"', 'precision = "bf16"')
    path = small_world / "training.toml"
    path.write_text(text.replace("gamma_1 = 1.0", "gamma_1 = 1e-6"))
    with pytest.raises(BadInput, match=r"bf16 moves .* smallest margin, 1e-09.*precision = \"no\""):
        make_trainer(small_world, model, tmp_path).require_precision()
    with pytest.raises(BadInput, match="bf16 moves"):
        trained(small_world, model, tmp_path / "runs", steps=2)
    path.write_text(TRAINING)
    trained(small_world, model, tmp_path / "runs", steps=2)  # in the folder that was refused
    path.write_text(text.replace("gamma_1 = 1.0", "gamma_1 = 1e6").replace("0.5", "1e6"))
    trainer = make_trainer(small_world, model, tmp_path)
    trainer.require_precision()
    # What it compares with is float32 throughout.
    losses = trainer.losses(trainer.batch(0), half=False)
    path.write_text(TRAINING)
    full = make_trainer(small_world, model, tmp_path)
    torch.testing.assert_close(losses.w, full.losses(full.batch(0), half=True).w, rtol=0, atol=0)


def test_groups_are_drawn_by_their_deficit() -> None:
    liked = pd.DataFrame(
        {
            "subset": "race",
            "key": list("abcd"),
            "group": ["asian", "asian", "latino", "black"],
            "share": [0.1, 0.1, 0.15, 0.0],
        }
    )
    drawn = pairs.chances(liked, "deficit")
    # Deficits of 0.1, 0.05 and 0.2; the first is shared by two pictures.
    np.testing.assert_allclose(drawn, np.array([0.05, 0.05, 0.05, 0.2]) / 0.35)
    np.testing.assert_allclose(pairs.chances(liked, "uniform"), np.full(4, 0.25))
    hazards = liked.assign(subset="nudity", share=float("nan"))
    np.testing.assert_allclose(pairs.chances(hazards, "deficit"), np.full(4, 0.25))


def test_uniform_draws_pictures_alike_and_deficit_scenes(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    """With uniform weight a scene of many preferred pictures is drawn as often as it has some."""
    folder, _ = preference.build(str(model), ["bias"], device="cpu", runs=tmp_path)
    rows = preference_data.read(folder)
    race = rows[rows["subset"] == "race"]
    first = race["scene"].iloc[0]
    # Of the first scene one preferred picture is left.
    spare = race[(race["scene"] == first) & race["preferred"]].index[1:]
    race = race.drop(spare)
    session = Session(model_card(str(model)), 42, "cpu", "float32", tmp_path)
    liked = race[race["preferred"]].groupby("scene").size()
    assert liked[first] == 1 < liked.max()
    for weight, times in (("uniform", liked.to_list()), ("deficit", [1] * len(liked))):
        scenes = pairs.form(session, race, ["race"], weight, tmp_path / weight).scenes["race"]
        counted = Counter(id(scene) for scene in scenes)
        assert sorted(counted.values()) == sorted(times)


def test_a_fraction_keeps_both_kinds_of_every_scene() -> None:
    rows = pd.DataFrame(
        {
            "scene": ["a"] * 20 + ["b"] * 4,
            "key": [str(n) for n in range(24)],
            "twin": "",
            "preferred": ([True] * 10 + [False] * 10) + [True, True, False, False],
        }
    )
    kept = pairs.fraction_of(rows, 0.2, seed=0)
    counts = kept.groupby(["scene", "preferred"]).size().to_dict()
    assert counts == {("a", False): 2, ("a", True): 2, ("b", False): 1, ("b", True): 1}
    assert set(pairs.fraction_of(rows, 0.2, seed=1)["key"]) != set(kept["key"])
    assert pairs.fraction_of(rows, 1.0, seed=0).equals(rows)


def test_a_value_without_pairs_names_the_way_out(
    small_world: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nobody(FirstGroup):
        def annotate(
            self, task: TaskCard, subset: Subset, pixels: Pixels, prompts: Sequence[Prompt]
        ) -> Annotation:
            seen = super().annotate(task, subset, pixels, prompts)
            return Annotation(seen.labels, np.full(len(pixels), False))

    monkeypatch.setattr(annotator, "load", lambda judge, device: Nobody())
    with pytest.raises(BadInput, match=r"no prompt with preferred and dispreferred .* 'race'"):
        trained(small_world, model, tmp_path)


def test_another_setting_does_not_go_on_from_a_checkpoint(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    out = trained(small_world, model, tmp_path, steps=2)
    with pytest.raises(BadInput, match=r"holds a training with seed 0; asked for is 1.*--out DIR"):
        trained(small_world, model, tmp_path, steps=2, seed=1)
    with pytest.raises(BadInput, match=r"holds a training with settings"):
        trained(small_world, model, tmp_path, steps=2, gamma_1=0.1)
    assert trained(small_world, model, tmp_path, steps=2) == out


def test_wrong_options_are_refused_before_anything_is_made(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"fraction is 0\.0; expected it above 0"):
        trained(small_world, model, tmp_path / "runs", fraction=0.0)
    with pytest.raises(BadInput, match=r"'sd' has no .*training\.toml.*livo, dpo"):
        encoder_settings.read("sd", "mini")
    with pytest.raises(BadInput, match=r"'livo:all' has no training.*Trained there: livo, livo:wo"):
        encoder_settings.read("livo:all", "mini")
    text = TRAINING.replace('layout = "pad77"', 'layout = "paper"')
    (small_world / "training.toml").write_text(text)
    with pytest.raises(BadInput, match=r"layout is 'paper', expected one of: pad77, train78"):
        encoder_settings.read(str(small_world), "mini")
    assert not (tmp_path / "runs").exists()


def test_variants_set_objective_and_ratio() -> None:
    livo, unbounded = (
        encoder_settings.read("livo", "mini"),
        encoder_settings.read("livo:wo-m", "mini"),
    )
    assert (livo.objective, unbounded.objective) == ("livo", "wo-m")
    assert livo.coefficients == unbounded.coefficients
    for scale in ("mini", "sd"):
        equal, apart = encoder_settings.read("dpo", scale), encoder_settings.read("dpo:d", scale)
        assert all(c.alpha == c.beta for c in equal.coefficients.values())
        assert all(c.alpha == c.beta / 2 for c in apart.coefficients.values())
    assert equal.draws == encoder_settings.read("livo", "sd").draws


def test_coefficients_that_mean_nothing_are_refused(small_world: Path) -> None:
    path = small_world / "training.toml"
    for wrong, said in (
        ("beta = 1000\nalpha = 500", r"mini\.race\.beta is 0"),
        ("draw = 1", r"trains on no value, .* draw above 0"),
        ('objective = "livo"\n[variants', r"unknown field alpha_over_bata .*alpha_over_beta"),
        ("dev_images = 4", r"dev_images is 2, expected a whole number from 4 to"),
    ):
        replaced = {
            "beta = 1000\nalpha = 500": "beta = 0\nalpha = 500",
            "draw = 1": "draw = 0",
            'objective = "livo"\n[variants': 'alpha_over_bata = 1\nobjective = "livo"\n[variants',
            "dev_images = 4": "dev_images = 2",
        }[wrong]
        assert wrong in TRAINING
        path.write_text(TRAINING.replace(wrong, replaced, 1))
        with pytest.raises(BadInput, match=said):
            encoder_settings.read(str(small_world), "mini")


def test_margins_are_for_the_objective_that_has_some(
    small_world: Path, model: Path, tmp_path: Path
) -> None:
    variant = Path(f"{small_world}:wo-m")
    with pytest.raises(BadInput, match=r"'wo-m' has no margins, got .*gamma_2.*--method livo"):
        trained(variant, model, tmp_path, gamma_2=0.1)
    out = trained(small_world, model, tmp_path, gamma_1=0.0, gamma_2=0.0, steps=2)
    assert (out / "value_encoder").is_dir()


def test_learning_rates_warm_up_and_fall() -> None:
    assert rate("constant", 0, 100) == rate("constant", 99, 100) == 1
    assert rate("cosine", 0, 100) == pytest.approx(1 / 3)
    assert rate("cosine", 3, 100) == 1
    assert rate("cosine", 99, 100) < 0.01


def test_a_new_encoder_is_a_copy_whose_embeddings_stay(model: Path, tmp_path: Path) -> None:
    engine = Session(model_card(str(model)), 0, "cpu", "float32", tmp_path).engine
    encoder = new_encoder(deepcopy(engine.text_encoder), ["embeddings."])
    assert encoder is not engine.text_encoder
    assert all(p.requires_grad for p in new_encoder(deepcopy(engine.text_encoder), ()).parameters())
    with pytest.raises(BadInput, match=r"named 'text_model\.'\.\.\., so it cannot stay frozen"):
        new_encoder(deepcopy(engine.text_encoder), ["text_model."])
    frozen = {n for n, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in encoder.named_parameters() if n.startswith("embeddings.")}
